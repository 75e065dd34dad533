"""A world as pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slvr_data.masks import BoolArray
from slvr_data.sources.scenes import grounds
from slvr_data.sources.scenes.colours import ink_on
from slvr_data.sources.scenes.layers import Placed
from slvr_data.sources.scenes.raster import FULL
from slvr_data.sources.scenes.things import Thing
from slvr_data.sources.scenes.world import World

Pixels = NDArray[np.uint8]


def pixels(world: World) -> Pixels:
    """The picture [height, width, 3]."""
    canvas = grounds.paint(world.ground, world.width, world.height)
    for placed in world.placed:
        x1, y1, x2, y2 = placed.window
        cover = placed.thing.cover.astype(np.uint16)[..., None]
        canvas[y1:y2, x1:x2] = _mixed(canvas[y1:y2, x1:x2], _paint(placed.thing), cover)
    if world.light is not None:
        grounds.shine(canvas, world.light)
    return canvas.astype(np.uint8)


def whole_mask(placed: Placed, mask: BoolArray, world: World) -> BoolArray:
    """A window's mask [h, w] as one of the whole picture [height, width]."""
    whole = np.zeros((world.height, world.width), bool)
    x1, y1, x2, y2 = placed.window
    whole[y1:y2, x1:x2] = mask
    return whole


def ppm(image: Pixels) -> bytes:
    """The canonical binary PPM (P6) of pixels [H, W, 3]: the same bytes for the same pixels."""
    height, width, _ = image.shape
    return b"P6\n%d %d\n255\n" % (width, height) + image.tobytes()


def _paint(thing: Thing) -> NDArray[np.uint16]:
    """The thing's colours, [h, w, 3] or [3]."""
    paint = np.array(thing.fills[0], np.uint16)
    if thing.second is not None:
        weight = thing.second.astype(np.uint16)[..., None]
        paint = _mixed(paint, np.array(thing.fills[1], np.uint16), weight)
    if thing.ink is not None:
        paint = np.where(thing.ink[..., None], np.array(ink_on(thing.fills[0]), np.uint16), paint)
    return paint


def _mixed(under: NDArray[np.uint16], over: NDArray[np.uint16], weight: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """`over` laid on `under` with weights [h, w, 1] of 0 to 16, rounded to whole numbers."""
    total: NDArray[np.uint16] = under * (np.uint16(FULL) - weight) + over * weight + np.uint16(FULL // 2)
    return np.floor_divide(total, np.uint16(FULL))
