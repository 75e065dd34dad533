"""The config `embeddings` of a published set, verified; part of `slvr_data.validate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from slvr_data.arrow import embedding_schema
from slvr_data.embeddings import EmbeddingModel, Vector, local_embedding
from slvr_data.manifest import Manifest
from slvr_data.reader import rows_of, rows_of_pictures
from slvr_data.remote.reading import open_parquet
from slvr_data.schema import SPLITS, AttributeProfile
from slvr_data.shards import files_of
from slvr_data.validate_rows import Breaches, Seen


def embedding_columns(manifest: Manifest) -> list[pa.Schema]:
    """The columns that files of embeddings have; nothing where the manifest does not tell the dimension."""
    try:
        model = _told(manifest)
    except ValueError:  # `check_embeddings` says so
        return []
    return [] if model is None else [embedding_schema(model.dimension)]


def _told(manifest: Manifest) -> EmbeddingModel | None:
    """What the manifest says of the set's embeddings; None for a set without them.

    Raises:
        ValueError: it cannot be read.
    """
    told = manifest.configuration.get("embeddings")
    return None if told is None else EmbeddingModel.model_validate(told)


def check_embeddings(seen: Seen) -> None:
    """Embeddings lie in the order of the regions, at most one each; they are finite, and the local ones right."""
    try:
        model = _told(seen.manifest)
    except ValueError as error:
        seen.breaches.add("manifest.json", f"its embeddings cannot be read: {' '.join(str(error).split())[:200]}")
        return
    if model is None:
        if files_of(seen.manifest.files, "embeddings"):
            seen.breaches.add("manifest.json", "has files of embeddings, but does not say of which model")
        return
    with seen.breaches.of("manifest.json"):
        _check_counts(seen.manifest, seen.breaches)
    for split in SPLITS:
        where = f"embeddings of {split}"
        with seen.breaches.of(where):
            try:
                _check_split(seen, split, model)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                seen.breaches.add(where, f"cannot be read to their end: {error}")


def _check_counts(manifest: Manifest, breaches: Breaches) -> None:
    a = manifest.accounts
    if a["published"] != a["embeddings"] + a["embeddings_rejected"] + a["regions_without_embedding"]:
        what = "published = embeddings + embeddings_rejected + regions_without_embedding does not hold"
        breaches.add("manifest.json", what)
    rows = sum(file.rows for file in files_of(manifest.files, "embeddings"))
    if rows != a["embeddings"]:
        breaches.add("manifest.json", f"embeddings has {rows} rows, the accounts say {a['embeddings']}")


def _check_split(seen: Seen, split: str, model: EmbeddingModel) -> None:
    files = [*files_of(seen.manifest.files, "attributes", split), *files_of(seen.manifest.files, "embeddings", split)]
    if any(file.path not in seen.readable for file in files):
        return  # a breach that is listed
    regions = _regions(seen, split, model)
    for place, row, vector in _embeddings(seen, split, model):
        where = f"{place}: embedding of {row['region_id']}"
        region = next((found for found in regions if found[0] == row["region_id"]), None)
        if region is None:
            seen.breaches.add(where, "its region is not published beside it, or not in this order, or it stands twice")
            return  # what follows cannot be told apart
        if region[1] != row["image_id"]:
            seen.breaches.add(where, f"its picture is {row['image_id']}, that of its region {region[1]}")
        if row["model"] != model.model:
            seen.breaches.add(where, f"is of {row['model']}, the manifest says {model.model}")
        if not np.isfinite(vector).all():
            seen.breaches.add(where, "is not finite")
        elif region[2] is not None and local_embedding(region[2], model.dimension).tobytes() != vector.tobytes():
            seen.breaches.add(where, "is not the one that its profile has")


def _regions(seen: Seen, split: str, model: EmbeddingModel) -> Iterator[tuple[str, str, AttributeProfile | None]]:
    """(region_id, image_id, profile) in order; profiles are read only where embeddings can be made from them."""
    columns = ("region_id", "image_id", *(("profile",) if model.local else ()))
    rows: Iterable[dict[str, Any]] = rows_of(seen.folder, seen.manifest, "attributes", split, columns)
    if seen.chosen is not None:
        found = rows_of_pictures(seen.folder, seen.manifest, "attributes", seen.chosen, columns, split)
        rows = (row for _, row in found)
    for row in rows:
        profile = AttributeProfile.model_validate(row["profile"]) if model.local else None
        yield row["region_id"], row["image_id"], profile


def _embeddings(seen: Seen, split: str, model: EmbeddingModel) -> Iterator[tuple[str, dict[str, str], Vector]]:
    """(place, the row without its vector, the vector) in order."""
    if seen.chosen is not None:
        for file, row in rows_of_pictures(seen.folder, seen.manifest, "embeddings", seen.chosen, split=split):
            seen.checked["embeddings"] += 1
            yield file.path, row, np.array(row.pop("embedding"), np.float16)
        return
    for file in files_of(seen.manifest.files, "embeddings", split):
        with open_parquet(seen.folder / file.path) as parquet:
            for batch in parquet.iter_batches(batch_size=512):
                vectors = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
                vectors = vectors.astype(np.float16, copy=False).reshape(batch.num_rows, model.dimension)
                seen.checked["embeddings"] += batch.num_rows
                rows = batch.select(["region_id", "image_id", "model"]).to_pylist()
                yield from ((file.path, row, vector) for row, vector in zip(rows, vectors, strict=True))
