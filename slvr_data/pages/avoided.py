"""The page of avoided pictures: each picture of a set beside the avoided one that it is or comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slvr_data.pages.render import render

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Side:
    """One picture of a pair."""

    title: str
    subtitle: str
    jpeg: bytes
    box: Box
    """What of it the other shows too: shares of width and height, [x1, y1, x2, y2]."""
    mirrored: bool = False
    """The box is one of the mirror image, as which the picture is shown."""


@dataclass(frozen=True)
class Pair:
    """A picture of the set and the avoided one."""

    words: str
    """How it was found."""
    kept_out: bool
    split: str
    ours: Side
    avoided: Side


def render_avoided(
    title: str,
    facts: Sequence[tuple[str, str]],
    pairs: Sequence[Pair],
    unreadable: Sequence[tuple[str, str, str]],
    left_out: int,
    command: str,
) -> str:
    """One self-contained HTML page; `unreadable` are (given, name, problem), `left_out` pairs are not shown."""
    kept_out = sum(pair.kept_out for pair in pairs)
    return render(
        "avoided.html.j2",
        title=title,
        subtitle=f"{len(pairs):,} pictures that are, or come from, avoided ones; {kept_out:,} are kept out of train",
        facts=facts,
        command=command,
        configuration=None,
        pairs=pairs,
        unreadable=unreadable,
        left_out=left_out,
    )
