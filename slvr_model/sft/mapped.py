"""A published set laid out for random access: samples and pictures in two Arrow files that all processes map.

A set's Parquet files are compressed in row groups, right for reading in order and wrong for drawing at random. The
copy is made once per set, split and embedding size, and found again by a hash of the set's manifest.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL.Image import Image

from slvr_data.errors import RunError
from slvr_data.files import disk_errors, folder_atomic
from slvr_data.images import decoded
from slvr_data.pictures import Pictures
from slvr_model.data import Sample, SlvSamples

LAYOUT = 1
"""Version of what the files hold."""
_CHUNK_BYTES = 16 << 20
_CHUNK_ROWS = 2048
_TEXTS = ("query_id", "group_id", "region_id", "image_id", "facet", "question", "answer", "profile_text")
_SAMPLES = pa.schema(
    [(name, pa.string()) for name in _TEXTS]
    + [("box", pa.list_(pa.float64(), 4)), ("wordings", pa.list_(pa.string())), ("choices", pa.list_(pa.string()))]
    + [("embedding", pa.list_(pa.float32())), ("picture", pa.int64()), ("width", pa.int64()), ("height", pa.int64())]
)
_PICTURES = pa.schema([("image", pa.large_binary())])


class MappedSamples:
    """The usable samples of a split, by number; open it with `mapped`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._samples: Any = None
        self._pictures: Any = None
        self.accounts: dict[str, Any] = json.loads((folder / "accounts.json").read_bytes())
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_samples": None, "_pictures": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def _open(self) -> None:
        try:
            files = [pa.ipc.open_file(pa.memory_map(str(self.folder / f"{n}.arrow"))) for n in ("samples", "pictures")]
            self._samples, self._pictures = (file.read_all() for file in files)
        except (OSError, pa.ArrowInvalid) as error:
            raise RunError(f"{self.folder} is damaged ({error}): remove it, and it is made again") from None

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
        place = row.pop("picture")
        if place not in pictures:
            pictures[place] = decoded(self._pictures.column("image")[place].as_py())
        vector = row.pop("embedding")
        del row["width"], row["height"]
        return Sample(
            picture=pictures[place],
            box=tuple(row.pop("box")),
            wordings=tuple(row.pop("wordings")),
            choices=tuple(row.pop("choices")),
            embedding=None if vector is None else np.asarray(vector, np.float32),
            **row,
        )

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        """What is known of samples without their pictures, in order: all columns, in pieces."""
        for batch in self._samples.to_batches():
            yield batch.to_pylist()

    def chosen(self, queries: int | None) -> list[int]:
        """The numbers of at most `queries` samples of each region, those whose ids have the smallest hashes; None: all.

        What is chosen of a region depends on its own questions alone.
        """
        if queries is None:
            return list(range(len(self)))
        groups, ids = (self._samples.column(name).to_pylist() for name in ("group_id", "query_id"))
        drawn: dict[str, list[tuple[bytes, int]]] = {}
        for number, (group, query) in enumerate(zip(groups, ids, strict=True)):
            drawn.setdefault(group, []).append((hashlib.sha256(query.encode()).digest(), number))
        return sorted(number for held in drawn.values() for _, number in sorted(held)[:queries])

    @property
    def pictures(self) -> list[int]:
        """The number of the picture that each sample is about; samples of one picture follow each other."""
        found: list[int] = self._samples.column("picture").to_pylist()
        return found


def mapped(samples: SlvSamples, cache: Path) -> MappedSamples:
    """The copy of a split below `cache`, made where it is not there yet.

    Raises:
        RunError: more samples than the budget are unusable, or the disk is full.
    """
    parts = [samples.manifest.to_bytes(), samples.split, samples.embeddings, samples.dimension, LAYOUT]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    folder = cache / f"{samples.split}-{key}"
    with disk_errors(f"writing {cache}"):
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                with folder_atomic(folder) as fresh:
                    _write(samples, fresh)
    return MappedSamples(folder)


def _write(samples: SlvSamples, folder: Path) -> None:
    pictures: dict[str, int] = {}
    with pa.OSFile(str(folder / "samples.arrow"), "wb") as out, pa.ipc.new_file(out, _SAMPLES) as table:
        for rows in _chunks(samples, pictures):
            table.write_table(pa.Table.from_pylist(rows, _SAMPLES))
    with pa.OSFile(str(folder / "pictures.arrow"), "wb") as out, pa.ipc.new_file(out, _PICTURES) as table:
        for data in _bytes(Pictures(samples.folder), pictures):
            table.write_table(pa.table({"image": data}, _PICTURES))
    accounts = samples.accounts
    kept = {"seen": accounts.seen, "used": accounts.used, "unusable": dict(accounts.unusable), "named": accounts.named}
    (folder / "accounts.json").write_text(json.dumps(kept, indent=1))


def _chunks(samples: Iterable[Sample], pictures: dict[str, int]) -> Iterator[list[dict[str, Any]]]:
    """Rows of samples in pieces; `pictures` takes the number of each picture as it is met."""
    names = [field.name for field in fields(Sample) if field.name != "picture"]
    rows: list[dict[str, Any]] = []
    for sample in samples:
        width, height = sample.picture.size
        number = pictures.setdefault(sample.image_id, len(pictures))
        row = {name: getattr(sample, name) for name in names}
        rows.append(row | {"picture": number, "width": width, "height": height})
        if len(rows) == _CHUNK_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _bytes(published: Pictures, pictures: dict[str, int]) -> Iterator[list[bytes]]:
    held, size = list[bytes](), 0
    for image_id in pictures:
        held.append(published.encoded(image_id))
        size += len(held[-1])
        if size > _CHUNK_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held
