"""What mean and deviation of visual latents are measured on: regions of as many pictures as possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from slvr_model.data import Sample, Unusable
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Row
from slvr_model.sft.mapped import MappedSamples
from slvr_model.sft.samples import RowMaker
from slvr_model.sft.spread import one_each, spread
from slvr_model.sft.start import measure


def to_measure(samples: MappedSamples, numbers: Sequence[int], most: int) -> list[int]:
    """Of `numbers`, those of one question about each of at most `most` regions; see `spread`."""
    queries, regions, pictures = (samples.column(name, numbers) for name in ("query_id", "region_id", "image_id"))
    one = one_each(queries, regions)
    chosen = spread([regions[place] for place in one], [pictures[place] for place in one], most)
    return [numbers[one[place]] for place in chosen]


def measured(model: SlvrModel, samples: Iterable[Sample], maker: RowMaker) -> dict[str, int]:
    """Measure, and say on how many `regions` of how many `pictures`: unusable samples are left out.

    Raises:
        UsageError: there are fewer than two regions.
    """
    used: list[tuple[str, str]] = []
    measure(model, _rows(samples, maker, used))
    return {"regions": len({region for region, _ in used}), "pictures": len({picture for _, picture in used})}


def _rows(samples: Iterable[Sample], maker: RowMaker, used: list[tuple[str, str]]) -> Iterator[Row]:
    """Rows of the usable samples, with a visual span of the region, whatever the objective's replies have."""
    latents = maker.rows.layout.latents
    span = latents.tokens.reply(latents.visual_slots, semantic=False)
    for sample in samples:
        try:
            row = maker.rows.row(sample, latents=False)
        except Unusable:
            continue
        used.append((sample.region_id, sample.image_id))
        yield Row(row.prefix, (Block((), tuple(span), (sample.box,)),), row.pictures)
