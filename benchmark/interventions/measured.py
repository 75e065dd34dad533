"""The file `latents.json` beside a run's log: what the latents of the run are like, and what can be read from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from benchmark.agreement import Key, Row
from benchmark.interventions.edited import shifts
from benchmark.interventions.latents import Attention
from benchmark.interventions.measures import mean_of, measures_of, over_pictures
from benchmark.interventions.names import SURVEYED
from benchmark.interventions.probes import probes_of
from benchmark.records import Record
from benchmark.scores import Estimate
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors, write_atomic

if TYPE_CHECKING:
    from benchmark.asks import Asks
    from benchmark.models.base import LatentModel

FILE = "latents.json"
ATTENDED = 32
"""Items whose replies are looked at for their attention, at most."""


class Measured(Record):
    """The content of the file."""

    kind: Literal["slvr-bench latents"] = "slvr-bench latents"
    version: Literal[1] = 1
    data_revision: str
    """Of the items."""
    queries: int = Field(ge=0)
    """Whose latents these are."""
    items: int = Field(ge=0)
    measures: dict[str, Estimate]
    """`benchmark.interventions.measures`: "visual/effective_rank", ...; "attention/middle/visual", ..."""
    probes: dict[str, Estimate]
    """`benchmark.interventions.probes`: "linear/visual/color/own", "interpreter/color/zero", ..."""


def measure(model: LatentModel, asks: Asks, out: Path) -> str:
    """Survey the latents of a run, and write what they are like to `out/latents.json`; what was done, in words.

    The survey also tells the model the mean latent of these queries.

    Raises:
        UsageError: no query can be put to the model.
        RunError: the file cannot be written.
    """
    survey = model.survey(asks.plain(SURVEYED))
    measures = measures_of(survey) | shifts(survey) | attention_of(model.attention(asks.plain(ATTENDED)))
    found = Measured(
        data_revision=asks.bench.revision,
        queries=len(survey),
        items=len({item.item_id for item, _ in survey.asked}),
        measures=measures,
        probes=probes_of(survey, asks.plan.profiles),
    )
    with disk_errors(f"writing {out / FILE}"):
        write_atomic(out / FILE, (found.model_dump_json(indent=1) + "\n").encode())
    return f"{found.queries:,} queries of {found.items:,} regions, {out / FILE}"


def attention_of(looks: Sequence[Attention]) -> dict[str, Estimate]:
    """Shares of attention, by "attention/middle/visual", "attention/mean/picture", "attention/even/text", ..."""
    found: dict[str, Estimate] = {}
    for name in ("middle", "mean", "even"):
        for part in looks[0].middle if looks else ():
            rows: list[tuple[Key, Row]] = [
                (
                    (look.item.image_id, look.item.item_id, look.query.query_id, 0),
                    {"above": getattr(look, name)[part], "below": 1.0},
                )
                for look in looks
            ]
            found[f"attention/{name}/{part}"] = over_pictures(rows, mean_of("above", "below"))
    return found


def read_measured(run: Path) -> Measured | None:
    """What the latents of a run are like; None for a run without interventions.

    Raises:
        UsageError: the file is damaged.
    """
    path = run / FILE
    if not path.is_file():
        return None
    try:
        return Measured.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        words = str(error).splitlines()[0]
        raise UsageError(f"{path} is damaged ({words}): delete it, and run the same command again") from None
