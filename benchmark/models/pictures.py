"""The picture of an ask as a model takes it: pixels for models in this process, a file for served ones."""

from __future__ import annotations

import hashlib
import math

from PIL import Image

from slvr_data.images import PictureError, decoded, encode_png, probe
from slvr_data.requests.messages import SentPicture

_MEDIA = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}


def fitted_size(width: int, height: int, max_pixels: int | None) -> tuple[int, int]:
    """(width, height) of the same shape within `max_pixels`; never larger than the picture is."""
    if max_pixels is None or width * height <= max_pixels:
        return width, height
    factor = math.sqrt(max_pixels / (width * height))
    return max(1, int(width * factor)), max(1, int(height * factor))


def pixels_of(data: bytes, max_pixels: int | None) -> Image.Image:
    """The upright picture in a file, mode RGB, scaled down where it has more than `max_pixels`.

    Raises:
        PictureError: it is no picture, or is damaged.
    """
    picture = decoded(data)
    size = fitted_size(*picture.size, max_pixels)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def sent_of(data: bytes, max_pixels: int | None) -> SentPicture:
    """The picture as a server is sent it: the file itself where it may be, else a PNG of what fits. Nothing is lost.

    Raises:
        PictureError: it is no picture, or is damaged.
    """
    known = probe(data)
    size = fitted_size(*known.upright_size, max_pixels)
    name = hashlib.sha256(data).hexdigest()
    if size == (known.width, known.height) and known.orientation == 1 and known.format in _MEDIA:
        return SentPicture(f"file {name}", data, *size, media_type=_MEDIA[known.format])
    picture = pixels_of(data, max_pixels)
    picture.info = {}
    return SentPicture(f"file {name} png-1 {size[0]}x{size[1]}", encode_png(picture), *size, media_type="image/png")


__all__ = ["PictureError", "fitted_size", "pixels_of", "sent_of"]
