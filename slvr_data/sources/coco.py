"""`coco`: instances JSON, read through pycocotools."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from slvr_data.errors import UsageError
from slvr_data.sources.base import Malformed, ParsedRow, RawRow, SourceConfig, Unit
from slvr_data.sources.paths import read_below

_SPLIT = re.compile(r"(?:^|[^a-z])(train|val|test)(?:\d{4})?(?:[^a-z]|$)")


class Coco:
    """One or several instances files over one picture root. `line` is the position in `annotations`, from 1."""

    normalized = False
    exhaustive = True

    def __init__(self, config: SourceConfig, follow_links: bool) -> None:
        self.config = config
        self._follow_links = follow_links

    def units(self, limit: int | None) -> Iterator[Unit]:
        """Pictures in the order of `images`, those without annotations left out."""
        pictures: set[str] = set()
        for file in sorted(self.config.annotations, key=lambda p: p.name):
            for unit in _units(file, self.config.split):
                if unit.path is not None and unit.path not in pictures:
                    if limit is not None and len(pictures) >= limit:
                        continue
                    pictures.add(unit.path)
                yield unit

    def parse(self, unit: Unit) -> Iterator[tuple[RawRow, ParsedRow | Malformed]]:
        """Each annotation, its box turned from [x, y, width, height] into corners."""
        for row in unit.rows:
            yield row, row.problem or _parse(row)

    def read_picture(self, path: str) -> bytes:
        """From below the configured root."""
        assert self.config.images is not None
        return read_below(self.config.images, path, self._follow_links)


def _units(file: Path, split: str | None) -> Iterator[Unit]:
    """The file's units; `split` is the configured one, before which a guess from the file's name gives way."""
    data = _load(file)
    api, problems = _index(data)
    licenses = _licenses(data.get("licenses"))
    found = _SPLIT.search(file.stem.lower())
    position = {id(annotation): n for n, annotation in enumerate(data["annotations"], 1)}
    for image_id, image in api.imgs.items():
        annotations = api.imgToAnns.get(image_id)
        if not annotations:
            continue
        name = image.get("file_name")
        path = name if isinstance(name, str) and name else None
        shared = {
            "file_name": name,
            "width": image.get("width"),
            "height": image.get("height"),
            "license": licenses.get(repr(image.get("license"))),
            "split": split or (found.group(1) if found else None),
        }
        unit = Unit(path=path, file=file.name)
        for annotation in annotations:
            category = api.cats[annotation["category_id"]]["name"]
            row = RawRow(position[id(annotation)], {"annotation": annotation, "category": category, **shared})
            if path is None:
                row.problem = Malformed("image-absent", f"image {image_id} has file_name {name!r}")
            unit.rows.append(row)
        yield unit
    if problems:
        yield Unit(path=None, file=file.name, rows=problems)


def _licenses(entries: Any) -> dict[str, str]:
    """Names of licences by the text of their id, which may be anything."""
    listed = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return {repr(entry.get("id")): entry["name"] for entry in listed if isinstance(entry.get("name"), str)}


def _load(file: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(file.read_bytes())
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: byte {error.start + 1} is not UTF-8: save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except (ValueError, RecursionError) as error:  # a number too long, or nested too deeply
        raise UsageError(f"{file}: not JSON that can be read ({error})") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    lists = ("images", "annotations", "categories")
    absent = [k for k in lists if not isinstance(data, dict) or not isinstance(data.get(k), list)]
    if absent:
        raise UsageError(f"{file}: not a COCO instances file: it has no list {' and no list '.join(absent)}")
    return data


def _index(data: dict[str, Any]) -> tuple[COCO, list[RawRow]]:
    """Pycocotools' index over the sound entries, and the annotations that cannot enter it."""
    images: dict[Any, dict[str, Any]] = {}
    repeated: set[Any] = set()
    for entry in data["images"]:
        if isinstance(entry, dict) and isinstance(entry.get("id"), int | str):
            if entry["id"] in images and images[entry["id"]] != entry:
                repeated.add(entry["id"])
            images[entry["id"]] = entry
    categories = {
        c["id"]: c for c in data["categories"]
        if isinstance(c, dict) and isinstance(c.get("id"), int | str) and isinstance(c.get("name"), str)
    }  # fmt: skip
    sound: list[dict[str, Any]] = []
    problems: list[RawRow] = []
    seen: dict[Any, int] = {}
    for line, annotation in enumerate(data["annotations"], 1):
        problem = _problem(annotation, line, images, repeated, categories, seen)
        if problem:
            problems.append(RawRow(line, {"annotation": annotation}, problem))
        else:
            sound.append(annotation)
    api = COCO()
    api.dataset = {"images": list(images.values()), "categories": list(categories.values()), "annotations": sound}
    with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink):  # noqa: PTH123
        api.createIndex()
    return api, problems


def _problem(
    annotation: Any,
    line: int,
    images: dict[Any, Any],
    repeated: set[Any],
    categories: dict[Any, Any],
    seen: dict[Any, int],
) -> Malformed | None:
    if not isinstance(annotation, dict):
        return Malformed("not-an-object", f"the annotation is a {type(annotation).__name__}, not an object")
    identifier, image, category = (annotation.get(k) for k in ("id", "image_id", "category_id"))
    if not isinstance(identifier, int | str):
        return Malformed("id-absent", f"the annotation's id is {identifier!r}: give each a number of its own")
    first = seen.setdefault(identifier, line)
    if first != line:
        return Malformed("id-duplicate", f"id {identifier!r} belongs already to annotation number {first}")
    if not isinstance(image, int | str) or image not in images:
        return Malformed("image-unknown", f"image_id {image!r} is not among the file's images")
    if image in repeated:
        return Malformed("image-ambiguous", f"image_id {image!r} stands for several different images")
    if not isinstance(category, int | str) or category not in categories:
        return Malformed("category-unknown", f"category_id {category!r} is not among the file's categories")
    return None


def _parse(row: RawRow) -> ParsedRow | Malformed:
    shared, annotation = row.payload, row.payload["annotation"]
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_number(c) for c in box):
        return Malformed("bbox-invalid", f"bbox = {repr(box)[:200]}: give [x, y, width, height] in pixels")
    x, y, width, height = (_float(c) for c in box)
    if width < 0 or height < 0:
        return Malformed("bbox-inverted", f"bbox = {box}: give [x, y, width, height] with width and height above 0")
    size = [shared["width"], shared["height"]]
    if any(s is not None and (not isinstance(s, int) or s <= 0) for s in size):
        return Malformed("size-invalid", f"the image is declared {size[0]!r} x {size[1]!r} pixels")
    return ParsedRow(
        line=row.line,
        id=str(annotation["id"]),
        box=[x, y, x + width, y + height],
        label=shared["category"],
        segmentation=annotation.get("segmentation"),
        iscrowd=bool(annotation.get("iscrowd")),
        width=size[0],
        height=size[1],
        license=shared["license"],
        split=shared["split"],
    )


def _number(value: Any) -> bool:
    """Whether it is a JSON number; NaN and infinity have a message of their own."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float(value: float) -> float:
    """Its float; infinity for a whole number that no float can hold."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")
