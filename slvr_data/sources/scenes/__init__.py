"""The embedded world: pictures drawn from a seed, with exact ground truth for every field.

Level "easy" is one to learn to see with: 64 x 64 pixels, two to four plain things on a plain ground. Level
"full" has every facet of the schema: patterns, poses, letters, things held, enclosed, touching and
overlapping, varied grounds and light. A scene depends on (level, seed, index) only, down to the last bit.

`world` decides what is where, `draw` makes pixels of it, `truth` says what is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from slvr_data import ids
from slvr_data.sources.scenes import draw, truth, world
from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.truth import SceneRegion

__all__ = ["LEVELS", "Scene", "SceneRegion", "scene"]

LEVELS = ("easy", "full")


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn picture and everything that is true of it."""

    picture: Image.Image
    """RGB."""
    ppm: bytes
    """The same pixels as a binary PPM: the source file, whose hash no compressor can change."""
    image_id: str
    """sha256 of `ppm`."""
    regions: list[SceneRegion]
    """By region id; no two have the same one."""


def scene(level: str, seed: int, index: int) -> Scene:
    """The scene number `index` of the level's world `seed`.

    Raises:
        ValueError: there is no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"there is no scene level {level!r}: use one of {', '.join(LEVELS)}")
    built = world.build(level, Dice(f"{level}:{seed}:{index}"))
    pixels = draw.pixels(built)
    ppm = draw.ppm(pixels)
    image_id = ids.image_id(ppm)
    return Scene(Image.fromarray(pixels), ppm, image_id, truth.regions(built, image_id))
