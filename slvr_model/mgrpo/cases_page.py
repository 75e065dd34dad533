"""Cases as one page to look at: the picture with its region, the questions, what each rollout answered and earned."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.pages.render import data_url, render
from slvr_model.mgrpo import case_numbers
from slvr_model.mgrpo.case_numbers import Numbers, Row
from slvr_model.mgrpo.cases import read_cases
from slvr_model.prompts import LETTERS

BINS, ROWS = 60, 20
"""Points of a curve, and lines of the table, at most."""
SPECIAL = re.compile(r"<[^<>\s]{1,40}>")
"""Special tokens within a reply."""
CURVE = 160, 36
"""Width and height of a curve."""
EDGE = 2.5
"""Room around it."""


def page_of(folder: Path, command: str, *, steps: tuple[int, int] | None = None, most: int = 60) -> str:
    """One self-contained HTML page; write it as UTF-8.

    Args:
        folder: of a run.
        command: that wrote the page.
        steps: first and last step to show.
        most: groups that are shown, at even distances over the steps; the curves count all.

    Raises:
        UsageError: there are no cases, or none of these steps.
    """
    numbers, keys = overview(folder, steps, BINS)
    drawn = _spread(keys, most)
    groups = list(_groups(folder, set(drawn)))
    groups.sort(key=lambda group: drawn.index((group[0]["step"], group[0]["region_id"])))
    pictures = _pictures(folder, {group[0]["image_id"] for group in groups})
    cards = [_card(group, pictures.get(group[0]["image_id"])) for group in groups]
    total = sum(one.groups for one in numbers)
    return render(
        "cases.html.j2",
        folder=Path(__file__).parent,
        title=f"Cases of {folder.resolve().name}",
        subtitle="What each rollout answered, what it earned, and what it was taught for that.",
        facts=_facts(numbers, total, len(cards)),
        command=command,
        configuration=None,
        curves=[_curve(name, numbers) for name in case_numbers.names(numbers)],
        curve_size=CURVE,
        span=(numbers[0].first, numbers[-1].last),
        bins=len(numbers),
        cards=cards,
        total=total,
        facets=sorted(Counter(query["facet"] for card in cards for query in card["queries"]).items()),
        largest=max((abs(row["advantage"] or 0.0) for group in groups for row in group), default=0.0) or 1.0,
    )


def overview(folder: Path, steps: tuple[int, int] | None, bins: int) -> tuple[list[Numbers], list[tuple[int, str]]]:
    """(Numbers over the steps, the (step, region) of each group in order).

    Raises:
        UsageError: there are no cases, or none of these steps.
    """
    keys: list[tuple[int, str]] = []

    def groups() -> Iterator[list[Row]]:
        for rows in read_cases(folder, case_numbers.COLUMNS, steps):
            for group in case_numbers.by_group(rows.to_pylist()):
                keys.append((group[0]["step"], group[0]["region_id"]))
                yield group

    numbers = case_numbers.counted(groups(), bins)
    if not numbers:
        there = sorted({step for rows in read_cases(folder, ["step"]) for step in rows["step"].to_pylist()})
        wanted = "any step" if steps is None else f"steps {steps[0]} to {steps[1]}"
        raise UsageError(f"{folder} has no cases of {wanted}: there are those of steps {there[0]} to {there[-1]}")
    return numbers, sorted(keys, key=lambda key: key[0])


def _spread(keys: Sequence[tuple[int, str]], most: int) -> list[tuple[int, str]]:
    """At most so many, at even distances, the first and the last among them."""
    if len(keys) <= most:
        return list(keys)
    return [keys[round(at * (len(keys) - 1) / max(most - 1, 1))] for at in range(most)]


def _groups(folder: Path, wanted: set[tuple[int, str]]) -> Iterator[list[Row]]:
    found = {step for step, _ in wanted}
    columns = [*case_numbers.COLUMNS, "image_id", "question", "choices", "reply", "logprob", "advantage"]
    for rows in read_cases(folder, [*columns, "box", "width", "height"], (min(found), max(found))):
        for group in case_numbers.by_group(rows.to_pylist()):
            if (group[0]["step"], group[0]["region_id"]) in wanted:
                yield group


def _pictures(folder: Path, wanted: set[str]) -> dict[str, bytes]:
    """Kept pictures by id."""
    found: dict[str, bytes] = {}
    for rows in read_cases(folder, ["image_id", "picture"]):
        for row in rows.filter(rows["picture"].is_valid()).to_pylist():
            if row["image_id"] in wanted and row["image_id"] not in found:
                found[row["image_id"]] = row["picture"]["bytes"]
        if len(found) == len(wanted):
            break
    return found


def _facts(numbers: Sequence[Numbers], total: int, drawn: int) -> list[tuple[str, str]]:
    whole = case_numbers.together(numbers)
    shares = [
        (caption, case_numbers.shown(name, whole.means[name].value))
        for name, caption in (
            ("right", "right answers"), ("all right", "all of a region right"), ("mixed", "mixed questions"),
            ("formed", "whole replies"),
        )
    ]  # fmt: skip
    steps = f"{whole.first} to {whole.last}" if whole.first < whole.last else f"{whole.first}"
    shown = f"{drawn:,} of {total:,}" if drawn < total else f"{total:,}"
    return [("steps", steps), ("regions shown", shown), ("rollouts in all", f"{whole.rollouts:,}"), *shares]


def _curve(name: str, numbers: Sequence[Numbers]) -> dict[str, Any]:
    """A mean over the steps, as points of a line, with its first and last value in words."""
    width, height = CURVE
    values = [one.means[name].value if name in one.means else None for one in numbers]
    known = [value for value in values if value is not None]
    least, most = min(known), max(known)
    if name in ("right", "all right", "mixed", "formed"):
        least, most = 0.0, 1.0
    across, up = (width - 2 * EDGE) / max(len(values) - 1, 1), (height - 2 * EDGE) / max(most - least, 1e-9)
    points = [
        (round(EDGE + across * at, 1), round(height - EDGE - up * (value - least), 1))
        for at, value in enumerate(values)
        if value is not None
    ]
    return {
        "name": name.removeprefix("term ").replace("_", " "),
        "term": name.startswith("term "),
        "points": " ".join(f"{x:g},{y:g}" for x, y in points),
        "end": points[-1],
        "first": case_numbers.shown(name, known[0]),
        "last": case_numbers.shown(name, known[-1]),
    }


def _card(group: Sequence[Row], picture: bytes | None) -> dict[str, Any]:
    """A group as the template wants it."""
    head = group[0]
    whole = any(row["reward"] is not None for row in group)
    queries = [_query(query, whole) for query in case_numbers.by_query(group)]
    right: dict[int, bool] = defaultdict(lambda: True)
    for row in group:
        right[row["rollout"]] &= case_numbers.is_right(row)
    x1, y1, x2, y2 = head["box"]
    return {
        "step": head["step"],
        "region": head["region_id"],
        "image": head["image_id"],
        "size": (head["width"], head["height"]),
        "box": (x1, y1, x2 - x1, y2 - y1),
        "picture": None if picture is None else _url(picture),
        "sharp": max(head["width"], head["height"]) <= 256,
        "queries": queries,
        "terms": [one["term"] for one in head["rewards"]],
        "whole": whole,
        "number": len(right),
        "all_right": sum(right.values()),
        "kinds": " ".join(sorted(_kinds(queries, group, right))),
    }


def _kinds(queries: Sequence[Mapping[str, Any]], group: Sequence[Row], right: Mapping[int, bool]) -> set[str]:
    """What a group is found by."""
    found = {"mixed" if any(query["mixed"] for query in queries) else "same"}
    if all(right.values()):
        found.add("right")
    if not any(case_numbers.is_right(row) for row in group):
        found.add("wrong")
    if not all(row["formed"] for row in group):
        found.add("broken")
    return found


def _query(rows: Sequence[Row], whole: bool) -> dict[str, Any]:
    """A question; rollouts that say and earn the same are one line."""
    head = rows[0]
    same: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        earned = tuple(one["value"] for one in row["rewards"])
        same[row["answer"], row["formed"], earned, row["reward"], row["advantage"], _said(row)].append(row)
    lines = [_line(each, whole) for each in same.values()]
    lines.sort(key=lambda line: (-1e9 if line["advantage"] is None else line["advantage"], line["order"]), reverse=True)
    return {
        "id": head["query_id"],
        "facet": head["facet"],
        "question": head["question"],
        "choices": list(zip(LETTERS, head["choices"], strict=False)),
        "right": head["right"],
        "mixed": case_numbers.is_mixed(rows),
        "lines": lines,
    }


def _line(rows: Sequence[Row], whole: bool) -> dict[str, Any]:
    """Rollouts that say and earn the same; `whole`: there is a column for the whole reward."""
    head = rows[0]
    values = [one["value"] for one in head["rewards"]] + ([head["reward"]] if whole else [])
    return {
        "answer": head["answer"],
        "meant": dict(zip(LETTERS, head["choices"], strict=False)).get(head["answer"], ""),
        "said": _said(head),
        "right": case_numbers.is_right(head),
        "formed": head["formed"],
        "rollouts": [row["rollout"] for row in rows],
        "figures": [_figure(value) for value in values],
        "advantage": head["advantage"],
        "order": (head["reward"] or 0.0, -head["rollout"]),
    }


def _figure(value: float | None) -> str:
    """A value in a few characters; small ones keep two digits."""
    if value is None:
        return "–"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def _said(row: Row) -> str:
    """The reply, where it holds more than its answer, without special tokens; all of it where it is not whole."""
    if row["reply"] is None:
        return ""
    if not row["formed"]:
        return str(row["reply"])
    words = " ".join(SPECIAL.sub(" ", row["reply"]).split())
    return "" if words == " ".join(row["answer"].split()) else words


def _url(picture: bytes) -> str:
    """A kept picture for the page."""
    return data_url(picture, "png" if picture.startswith(b"\x89PNG") else "jpeg")


def show_cases(folder: Path, page: Path | None, steps: str | None, most: int) -> str:
    """What `slvr-train cases` prints; with `page`, the page is written.

    Raises:
        UsageError: `steps` is no range, there are no cases, or `page` lies in no folder.
    """
    span = _span(steps)
    told = case_numbers.told(overview(folder, span, ROWS)[0])
    if page is None:
        return told
    if not page.parent.is_dir():
        raise UsageError(f"--html {page}: there is no folder {page.parent}")
    given = ["--steps", steps] if steps else []
    command = shlex.join(["slvr-train", "cases", str(folder), *given, "--groups", str(most), "--html", str(page)])
    write_atomic(page, page_of(folder, command, steps=span, most=most).encode())
    return f"{told}\nwritten: {page}"


def _span(steps: str | None) -> tuple[int, int] | None:
    """First and last step of e.g. "100:200"."""
    if steps is None:
        return None
    found = re.fullmatch(r"(\d+)(?::(\d+))?", steps)
    if found is None:
        raise UsageError(f"--steps {steps}: a step such as 100, or the first and last of several, 100:200")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise UsageError(f"--steps {steps}: the last comes before the first")
    return first, last
