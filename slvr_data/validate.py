"""`slvr-data validate`: everything a published set says of itself, verified from its files alone, or a sample of it.

A sample is of regions that lie together, drawn by row groups, with everything that belongs to their pictures. It says
nothing of the bytes of data files, and cannot find what only the whole tells: `not_looked_at` lists it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from slvr_data import card
from slvr_data.arrow import arrow_schema
from slvr_data.errors import RunError
from slvr_data.manifest import Manifest, load_manifest
from slvr_data.release import unnamed_files
from slvr_data.remote.addresses import address_of, shown
from slvr_data.remote.reading import digest_of, each_footer_once, open_parquet, read_bytes, size_of
from slvr_data.schema import AttributeRow, CropRow, EmbeddedAttributeRow, ImageRow, QueryGroup, Rejection
from slvr_data.shards import DataFile, files_of
from slvr_data.validate_embeddings import check_embeddings, embedding_columns
from slvr_data.validate_rows import (
    COUNTED,
    Breaches,
    Seen,
    check_attributes,
    check_crops,
    check_groups,
    check_images,
    check_rejections,
)

MAX_GROUP_BYTES = 64 << 20


def validate(folder: Path, sample: int | None = None, seed: int = 0) -> tuple[list[str], dict[str, int]]:
    """(breaches, what was checked); with `sample`, of the pictures of about so many regions, drawn by `seed`.

    `folder` may be an address: there too, a sample reads no more than the row groups that it names, and what says where
    they lie. Objects that the manifest does not name are looked for on this machine alone.

    Raises:
        UsageError: there is no manifest to check against.
        RunError: the set was published anew meanwhile, or an address cannot be read.
    """
    with each_footer_once():
        return _validated(folder, sample, seed)


def _validated(folder: Path, sample: int | None, seed: int) -> tuple[list[str], dict[str, int]]:
    seen = Seen(folder, load_manifest(folder))
    _check_files(seen, hashed=sample is None)
    _check_card(seen)
    try:
        _check_accounts(seen.manifest, seen.breaches)
    except KeyError as error:
        seen.breaches.add("manifest.json", f"its accounts have no {error}")
    if sample is not None:
        seen.chosen = _drawn(seen, sample, seed)
    check_images(seen)
    check_attributes(seen)
    check_groups(seen)
    check_crops(seen)
    check_embeddings(seen)
    check_rejections(seen)
    for image in seen.images:
        if image not in seen.used:
            seen.breaches.add("images", f"picture {image} has no region")
    if seen.breaches.lines and load_manifest(folder) != seen.manifest:
        raise RunError(f"{shown(folder)} was published anew meanwhile: start again")
    return seen.breaches.lines, dict(seen.checked)


def not_looked_at(folder: Path, checked: dict[str, int]) -> list[str]:
    """What a validation of a sample has left out, in words; `checked` is what it has looked at."""
    files = load_manifest(folder).files
    left = [f"the hashes of {sum(file.config != 'card' for file in files)} data files (only their sizes)"]
    for config, what in (COUNTED | {"embeddings": "embeddings"}).items():
        rows = sum(file.rows for file in files_of(files, config))
        if rows > checked.get(what, 0):
            left.append(f"{rows - checked.get(what, 0):,} of {rows:,} {what}")
    return [*left, "ids that stand twice, and order, beyond the sample; counts of queries and of kinds of rejections"]


def _drawn(seen: Seen, sample: int, seed: int) -> frozenset[str]:
    """The pictures of regions that lie together: row groups by chance, and where one holds enough, a part of it."""
    dice = Random(seed)
    places = []
    for file in files_of(seen.manifest.files, "attributes"):
        places += [(file.path, group) for group in range(seen.readable.get(file.path, 0))]
    dice.shuffle(places)
    found: set[str] = set()
    left = sample
    for path, group in places:
        if left <= 0:
            break
        try:
            with open_parquet(seen.folder / path) as parquet:
                ids = parquet.read_row_group(group, columns=["image_id"])["image_id"]
        except (pa.ArrowException, OSError) as error:
            seen.breaches.add(path, f"cannot be read to its end: {error}")
            continue
        some = min(left, len(ids))
        found.update(ids.slice(dice.randrange(len(ids) - some + 1), some).to_pylist())
        left -= some
    return frozenset(found)


def _check_files(seen: Seen, *, hashed: bool) -> None:
    """Presence, bytes (of data files their number alone, unless `hashed`), schema, row counts and row groups; fills
    `seen.readable`.
    """
    folder, breaches = seen.folder, seen.breaches
    for file in seen.manifest.files:
        seen.checked["files"] += 1
        path = folder / file.path
        size = size_of(path)
        if size is None:
            breaches.add(file.path, "is missing")
            continue
        if size != file.bytes or ((hashed or file.config == "card") and digest_of(path) != file.sha256):
            breaches.add(file.path, "its bytes are not those that the manifest names")
        if file.config != "card":
            _check_table(path, file, seen)
    for path in unnamed_files(folder, seen.manifest) if address_of(folder) is None else ():
        breaches.add(str(path.relative_to(folder)), "is not named by the manifest")


def _check_card(seen: Seen) -> None:
    """What the card tells `load_dataset` is what the manifest names, and files lie where their split says."""
    folder, manifest, breaches = seen.folder, seen.manifest, seen.breaches
    for file in manifest.files:
        if file.config != "card" and not file.path.startswith(f"data/{file.config}/{file.split}-"):
            breaches.add(file.path, f"is not where {file.split} of {file.config} lies")
    try:
        told = card.data_files(read_bytes(folder / "README.md").decode())
    except (OSError, ValueError) as error:
        breaches.add("README.md", str(error))
        return
    if told != card.configs(manifest.files, card.configs_of(manifest.files)):
        breaches.add("README.md", "its data files are not those that the manifest names")


def _check_table(path: Path, file: DataFile, seen: Seen) -> None:
    breaches = seen.breaches
    try:
        with open_parquet(path) as parquet:
            metadata = parquet.metadata
    except (pa.ArrowException, OSError) as error:
        breaches.add(file.path, f"is not Parquet: {error}")
        return
    records: dict[str, list[Any]] = {
        "images": [ImageRow],
        "attributes": [AttributeRow, EmbeddedAttributeRow],
        "multiquery": [QueryGroup],
        "crops": [CropRow],
        "rejections": [Rejection],
    }
    schema = metadata.schema.to_arrow_schema()
    known = [arrow_schema(record) for record in records.get(file.config, [])]
    known += embedding_columns(seen.manifest) if file.config == "embeddings" else []
    if not any(schema.equals(columns) for columns in known):
        breaches.add(file.path, f"its columns are not those of the config {file.config}")
        return
    seen.readable[file.path] = metadata.num_row_groups
    if metadata.num_rows != file.rows:
        breaches.add(file.path, f"has {metadata.num_rows} rows, the manifest says {file.rows}")
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).total_byte_size
        if size > MAX_GROUP_BYTES:
            breaches.add(file.path, f"row group {group} has {size} bytes, more than {MAX_GROUP_BYTES}")


def _check_accounts(manifest: Manifest, breaches: Breaches) -> None:
    a = manifest.accounts
    if a["rows"] != a["malformed"] + a["merged"] + a["regions"]:
        breaches.add("manifest.json", "rows = malformed + merged + regions does not hold")
    if a["regions"] != a["published"] + a["rejected"] + a.get("regions_unfinished", 0):
        breaches.add("manifest.json", "regions = published + rejected + unfinished does not hold")
    rows = {
        config: sum(file.rows for file in files_of(manifest.files, config))
        for config in ("attributes", "images", "multiquery", "rejections")
    }
    told_rows = {"attributes": a["published"], "images": a["pictures_published"]}
    for config, told in (told_rows | {"multiquery": a.get("groups_published", 0)}).items():
        if rows[config] != told:
            breaches.add("manifest.json", f"{config} has {rows[config]} rows, the accounts say {told}")
    told = a["malformed"] + a["rejected"]
    told += sum(a.get(f"{name}_rejected", 0) for name in ("queries", "groups", "embeddings"))
    if rows["rejections"] != told:
        breaches.add("manifest.json", f"{rows['rejections']} rejections are listed, the accounts say {told}")
    for name in ("queries", "groups"):
        if a.get(name, 0) != a.get(f"{name}_published", 0) + a.get(f"{name}_rejected", 0):
            breaches.add("manifest.json", f"{name} = published + rejected does not hold")
