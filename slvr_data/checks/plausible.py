"""`plausible`: text, patterns and layers that a profile claims could be there at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from slvr_data.checks.base import CheckedRegion, failed, inner, not_applicable, passed
from slvr_data.schema import Verdict

NAME = "plausible"
CHARACTER_PX = 15.0
"""Least area of the box per character that anybody can read."""
STEP = 10
"""Least difference in brightness, of 0..255, between a letter's stroke and its ground."""
EVEN = 5.0
"""Standard deviation of every channel below which a thing is of one even colour."""
MIN_PIXELS = 100
OVERLAP_PX = 3.0
"""Boxes that come this near may overlap."""
PATTERNS = frozenset(
    [
        "striped", "dotted", "checkered", "checked", "plaid", "spotted", "patterned", "polka-dotted", "polka dot",
        "floral", "camouflage", "camouflaged", "zigzag",
    ]
)  # fmt: skip
_SIDE = 96


def check_plausible(record: CheckedRegion) -> Verdict:
    """Fails with "text-too-small", "text-empty", "text-not-seen", "pattern-not-seen" or "depth-without-neighbour".

    Depth is judged only where everything that the picture shows is annotated.
    """
    profile = record.profile
    applied = False
    for fault in _faults(record):
        applied = True
        if fault is not None:
            return failed(NAME, *fault)
    depth = profile.spatial.depth
    if depth in ("front", "middle", "back") and record.picture.complete:
        applied = True
        if not any(near(record.region.bbox, other.bbox) for other in record.others):
            return failed(NAME, "depth-without-neighbour", f"{depth}: nothing overlaps it")
    return passed(NAME) if applied else not_applicable(NAME)


def near(box: list[float], other: list[float], distance: float = OVERLAP_PX) -> bool:
    """Whether two boxes overlap, or come within `distance` of it."""
    return (
        box[0] < other[2] + distance
        and other[0] < box[2] + distance
        and box[1] < other[3] + distance
        and other[1] < box[3] + distance
    )


def _faults(record: CheckedRegion) -> Iterator[tuple[str, str] | None]:
    """What speaks against text and pattern, None for what nothing speaks against."""
    profile = record.profile
    texts = profile.visible_text
    if texts:
        characters = sum(len("".join(text.split())) for text in texts)
        x1, y1, x2, y2 = record.region.bbox
        area = (x2 - x1) * (y2 - y1)
        if any(not text.strip() for text in texts):
            yield "text-empty", f"{texts}: a text without characters"
        elif area < CHARACTER_PX * characters:
            yield "text-too-small", f"{characters} characters on {area:.0f} px"
        else:
            yield _unseen(record, max(len(word) for text in texts for word in text.split()))
    if profile.appearance.material in PATTERNS and record.inside is not None and len(record.pixels) >= MIN_PIXELS:
        deviation = float(record.pixels.astype(np.float32).std(0).max())
        even = deviation < EVEN
        yield ("pattern-not-seen", f"{profile.appearance.material}: its colour is even") if even else None


def _unseen(record: CheckedRegion, characters: int) -> tuple[str, str] | None:
    """Whether the thing shows fewer strokes than a word of that many characters has."""
    found = strokes(record)
    if found >= characters:
        return None
    return "text-not-seen", f"a word of {characters} characters: no line across it meets more than {found} edges"


def strokes(record: CheckedRegion) -> int:
    """The most edges between bright and dark that any row or column meets within the thing."""
    x1, y1, x2, y2 = record.window
    step = max(1, min(x2 - x1, y2 - y1) // _SIDE)
    light = record.picture.array[y1:y2:step, x1:x2:step].astype(np.int16).sum(2) // 3
    mask = np.ones(light.shape, dtype=np.bool_) if record.inside is None else inner(record.inside)[::step, ::step]
    return max(_edges(light, mask), _edges(light.T, mask.T))


def _edges(light: NDArray[np.int16], mask: NDArray[np.bool_]) -> int:
    """The most times that any row gets plainly brighter or darker inside the mask."""
    if light.shape[1] < 3:
        return 0
    change = np.where(mask[:, 1:] & mask[:, :-1], np.diff(light, axis=1), 0)
    total = np.zeros(len(light), dtype=np.int64)
    for strong in (change > STEP, change < -STEP):
        total += strong[:, 0]
        total += np.count_nonzero(strong[:, 1:] & ~strong[:, :-1], axis=1)
    return int(total.max())
