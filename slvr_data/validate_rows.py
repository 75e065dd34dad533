"""The rows of a published set, verified record by record; part of `slvr_data.validate`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pycocotools import mask as coco_mask

from slvr_data.checks.queries.choices import choices_fault
from slvr_data.ids import region_id
from slvr_data.images import PictureError, decoded, probe
from slvr_data.manifest import Manifest
from slvr_data.queries.generate import LEAST, MOST
from slvr_data.reader import rows_of_file
from slvr_data.remote.reading import open_parquet
from slvr_data.schema import FACETS, SPLITS, AttributeProfile, Query
from slvr_data.shards import DataFile, files_of
from slvr_data.spilled import IdMap, IdSet
from slvr_data.text import profile_text

MAX_BREACHES = 200
COUNTED = {
    "images": "pictures",
    "attributes": "regions",
    "multiquery": "groups",
    "crops": "crops",
    "rejections": "rejections",
}


class Breaches:
    """Collects breaches, each with where it is; stops listing at `MAX_BREACHES`."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """List a breach."""
        if len(self.lines) < MAX_BREACHES:
            self.lines.append(f"{where}: {what}")
        elif len(self.lines) == MAX_BREACHES:
            self.lines.append("... more breaches are not listed")

    @contextmanager
    def of(self, where: str) -> Iterator[None]:
        """A value that a check cannot work with is a breach too."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.add(where, f"cannot be checked: {' '.join(str(error).split())[:200]}")


@dataclass
class Seen:
    """What has been seen so far, and what is wrong with it."""

    folder: Path
    manifest: Manifest
    readable: dict[str, int] = field(default_factory=dict)
    """Files whose rows can be read, and their row groups."""
    breaches: Breaches = field(default_factory=Breaches)
    checked: Counter[str] = field(default_factory=Counter)
    images: IdMap = field(default_factory=IdMap)
    """image_id -> split, width and height, with a space between."""
    regions: IdMap = field(default_factory=IdMap)
    """region_id -> image_id and split, with a space between."""
    used: IdSet = field(default_factory=IdSet)
    """Pictures with regions."""
    chosen: frozenset[str] | None = None
    """The pictures whose rows are looked at; None for all."""


def _rows(seen: Seen, config: str, batch_size: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, split, row) of every row of a config, or of those of the chosen pictures."""
    for split in (*SPLITS, "all"):
        for file in files_of(seen.manifest.files, config, split):
            if file.path in seen.readable:
                try:
                    for row in _rows_of_file(seen, file, batch_size):
                        seen.checked[COUNTED[config]] += 1
                        yield file.path, split, row
                except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                    seen.breaches.add(file.path, f"cannot be read to its end: {error}")


def _rows_of_file(seen: Seen, file: DataFile, batch_size: int) -> Iterator[dict[str, Any]]:
    if seen.chosen is not None:
        yield from rows_of_file(seen.folder / file.path, seen.chosen)
        return
    with open_parquet(seen.folder / file.path) as parquet:
        for batch in parquet.iter_batches(batch_size=batch_size):
            yield from batch.to_pylist()


def check_images(seen: Seen) -> None:
    """Fills `seen.images`."""
    found, breaches = seen.images, seen.breaches
    previous: dict[str, str] = {}
    for place, split, row in _rows(seen, "images", 16):
        identifier = row["image_id"]
        where = f"{place}: picture {identifier}"
        if identifier in found:
            breaches.add(where, "stands twice")
        if identifier < previous.get(split, ""):
            breaches.add(where, "is out of order")
        previous[split] = identifier
        found[identifier] = f"{split} {row['width']} {row['height']}"
        if row["image"] is not None:
            with breaches.of(where):
                _check_picture(row, where, breaches)
        elif seen.manifest.configuration.get("publish", {}).get("pictures") != "reference":
            breaches.add(where, "ships no bytes")


def _check_picture(row: dict[str, Any], where: str, breaches: Breaches) -> None:
    data = row["image"]["bytes"]
    if hashlib.sha256(data).hexdigest() != row["content_sha256"] or len(data) != row["byte_size"]:
        breaches.add(where, "its bytes are not those that its row names")
    try:
        pixels = decoded(data)
    except PictureError as error:
        breaches.add(where, str(error))
        return
    if pixels.size != (row["width"], row["height"]) or probe(data).orientation != 1:
        breaches.add(where, f"is {pixels.width}x{pixels.height}, its row says {row['width']}x{row['height']}")


def check_attributes(seen: Seen) -> None:
    """Fills `seen.regions`. Rows of one picture are looked at together."""
    found, images, breaches = seen.regions, seen.images, seen.breaches
    previous: dict[str, tuple[str, str]] = {}
    group: list[tuple[str, dict[str, Any]]] = []
    for place, split, row in _rows(seen, "attributes", 1024):
        if group and group[0][1]["image_id"] != row["image_id"]:
            seen.used.add(group[0][1]["image_id"])
            _check_links(group, breaches)
            group = []
        where = f"{place}: region {row['region_id']}"
        if row["image_id"] in seen.used:
            breaches.add(where, "is apart from the other regions of its picture")
        elif (row["image_id"], row["region_id"]) < previous.get(split, ("", "")):
            breaches.add(where, "is out of order")
        previous[split] = row["image_id"], row["region_id"]
        if row["region_id"] in found:
            breaches.add(where, "stands twice")
        found[row["region_id"]] = f"{row['image_id']} {split}"
        group.append((where, row))
        image = images.get(row["image_id"])
        if image is None:
            breaches.add(where, f"its picture {row['image_id']} is not in images")
        else:
            own_split, width, height = image.split(" ")
            with breaches.of(where):
                _check_region(row, where, split, (own_split, int(width), int(height)), breaches)
    if group:
        seen.used.add(group[0][1]["image_id"])
    _check_links(group, breaches)


def _check_region(row: dict[str, Any], where: str, split: str, image: tuple[str, int, int], breaches: Breaches) -> None:
    if image[0] != split:
        breaches.add(where, f"is in {split}, its picture in {image[0]}")
    x1, y1, x2, y2 = row["bbox"]
    if not (0 <= x1 < x2 <= image[1] and 0 <= y1 < y2 <= image[2]):
        breaches.add(where, f"its box {row['bbox']} does not lie in its picture of {image[1]}x{image[2]}")
    if region_id(row["image_id"], row["bbox"], row["label"]) != row["region_id"]:
        breaches.add(where, "its id is not the hash of its picture, box and label")
    mask = row["mask"]
    if mask is not None:
        if mask["size"] != [image[2], image[1]]:
            breaches.add(where, "its mask has another size than its picture")
        elif not coco_mask.area({"size": mask["size"], "counts": mask["counts"].encode()}):
            breaches.add(where, "its mask is empty")
    if profile_text(AttributeProfile.model_validate(row["profile"])) != row["profile_text"]:
        breaches.add(where, "its profile_text does not say what its profile says")
    if any(verdict["verdict"] == "fail" for verdict in row["verdicts"]):
        breaches.add(where, "is published although a check failed")
    if not row["source_refs"]:
        breaches.add(where, "names no source")


def _check_links(group: list[tuple[str, dict[str, Any]]], breaches: Breaches) -> None:
    """Relations and interactions point at regions of the same picture."""
    ids = {row["region_id"] for _, row in group}
    for where, row in group:
        with breaches.of(where):
            links = [*(row["profile"]["spatial"]["relations"] or []), *(row["profile"]["interaction"] or [])]
            for link in links:
                if link["target_region_id"] is not None and link["target_region_id"] not in ids:
                    breaches.add(
                        where, f"{link['kind']} region {link['target_region_id']}, which its picture does not have"
                    )


def check_crops(seen: Seen) -> None:
    """Crops are pictures of published regions, one each."""
    found = IdSet()
    for place, split, row in _rows(seen, "crops", 64):
        where = f"{place}: crop of {row['region_id']}"
        _check_place(seen, where, split, row, found, row["region_id"])
        try:
            decoded(row["crop"]["bytes"])
        except PictureError as error:
            seen.breaches.add(where, str(error))


def check_groups(seen: Seen) -> None:
    """Groups are of published regions, their queries on different facets, with one right choice each."""
    found, queries = IdSet(), IdSet()
    total = 0
    for place, split, row in _rows(seen, "multiquery", 512):
        where = f"{place}: group {row['group_id']}"
        _check_place(seen, where, split, row, found, row["group_id"])
        total += len(row["queries"])
        with seen.breaches.of(where):
            _check_queries(seen, where, row["queries"], queries)
    told = seen.manifest.accounts.get("queries_published", 0)
    if total != told and seen.chosen is None:
        seen.breaches.add("multiquery", f"{total} queries are published, the accounts say {told}")


def _check_place(seen: Seen, where: str, split: str, row: dict[str, Any], found: IdSet, identifier: str) -> None:
    """A row that belongs to a region stands once, in the split of its region."""
    if identifier in found:
        seen.breaches.add(where, "stands twice")
    found.add(identifier)
    if seen.regions.get(row["region_id"]) != f"{row['image_id']} {split}":
        seen.breaches.add(where, "its region is not published beside it")


def _check_queries(seen: Seen, where: str, queries: list[dict[str, Any]], known: IdSet) -> None:
    add = seen.breaches.add
    facets = [query["facet"] for query in queries]
    if not LEAST <= len(queries) <= MOST or len(set(facets)) < len(facets):
        add(where, f"has {len(queries)} queries on the facets {facets}")
    for query in queries:
        if query["query_id"] in known:
            add(where, f"query {query['query_id']} stands twice")
        known.add(query["query_id"])
        if query["facet"] not in FACETS:
            add(where, f"{query['facet']!r} is no facet")
        fault = choices_fault(Query.model_validate(query))
        if fault is not None:
            add(where, f"query {query['query_id']}: {fault[0]}: {fault[1]}")


def check_rejections(seen: Seen) -> None:
    """Every record that was turned away is listed once, with a reason."""
    kinds: Counter[str] = Counter()
    for place, _, row in _rows(seen, "rejections", 512):
        kinds[row["kind"]] += 1
        if row["kind"] == "rejected" and row["region_id"] in seen.regions:
            seen.breaches.add(f"{place}: region {row['region_id']}", "is both published and rejected")
        if not row["reason"] or not row["evidence"]:
            seen.breaches.add(f"{place}: {row['file']} line {row['line']}", "is rejected without a reason")
    names = {"malformed": "malformed", "rejected": "rejected"}
    names |= {"query": "queries_rejected", "group": "groups_rejected", "embedding": "embeddings_rejected"}
    for kind, name in names.items() if seen.chosen is None else ():
        told = seen.manifest.accounts.get(name, 0)
        if kinds[kind] != told:
            seen.breaches.add("rejections", f"{kinds[kind]} of the kind {kind} are listed, the accounts say {told}")
