"""Pictures that EXIF turns: the box and the mask stay on their object, or the region is rejected.

A red block is drawn into an upright picture of 120x80, which is then stored turned, as a camera would. What
is published inside the published box must be that block, whatever the box was drawn on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from slvr_data import masks
from slvr_data.schema import Mask
from tests.support import Published, build, encoded, opened, picture, slvr_data, write_coco, write_jsonl, write_pictures

WIDTH, HEIGHT = 120, 80
BLOCK = (70, 10, 110, 30)
"""In the upright picture."""
POLYGON = [70, 10, 110, 10, 110, 30, 70, 30]
AS_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera does to the upright picture before it stores it with that orientation."""
SWAPPED = (5, 6, 7, 8)


def turned(orientation: int, image: Image.Image) -> Image.Image:
    method = AS_STORED[orientation]
    return image if method is None else image.transpose(method)


def stored(orientation: int, kind: str = "JPEG", seed: int = 0) -> bytes:
    """The file of a camera that was held in that orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = turned(orientation, picture(WIDTH, HEIGHT, seed, BLOCK))
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    return encoded(image, kind, exif=exif, **options)


def stored_mask(orientation: int) -> np.ndarray[Any, Any]:
    """The block in the stored picture, found by turning a picture of it."""
    block = Image.new("L", (WIDTH, HEIGHT))
    block.paste(1, BLOCK)
    return np.asarray(turned(orientation, block)).astype(np.uint8)


def stored_box(orientation: int) -> list[float]:
    """[x1, y1, x2, y2] of the block in the stored picture."""
    rows, columns = np.nonzero(stored_mask(orientation))
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def assert_on_the_block(published: Published, region: dict[str, Any] | None) -> None:
    """The published box and mask hold the whole red block and nothing else, in the published picture."""
    assert region is not None
    row = published.image(region)
    image = opened(row["image"]["bytes"])
    assert image.getexif().get(0x0112, 1) == 1
    assert image.size == (row["width"], row["height"]) == (WIDTH, HEIGHT)
    red = np.asarray(image.convert("RGB")).astype(int)
    red = red[..., 0] - red[..., 1] > 100
    rows, columns = np.nonzero(red)
    assert region["bbox"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == list(BLOCK)
    if region["mask"] is not None:
        assert (masks.decode(Mask(**region["mask"])) == red).all()


def coco_on_stored(folder: Path) -> tuple[Path, Path]:
    """One picture and one annotation per orientation, with the size and the box of the stored picture."""
    root = write_pictures(folder / "pictures", {f"{o}.jpg": stored(o) for o in AS_STORED})
    images, notes = [], []
    for o in AS_STORED:
        height, width = stored_mask(o).shape
        x1, y1, x2, y2 = stored_box(o)
        counts = masks.encode(stored_mask(o) > 0).counts
        images.append({"id": o, "file_name": f"{o}.jpg", "width": width, "height": height})
        note = {"id": o, "image_id": o, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        notes.append(note | {"segmentation": {"size": [height, width], "counts": counts}})
    return root, write_coco(folder / "instances.json", images, notes)


def test_coco_drawn_on_the_stored_picture(tmp_path: Path) -> None:
    """Where the sides change places the declared size tells; where they do not, nothing does."""
    root, file = coco_on_stored(tmp_path)
    build("coco", tmp_path / "set", "--images", root, "--annotations", file)
    found = Published(tmp_path / "set")
    found.check(rows=8)
    for o in (1, *SWAPPED):
        assert_on_the_block(found, found.region(o))
    for o in (2, 3, 4):
        fault = found.rejected(o)
        assert fault is not None
        assert (fault["stage"], fault["check"], fault["reason"]) == ("crop", "box", "orientation-ambiguous")
        assert f"EXIF orientation {o}" in fault["evidence"] and "coordinates to upright or stored" in fault["evidence"]


def test_coco_that_is_told_to_be_drawn_on_the_stored_picture(tmp_path: Path) -> None:
    root, file = coco_on_stored(tmp_path)
    config = tmp_path / "config.yaml"
    source = f"{{kind: coco, images: {root.name}, annotations: {file.name}, coordinates: stored}}"
    config.write_text(f"sources: [{source}]\nout: {tmp_path / 'set'}\nworkers: 1\n")
    slvr_data("build-attributes", "--config", config)
    found = Published(tmp_path / "set")
    found.check(rows=8)
    for o in AS_STORED:
        assert_on_the_block(found, found.region(o))


def test_coco_drawn_on_the_upright_picture(tmp_path: Path) -> None:
    """Where the declared size is that of the upright picture, and where it is so configured."""
    root = write_pictures(tmp_path / "pictures", {f"{o}.jpg": stored(o) for o in AS_STORED})
    images = [{"id": o, "file_name": f"{o}.jpg", "width": WIDTH, "height": HEIGHT} for o in AS_STORED]
    x1, y1, x2, y2 = BLOCK
    notes = [
        {"id": o, "image_id": o, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [POLYGON]}
        for o in AS_STORED
    ]
    options = ("--images", root, "--annotations", write_coco(tmp_path / "instances.json", images, notes))
    build("coco", tmp_path / "auto", *options)
    found = Published(tmp_path / "auto")
    for o in (1, *SWAPPED):
        assert_on_the_block(found, found.region(o))
    assert {r["line"]: r["reason"] for r in found.rejections} == dict.fromkeys((2, 3, 4), "orientation-ambiguous")
    build("coco", tmp_path / "upright", *options, "--set", "sources.0.coordinates=upright")
    told = Published(tmp_path / "upright")
    told.check(rows=8)
    for o in AS_STORED:
        assert_on_the_block(told, told.region(o))


def test_coco_without_a_size_is_ambiguous(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "pictures", {"1.jpg": stored(1), "6.jpg": stored(6)})
    images = [{"id": o, "file_name": f"{o}.jpg"} for o in (1, 6)]
    notes = [{"id": o, "image_id": o, "category_id": 1, "bbox": [70, 10, 40, 20]} for o in (1, 6)]
    file = write_coco(tmp_path / "instances.json", images, notes)
    build("coco", tmp_path / "set", "--images", root, "--annotations", file)
    found = Published(tmp_path / "set")
    assert_on_the_block(found, found.region(1))
    assert [r["reason"] for r in found.rejections] == ["orientation-ambiguous"]


def test_jsonl_is_drawn_on_the_upright_picture(tmp_path: Path) -> None:
    """Our own form says so; a line that declares the stored size, sides swapped, is taken at its word."""
    rows: list[dict[str, Any]] = []
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        for o in AS_STORED:
            write_pictures(tmp_path / "pictures", {f"{o}.{kind}": stored(o, kind)})
            rows.append({"image": f"{o}.{kind}", "bbox": BLOCK, "label": "upright", "mask": [POLYGON]})
        for o in SWAPPED:
            size = {"width": HEIGHT, "height": WIDTH}
            rows.append({"image": f"{o}.{kind}", "bbox": stored_box(o), "label": "stored", **size})
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    build("jsonl", tmp_path / "set", "--images", tmp_path / "pictures", "--annotations", file)
    found = Published(tmp_path / "set")
    found.check(rows=4 * 12)
    for line in range(1, 4 * 12 + 1):
        assert_on_the_block(found, found.region(line))
