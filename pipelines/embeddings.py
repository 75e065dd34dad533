"""Embeddings as the publication needs them: made on the spot, or kept from a server in `.work/embeddings/`."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from slvr_data.embeddings import EmbeddingModel, Vector, local_embedding
from slvr_data.files import folder_atomic, put_aside, refuse_unreadable, remove_leftovers
from slvr_data.remote.artefacts import note_removed
from slvr_data.schema import AttributeProfile, Rejection
from slvr_data.shards import read_parquet
from slvr_data.spilled import IdMap

_MOST_MAPPED = 64
_TEXTS = pa.schema([("text", pa.binary(32)), ("refused", pa.string())])
"""Of a shard: sha256 of a text, and in words why the server refused it. The others have a row in `vectors.npy`, in
their order."""


def text_key(text: str) -> bytes:
    """What stands for a text: its sha256."""
    return hashlib.sha256(text.encode()).digest()


class VectorStore:
    """What one model, at one revision, has answered: shards of texts and vectors, each whole or not there.

    Vectors lie in `vectors.npy`, float16 [texts, dimension], and are read where they are needed.
    """

    def __init__(self, work: Path, model: str, revision: str | None) -> None:
        digest = hashlib.sha256(json.dumps([model, revision]).encode()).hexdigest()[:12]
        self.folder = work / "embeddings" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', model)[-40:].strip('.-')}-{digest}"
        self.dimension: int | None = None
        """None before the first answer."""
        self._refused: dict[bytes, str] = {}
        self._placed = IdMap()
        """Key of a text as hexadecimal digits -> its shard, and its row there."""
        self._mapped: OrderedDict[str, npt.NDArray[np.float16]] = OrderedDict()
        for shard in self._shards():
            self._index(shard)

    def __contains__(self, key: bytes) -> bool:
        """Whether a text has its vector."""
        return key.hex() in self._placed

    def refusal(self, key: bytes) -> str | None:
        """Why the server refused a text that has no vector, in words."""
        return None if key in self else self._refused.get(key)

    def get(self, key: bytes) -> Vector | None:
        """The vector of a text, [dimension]."""
        placed = self._placed.get(key.hex())
        if placed is None:
            return None
        shard, _, row = placed.rpartition(" ")
        if shard not in self._mapped:
            self._mapped[shard] = self._load(shard)
            while len(self._mapped) > _MOST_MAPPED:
                self._mapped.popitem(last=False)
        self._mapped.move_to_end(shard)
        vector: Vector = self._mapped[shard][int(row)]
        return vector

    def commit(self, vectors: dict[bytes, Vector], refused: dict[bytes, str]) -> None:
        """Keep answers: they appear all at once."""
        told = [*((key, None) for key in vectors), *refused.items()]
        texts = [{"text": key, "refused": why} for key, why in told]
        name = hashlib.sha256(b"".join(key + (why or "").encode() for key, why in told)).hexdigest()[:16]
        with folder_atomic(self.folder / name) as folder:
            pq.write_table(pa.Table.from_pylist(texts, schema=_TEXTS), folder / "texts.parquet", compression="zstd")
            if vectors:
                np.save(folder / "vectors.npy", np.stack(list(vectors.values())))
        self._index(name)

    def clean(self) -> None:
        """Remove what killed writers left."""
        remove_leftovers(self.folder)

    def _shards(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def _index(self, shard: str) -> None:
        """Learn what a shard holds; a damaged one is put aside, so that its texts are open again, and stays there.

        Raises:
            RunError: it cannot be read now, and may be whole.
        """
        try:
            texts = read_parquet(self.folder / shard / "texts.parquet").to_pydict()
            keys = [key for key, why in zip(texts["text"], texts["refused"], strict=True) if why is None]
            if keys:
                vectors = self._load(shard)
                rows, dimension = vectors.shape
                if rows != len(keys) or self.dimension not in (None, dimension) or vectors.dtype != np.float16:
                    raise ValueError(f"{rows} vectors of {dimension} {vectors.dtype} for {len(keys)} texts")
                self.dimension = dimension
        except (pa.ArrowException, OSError, ValueError, KeyError, EOFError) as error:
            refuse_unreadable(error, self.folder / shard)
            note_removed(self.folder.parents[1], f"embeddings/{self.folder.name}/{shard}")
            aside = put_aside(self.folder / shard)
            name = f"embeddings/{self.folder.name}/{shard}"
            print(f"{name} is damaged ({error}): it is now {aside.name}, and asked again", file=sys.stderr)
            return
        for row, key in enumerate(keys):
            self._placed[key.hex()] = f"{shard} {row}"
        self._refused |= {key: why for key, why in zip(texts["text"], texts["refused"], strict=True) if why is not None}

    def _load(self, shard: str) -> npt.NDArray[np.float16]:
        vectors: npt.NDArray[np.float16] = np.load(self.folder / shard / "vectors.npy", mmap_mode="r")
        return vectors


class Embeddings:
    """The embeddings of a publication."""

    def __init__(self, work: Path, model: EmbeddingModel) -> None:
        self.model = model
        self._store = None if model.local else VectorStore(work, model.model, model.revision)
        self.published = self.refused = self.without = 0

    def of(self, rows: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Rejection]]:
        """Rows of `embeddings` for rows of `attributes`, and rejections of texts that the server refused.

        Counts both for the accounts; a region whose text was not asked for yet is counted alone.
        """
        found, rejections = [], []
        for row in rows:
            vector = self._vector(row)
            if vector is not None:
                ids = {"region_id": row["region_id"], "image_id": row["image_id"]}
                found.append(ids | {"model": self.model.model, "embedding": vector})
                continue
            assert self._store is not None
            why = self._store.refusal(text_key(row["profile_text"]))
            if why is None:
                self.without += 1
            else:
                rejections.append(_rejection(row, why))
        self.published += len(found)
        self.refused += len(rejections)
        return found, rejections

    def _vector(self, row: dict[str, Any]) -> Vector | None:
        if self._store is None:
            return local_embedding(AttributeProfile.model_validate(row["profile"]), self.model.dimension)
        return self._store.get(text_key(row["profile_text"]))

    def accounts(self) -> dict[str, int]:
        """Published = embeddings + embeddings_rejected + regions_without_embedding."""
        return {
            "embeddings": self.published,
            "embeddings_rejected": self.refused,
            "regions_without_embedding": self.without,
        }

    def notice(self, folder: Path) -> str | None:
        """What to say of the set in `folder` where regions have no embedding yet."""
        if not self.without:
            return None
        command = f"slvr-data embed {folder} --base-url URL --model {self.model.model}"
        return f"{self.without} regions have no embedding of {self.model.model} yet: run `{command}` again"


def _rejection(row: dict[str, Any], why: str) -> Rejection:
    ref = row["source_refs"][0]
    return Rejection(
        kind="embedding",
        stage="embed",
        check="server",
        reason="embedding-refused",
        evidence=why,
        source=ref["source"],
        file=ref["file"],
        line=ref["line"],
        image_id=row["image_id"],
        region_id=row["region_id"],
        record=row["profile_text"],
    )
