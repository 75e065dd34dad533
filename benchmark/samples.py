"""Items to look at: which class each falls in, which are shown on a page of bounded size, and their pictures, small."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.opened import Run
from benchmark.records import LogLine

ItemClass = Literal["all-right", "mixed", "all-wrong", "unparsed"]
CLASSES: dict[ItemClass, str] = {
    "all-right": "every query is answered rightly",
    "mixed": "every reply names an answer, some right and some wrong",
    "all-wrong": "every reply names an answer, all of them wrong",
    "unparsed": "at least one reply names no answer, declines, or did not come",
}
"""Class -> meaning. Each item of a run is in exactly one, by its plain asks in the run's first seed."""

PICTURE_SIDE = 560
"""Longest side of an embedded picture in pixels."""
MAX_BYTES = 12_000_000
"""Of pictures and replies on one page, before they are encoded as text."""
MAX_WORDS = 2_000
"""Characters of a reply that are shown."""


@dataclass(frozen=True)
class Picked:
    """The items of a page, and how many there are of which it shows only these."""

    items: list[str]
    """Ids, those first on which runs differ most."""
    of: int


def item_class(lines: Sequence[LogLine]) -> ItemClass:
    """The class of an item from the lines of its queries in one variant and seed; at least one is needed."""
    if any(line.outcome != "answer" for line in lines):
        return "unparsed"
    right = sum(line.correct for line in lines)
    return "all-right" if right == len(lines) else "mixed" if right else "all-wrong"


def first_seed(run: Run) -> int:
    """The seed whose replies are shown and classed."""
    return run.header.seeds[0] if run.header.seeds else 0


def classes_of(run: Run) -> dict[str, ItemClass]:
    """Item id -> class, in the order of the log."""
    seed = first_seed(run)
    plain: dict[str, list[LogLine]] = {}
    for line in run.lines:
        if line.variant == "plain" and line.seed == seed:
            plain.setdefault(line.item_id, []).append(line)
    return {item_id: item_class(lines) for item_id, lines in plain.items()}


def picked(classes: Sequence[Mapping[str, ItemClass]], most: int) -> Picked:
    """At most `most` items, dealt in turn from every combination of classes over the runs.

    So rare combinations (one run all right, another all wrong) are there, whatever their share. Within a combination
    the order is that of a hash of the id: the same runs give the same page.
    """
    ids = sorted({item_id for found in classes for item_id in found})
    hands: dict[tuple[str, ...], list[str]] = {}
    for item_id in ids:
        hands.setdefault(tuple(found.get(item_id, "") for found in classes), []).append(item_id)
    order = sorted(hands, key=lambda key: (-len(set(key)), key))
    for hand in hands.values():
        hand.sort(key=lambda item_id: hashlib.sha256(item_id.encode()).digest())
    dealt = [hands[key][turn] for turn in range(len(ids)) for key in order if turn < len(hands[key])]
    return Picked(dealt[:most], len(ids))


def small_picture(encoded: bytes, box: Sequence[float] | None, size: tuple[int, int]) -> tuple[bytes, bytes | None]:
    """JPEGs of a picture and, where its region is small on it, of the region with its surroundings.

    Raises:
        slvr_data.images.PictureError: it cannot be decoded.
    """
    from slvr_data.images import crop, decoded, encode_jpeg

    pixels = decoded(encoded)
    quality = 92 if max(pixels.size) < PICTURE_SIDE else 82  # a small picture is shown enlarged
    whole = encode_jpeg(crop(pixels, (0, 0, pixels.width, pixels.height), PICTURE_SIDE), quality)
    if box is None:
        return whole, None
    scale = pixels.width / size[0], pixels.height / size[1]
    x1, y1, x2, y2 = box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]
    side = max(x2 - x1, y2 - y1) * 2
    if side > 0.5 * max(pixels.size):
        return whole, None
    cx, cy, half = (x1 + x2) / 2, (y1 + y2) / 2, max(16.0, side / 2)
    around = (
        max(0, round(cx - half)), max(0, round(cy - half)),
        min(pixels.width, round(cx + half)), min(pixels.height, round(cy + half)),
    )  # fmt: skip
    return whole, encode_jpeg(crop(pixels, around, 280), quality)


def cut(text: str | None, most: int = MAX_WORDS) -> tuple[str, int]:
    """The beginning of a reply, and how many characters are left out."""
    words = text or ""
    return words[:most], max(0, len(words) - most)
