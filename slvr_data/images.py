"""Pictures: looking at a header, decoding, the published form, crops, perceptual hashes.

JPEG (and MPO, of which the first picture counts), PNG, WebP, GIF, BMP, TIFF and binary PPM are read. The published
picture is upright, 8-bit, grey or RGB, and without metadata; where the source file already is that, its own
bytes are published, less their metadata. Colour profiles travel with the picture and are not applied.

Pillow's `Image.open` is not used: it holds back large pictures by a module-wide limit, which is neither ours
to change nor safe to change with threads about. Its decoders are called by name instead, and `load` keeps
its own limit before a pixel is decoded. All functions are safe to call from several threads.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from slvr_data import containers
from slvr_data.containers import Header, strip_metadata
from slvr_data.memory import is_short_of

_Decoder = Callable[[io.BytesIO], ImageFile.ImageFile]
_DECODERS: dict[str, _Decoder] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}
_OTHER_STARTS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"P5\n": "PPM",
    b"P6\n": "PPM",
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_PIXELS = 400_000_000
"""Of any picture that is read, or was published: `picture.max_pixels` is at most this."""
_BYTES_PER_PIXEL, _SPARE = 16, 64 << 20
"""Bytes that decoding a picture, and bringing it to its published form, take at most."""
_SILENCE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

# Without a handler of ours, the decoders' log of broken files would be printed on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class PictureError(Exception):
    """A picture that cannot be used; `reason` is a stable code, the message says what to do.

    Codes: "picture-empty", "picture-unreadable", "picture-animated", "picture-too-large",
    "picture-truncated".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Probe:
    """What the header says; width and height in pixels as stored."""

    format: str
    """"JPEG" (MPO too), "PNG", "WEBP", "GIF", "BMP", "TIFF" or "PPM"."""
    width: int
    height: int
    orientation: int
    """EXIF's value, 1 to 8; 1 where it is absent or anything else."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) once `orientation` is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@dataclass(frozen=True)
class Upright:
    """A picture as it is published; width and height in pixels."""

    pixels: Image.Image
    """Mode RGB, upright. Where the picture was encoded anew, these are the pixels before encoding."""
    data: bytes
    """The published file: JPEG, PNG or WebP."""
    width: int
    height: int


@contextmanager
def _pillow(reason: str, complaint: str, pixels: int = 0) -> Iterator[None]:
    """Keep Pillow's warnings quiet, and make a `PictureError` of whatever it raises.

    Only lack of memory stays what it is, where there is none for a sound picture of that many `pixels` either.

    On hostile bytes Pillow raises nearly every exception there is, so all are caught; nothing but calls
    of decoders and encoders goes inside. `warnings.catch_warnings` is not safe with threads: here each
    call adds one filter, which concerns Pillow alone, and takes one such filter away.
    """
    filters = cast(list[Any], warnings.filters)
    filters.insert(0, _SILENCE)
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError("picture-too-large", f"{error}: scale the picture down") from error
    except Exception as error:
        if isinstance(error, MemoryError) and is_short_of(_SPARE + _BYTES_PER_PIXEL * pixels):
            raise
        text = str(error) or type(error).__name__
        raise PictureError(reason, f"{complaint} ({text}): get the file again or leave its rows out") from error
    finally:
        with suppress(ValueError):
            filters.remove(_SILENCE)


def probe(data: bytes) -> Probe:
    """Read the header, and only that: the size and orientation of a picture of any number of pixels.

    Orientation is EXIF's (of TIFF the tag); XMP's is not looked at, as browsers do not either.

    Raises:
        PictureError: "picture-empty", or "picture-unreadable" for what is no picture or has a broken header.
    """
    known = _header(data)
    return Probe(known.format, known.width, known.height, known.orientation)


def _header(data: bytes) -> Header:
    if not data:
        raise PictureError("picture-empty", "the file has 0 bytes: get it again or leave its rows out")
    with _pillow("picture-unreadable", "the picture cannot be read"):
        return containers.header(data) or _other_header(data)


def _other_header(data: bytes) -> Header:
    name = next((name for start, name in _OTHER_STARTS.items() if data.startswith(start)), None)
    if name is None:
        raise PictureError(
            "picture-unreadable",
            f"the file starts with {data[:8]!r}, so it is no picture that can be read: "
            "give JPEG, PNG, WebP, GIF, BMP, TIFF or PPM",
        )
    image = _DECODERS[name](io.BytesIO(data))
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return Header(name, *image.size)
    width, height, turn = (image.tag_v2.get(tag, 1) for tag in (256, 257, 274))
    depth = image.tag_v2.get(258, (1,))[0]
    return Header(name, int(width), int(height), turn if turn in _TURNS else 1, depth=int(depth))


def load(data: bytes, max_pixels: int, quality: int = 95) -> Upright:
    """Decode a picture once, and give it with the bytes to publish.

    These are `strip_metadata(data)` for an upright 8-bit grey or RGB JPEG, PNG or WebP. Anything else is
    turned upright, laid over white where it is transparent, brought to 8 bits and to grey or RGB, and
    encoded anew: lossy sources as JPEG 4:4:4 of that `quality`, all others as PNG.

    Raises:
        PictureError: "picture-empty", "picture-unreadable", "picture-animated" (more than one frame or
            page), "picture-too-large" (more than `max_pixels` pixels), "picture-truncated" (pixel data
            cut off or corrupt).
        MemoryError: this machine has no memory for it now.
    """
    known = _header(data)
    pixels = known.width * known.height
    if pixels > max_pixels:
        cure = f" or set --set picture.max_pixels={pixels}" if pixels <= MAX_PIXELS else ""
        size = f"has {known.width} x {known.height} = {pixels} pixels, the limit is {max_pixels}"
        raise PictureError("picture-too-large", f"the picture {size}: scale it down{cure}")
    stripped = strip_metadata(data)
    image = _decode(stripped, known)
    if known.plain and known.orientation == 1 and image.mode in ("L", "RGB"):
        return Upright(image if image.mode == "RGB" else image.convert("RGB"), stripped, *image.size)
    with _pillow("picture-unreadable", "the picture cannot be brought to 8-bit RGB", pixels):
        flat = _flat(image, known.depth)
        if known.orientation != 1 and known.format != "TIFF":  # Pillow turns TIFF itself
            flat = flat.transpose(_TURNS[known.orientation])
        published = encode_jpeg(flat, quality) if known.lossy else encode_png(flat)
    return Upright(flat if flat.mode == "RGB" else flat.convert("RGB"), published, *flat.size)


def decoded(data: bytes) -> Image.Image:
    """A picture that has been published, mode RGB.

    Raises:
        PictureError: as `load`; one of more than `MAX_PIXELS` was not published by us.
    """
    return load(data, MAX_PIXELS).pixels


def _decode(data: bytes, known: Header) -> Image.Image:
    """All pixels of `data`, in whatever mode they are stored; a TIFF is upright already."""
    cut = "its pixel data is cut off or corrupt"
    # The WebP decoder wants the whole file from the start.
    failure = ("picture-truncated", cut) if known.format == "WEBP" else ("picture-unreadable", "it cannot be read")
    pixels = known.width * known.height
    with _pillow(*failure, pixels):
        image = _DECODERS[known.format](io.BytesIO(data))
        if getattr(image, "is_animated", False):
            raise PictureError(
                "picture-animated",
                f"the {known.format} file has several frames or pages: save the one that is meant as its own file",
            )
    with _pillow("picture-truncated", cut, pixels):
        if known.format == "PNG":
            containers.check_png(data)
        image.info.pop("xmp", None)  # Pillow would turn a TIFF by it
        image.load()
        size = known.width, known.height
        if image.size != (size[::-1] if known.format == "TIFF" and known.orientation >= 5 else size):
            raise ValueError(f"{image.width} x {image.height} pixels where the header says {size}")
    return image.copy() if known.format == "WEBP" else image  # the WebP decoder holds on to its canvas


def _flat(image: Image.Image, depth: int) -> Image.Image:
    """The picture in mode L or RGB, over white; of its `info` only the colour profile is left."""
    if image.mode.startswith("I"):
        flat = _from_16_bits(image, depth)
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no white: convert the picture to 8 bits")
    else:
        flat = _over_white(image, depth)
    profile = None if image.mode == "CMYK" else image.info.get("icc_profile")
    flat.info = {"icc_profile": profile} if isinstance(profile, bytes) else {}
    return flat


def _from_16_bits(image: Image.Image, depth: int) -> Image.Image:
    values: NDArray[Any] = np.asarray(image)
    top = 4095 if depth == 12 else 65535
    if values.min() < 0 or values.max() > top:
        raise ValueError(f"pixel values outside 0 to {top}: convert the picture to 8 bits")
    grey = ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _over_white(image: Image.Image, depth: int) -> Image.Image:
    grey = image.mode in ("1", "L", "LA", "La")
    mode = "L" if grey else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    key: Any = image.info.get("transparency")
    # Pillow brings pixels to 8 bits, but not the PNG's transparent colour.
    if image.mode == "L" and depth < 8:
        image.info["transparency"] = key * 255 // ((1 << depth) - 1)
    elif image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(channel >> 8 for channel in key)
    layers = image.convert("LA" if grey else "RGBA")
    base = Image.new(mode, image.size, "white")
    base.paste(layers.convert(mode), mask=layers.getchannel("A"))
    return base


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """A baseline JPEG, 4:4:4, of a picture in mode L or RGB: no metadata but `image.info["icc_profile"]`."""
    out = io.BytesIO()
    profile = image.info.get("icc_profile")
    image.save(out, "JPEG", quality=quality, subsampling=0, comment=None, icc_profile=profile)
    return out.getvalue()


def encode_png(image: Image.Image) -> bytes:
    """A PNG of a picture in mode L or RGB: no metadata but `image.info["icc_profile"]`."""
    out = io.BytesIO()
    profile = image.info.get("icc_profile")
    image.save(out, "PNG", transparency=None, icc_profile=profile)
    return out.getvalue()


def crop(pixels: Image.Image, box: tuple[int, int, int, int], max_side: int) -> Image.Image:
    """The pixels of a box [x1, y1, x2, y2), scaled down where the longer side exceeds `max_side`.

    Raises:
        ValueError: the box is empty or reaches beyond the picture.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    # Exact copies; unlike `.crop`, never refused for being large.
    part = pixels.resize((width, height), Image.Resampling.NEAREST, box=box)
    longer = max(width, height)
    if longer <= max_side:
        return part
    size = (max(1, round(width * max_side / longer)), max(1, round(height * max_side / longer)))
    return part.resize(size, Image.Resampling.LANCZOS)


@cache
def _cosines() -> NDArray[np.int64]:
    """The first 8 rows of the orthonormal 32-point DCT-II, times 4096: whole numbers, the same everywhere."""
    frequency, place = np.arange(8)[:, None], np.arange(32)[None, :]
    rows = np.cos(np.pi * frequency * (2 * place + 1) / 64) * np.where(frequency, 0.25, 0.125**0.5 / 2)
    whole: NDArray[np.int64] = np.rint(rows * 4096).astype(np.int64)
    return whole


def perceptual_hash(pixels: Image.Image) -> str:
    """64 bits that survive scaling and re-encoding, as 16 hexadecimal digits.

    The picture is averaged to 32x32 grey values; bit i says whether the i-th of the 8x8 lowest DCT
    coefficients (row by row) exceeds the median of the 63 behind the mean, which itself counts as 0.
    Coefficients are rounded to whole grey levels, so that noise in a flat picture sets no bits.
    """
    small = pixels.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=1.0).convert("L")
    cosines = _cosines()
    scaled = cosines @ np.asarray(small, dtype=np.int64) @ cosines.T
    coefficients = ((scaled + (1 << 23)) >> 24).ravel()
    coefficients[0] = 0
    bits = coefficients > np.median(coefficients[1:])
    bits[0] = False
    return np.packbits(bits).tobytes().hex()
