"""Scenes with one thing in another colour: everything else is the same, down to the last pixel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from PIL import Image

from slvr_data import ids
from slvr_data.sources.scenes import Scene, SceneRegion, draw, truth, world
from slvr_data.sources.scenes.colours import fill_of, told_apart
from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.layers import Placed


@dataclass(frozen=True)
class Edit:
    """A scene, and the same scene with one thing in another colour."""

    scene: Scene
    edited: Scene
    """The thing that is asked about has the colour `after`."""
    other: Scene
    """Another thing has another colour."""
    label: str
    """Of the thing that is asked about: no other has it."""
    before: str
    after: str

    def region(self, scene: Scene) -> SceneRegion:
        """The thing that is asked about, in one of the three scenes."""
        return next(region for region in scene.regions if region.label == self.label)


def edit(seed: int, index: int) -> Edit | None:
    """The scene number `index` of the easy world `seed`, with its twins.

    None where every thing has a peer of its kind, or no colour is left that tells apart from the ground, the old colour
    and the colours of all other things.
    """
    built = world.build("easy", Dice(f"easy:{seed}:{index}"))
    dice = Dice(f"edit:{seed}:{index}")
    counts = Counter(placed.thing.entity for placed in built.placed)
    alone = [place for place, placed in enumerate(built.placed) if counts[placed.thing.entity] == 1]
    if not alone:
        return None
    asked = dice.pick(alone)
    beside = dice.pick([place for place in range(len(built.placed)) if place != asked])
    edited, other = _recoloured(built, asked, dice), _recoloured(built, beside, dice)
    if edited is None or other is None:
        return None
    thing = built.placed[asked].thing
    after = edited.placed[asked].thing.colours[0]
    return Edit(_drawn(built), _drawn(edited), _drawn(other), thing.entity, thing.colours[0], after)


def _recoloured(built: world.World, place: int, dice: Dice) -> world.World | None:
    """The world with one thing in a colour that no thing has."""
    left = told_apart(built.ground.palette, [placed.thing.colours[0] for placed in built.placed])
    if not left:
        return None
    name, old = dice.pick(left), built.placed[place]
    new = Placed(replace(old.thing, colours=(name,), fills=(fill_of(dice, name),)), old.x, old.y)
    return replace(built, placed=(*built.placed[:place], new, *built.placed[place + 1 :]))


def _drawn(built: world.World) -> Scene:
    pixels = draw.pixels(built)
    ppm = draw.ppm(pixels)
    image_id = ids.image_id(ppm)
    return Scene(Image.fromarray(pixels), ppm, image_id, truth.regions(built, image_id))
