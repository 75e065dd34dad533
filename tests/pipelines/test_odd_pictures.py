"""Pictures of every mode and kind: what is published shows the same, upright, in 8 bits, without metadata."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.support import Published, build, encoded, opened, picture, write_jsonl, write_pictures

BLOCK = (70, 10, 110, 30)
BASE = picture(120, 80, 0, BLOCK)
GREY = BASE.convert("L")
SECRET = b"taken at home by Ada"


def see_through() -> Image.Image:
    """The block on a ground of nothing."""
    image = BASE.convert("RGBA")
    alpha = Image.new("L", BASE.size, 0)
    alpha.paste(255, BLOCK)
    image.putalpha(alpha)
    return image


def tags() -> Image.Exif:
    """EXIF with a place, a name and an upright orientation."""
    exif = Image.Exif()
    exif[0x0112] = 1
    exif[0x013B] = SECRET.decode()
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 1.5)})
    return exif


def png_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET.decode())
    info.add_itxt("XML:com.adobe.xmp", f"<x>{SECRET.decode()}</x>")
    return info


XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + SECRET + b"</x:xmpmeta>"
ON_WHITE = Image.composite(BASE, Image.new("RGB", BASE.size, "white"), see_through().getchannel("A"))
FILES: dict[str, tuple[bytes, Image.Image, str]] = {
    "plain.jpg": (encoded(BASE, "JPEG", quality=95), BASE, "JPEG"),
    "grey.jpg": (encoded(GREY, "JPEG", quality=95), GREY, "JPEG"),
    "progressive.jpg": (encoded(BASE, "JPEG", quality=94, progressive=True), BASE, "JPEG"),
    "plain.png": (encoded(BASE), BASE, "PNG"),
    "plain.webp": (encoded(BASE, "WEBP", lossless=True), BASE, "WEBP"),
    "cmyk.jpg": (encoded(BASE.convert("CMYK"), "JPEG", quality=95), BASE, "JPEG"),
    "palette.png": (encoded(BASE.quantize(8)), BASE, "PNG"),
    "bilevel.png": (encoded(GREY.convert("1")), GREY.convert("1"), "PNG"),
    "16 bits.png": (encoded(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)), GREY, "PNG"),
    "16 bits.tif": (encoded(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257), "TIFF"), GREY, "PNG"),
    "grey.png": (encoded(GREY, optimize=True), GREY, "PNG"),
    "alpha.png": (encoded(see_through()), ON_WHITE, "PNG"),
    "alpha.webp": (encoded(see_through(), "WEBP", lossless=True), ON_WHITE, "PNG"),
    "still.gif": (encoded(BASE, "GIF"), BASE, "PNG"),
    "plain.bmp": (encoded(BASE, "BMP"), BASE, "PNG"),
    "plain.ppm": (encoded(BASE, "PPM"), BASE, "PNG"),
    "tagged.jpg": (encoded(BASE, "JPEG", quality=96, exif=tags(), xmp=XMP, comment=SECRET), BASE, "JPEG"),
    "tagged.png": (encoded(BASE, exif=tags(), pnginfo=png_text()), BASE, "PNG"),
    "tagged.webp": (encoded(BASE, "WEBP", lossless=True, exif=tags(), xmp=XMP), BASE, "WEBP"),
    "tagged.tif": (encoded(BASE, "TIFF", exif=tags()), BASE, "PNG"),
}
AS_THEY_ARE = ("plain.jpg", "grey.jpg", "progressive.jpg", "plain.png", "plain.webp", "grey.png")
TAGGED = ("tagged.jpg", "tagged.png", "tagged.webp", "tagged.tif")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("odd")
    root = write_pictures(folder / "pictures", {name: data for name, (data, _, _) in FILES.items()})
    file = write_jsonl(folder / "rows.jsonl", [{"image": name, "bbox": BLOCK, "label": name} for name in FILES])
    build("jsonl", folder / "set", "--images", root, "--annotations", file)
    return Published(folder / "set")


def row_of(published: Published, name: str) -> dict[str, Any]:
    region = published.region(list(FILES).index(name) + 1)
    assert region is not None and region["label"] == name
    return published.image(region)


def test_all_are_published(published: Published) -> None:
    published.check(rows=len(FILES))
    assert not published.rejections
    assert published.accounts["pictures_published"] == len(FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_shows_what_the_source_shows(published: Published, name: str) -> None:
    """Within the loss of JPEG; CMYK is turned by Pillow without a colour profile."""
    _, shown, kind = FILES[name]
    row = row_of(published, name)
    image = opened(row["image"]["bytes"])
    assert (image.format, image.mode) in ((kind, "L"), (kind, "RGB"))
    assert image.size == (row["width"], row["height"]) == BASE.size
    off = np.abs(np.asarray(image.convert("RGB")).astype(int) - np.asarray(shown.convert("RGB")).astype(int))
    off[8:32, 68:112][[0, 1, 2, 3, -4, -3, -2, -1]] = 0  # JPEG blurs the block's edge
    off[8:32, 68:112][:, [0, 1, 2, 3, -4, -3, -2, -1]] = 0
    assert np.percentile(off, 99) <= 12 if name.endswith(".jpg") else off.max() <= 1


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_upright_8_bit_pictures_keep_their_bytes(published: Published, name: str) -> None:
    row, data = row_of(published, name), FILES[name][0]
    assert row["image"]["bytes"] == data
    assert row["content_sha256"] == row["image_id"] == hashlib.sha256(data).hexdigest()
    assert row["image"]["path"] == name and row["byte_size"] == len(data)


@pytest.mark.parametrize("name", [name for name in FILES if name not in AS_THEY_ARE])
def test_others_have_a_hash_of_their_own(published: Published, name: str) -> None:
    row, data = row_of(published, name), FILES[name][0]
    assert row["image_id"] == hashlib.sha256(data).hexdigest()
    assert row["content_sha256"] == hashlib.sha256(row["image"]["bytes"]).hexdigest() != row["image_id"]


@pytest.mark.parametrize("name", TAGGED)
def test_no_metadata_leaves(published: Published, name: str) -> None:
    source, data = FILES[name][0], row_of(published, name)["image"]["bytes"]
    assert SECRET in source and SECRET not in data
    image = opened(data)
    assert not image.getexif() and not image.getexif().get_ifd(0x8825)
    assert not {"exif", "xmp", "comment", "Author"} & set(image.info)
    assert (np.asarray(image) == np.asarray(opened(source))).all()
