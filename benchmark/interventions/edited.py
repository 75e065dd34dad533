"""Edited scenes: one thing gets another colour. Do answer and latents follow, and stay when it is another thing?

Three items a scene ask the same of the scene, of its twin in which the thing has another colour, and of its twin in
which another thing has (after the edited pairs of ReaLVR). What became of the answers: `benchmark.interventions.edits`.

    shift_edited, shift_other  mean distance of the latents of the colour question to those on each twin
    edited_over_other          their ratio: above 1 where latents follow the region, and not the picture
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmark.agreement import Key, Row
from benchmark.folder import Bench, write_bench
from benchmark.interventions.edits import TWINS, item_id_of, scene_of
from benchmark.interventions.latents import Survey
from benchmark.interventions.measures import mean_of, over_pictures
from benchmark.metrics import Columns, Statistic, divided
from benchmark.records import Item, ItemQuery
from benchmark.scores import Estimate
from benchmark.table import Floats
from benchmark.transforms.base import encoded
from slvr_data import geometry
from slvr_data.colors import COLORS
from slvr_data.errors import UsageError
from slvr_data.sources.scenes import Scene
from slvr_data.sources.scenes.edits import Edit, edit

_CHOICES = 4


def write_edited(out: Path, number: int, seed: int) -> Bench:
    """A benchmark folder of `number` edited scenes, three items each; the same arguments give the same bytes.

    Raises:
        UsageError: `out` holds something else.
    """
    found = _edits(number, seed)
    items: list[Item] = []
    pictures: dict[str, Scene] = {}
    for index, made in found:
        for twin, scene in zip(TWINS, (made.scene, made.edited, made.other), strict=True):
            items.append(_item(item_id_of(index, twin), made, scene))
            pictures[scene.image_id] = scene
    about = {"made": {"from": "edited scenes", "seed": seed, "scenes": number}}
    return write_bench(out, f"edited-{seed}", items, lambda image_id: encoded(pictures[image_id].picture), about)


def _edits(number: int, seed: int) -> list[tuple[int, Edit]]:
    found: list[tuple[int, Edit]] = []
    for index in range(100 * number):
        made = edit(seed, index)
        if made is not None:
            found.append((index, made))
        if len(found) == number:
            return found
    raise UsageError(f"--seed {seed}: only {len(found)} of {100 * number} scenes can be edited")


def _item(item_id: str, made: Edit, scene: Scene) -> Item:
    region = made.region(scene)
    colors, place = region.profile.appearance.colors or [], region.profile.spatial.position or ""
    x1, y1, x2, y2 = region.box
    return Item(
        item_id=item_id, image_id=scene.image_id, region_id=region.region_id, bbox=(x1, y1, x2, y2), label=made.label,
        width=scene.picture.width, height=scene.picture.height,
        queries=(
            _query(made, "color", f"What color is the {made.label}?", colors[0], (made.before, made.after), COLORS),
            _query(made, "position", f"Where in the picture is the {made.label}?", place, (place,), geometry.POSITIONS),
        ),
    )  # fmt: skip


def _query(
    made: Edit, facet: str, question: str, answer: str, needed: Sequence[str], words: Iterable[str]
) -> ItemQuery:
    """A query whose choices, and their order, are the same on all twins."""

    def rank(word: str) -> bytes:
        return hashlib.sha256(f"{made.scene.image_id} {facet} {word}".encode()).digest()

    more = sorted((word for word in words if word not in needed), key=rank)
    choices = tuple(sorted([*needed, *more[: _CHOICES - len(needed)]], key=rank))
    return ItemQuery(
        query_id=facet, facet=facet, template=question.replace(made.label, "{}").casefold(), question=question,
        answer=answer, choices=choices, answer_index=choices.index(answer), chance=1 / len(choices),
    )  # fmt: skip


# --- how far latents move


def shifts(survey: Survey) -> dict[str, Estimate]:
    """How far latents move, by "edits/visual/shift_edited", "edits/visual/edited_over_other", ..."""
    found: dict[str, Estimate] = {}
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for place, (item, query) in enumerate(survey.asked):
        named = scene_of(item.item_id)
        if named is not None and query.query_id == "color":
            places[named[0]][named[1]] = place
    for kind, latents_nx in survey.flat().items():
        rows = list(_moves(places, latents_nx.astype(np.float64)))
        if rows:
            found[f"edits/{kind}/shift_edited"] = over_pictures(rows, mean_of("region", "region_n"))
            found[f"edits/{kind}/shift_other"] = over_pictures(rows, mean_of("picture", "picture_n"))
            over = Statistic("over", "difference", _over, "region_n", "accuracy")
            found[f"edits/{kind}/edited_over_other"] = over_pictures(rows, over)
    return found


def _moves(places: dict[str, dict[str, int]], latents_nx: Floats) -> Iterator[tuple[Key, Row]]:
    for scene, own in sorted(places.items()):
        if len(own) == len(TWINS):
            plain_x = latents_nx[own["plain"]]
            edited, other = (float(np.linalg.norm(latents_nx[own[twin]] - plain_x)) for twin in ("edited", "other"))
            yield (scene, scene, "", 0), {"region": edited, "region_n": 1.0, "picture": other, "picture_n": 1.0}


def _over(c: Columns) -> Floats:
    return divided(c["region"], c["picture"])
