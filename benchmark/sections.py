"""Scores into the sections of the report page: which stand together, on which axis, and in what order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from string import ascii_lowercase
from typing import Literal

from benchmark.pages.strips import Axis, fitting_axis, share_axis, strip
from benchmark.pages.view import Measure, Row, Section
from benchmark.scores import Estimate, Scores
from benchmark.wording import between, kind_of, plural, titled, written


class Footnotes:
    """Reasons with a letter each, in the order in which they came up."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def letter(self, reason: str | None) -> str:
        """The letter of a reason, the same for the same words; empty for none."""
        if not reason:
            return ""
        place = len(self._letters)
        new = (ascii_lowercase[place // 26 - 1] if place >= 26 else "") + ascii_lowercase[place % 26]
        return self._letters.setdefault(reason, new)

    @property
    def listed(self) -> list[tuple[str, str]]:
        """Letter and reason."""
        return [(letter, reason) for reason, letter in self._letters.items()]


@dataclass(frozen=True)
class _Group:
    key: str
    title: str
    intro: str
    names: tuple[str, ...]
    """Patterns in the order of the page; each score stands with the first group that names it."""
    axis: Literal["share", "points", "coefficient"] = "share"
    folded: bool = False


_GROUPS = (
    _Group(
        "scores",
        "Scores",
        "In percent, with 95 % intervals over pictures. The dashed tick is what guessing gives.",
        ("accuracy", "both", "all_right", "cs_*", "p_q2_given_q1", "p_other_given_one"),
    ),
    _Group(
        "beyond",
        "Beyond accuracy",
        "In points. Both rises with accuracy alone; lift is what is left of it.",
        ("over_chance", "all_right_over_chance", "lift", "lift_of_all"),
        "points",
    ),
    _Group(
        "together",
        "Right together",
        "From −1 to 1: whether a model that is right in one query of a region is right in the others.",
        ("phi", "kappa", "correlation"),
        "coefficient",
    ),
    _Group("position", "By position", "Accuracy in percent.", ("position/*/accuracy",)),
    _Group("facet", "By facet", "Accuracy in percent. The dashed tick is chance.", ("facet/*/accuracy",)),
    _Group(
        "wordings",
        "In other words",
        "The same queries in other words. In percent, with 95 % intervals over pictures.",
        ("paraphrase/pairwise_agreement", "paraphrase/flip_rate", "paraphrase/right_in_all", "paraphrase/accuracy"),
    ),
    _Group("alpha", "Agreement of wordings beyond chance", "", ("paraphrase/alpha*",), "coefficient", True),
    _Group(
        "orders",
        "In every rotation",
        "The same queries with their choices in every rotation. In percent, with 95 % intervals over pictures.",
        ("circular/circular_strict", "circular/all_right_strict", "circular/accuracy"),
    ),
    _Group("contradictions", "Contradictions", "In percent of linked pairs.", ("contradiction_rate",)),
    _Group(
        "hallucination",
        "Answers without evidence",
        "Share of replies that name an answer although the picture no longer tells. In percent; less is better.",
        ("evidence/*/hallucination_rate",),
    ),
    _Group(
        "sensitivity",
        "Sensitivity to the evidence",
        "Share right on the intact picture less the share that still names its answer on the changed one, in points.",
        ("evidence/*/sensitivity",),
        "points",
    ),
    _Group(
        "changed",
        "Answers changed by other latents",
        "The same queries with latents replaced: share answered otherwise. Latents that are not read leave this at 0.",
        ("latents/*/changed",),
    ),
    _Group(
        "latents-lost",
        "Accuracy lost with other latents",
        "Accuracy with the model's own latents less accuracy with these, on the same queries, in points.",
        ("latents/*/accuracy_lost",),
        "points",
    ),
    _Group(
        "follows",
        "Answers that follow the donor",
        "Where the latents are those of another query whose answer is another one of the choices: share naming it.",
        ("latents/*/follows", "latents/*/followed_plainly"),
        folded=True,
    ),
    _Group(
        "edits",
        "Edited scenes",
        "The colour of one thing is changed. In percent of scenes, with 95 % intervals over scenes.",
        ("edit_*",),
    ),
    _Group(
        "silent",
        "Replies without an answer",
        "Counted apart from wrong answers, and never guessed at. In percent of all queries.",
        ("unparsed", "refused", "failed"),
    ),
)


def sections(scores: Sequence[Scores]) -> list[Section]:
    """All sections that there are scores for; what belongs to none of the groups is folded away at the end."""
    names = list(dict.fromkeys(name for own in scores for name in own))
    taken: set[str] = set()
    found = []
    for group in _GROUPS:
        own = [name for pattern in group.names for name in names if fnmatchcase(name, pattern) and name not in taken]
        taken |= set(own)
        found.append(_section(group, own, scores))
    rest = [name for name in names if name not in taken]
    shares = [name for name in rest if kind_of(name) == "share"]
    found.append(_section(_Group("other", "All other shares", "In percent.", (), "share", True), shares, scores))
    points = [name for name in rest if kind_of(name) == "points"]
    found.append(_section(_Group("points", "All other differences", "In points.", (), "points", True), points, scores))
    return [section for section in found if section.measures]


def _section(group: _Group, names: Sequence[str], scores: Sequence[Scores]) -> Section:
    axis = _axis(group.axis, [own[name] for own in scores for name in names if name in own])
    notes = Footnotes()
    measures = [measure for name in names if (measure := _measure(name, scores, axis, notes)).rows]
    return Section(group.key, group.title, group.intro, axis, measures, group.folded, notes.listed)


def _axis(kind: str, estimates: Iterable[Estimate]) -> Axis:
    if kind == "share":
        return share_axis()
    values = [value for e in estimates for value in (e.value, e.low, e.high)]
    return fitting_axis(values, percent=kind == "points")


def _measure(name: str, scores: Sequence[Scores], axis: Axis, notes: Footnotes) -> Measure:
    rows = [
        _row(run, name, own[name], axis, _chance(name, own), notes)
        for run, own in enumerate(scores)
        if name in own and own[name].value is not None
    ]
    label, meaning = titled(name)
    return Measure(label, meaning, rows)


def _row(run: int, name: str, estimate: Estimate, axis: Axis, mark: float | None, notes: Footnotes) -> Row:
    kind = kind_of(name)
    percent, signed = kind != "coefficient", kind == "points"
    over = f"{plural(estimate.n_items, 'region')}, {plural(estimate.n_clusters, 'picture')}"
    interval = between(estimate.low, estimate.high, percent, signed)
    footnote = "" if interval else notes.letter(estimate.withheld)
    drawn = strip(axis, estimate.value, estimate.low, estimate.high, mark)
    return Row(run, drawn, written(estimate.value, percent, signed), interval, over, footnote)


def _chance(name: str, own: Mapping[str, Estimate]) -> float | None:
    """What guessing gives, for an accuracy that has its difference to chance beside it."""
    head, _, last = name.rpartition("/")
    over, value = own.get(f"{head}/over_chance" if head else "over_chance"), own[name].value
    if last != "accuracy" or over is None or over.value is None or value is None:
        return None
    return value - over.value
