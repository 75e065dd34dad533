"""Pictures that cannot be used: their regions are listed with the reason, and every other one is published."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import (
    Published,
    build,
    encoded,
    heed_permissions,
    picture,
    slvr_data,
    write_coco,
    write_jsonl,
    write_pictures,
)

JPEG = encoded(picture(400, 300, seed=1, block=(10, 10, 390, 290)), "JPEG", quality=95)
FRAMES = [picture(block=(10 + 30 * n, 10, 40 + 30 * n, 40)) for n in range(2)]


def png_header(width: int, height: int) -> bytes:
    """A PNG file that ends behind its header."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@dataclass(frozen=True)
class Bad:
    """A picture file (None: something else lies there) and how its region must be listed."""

    data: bytes | None
    reason: str
    says: str
    stage: str = "crop"
    check: str = "picture"


BAD = {
    "missing.jpg": Bad(None, "picture-missing", "check --images", "read", "row"),
    "folder.jpg": Bad(None, "picture-missing", "is not a regular file", "read", "row"),
    "pipe.jpg": Bad(None, "picture-missing", "is not a regular file", "read", "row"),
    "secret.jpg": Bad(JPEG[:-5], "picture-unreachable", "Permission denied", "read", "row"),
    "n" * 300 + ".jpg": Bad(None, "picture-unreachable", "File name too long", "read", "row"),
    "cut.jpg": Bad(JPEG[:-100], "picture-truncated", "get the file again"),
    "cut.png": Bad(encoded(picture(seed=2))[:-30], "picture-truncated", "get the file again"),
    "cut.webp": Bad(encoded(picture(seed=3), "WEBP")[:-30], "picture-truncated", "get the file again"),
    "only header.jpg": Bad(JPEG[:20], "picture-unreadable", "holds no frame"),
    "empty.jpg": Bad(b"", "picture-empty", "0 bytes"),
    "text.jpg": Bad(b"<!DOCTYPE html><title>404</title>", "picture-unreadable", "b'<!DOCTYP'"),
    "huge.png": Bad(png_header(12_000, 9_000), "picture-too-large", "108000000 pixels, the limit is 80000000"),
    "moving.gif": Bad(encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "picture-animated", "frames"),
    "moving.png": Bad(encoded(FRAMES[0], save_all=True, append_images=FRAMES[1:]), "picture-animated", "frames"),
    "moving.webp": Bad(
        encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "picture-animated", "frames"
    ),
    "pages.tif": Bad(encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), "picture-animated", "pages"),
    "float.tif": Bad(encoded(picture(seed=4).convert("F"), "TIFF"), "picture-unreadable", "8 bits"),
}
NAMES = [*BAD, "sound.jpg"]
BOX = [10, 10, 50, 40]


def lay_out(folder: Path) -> Path:
    """The pictures, good and bad; their root."""
    files = {name: bad.data for name, bad in BAD.items() if bad.data is not None}
    root = write_pictures(folder / "pictures", files | {"sound.jpg": JPEG})
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    (root / "secret.jpg").chmod(0)
    return root


@pytest.fixture(scope="module", params=["coco", "jsonl"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """One region on each picture, line by line in the order of `NAMES`."""
    folder = tmp_path_factory.mktemp("pictures")
    root = lay_out(folder)
    if request.param == "coco":
        images = [{"id": n, "file_name": name} for n, name in enumerate(NAMES)]
        notes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [10, 10, 40, 30]} for n in range(len(NAMES))]
        file = write_coco(folder / "instances.json", images, notes)
    else:
        file = write_jsonl(folder / "rows.jsonl", [{"image": name, "bbox": BOX, "label": "cat"} for name in NAMES])
    options = ("--images", root, "--annotations", file)
    return Published(folder / "set", build(request.param, folder / "set", *options, before=heed_permissions).stderr)


@pytest.mark.parametrize("name", BAD, ids=lambda name: name[:20])
def test_bad_picture_is_listed(published: Published, name: str) -> None:
    bad, line = BAD[name], NAMES.index(name) + 1
    found = published.rejected(line)
    if name == "secret.jpg" and found and found["reason"] == "picture-truncated":
        pytest.skip("this user can read files without permission, and cannot give that up")
    assert found is not None
    assert (found["stage"], found["check"], found["reason"]) == (bad.stage, bad.check, bad.reason), found["evidence"]
    assert bad.says in found["evidence"]
    assert found["file"] in ("instances.json", "rows.jsonl")
    assert (found["image_id"] is None) == (bad.stage == "read")
    assert name in found["record"] or found["region_id"] is not None
    assert published.region(line) is None


def test_the_sound_picture_is_published(published: Published) -> None:
    region = published.region(len(NAMES))
    assert region is not None and region["bbox"] == BOX
    assert [row["path"] for row in published.rows("images")] == ["sound.jpg"]


def test_the_accounts_balance(published: Published) -> None:
    published.check(rows=len(NAMES))
    assert published.accounts["pictures_published"] == 1


def test_the_limit_on_pixels_can_be_set(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "pictures", {"a.png": encoded(picture(100, 80))})
    file = write_jsonl(tmp_path / "rows.jsonl", [{"image": "a.png", "bbox": BOX}])
    options = ("--images", root, "--annotations", file)
    build("jsonl", tmp_path / "set", *options, "--set", "picture.max_pixels=7999")
    found = Published(tmp_path / "set")
    assert [r["reason"] for r in found.rejections] == ["picture-too-large"]
    assert "--set picture.max_pixels=8000" in found.rejections[0]["evidence"]
    found.check(rows=1)
    slvr_data("preview", tmp_path / "set")  # of a set without a region


def test_every_row_may_be_bad(tmp_path: Path) -> None:
    """A set without regions is a set: it says what was wrong, and opens."""
    root = write_pictures(tmp_path / "pictures", {})
    file = write_jsonl(tmp_path / "rows.jsonl", [b"{", {"image": "nothing.jpg", "bbox": BOX}])
    build("jsonl", tmp_path / "set", "--images", root, "--annotations", file)
    found = Published(tmp_path / "set")
    assert [r["reason"] for r in found.rejections] == ["not-json", "picture-missing"]
    found.check(rows=2)
