"""Scores and errors of arms a second time: plain loops over lines, no sums, no matrices."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean, variance

import numpy as np

from benchmark.records import LogLine
from tests.benchmark import slow_scores

Log = Sequence[LogLine]


def score(lines: Log, name: str) -> float:
    """A score of the lines as they are; a line may be there more than once under other names of items."""
    value = slow_scores.headline(list(lines))[name]
    return math.nan if value is None else value


def drawn_pictures(pictures: int, draws: int, seed: int) -> list[list[int]]:
    """The pictures of each draw: the same numbers as `benchmark.stats.drawn` takes, one draw after the other."""
    return np.random.default_rng(seed).integers(0, pictures, size=(draws, pictures)).tolist()


def redrawn(lines: Log, chosen: Sequence[int]) -> list[LogLine]:
    """The lines of the chosen pictures, each time as a new picture with new items."""
    of_picture: dict[str, list[LogLine]] = defaultdict(list)
    for line in lines:
        of_picture[line.image_id].append(line)
    names = sorted(of_picture)
    found = []
    for copy, place in enumerate(chosen):
        for line in of_picture[names[place]]:
            new = {"image_id": f"{copy}", "item_id": f"{copy}/{line.item_id}", "ask_id": f"{copy}/{line.ask_id}"}
            found.append(line.model_copy(update=new))
    return found


def values(logs: Mapping[int, Log], name: str, draws: int, seed: int) -> tuple[list[float], list[list[float]]]:
    """The score of each seed, and in each draw of pictures."""
    pictures = len({line.image_id for line in next(iter(logs.values()))})
    chosen = drawn_pictures(pictures, draws, seed)
    return [score(log, name) for log in logs.values()], [
        [score(redrawn(log, own), name) for log in logs.values()] for own in chosen
    ]


def error(own: Sequence[float], drawn: Sequence[Sequence[float]], pictures: int) -> tuple[float, float, int]:
    """(Error, that of the pictures, degrees of freedom) by the formulas of docs/statistics.md."""
    n = len(own)
    p = variance([mean(row) for row in drawn]) * pictures / (pictures - 1)
    if n == 1:
        return math.sqrt(p), math.sqrt(p), pictures - 1
    s = variance(own) / n
    b = max(0.0, mean(variance(row) for row in drawn) / n - s)
    total = p + max(0.0, s - b)
    df = total**2 / (p**2 / (pictures - 1) + s**2 / (n - 1))
    return math.sqrt(total), math.sqrt(p), max(min(n, pictures) - 1, min(math.floor(df), pictures - 1))
