"""Answers about edited scenes (`benchmark.interventions.edited`), over scenes with all replies to a pair:

edit_changed   scenes whose answer about the colour is another on the edited twin / scenes
edit_followed  scenes right on both / scenes right before
edit_stayed    scenes with the same answer about the colour when another thing is edited / scenes
edit_place_stayed  scenes with the same answer about the place on the edited twin / scenes
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from benchmark.agreement import Key, Row, said_of, summed
from benchmark.metrics import Statistic, ratio
from benchmark.records import LogLine
from benchmark.table import Sums

TWINS = ("plain", "edited", "other")
"""The scene; the thing that is asked about in another colour; another thing in another colour."""
_ID = re.compile(r"edit-(\d+)-(plain|edited|other)")
_COLUMNS = ("pairs", "changed", "right", "followed", "beside", "stayed", "places", "place_stayed")


def item_id_of(scene: int, twin: str) -> str:
    """The id of an item of an edited scene."""
    return f"edit-{scene:08d}-{twin}"


def scene_of(item_id: str) -> tuple[str, str] | None:
    """(Scene, twin) of such an id; None for others."""
    found = _ID.fullmatch(item_id)
    return None if found is None else (found[1], found[2])


def twins_in(lines: Iterable[LogLine]) -> bool:
    """Whether a log is of edited scenes."""
    return any(scene_of(line.item_id) for line in lines)


def edits(lines: Iterable[LogLine]) -> tuple[Sums, list[Statistic]]:
    """The sums over scenes, and the scores, of the plain replies about edited scenes."""
    scenes: dict[tuple[str, int], dict[tuple[str, str], LogLine]] = defaultdict(dict)
    for line in lines:
        found = scene_of(line.item_id)
        if found is not None and line.variant == "plain":
            scenes[found[0], line.seed][found[1], line.query_id] = line
    rows: list[tuple[Key, Row]] = [
        ((scene, scene, "", seed), _row(own)) for (scene, seed), own in sorted(scenes.items())
    ]
    return summed(rows, _COLUMNS), [
        ratio("edit_changed", "changed", "pairs"),
        ratio("edit_followed", "followed", "right"),
        ratio("edit_stayed", "stayed", "beside"),
        ratio("edit_place_stayed", "place_stayed", "places"),
    ]


def _row(own: dict[tuple[str, str], LogLine]) -> Row:
    plain, edited, other = (own.get((twin, "color")) for twin in TWINS)
    row: dict[str, bool] = {}
    if plain is not None and edited is not None:
        row |= {"pairs": True, "changed": _said(plain) != _said(edited), "right": plain.correct}
        row["followed"] = plain.correct and edited.correct
    if plain is not None and other is not None:
        row |= {"beside": True, "stayed": _said(plain) == _said(other)}
    before, after = own.get(("plain", "position")), own.get(("edited", "position"))
    if before is not None and after is not None:
        row |= {"places": True, "place_stayed": _said(before) == _said(after)}
    return {name: float(value) for name, value in row.items()}


def _said(line: LogLine) -> tuple[str, object]:
    return ("answer", said_of(line)) if line.outcome == "answer" else ("none", None)
