"""What can be done to latents, by name: a list such as "zeroed,picture:visual,slots:0..2K" -> variants of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

from slvr_data.errors import UsageError

Part = Literal["all", "visual", "semantic"]
"""Which latents are replaced."""
PARTS: tuple[Part, ...] = get_args(Part)
FAMILY = "latents"
"""What the names of these variants begin with."""
SLOTS = "slots"
MEANINGS = {
    "zeroed": "zeros",
    "noise": "noise of the length of each latent",
    "mean": "the mean latent of the run's queries, slot by slot",
    "picture": "the latents of a query about another picture",
    "region": "those of a query about another region of the same picture",
    "targets": "the right region's targets: its pooled visual tokens, and its profile's embedding (--profiles)",
}
"""Intervention -> what is fed in place of the model's own latents."""
DONATED = frozenset({"picture", "region"})
"""Those that take the latents of another query."""
SURVEYED = 500
"""Items of a run whose latents are measured, and whose mean latent is fed, at most; they are drawn by hash."""
_SPAN = re.compile(r"(\d+)(?:\.\.(?:(\d+)|(\d*)K))?")


@dataclass(frozen=True)
class Shape:
    """What latents a model has."""

    visual_slots: int
    semantic: bool


@dataclass(frozen=True)
class Intervention:
    """One change of the latents: a variant of every query."""

    name: str
    """One of `MEANINGS`, or "slots"."""
    part: Part = "all"
    slots: int | None = None
    """Of "slots": how many visual ones."""

    @property
    def variant(self) -> str:
        """Its name in a log: "latents-zeroed", "latents-zeroed-visual", "latents-slots-3"."""
        last = str(self.slots) if self.name == SLOTS else "" if self.part == "all" else self.part
        return "-".join([FAMILY, self.name, last]).rstrip("-")

    @property
    def words(self) -> str:
        """Its name for people."""
        return self.variant.removeprefix(f"{FAMILY}-").replace("-", " ")


@dataclass(frozen=True)
class Wanted:
    """An entry of the list, before the model's slots are known."""

    name: str
    part: Part | None = None
    """None: every part that the model has."""
    least: int = 0
    most: int | None = None
    times: int = 2
    """Where `most` is None: that many times the model's own number."""


def wanted_of(text: str) -> tuple[Wanted, ...]:
    """The entries of a list of interventions.

    An entry is a name, or name:visual, name:semantic, name:all for one part of the latents alone; or slots:N,
    slots:A..B, slots:A..nK (n times the model's own number; `slots` alone is 0..2K).

    Raises:
        UsageError: one is unknown.
    """
    found: dict[Wanted, None] = {}
    for entry in (entry.strip() for entry in text.split(",")):
        if entry:
            name, colon, rest = entry.partition(":")
            made = _slots(entry, rest or "0..2K") if name == SLOTS else _named(entry, name, rest if colon else None)
            found[made] = None
    return tuple(found)


def _named(entry: str, name: str, part: str | None) -> Wanted:
    if name not in MEANINGS:
        near = get_close_matches(name, (*MEANINGS, SLOTS), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--interventions {entry}: {name!r} is none of {', '.join((*MEANINGS, SLOTS))}{hint}")
    for known in PARTS:
        if part in (None, known):
            return Wanted(name, None if part is None else known)
    raise UsageError(f"--interventions {entry}: {part!r} is none of {', '.join(PARTS)}")


def _slots(entry: str, text: str) -> Wanted:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise UsageError(f"--interventions {entry}: give slots:N, slots:A..B or slots:0..2K, K being the model's own")
    least, most, times = found.groups()
    if times is not None:
        return Wanted(SLOTS, None, int(least), None, int(times or 1))
    end = int(most) if most is not None else int(least)
    if end < int(least):
        raise UsageError(f"--interventions {entry}: {least}..{end} holds no number")
    return Wanted(SLOTS, None, int(least), end)


def resolved(wanted: Iterable[Wanted], shape: Shape, profiles: bool) -> tuple[Intervention, ...]:
    """The interventions of a list for a model.

    "All" is left out where a model has one part only, since that part is all. The model's own number of slots is
    left out, since that is the plain query. Without profiles the semantic target is unknown, so that "targets" are
    the visual ones alone.

    Raises:
        UsageError: a part is asked for that the model does not have, or the semantic target without profiles.
    """
    found: dict[Intervention, None] = {}
    for entry in wanted:
        if entry.name == SLOTS:
            most = entry.most if entry.most is not None else entry.times * shape.visual_slots
            if most and not shape.visual_slots:
                raise UsageError("--interventions slots: this model has no visual latents")
            for number in range(entry.least, most + 1):
                if number != shape.visual_slots:
                    found[Intervention(SLOTS, slots=number)] = None
            continue
        for part in _parts(entry, shape, profiles):
            found[Intervention(entry.name, part)] = None
    return tuple(found)


def _parts(entry: Wanted, shape: Shape, profiles: bool) -> tuple[Part, ...]:
    visual_only = entry.name == "targets" and not profiles
    if entry.part == "semantic" and not shape.semantic:
        raise UsageError(f"--interventions {entry.name}:semantic: this model has no semantic latent")
    if entry.part == "visual" and not shape.visual_slots:
        raise UsageError(f"--interventions {entry.name}:visual: this model has no visual latents")
    if visual_only and not shape.visual_slots:
        raise UsageError("--interventions targets: this model's only target is a profile's: add --profiles")
    if visual_only and entry.part in ("semantic", "all") and shape.semantic:
        raise UsageError(
            f"--interventions targets:{entry.part}: the semantic target is the embedding of the region's profile, "
            "which a benchmark folder does not hold: name the published set with --profiles"
        )
    if not shape.semantic:
        return ("visual",) if entry.name == "targets" else ("all",)
    if not shape.visual_slots:
        return ("semantic",) if entry.name == "targets" else ("all",)
    if entry.part is not None:
        return (entry.part,)
    return ("visual",) if visual_only else PARTS


def intervention_of(variant: str) -> Intervention | None:
    """The intervention of a variant of a log; None for other variants."""
    family, _, rest = variant.partition("-")
    name, _, last = rest.partition("-")
    if family != FAMILY:
        return None
    if name == SLOTS and last.isdecimal():
        return Intervention(SLOTS, slots=int(last))
    for part in PARTS:
        if name in MEANINGS and last == ("" if part == "all" else part):
            return Intervention(name, part)
    return None
