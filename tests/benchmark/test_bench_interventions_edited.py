"""Edited scenes: what the twins show, what is asked of them, and scores of models whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.asks import Asks
from benchmark.interventions.edited import shifts, write_edited
from benchmark.interventions.latents import Survey
from benchmark.lines import line_of
from benchmark.records import Ask, Item, Reply
from benchmark.scores import scores_of
from slvr_data.sources.scenes import scene
from slvr_data.sources.scenes.edits import Edit, edit
from tests.benching import letter, plan

SCENES = 24


def made(number: int = 40) -> list[tuple[int, Edit]]:
    return [(index, found) for index in range(number) if (found := edit(5, index)) is not None]


def test_only_the_thing_differs_and_only_in_its_colour() -> None:
    found = made()
    assert len(found) > 20
    for index, one in found:
        assert one.scene.ppm == scene("easy", 5, index).ppm
        region = one.region(one.scene)
        before, after, other = (np.asarray(drawn.picture) for drawn in (one.scene, one.edited, one.other))
        differs = (before != after).any(-1)
        assert (differs & region.mask).sum() > 0.9 * region.mask.sum()
        x1, y1, x2, y2 = (int(edge) for edge in region.box)
        differs[max(0, y1 - 2) : y2 + 2, max(0, x1 - 2) : x2 + 2] = False  # its edge is mixed with the ground
        assert not differs.any()
        assert not (before != other)[region.mask].any() and (before != other).any()


def test_the_profiles_tell_the_same_but_for_the_colour() -> None:
    for _, one in made():
        old, new, same = (one.region(drawn) for drawn in (one.scene, one.edited, one.other))
        assert (old.profile.appearance.colors, new.profile.appearance.colors) == ([one.before], [one.after])
        assert one.before != one.after and same.profile.appearance.colors == [one.before]
        assert old.box == new.box == same.box
        assert old.profile.spatial.position == new.profile.spatial.position
        shown = [region.profile.appearance.colors for region in one.scene.regions]
        assert [one.after] not in shown  # no other thing has it, so that it cannot be read from another


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_edited(tmp_path_factory.mktemp("edited") / "bench", SCENES, 5)


def test_items(bench: Any, tmp_path: Path) -> None:
    assert len(bench.items) == 3 * SCENES and len({one.image_id for one in bench.items}) == 3 * SCENES
    by_scene: dict[str, dict[str, Item]] = {}
    for one in bench.items:
        name, _, twin = one.item_id.rpartition("-")
        by_scene.setdefault(name, {})[twin] = one
    for twins in by_scene.values():
        colors = [twins[twin].queries[0] for twin in ("plain", "edited", "other")]
        assert len({(query.question, query.choices) for query in colors}) == 1 and len(colors[0].choices) == 4
        assert colors[0].answer == colors[2].answer != colors[1].answer
        assert len({twins[twin].queries[1].answer for twin in twins}) == 1
    assert write_edited(tmp_path / "again", SCENES, 5).revision == bench.revision
    assert write_edited(tmp_path / "other", SCENES, 6).revision != bench.revision


def scored(bench: Any, say: Callable[[Ask], str]) -> dict[str, Any]:
    lines = [line_of(ask, Reply(letter(ask, say(ask)))) for ask in Asks(bench, plan()).asks()]
    found = {name: one for name, one in scores_of(lines, draws=200).items() if name.startswith("edit_")}
    assert found["edit_changed"].n_clusters == found["edit_stayed"].n_clusters == SCENES  # not pictures
    return {name.removeprefix("edit_"): one.value for name, one in found.items()}


def test_a_model_that_sees(bench: Any) -> None:
    assert scored(bench, lambda ask: ask.query.answer) == {
        "changed": 1, "followed": 1, "stayed": 1, "place_stayed": 1,
    }  # fmt: skip


def test_a_model_that_does_not_look_at_the_picture(bench: Any) -> None:
    """It says one colour of the four, whatever is shown."""
    found = scored(bench, lambda ask: sorted(ask.choices)[0])
    assert (found["changed"], found["stayed"], found["place_stayed"]) == (0, 1, 1)
    assert found["followed"] in (0, None)


def test_a_model_that_looks_at_the_whole_picture(bench: Any) -> None:
    """Anything that is edited changes what it says."""
    first = {one.item_id: one for one in bench.items}

    def say(ask: Ask) -> str:
        plain = first[ask.item.item_id.rpartition("-")[0] + "-plain"].queries[ask.item.queries.index(ask.query)]
        if ask.item.item_id.endswith("-plain"):
            return plain.answer
        return next(choice for choice in ask.choices if choice != plain.answer)

    found = scored(bench, say)
    assert (found["changed"], found["stayed"], found["place_stayed"]) == (1, 0, 0)


def test_how_far_latents_move(bench: Any) -> None:
    """Visual latents that follow the thing, semantic ones that follow any edit twice as far where it is another."""
    far = {"plain": (0.0, 0.0), "edited": (3.0, 1.0), "other": (1.0, 2.0)}
    asked = [(one, query) for one in bench.items for query in one.queries]
    place = [far[one.item_id.rpartition("-")[2]] for one, _ in asked]
    visual = np.array([[[visual, 1.0]] for visual, _ in place], np.float32)
    semantic = np.array([[semantic, 0.0] for _, semantic in place], np.float32)
    found = {name: one.value for name, one in shifts(Survey(asked, visual, semantic)).items()}
    assert found == {
        "edits/visual/shift_edited": 3, "edits/visual/shift_other": 1, "edits/visual/edited_over_other": 3,
        "edits/semantic/shift_edited": 1, "edits/semantic/shift_other": 2, "edits/semantic/edited_over_other": 0.5,
    }  # fmt: skip


def test_other_runs_have_no_such_scores() -> None:
    from tests.benching import shelf

    lines = [line_of(ask, Reply(letter(ask))) for ask in Asks(shelf(3), plan()).asks()]
    assert not [name for name in scores_of(lines, draws=50) if name.startswith("edit_")]
