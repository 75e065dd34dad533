"""What a picture is recognised by: local features of its grey values, and a hash of the whole.

The features are SIFT's (Lowe 2004), which survive scaling and encoding, taken upright: crops, resizes and mirrorings do
not turn a picture, and without their own turn features tell more. The mirrored picture has the same features in
another order, so it needs no second look. Everything after SIFT is arithmetic on whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from slvr_data.errors import UsageError
from slvr_data.images import perceptual_hash

SIDE = 256
"""Longer side, in pixels, at which features are taken; smaller pictures stay as they are."""
MOST = 250
"""Features of a picture, the most distinct first."""
SMALL = 128
"""Longer side of the grey picture that is kept for comparison."""
FINE = 16
"""Places are whole numbers of this part of a pixel."""
_CONTRAST = 0.02
"""Least contrast of a feature, half of OpenCV's default: pictures of 256 pixels have few."""


@dataclass(frozen=True)
class Described:
    """A picture as far as it is recognised. Places and sizes are pixels of the picture at `SIDE`."""

    width: int
    height: int
    places: NDArray[np.int16]
    """(x, y) in parts of a pixel (`FINE`), [n, 2]."""
    descriptors: NDArray[np.uint8]
    """[n, 128]."""
    small: NDArray[np.uint8]
    """Grey values, longer side at most `SMALL`, [height, width]."""
    hashes: tuple[int, int]
    """Perceptual hashes of the picture and of its mirror image."""


def require() -> None:
    """Raises UsageError where OpenCV is not installed."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        raise UsageError("--avoid needs OpenCV: pip install '.[avoid]' in a clone") from None


def method() -> str:
    """A name of how pictures are described: descriptions of another name are not comparable."""
    import cv2

    return f"sift-1 {SIDE}/{MOST}, opencv {cv2.__version__}"


@cache
def _sift() -> Any:
    opencv: Any = import_module("cv2")
    opencv.setNumThreads(1)  # workers are processes, and one order of sums is one result
    return opencv.SIFT_create(nfeatures=2 * MOST, contrastThreshold=_CONTRAST)


def _scaled(pixels: Image.Image, side: int) -> Image.Image:
    scale = side / max(pixels.size)
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)))
    return pixels.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def describe(pixels: Image.Image) -> Described:
    """Describe an upright picture in mode RGB."""
    grey = _scaled(pixels, SIDE).convert("L")
    places, descriptors = _features(np.asarray(grey))
    hashes = int(perceptual_hash(grey), 16), int(perceptual_hash(ImageOps.mirror(grey)), 16)
    return Described(*grey.size, places, descriptors, np.asarray(_scaled(grey, SMALL)), hashes)


def _features(grey: NDArray[np.uint8]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Upright SIFT: each place and size once, however many directions it has."""
    sift = _sift()
    points: dict[tuple[int, int, int], Any] = {}
    for point in sorted(sift.detect(grey, None), key=lambda p: (-p.response, p.pt, p.size)):
        key = round(point.pt[0] * FINE), round(point.pt[1] * FINE), round(point.size * FINE)
        if key not in points and len(points) < MOST:
            point.angle = 0.0
            points[key] = point
    if not points:
        return np.empty((0, 2), np.int16), np.empty((0, 128), np.uint8)
    kept, descriptors = sift.compute(grey, list(points.values()))
    places = np.array([point.pt for point in kept]) * FINE
    return np.rint(places).astype(np.int16), descriptors.astype(np.uint8)


def mirrored(picture: Described) -> Described:
    """What `describe` would make of the mirror image, up to the last digits of SIFT's sums."""
    places = picture.places.copy()
    places[:, 0] = (picture.width - 1) * FINE - places[:, 0]
    return Described(
        picture.width,
        picture.height,
        places,
        picture.descriptors[:, _mirror_order()],
        picture.small[:, ::-1],
        picture.hashes[::-1],
    )


@cache
def _mirror_order() -> NDArray[np.int64]:
    """Where each of the 4 x 4 cells' 8 directions stands in the descriptor of the mirror image."""
    order = np.arange(128).reshape(4, 4, 8)[:, ::-1, :]
    return order[:, :, (4 - np.arange(8)) % 8].ravel()
