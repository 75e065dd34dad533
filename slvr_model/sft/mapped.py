"""A published set laid out for random access: samples, pictures and vectors in Arrow files that all processes map.

A set's Parquet files are compressed in row groups, right for reading in order and wrong for drawing at random. What the
copy is made of, and when it is found again, `copying` says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL.Image import Image

from slvr_data.images import decoded
from slvr_model.data import Sample, SlvSamples
from slvr_model.sft.copying import Copied, copied, opened


class MappedSamples:
    """The usable samples of a split, by number; open it with `mapped`."""

    def __init__(self, where: Copied) -> None:
        self.folder, self._where = where.samples, where
        self._samples: Any = None
        self._pictures: Any = None
        self._vectors: Any = None
        self.accounts: dict[str, Any] = json.loads((self.folder / "accounts.json").read_bytes())
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_samples": None, "_pictures": None, "_vectors": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def _open(self) -> None:
        self._samples = opened(self.folder / "samples.arrow")
        self._vectors = opened(self.folder / "vectors.arrow")["vector"]
        self._pictures = opened(self._where.pictures / "pictures.arrow")["image"]

    def __len__(self) -> int:
        return int(self._samples.num_rows)

    def __getitem__(self, number: int) -> Sample:
        return self.several([number])[0]

    def several(self, numbers: Sequence[int]) -> list[Sample]:
        """Some of them; a picture that they share is decoded once."""
        pictures: dict[int, Image] = {}
        return [self._sample(number, pictures) for number in numbers]

    def _sample(self, number: int, pictures: dict[int, Image]) -> Sample:
        row = self._samples.slice(number, 1).to_pylist()[0]
        place, vector = row.pop("picture"), row.pop("vector")
        if place not in pictures:
            pictures[place] = decoded(self._pictures[place].as_py())
        del row["width"], row["height"]
        return Sample(
            picture=pictures[place],
            box=tuple(row.pop("box")),
            wordings=tuple(row.pop("wordings")),
            choices=tuple(row.pop("choices")),
            embedding=None if vector is None else np.asarray(self._vectors[vector].values).astype(np.float32),
            **row,
        )

    def rows(self, *columns: str) -> Iterator[list[dict[str, Any]]]:
        """What is known of samples without their pictures and vectors, in order and in pieces: all, or some columns."""
        table = self._samples.select(list(columns)) if columns else self._samples
        for batch in table.to_batches():
            yield batch.to_pylist()

    def column(self, name: str, numbers: Sequence[int] | None = None) -> list[Any]:
        """What is known by one name, of all samples or of some, in their order."""
        column = self._samples.column(name)
        found: list[Any] = (column if numbers is None else column.take(pa.array(numbers, pa.int64()))).to_pylist()
        return found

    def chosen(self, queries: int | None) -> list[int]:
        """The numbers of at most `queries` samples of each region, those whose ids have the smallest hashes; None: all.

        What is chosen of a region depends on its own questions alone.
        """
        if queries is None:
            return list(range(len(self)))
        drawn: dict[str, list[tuple[bytes, int]]] = {}
        for number, (group, query) in enumerate(zip(self.column("group_id"), self.column("query_id"), strict=True)):
            drawn.setdefault(group, []).append((hashlib.sha256(query.encode()).digest(), number))
        return sorted(number for held in drawn.values() for _, number in sorted(held)[:queries])

    @property
    def pictures(self) -> list[int]:
        """The number of the picture that each sample is about; samples of one picture follow each other."""
        return self.column("picture")


def mapped(samples: SlvSamples, cache: Path) -> MappedSamples:
    """The copy of a split below `cache`, made where it is not there yet.

    Raises:
        RunError: more samples than the budget are unusable, or the disk is full.
    """
    return MappedSamples(copied(samples, cache))
