"""What a run holds out: questions about as many pictures as possible, and what is then left to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from slvr_data.images import decoded
from slvr_model.data import Sample, SlvSamples
from slvr_model.sft.mapped import MappedSamples
from slvr_model.sft.spread import set_apart, spread, streamed


@dataclass(frozen=True)
class Part:
    """Some samples of a copy, by number."""

    samples: MappedSamples
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> Sample:
        return self.samples[self.numbers[number]]


class Stream:
    """Samples that are kept from a stream, their pictures as they are published: decoded ones are many times as large.

    Args:
        samples: of the split that is held out.
        most: how many are wanted.
    """

    def __init__(self, samples: SlvSamples, most: int) -> None:
        nothing = Image.new("RGB", (1, 1))
        self._samples: list[Sample] = []
        self._pictures: dict[str, bytes] = {}
        for sample in streamed(samples, most, lambda sample: sample.query_id):
            self._pictures.setdefault(sample.image_id, samples.pictures.encoded(sample.image_id))
            self._samples.append(replace(sample, picture=nothing))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> Sample:
        sample = self._samples[number]
        return replace(sample, picture=decoded(self._pictures[sample.image_id]))


def held_of(samples: MappedSamples, most: int) -> Part:
    """At most `most` questions of another split than that which is learnt."""
    queries, pictures = (samples.column(name) for name in ("query_id", "image_id"))
    return Part(samples, spread(queries, pictures, most))


def held_out(samples: MappedSamples, numbers: Sequence[int], most: int) -> tuple[list[int], Part]:
    """(what of `numbers` is left to learn, at most `most` questions about other pictures); see `spread.set_apart`."""
    queries, pictures = (samples.column(name, numbers) for name in ("query_id", "image_id"))
    left, apart = set_apart(queries, pictures, most)
    return [numbers[place] for place in left], Part(samples, [numbers[place] for place in apart])
