"""The published form of pictures that cannot be published as they are: upright, 8 bits, grey or RGB."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from slvr_data.containers import strip_metadata
from slvr_data.images import PictureError, load, probe
from slvr_data.masks import upright_box
from tests.support import encoded, exif, noise, opened

LIMIT = 10**6
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG from its raw rows, without their filter bytes; `extra` chunks go in front of the pixels."""
    stride = len(rows) // height
    raw = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def near(image: Image.Image, other: Image.Image, tolerance: float) -> bool:
    assert (image.mode, image.size) == (other.mode, other.size)
    return float(np.abs(np.asarray(image, float) - np.asarray(other, float)).mean()) <= tolerance


def first_row(data: bytes) -> list[list[int]]:
    """The RGB values of the first row, the same in the pixels and in the published PNG."""
    upright = load(data, LIMIT)
    published = opened(upright.data)
    assert published.format == "PNG" and "transparency" not in published.info
    assert near(published.convert("RGB"), upright.pixels, 0)
    row: list[list[int]] = np.asarray(upright.pixels)[0].tolist()
    return row


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_pictures_are_turned_upright(orientation: int, kind: str, mode: str) -> None:
    image = noise(mode=mode)
    data = encoded(image, kind, exif=exif(orientation), icc_profile=PROFILE, **OPTIONS.get(kind, {}))
    upright = load(data, LIMIT)
    tagged = image.copy()
    tagged.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(tagged).convert("RGB")
    published = opened(upright.data)
    assert published.format == ("JPEG" if kind == "JPEG" else "PNG")
    assert published.mode == ("RGB" if kind == "WEBP" else mode)
    assert upright.pixels.size == probe(data).upright_size == (upright.width, upright.height) == published.size
    tolerance = 2.0 if kind == "JPEG" else 0.0
    assert near(upright.pixels, expected, tolerance)
    assert near(published.convert("RGB"), expected, tolerance)
    assert published.info["icc_profile"] == PROFILE and not published.getexif()
    assert strip_metadata(upright.data) is upright.data


def test_boxes_follow_the_same_turns() -> None:
    dot = Image.new("L", (40, 24))
    dot.paste(255, (5, 3, 12, 8))
    for orientation in range(1, 9):
        upright = load(encoded(dot, "PNG", exif=exif(orientation)), LIMIT)
        assert list(upright.pixels.getbbox() or ()) == upright_box((5, 3, 12, 8), orientation, 40, 24)


def test_of_camera_files_with_two_pictures_the_first_counts() -> None:
    data = encoded(noise(), "MPO", save_all=True, append_images=[noise(9, 9)])
    upright = load(data, LIMIT)
    assert probe(data).format == opened(upright.data).format == "JPEG"
    np.testing.assert_array_equal(np.asarray(upright.pixels), np.asarray(opened(data)))


def test_xmp_does_not_turn_a_tiff() -> None:
    """Pillow would turn it, and boxes that follow `probe` would lie elsewhere."""
    xmp = b'<rdf:Description tiff:Orientation="3"/>'
    data = encoded(noise(), "TIFF", tiffinfo={700: xmp})
    assert probe(data).orientation == 1
    assert near(load(data, LIMIT).pixels, noise(), 0)


def test_lossy_sources_become_jpeg_without_chroma_subsampling() -> None:
    for kind in ("JPEG", "WEBP"):
        published = opened(load(encoded(noise(), kind, exif=exif(6)), LIMIT, quality=80).data)
        assert published.format == "JPEG"
        assert [sampling[1:3] for sampling in published.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
    turned = encoded(noise(), "JPEG", exif=exif(6))
    assert len(load(turned, LIMIT, quality=50).data) < len(load(turned, LIMIT).data)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_over_white(kind: str) -> None:
    image = Image.new("RGBA", (4, 1))
    for x, value in enumerate([(200, 0, 0, 0), (200, 0, 0, 255), (0, 0, 0, 51), (0, 100, 0, 128)]):
        image.putpixel((x, 0), value)
    row = first_row(encoded(image, kind, lossless=True, exact=True))
    expected = [[255, 255, 255], [200, 0, 0], [204, 204, 204], [127, 177, 127]]
    assert np.abs(np.subtract(row, expected)).max() <= 1


def test_lossy_transparency_becomes_jpeg() -> None:
    image = noise()
    image.putalpha(0)
    upright = load(encoded(image, "WEBP"), LIMIT)
    assert opened(upright.data).format == "JPEG"
    assert near(upright.pixels, Image.new("RGB", (40, 24), "white"), 0)


def test_grey_with_alpha_stays_grey() -> None:
    data = encoded(Image.new("LA", (2, 2), (0, 51)), "PNG")
    assert opened(load(data, LIMIT).data).mode == "L"
    assert first_row(data) == [[204] * 3] * 2


def test_palettes() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 0, 0, 0, 250])
    for x in range(3):
        image.putpixel((x, 0), x)
    colours = [[10, 20, 30], [200, 100, 0], [0, 0, 250]]
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert first_row(encoded(image, kind)) == colours
    colours[1] = [255, 255, 255]
    for kind in ("PNG", "GIF"):
        assert first_row(encoded(image, kind, transparency=1)) == colours
    assert first_row(encoded(image, "PNG", transparency=bytes([255, 0, 255]))) == colours
    half = first_row(encoded(image, "PNG", transparency=bytes([255, 0, 51])))
    assert np.abs(np.subtract(half, [*colours[:2], [204, 204, 254]])).max() <= 1


def test_transparent_colours_of_png() -> None:
    clear = (b"tRNS", bytes([0, 9, 0, 8, 0, 7]))
    assert first_row(png(2, 1, 8, 2, bytes([9, 8, 7, 9, 8, 6]), clear)) == [[255] * 3, [9, 8, 6]]
    assert first_row(png(2, 1, 8, 0, bytes([9, 10]), (b"tRNS", b"\0\x09"))) == [[255] * 3, [10] * 3]
    # Four grey levels: 0, 85, 170, 255; the second is transparent.
    levels = first_row(png(4, 1, 2, 0, bytes([0b00011011]), (b"tRNS", b"\0\1")))
    assert levels == [[0] * 3, [255] * 3, [170] * 3, [255] * 3]
    assert first_row(png(8, 1, 1, 0, bytes([0b01010101]), (b"tRNS", b"\0\0"))) == [[255] * 3] * 8
    rows = struct.pack(">3H", 0x1234, 0x1235, 0)
    assert first_row(png(3, 1, 16, 0, rows, (b"tRNS", b"\x12\x34"))) == [[255] * 3, [18] * 3, [0] * 3]
    rows = struct.pack(">6H", 0x0900, 0x0800, 0x0700, 0x0900, 0x0800, 0x0600)
    assert first_row(png(2, 1, 16, 2, rows, (b"tRNS", rows[:6]))) == [[255] * 3, [9, 8, 6]]


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values / 257).astype(np.uint8)
    files = [encoded(Image.fromarray(values), kind) for kind in ("PNG", "TIFF")]
    for data in (*files, encoded(Image.fromarray(values.astype(np.int32)), "TIFF")):
        upright = load(data, LIMIT)
        published = opened(upright.data)
        assert (published.mode, published.format) == ("L", "PNG")
        np.testing.assert_array_equal(np.asarray(published), expected)
        np.testing.assert_array_equal(np.asarray(upright.pixels)[..., 2], expected)


def test_pixels_without_a_white_are_refused() -> None:
    for values in (np.full((4, 4), 70_000, np.int32), np.full((4, 4), -1, np.int32), np.ones((4, 4), np.float32)):
        with pytest.raises(PictureError, match="8 bits") as caught:
            load(encoded(Image.fromarray(values), "TIFF"), LIMIT)
        assert caught.value.reason == "picture-unreadable"


def test_16_bit_colour_is_brought_to_8() -> None:
    data = png(2, 1, 16, 2, struct.pack(">6H", 65535, 0, 32768, 256, 257, 65280))
    assert opened(data).mode == "RGB"  # which hides the depth
    assert load(data, LIMIT).data[24] == 8
    assert np.abs(np.subtract(first_row(data), [[255, 0, 128], [1, 1, 254]])).max() <= 1


def test_bilevel_and_low_depth_grey_become_grey() -> None:
    image = noise(mode="1")
    for kind in ("PNG", "BMP", "TIFF"):
        published = opened(load(encoded(image, kind), LIMIT).data)
        assert (published.mode, published.format) == ("L", "PNG")
        np.testing.assert_array_equal(np.asarray(published), np.asarray(image.convert("L")))
    assert load(png(4, 1, 2, 0, bytes([0b00011011])), LIMIT).data[24] == 8


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_red_stays_red(kind: str) -> None:
    data = encoded(Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK"), kind, icc_profile=PROFILE)
    upright = load(data, LIMIT)
    assert np.abs(np.asarray(upright.pixels, int) - (255, 0, 0)).max() < 5
    published = opened(upright.data)
    assert published.mode == "RGB" and "icc_profile" not in published.info
    assert near(published, upright.pixels, 2)


def test_ycck_red_stays_red() -> None:
    """Adobe's transform 2: inverted red ink is cyan light, whose YCC is (179, 171, 0); K is 255, inverted no black."""
    inks = Image.new("CMYK", (16, 16), (255 - 179, 255 - 171, 255, 0))
    data = bytearray(encoded(inks, "JPEG", quality=100))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    assert np.abs(np.asarray(load(bytes(data), LIMIT).pixels, int) - (255, 0, 0)).max() < 10


def test_a_png_without_its_end_is_completed() -> None:
    data = encoded(noise(), "PNG")
    upright = load(data[:-12], LIMIT)
    assert upright.data.endswith(data[-12:]) and near(upright.pixels, noise(), 0)
