"""`slvr-data preview`: pictures of a published set, with what was published and rejected on them."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipelines.remote import page_of
from pipelines.report import named_accounts
from slvr_data import geometry, masks
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.images import crop, decoded, encode_jpeg
from slvr_data.manifest import Manifest, load_manifest
from slvr_data.pages.preview import Malformed, Point, PreviewPicture, PreviewRegion, render_preview
from slvr_data.reader import opened, rows_at, rows_in
from slvr_data.schema import AttributeProfile, Query, Verdict
from slvr_data.shards import files_of

THUMBNAIL = 512
"""Longer side of the pictures on the page."""
MAX_MALFORMED = 500


def preview(
    folder: Path, output: Path | None, most: int, crops: bool, sample: int | None = None, seed: int = 0
) -> Path:
    """Write the page; its path. It shows `most` pictures spread evenly, or `sample` of them drawn at random.

    Nothing else of the set is read than what it shows, and ids to find it, also where `folder` is an address.

    Raises:
        UsageError: there is no published set, it ships no pictures, or the page has no folder to go to.
        RunError: a file of the set is damaged, or was taken away meanwhile.
    """
    manifest = load_manifest(folder)
    target = output or page_of(folder, "preview.html")
    if not target.parent.is_dir():
        raise UsageError(f"--html {target}: there is no folder {target.parent}")
    total = sum(file.rows for file in files_of(manifest.files, "images"))
    places = _spread(total, most) if sample is None else sorted(Random(seed).sample(range(total), min(sample, total)))
    images = {row["image_id"]: row for row in _image_rows(folder, manifest, places)}
    rejected: dict[str, list[dict[str, Any]]] = {}
    refused: dict[str, list[tuple[str, str]]] = {}
    malformed: list[Malformed] = []
    for row in _rejection_rows(folder, manifest, images.keys()):
        if row["kind"] == "malformed":
            malformed.append((row["file"], row["line"], row["reason"], row["evidence"]))
        elif row["kind"] == "rejected":
            rejected.setdefault(row["image_id"], []).append(row)
        elif row["kind"] in ("query", "group"):
            question = _record(row).get("question", "all questions")
            refused.setdefault(row["region_id"], []).append((row["reason"], question))
    regions = _attribute_rows(folder, manifest, images.keys())
    asked = _Asked(_queries(folder, manifest, images.keys()), refused)
    pictures = [_picture(row, regions.get(key, []), rejected.get(key, []), asked, crops) for key, row in images.items()]
    facts = [(name, f"{count:,}") for name, count in named_accounts(manifest.accounts).items()]
    facts.append(("shown here", f"{len(pictures):,} pictures"))
    text = render_preview(folder.resolve().name, facts, pictures, f"slvr-data preview {folder.name}", malformed)
    write_atomic(target, text.encode())
    return target


def _spread(total: int, most: int) -> list[int]:
    """At most `most` of the places below `total`, evenly spread."""
    step = max(1.0, total / most)
    places, wanted = [], 0.0
    while ceil(wanted) < total:
        places.append(ceil(wanted))
        wanted += step
    return places


def _image_rows(folder: Path, manifest: Manifest, places: list[int]) -> Iterator[dict[str, Any]]:
    """The pictures at these places of the set."""
    behind = 0
    for file in files_of(manifest.files, "images"):
        first, behind = behind, behind + file.rows
        here = _below(places, first, file.rows)
        if not here:
            continue
        with opened(folder / file.path) as parquet:
            start = 0
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                for row in rows_at(parquet, group, _below(here, start, rows), parquet.schema_arrow.names):
                    if row["image"] is None:
                        raise UsageError("the set ships no pictures: restore them with slvr-data attach")
                    yield row | {"split": file.split}
                start += rows


def _below(places: list[int], first: int, count: int) -> list[int]:
    """Those of the places that are among so many from `first` on, counted from there."""
    return [place - first for place in places[bisect_left(places, first) : bisect_left(places, first + count)]]


def _rejection_rows(folder: Path, manifest: Manifest, images: Collection[str]) -> Iterator[dict[str, Any]]:
    """Rejections on these pictures, and the first rows of all that never became a region."""
    wanted, left = pa.array(sorted(images), pa.string()), MAX_MALFORMED
    for file in files_of(manifest.files, "rejections"):
        with opened(folder / file.path) as parquet:
            for group in range(parquet.num_row_groups):
                known = parquet.read_row_group(group, columns=["kind", "image_id"])
                malformed = pc.equal(known["kind"], "malformed")
                first = pc.indices_nonzero(malformed).to_pylist()[:left]
                others = pc.and_(pc.invert(malformed), pc.is_in(known["image_id"], wanted))
                left -= len(first)
                places = sorted([*first, *pc.indices_nonzero(others).to_pylist()])
                yield from rows_at(parquet, group, places, parquet.schema_arrow.names)


@dataclass(frozen=True)
class _Asked:
    """By region: its published questions, and (reason, question) of those that were turned away."""

    queries: dict[str, list[Query]]
    refused: dict[str, list[tuple[str, str]]]


def _queries(folder: Path, manifest: Manifest, images: Collection[str]) -> dict[str, list[Query]]:
    found: dict[str, list[Query]] = {}
    for file in files_of(manifest.files, "multiquery"):
        with opened(folder / file.path) as parquet:
            for group in rows_in(parquet, images):
                found.setdefault(group["region_id"], []).extend(Query(**query) for query in group["queries"])
    return found


def _attribute_rows(folder: Path, manifest: Manifest, images: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for file in files_of(manifest.files, "attributes"):
        with opened(folder / file.path) as parquet:
            columns = [name for name in parquet.schema_arrow.names if name != "image"]
            for row in rows_in(parquet, images, columns):
                found.setdefault(row["image_id"], []).append(row)
    return found


def _picture(
    row: dict[str, Any], kept: list[dict[str, Any]], gone: list[dict[str, Any]], asked: _Asked, crops: bool
) -> PreviewPicture:
    pixels = decoded(row["image"]["bytes"])
    small = pixels.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    regions = [_published(region, pixels, crops, asked) for region in kept]
    rejected = [_rejected(region, pixels.size) for region in gone]
    return PreviewPicture(
        image_id=row["image_id"],
        width=row["width"],
        height=row["height"],
        split=row["split"],
        source=row["source"],
        license=row["license"],
        path=row["path"],
        jpeg=encode_jpeg(small, 80),
        regions=regions + [region for region in rejected if region is not None],
    )


def _published(row: dict[str, Any], pixels: Image.Image, crops: bool, asked: _Asked) -> PreviewRegion:
    cut = None
    if crops:
        box = geometry.padded(row["bbox"], 0.15, pixels.width, pixels.height)
        cut = encode_jpeg(crop(pixels, box, 224), 80)
    return PreviewRegion(
        region_id=row["region_id"],
        label=row["label"],
        box=row["bbox"],
        outline=_outline(row["mask"], pixels.size),
        profile_text=row["profile_text"],
        profile=row["profile"],
        verdicts=[Verdict(**verdict) for verdict in row["verdicts"]],
        rejected=None,
        refs=row["references"],
        crop=cut,
        queries=asked.queries.get(row["region_id"], []),
        refused=asked.refused.get(row["region_id"], []),
    )


def _rejected(row: dict[str, Any], size: tuple[int, int]) -> PreviewRegion | None:
    region = _record(row)
    if not region:
        return None
    return PreviewRegion(
        region_id=region["region_id"],
        label=region["label"],
        box=region["bbox"],
        outline=_outline(region["mask"], size),
        profile_text="",
        profile=AttributeProfile().model_dump(),
        verdicts=[],
        rejected=(row["stage"], row["check"], row["reason"], row["evidence"]),
        refs=region["references"],
        crop=None,
    )


def _record(row: dict[str, Any]) -> dict[str, Any]:
    """What was rejected; nothing where it was too long, and so is cut."""
    try:
        found: dict[str, Any] = json.loads(row["record"])
    except ValueError:
        return {}
    return found


def _outline(mask: dict[str, Any] | None, size: tuple[int, int]) -> list[list[Point]] | None:
    """The mask's rings at about the thumbnail's resolution; none where it does not fit its picture."""
    known = masks.published(mask, size)
    if known is None:
        return None
    pixels = masks.decode(known)
    step = max(1, round(max(pixels.shape) / THUMBNAIL))
    rings = masks.outline(pixels[::step, ::step])
    return [[(x * step, y * step) for x, y in ring] for ring in rings] or None
