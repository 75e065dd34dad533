"""COCO annotations that cannot be used are listed, one by one; files that are not COCO end the run in one line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.support import Published, build, encoded, picture, refused_here, write_coco, write_pictures

WIDTH, HEIGHT = 100, 80
IMAGES: list[Any] = [
    {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, "license": 4},
    {"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
    {"id": 3, "width": WIDTH, "height": HEIGHT},
    {"id": 4, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
    {"id": 4, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
    {"id": 5, "file_name": "c.png", "width": 640, "height": 480},
    {"id": 6, "file_name": "c.png", "width": -100, "height": 80},
    {"id": 7, "file_name": "c.png", "width": "100", "height": 80},
    {"id": 8, "file_name": "c.png", "license": [4]},
    {"id": 9, "file_name": ["c.png"]},
    {"id": 10, "file_name": "half \ud83d.png"},
    {"id": 11, "file_name": "d.png", "license": 5},
    "no object",
    {"file_name": "no id.png"},
    *({"id": 20 + n, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT} for n, name in enumerate("efghi")),
]
CATEGORIES: list[Any] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "half \ud83d"}, {"id": 3}, None]
LICENSES: list[Any] = [{"id": 4, "name": "CC BY 4.0"}, {"id": 5, "name": 17}, {"id": [6], "name": "odd"}, "none"]


@dataclass(frozen=True)
class Bad:
    """An annotation, and how it must be listed; `says` stands in the evidence."""

    name: str
    annotation: Any
    reason: str
    says: str
    stage: str = "read"
    check: str = "row"


def note(**keys: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 30]} | keys


def rle(counts: Any, size: Any = (HEIGHT, WIDTH)) -> dict[str, Any]:
    return {"size": list(size), "counts": counts}


BAD = [
    Bad("unknown category", note(category_id=99), "category-unknown", "category_id 99"),
    Bad("category without name", note(category_id=3), "category-unknown", "category_id 3"),
    Bad("category is a list", note(category_id=[1]), "category-unknown", "category_id [1]"),
    Bad("name of half a character", note(category_id=2), "text-invalid", "half a character"),
    Bad("unknown image", note(image_id=99), "image-unknown", "image_id 99"),
    Bad("no image", note(image_id=None), "image-unknown", "None"),
    Bad("image without file_name", note(image_id=3), "image-absent", "image 3 has file_name None"),
    Bad("file_name is a list", note(image_id=9), "image-absent", "image 9 has file_name ['c.png']"),
    Bad("file_name of half a character", note(image_id=10), "path-invalid", "not a file name"),
    Bad("image id stands for two", note(image_id=4), "image-ambiguous", "several different images"),
    Bad("no object", [1, 2, 3], "not-an-object", "list"),
    Bad("null", None, "not-an-object", "NoneType"),
    Bad("no id", note(id=None), "id-absent", "None"),
    Bad("duplicate id", note(id=1), "id-duplicate", "annotation number 1"),
    Bad("id of half a character", note(id="\ud83d"), "text-invalid", "half a character"),
    Bad("the same id again", note(id="\ud83d"), "id-duplicate", "\\ud83d"),
    Bad("no bbox", note(bbox=None), "bbox-invalid", "[x, y, width, height]"),
    Bad("3 numbers", note(bbox=[1, 2, 3]), "bbox-invalid", "[1, 2, 3]"),
    Bad("words", note(bbox=["1", "2", "30", "40"]), "bbox-invalid", "'1'"),
    Bad("NaN", note(bbox=[float("nan"), 1, 30, 30]), "bbox-not-finite", "nan"),
    Bad("Infinity", note(bbox=[1, 1, float("inf"), 30]), "bbox-not-finite", "inf"),
    Bad("1e308", note(bbox=[1, 1, 1e308, 30]), "bbox-not-finite", "1e+308"),
    Bad("huge whole number", note(bbox=[1, 1, 10**400, 30]), "bbox-not-finite", "inf"),
    Bad("negative width", note(bbox=[50, 50, -20, 20]), "bbox-inverted", "width and height above 0"),
    Bad("no height", note(bbox=[50, 50, 20, 0]), "bbox-empty", "covers no area"),
    Bad("normalised", note(bbox=[0.1, 0.1, 0.5, 0.5]), "bbox-normalized", "multiply by width and height"),
    Bad("declared negative", note(image_id=6), "size-invalid", "-100 x 80"),
    Bad("declared in words", note(image_id=7), "size-invalid", "'100' x 80"),
    Bad("polygon of odd length", note(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "mask-invalid", "even number"),
    Bad("polygon of words", note(segmentation=[["1", "2", "3", "4", "5", "6"]]), "mask-invalid", "finite number"),
    Bad("segmentation is a word", note(segmentation="yes"), "mask-invalid", "give polygons or run lengths"),
    Bad("mask of another size", note(segmentation=rle([200], (10, 20))), "mask-invalid", "[80, 100]"),
    Bad("mask counts are negative", note(segmentation=rle([8100, -100])), "mask-invalid", "non-negative"),
    Bad("mask counts are cut", note(segmentation=rle("PPP")), "mask-invalid", "in the middle"),
    Bad("mask counts are too many", note(segmentation=rle([8000, 8000])), "mask-invalid", "add up to 16000"),
    Bad("outside", note(bbox=[300, 10, 40, 40]), "bbox-outside", "outside the picture", "crop", "box"),
    Bad(
        "declared of another size",
        note(image_id=5, bbox=[1, 1, 40, 30]),
        "size-mismatch",
        "declared 640x480",
        "crop",
        "box",
    ),
]
POLYGON = [[10, 10, 50, 10, 50, 40, 10, 40]]
COLUMN_BY_COLUMN = [10 * 80 + 10] + [30, 50] * 39 + [30, 8000 - 10 * 80 - 10 - 39 * 80 - 30]
BLOCK = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
BLOCK[10:40, 10:50] = 1
COMPRESSED = coco_mask.encode(BLOCK)["counts"].decode()
GOOD = {
    "plain": note(),
    "polygon": note(image_id=20, segmentation=POLYGON),
    "run lengths as list": note(image_id=21, segmentation=rle(COLUMN_BY_COLUMN)),
    "run lengths as string": note(image_id=22, segmentation=rle(COMPRESSED)),
    "crowd": note(image_id=23, iscrowd=1, segmentation=rle(COLUMN_BY_COLUMN)),
    "no segmentation": note(image_id=24, segmentation=[]),
    "licence is a list": note(image_id=8),
    "licence is a number": note(image_id=11),
}
FIRST_BAD = len(GOOD) + 1


def numbered(annotations: list[Any]) -> list[Any]:
    """Each with an id of its own, where it has none."""
    return [{"id": n} | a if isinstance(a, dict) else a for n, a in enumerate(annotations, 1)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("coco")
    pictures = {f"{name}.png": encoded(picture(WIDTH, HEIGHT, seed)) for seed, name in enumerate("abcdefghi")}
    write_pictures(folder / "pictures", pictures)
    annotations = numbered([*GOOD.values(), *(bad.annotation for bad in BAD), note(image_id=2)])
    file = write_coco(folder / "instances.json", IMAGES, annotations, categories=CATEGORIES, licenses=LICENSES)
    found = build("coco", folder / "set", "--images", folder / "pictures", "--annotations", file)
    return Published(folder / "set", found.stderr)


@pytest.mark.parametrize(("index", "bad"), list(enumerate(BAD)), ids=[bad.name for bad in BAD])
def test_bad_annotation_is_listed(published: Published, index: int, bad: Bad) -> None:
    found = published.rejected(FIRST_BAD + index)
    assert found is not None
    assert (found["stage"], found["check"], found["reason"]) == (bad.stage, bad.check, bad.reason), found["evidence"]
    assert bad.says in found["evidence"]
    assert found["file"] == "instances.json" and found["source"] == "coco"
    assert published.region(FIRST_BAD + index) is None
    if bad.stage == "read" and "\ud83d" not in str(bad.annotation):
        kept = json.loads(found["record"])["annotation"]
        expected = numbered([None] * (FIRST_BAD + index - 1) + [bad.annotation])[-1]
        assert json.dumps(kept, sort_keys=True) == json.dumps(expected, sort_keys=True)


@pytest.mark.parametrize("name", GOOD)
def test_good_annotation_is_published(published: Published, name: str) -> None:
    region = published.region(list(GOOD).index(name) + 1)
    assert region is not None
    assert region["label"] == "cat"
    assert region["iscrowd"] == (name == "crowd")
    if name in ("polygon", "run lengths as list", "run lengths as string", "crowd"):
        assert region["mask"]["size"] == [HEIGHT, WIDTH]
    else:
        assert region["mask"] is None


def test_masks_say_the_same_in_every_form(published: Published) -> None:
    """The polygon, the list and the string all describe the block from (10, 10) to (50, 40)."""
    names = ("polygon", "run lengths as list", "run lengths as string", "crowd")
    regions = [published.region(list(GOOD).index(name) + 1) for name in names]
    assert [region["mask"]["counts"] for region in regions if region] == [COMPRESSED] * 4


def test_only_a_licence_that_is_a_name_is_carried(published: Published) -> None:
    licenses = {row["path"]: row["license"] for row in published.rows("images")}
    others = dict.fromkeys([f"{name}.png" for name in "bcdefghi"])
    assert licenses == {"a.png": "CC BY 4.0"} | others


def test_the_accounts_balance(published: Published) -> None:
    published.check(rows=len(GOOD) + len(BAD) + 1)
    assert published.region(FIRST_BAD + len(BAD)) is not None


SOUND = json.dumps({"images": IMAGES[:1], "annotations": [note(id=1)], "categories": CATEGORIES[:1]})
FILES = {
    "not JSON": (b"PK\3\4", "not JSON (line 1, column 1"),
    "not UTF-8": (b'{"images": "caf\xe9"}', "byte 16 is not UTF-8"),
    "truncated": (SOUND[:-40].encode(), "not JSON (line 1, column "),
    "zero bytes": (b"", "not JSON"),
    "nested deeply": (b"[" * 200_000, "not JSON"),
    "number of 5,000 digits": (b'{"images": ' + b"1" * 5000 + b"}", "not JSON"),
    "an array": (b"[]", "not a COCO instances file: it has no list images and no list annotations and no list"),
    "no images": (b'{"annotations": [], "categories": []}', "it has no list images"),
    "annotations is an object": (b'{"images": [], "annotations": {}, "categories": []}', "it has no list annotations"),
    "empty": (b'{"images": [], "annotations": [], "categories": []}', "no rows in coco: the source is empty"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_coco_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    data, says = FILES[name]
    (tmp_path / "instances.json").write_bytes(data)
    (tmp_path / "pictures").mkdir()
    options = ("--out", tmp_path / "set", "--images", tmp_path / "pictures")
    found = refused_here(capfd, "build-attributes", "coco", *options, "--annotations", tmp_path / "instances.json")
    assert says in found and len(found) < 400
    assert not (tmp_path / "set" / "manifest.json").exists()
