"""What a model is sent of a picture and a region: encoded pictures, and the box in the numbers that it knows.

Model families read boxes differently. Qwen2.5-VL was trained on pixels of the picture as its processor resizes
it, to sides that are multiples of 28; Qwen2-VL, Qwen3-VL and InternVL on thousandths of the picture's sides.
A full picture is therefore resized here, so that the processor leaves it as it is and pixels mean the same on
both sides of the wire.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from PIL import Image

from slvr_data import images
from slvr_data.requests.config import BoxFormat
from slvr_data.requests.messages import SentPicture

ENCODER = "jpeg-1"
"""Version of scaling and encoding: part of a picture's reference, and so of each key. Raise it with any change."""
QUALITY = 90
"""Of the JPEG, 4:4:4: colours are asked for."""
LEAST_CROP_PIXELS = 65_536
"""A smaller crop is enlarged to this (256 x 256): a thing of 20 px would else be one or two of a model's patches."""
MOST_RATIO = 200
"""Processors of the Qwen family refuse a picture whose longer side is more than this many times the other."""


class SendingConfig(Protocol):
    """What of `slvr_data.requests.config.ServedConfig` decides the pictures."""

    model: str | None
    box_format: BoxFormat
    max_pixels: int


@dataclass(frozen=True)
class Convention:
    """How a model family reads boxes and pictures."""

    box_format: Literal["pixels", "thousandths"]
    grid: int
    """Sides of the full picture are multiples of this."""
    least_pixels: int
    """A smaller picture is enlarged by the family's processor, so it is enlarged here."""
    reason: str
    """Why this convention was chosen."""

    @property
    def sentence(self) -> str:
        """For people (`slvr-data doctor`)."""
        unit = "pixels of the picture as sent" if self.box_format == "pixels" else "thousandths of the picture's sides"
        return f"boxes are told in {unit}, pictures sent with sides in multiples of {self.grid} px ({self.reason})"

    def explained(self, sent: SentPicture) -> str:
        """For the model: what the four numbers of a box on this picture mean."""
        if self.box_format == "pixels":
            unit = f"in pixels of the picture, which is {sent.width} wide and {sent.height} high"
        else:
            unit = "in thousandths of the picture: 0 is its left or top edge, 1000 its right or bottom edge"
        return f"left, top, right and bottom edge, {unit}"


_FAMILIES = {
    r"qwen-?2[._-]5-?(vl|omni)": Convention("pixels", 28, 3_136, "Qwen2.5-VL was trained on resized pixels"),
    r"qwen-?2-?vl": Convention("thousandths", 28, 3_136, "Qwen2-VL was trained on thousandths"),
    r"qwen-?3([._-]\d+)?(-?(vl|omni))?": Convention("thousandths", 32, 65_536, "Qwen3-VL was trained on thousandths"),
    r"intern-?vl": Convention("thousandths", 28, 3_136, "InternVL was trained on thousandths"),
}
"""Pattern in a model's name in lower case -> its convention."""
_UNKNOWN = Convention(
    "thousandths", 28, 3_136, "the model's name tells no known family; thousandths stay true however it resizes"
)


def family(model: str | None, box_format: BoxFormat = "auto") -> Convention:
    """The convention of a model, told by its name; `box_format` overrules how boxes are told.

    An unknown name gets thousandths: they stay true however its processor resizes the picture.
    """
    name = (model or "").lower().replace("_", "-")
    known = next((found for pattern, found in _FAMILIES.items() if re.search(pattern, name)), _UNKNOWN)
    return known if box_format == "auto" else replace(known, box_format=box_format, reason="as configured")


def sent_size(width: int, height: int, max_pixels: int, convention: Convention) -> tuple[int, int]:
    """(width, height) of a picture as sent: multiples of the grid, near its own size and shape.

    The family's processor leaves such a picture alone: its area is at most `max_pixels` and at least
    `least_pixels`, and one side is at most 200 times the other.
    """
    grid = convention.grid
    least = min(convention.least_pixels, max_pixels)
    w, h = _whole(width / grid), _whole(height / grid)
    if w * h * grid * grid > max_pixels:
        factor = math.sqrt(max_pixels / (width * height))
        w, h = max(1, int(width * factor / grid)), max(1, int(height * factor / grid))
    elif w * h * grid * grid < least:
        factor = math.sqrt(least / (width * height))
        w, h = math.ceil(width * factor / grid), math.ceil(height * factor / grid)
    most = max(1, max_pixels // (grid * grid))
    w = min(w, MOST_RATIO * h, max(1, most // h))
    h = min(h, MOST_RATIO * w, max(1, most // w))
    return w * grid, h * grid


def _whole(units: float) -> int:
    """The nearest whole number from 1 on."""
    return max(1, int(units + 0.5))


def sent_picture(pixels: Image.Image, image_id: str, config: SendingConfig) -> SentPicture:
    """The full upright picture (mode RGB), unmarked, for every call on it: the same bytes each time."""
    convention = family(config.model, config.box_format)
    size = sent_size(*pixels.size, config.max_pixels, convention)
    return SentPicture(f"image {image_id} {ENCODER} {size[0]}x{size[1]}", _encoded(pixels, size), *size)


def sent_crop(data: bytes, image_id: str, box: Sequence[int], settings: str, config: SendingConfig) -> SentPicture:
    """A stored crop: `data` as it is where its size suits, else scaled.

    Args:
        data: the JPEG that the stage `crop` has kept.
        image_id: of its picture.
        box: pixels of the upright picture that it shows, [x1, y1, x2, y2).
        settings: how it was cut and encoded, in words, e.g. "side 1024 quality 90".
        config: `max_pixels` bounds it.
    """
    with Image.open(io.BytesIO(data)) as opened:
        width, height = opened.size
        size = _crop_size(width, height, config.max_pixels)
        if size != (width, height):
            data = _encoded(opened.convert("RGB"), size)
    corners = " ".join(f"{c}" for c in box)
    return SentPicture(f"crop {image_id} {corners} {settings} {ENCODER} {size[0]}x{size[1]}", data, *size)


def _crop_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Its own size, unless that is too much, too little or too long."""
    area = width * height
    factor = 1.0
    if area > max_pixels:
        factor = math.sqrt(max_pixels / area)
    elif area < min(LEAST_CROP_PIXELS, max_pixels):
        factor = math.sqrt(min(LEAST_CROP_PIXELS, max_pixels) / area)
    w, h = max(1, int(width * factor)), max(1, int(height * factor))
    return min(w, MOST_RATIO * h), min(h, MOST_RATIO * w)


def _encoded(pixels: Image.Image, size: tuple[int, int]) -> bytes:
    scaled = pixels if pixels.size == size else pixels.resize(size, Image.Resampling.LANCZOS)
    bare = scaled.copy()
    bare.info = {}  # no colour profile: servers do not read it
    return images.encode_jpeg(bare, QUALITY)


def box_text(bbox: Sequence[float], width: int, height: int, sent: SentPicture, convention: Convention) -> str:
    """A box in whole numbers, "[x1, y1, x2, y2]", at least one wide and high.

    Args:
        bbox: in pixels of the upright picture.
        width: of the upright picture.
        height: of the upright picture.
        sent: the full picture as it is sent.
        convention: pixels of `sent`, or thousandths of its sides.
    """
    across, down = (sent.width, sent.height) if convention.box_format == "pixels" else (1000, 1000)
    x1, x2 = _edges(bbox[0], bbox[2], width, across)
    y1, y2 = _edges(bbox[1], bbox[3], height, down)
    return f"[{x1}, {y1}, {x2}, {y2}]"


def _edges(low: float, high: float, side: int, units: int) -> tuple[int, int]:
    """Both edges along one axis in whole units of it."""
    first = min(units - 1, max(0, int(low / side * units + 0.5)))
    return first, min(units, max(first + 1, int(high / side * units + 0.5)))
