"""Run logs for tests of the statistics: lines with everything that scores read, made at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.records import CANNOT_SEE, LogLine, Outcome

CHOICES = ("red", "blue", "green", "grey")
FACETS = ("color", "size", "position", "entity")


def line(item: str, position: int, correct: bool, **changed: Any) -> LogLine:
    """A line of a log; the picture is the item's unless `image` is given."""
    variant, seed = changed.get("variant", "plain"), changed.get("seed", 0)
    image = changed.pop("image", f"picture of {item}")
    query = f"{item}-{position}"
    fields: dict[str, Any] = {
        "ask_id": f"{item}/{query}/{variant}/{seed}",
        "item_id": item,
        "image_id": image,
        "query_id": query,
        "position": position,
        "facet": FACETS[position],
        "variant": "plain",
        "seed": 0,
        "question": "What color is it?",
        "choices": CHOICES,
        "expected": "red",
        "reply": "red" if correct else "blue",
        "reply_length": 4,
        "outcome": "answer",
        "answer": "red" if correct else "blue",
        "correct": correct,
        "chance": 0.25,
        "finish": "stop",
    }
    return LogLine(**fields | changed)


def items_of(*rights: Sequence[bool], pictures: Sequence[str] | None = None, **changed: Any) -> list[LogLine]:
    """A line per query of items 0, 1, ...; `rights[i]` says which queries of item i are right."""
    return [
        line(str(i), position, correct, **changed, **({"image": pictures[i]} if pictures else {}))
        for i, own in enumerate(rights)
        for position, correct in enumerate(own)
    ]


def random_log(seed: int, pictures: int = 12, seeds: int = 1, variants: Sequence[str] = ("plain",)) -> list[LogLine]:
    """Pictures of 1 to 5 items of 1 to 4 queries, some of them missing; all outcomes; some queries open."""
    rng = np.random.default_rng(seed)
    lines = []
    for picture in range(pictures):
        hard = rng.random()
        for item in range(rng.integers(1, 6)):
            places = [place for place in range(rng.integers(1, 5)) if rng.random() < 0.9]
            for place in places:
                open_form = rng.random() < 0.1
                for variant in variants:
                    for own_seed in range(seeds):
                        said = _said(rng, hard, variant)
                        more = {"choices": (), "chance": None} if open_form else {}
                        name = f"{picture}-{item}"
                        lines.append(
                            line(name, place, image=f"p{picture:02}", variant=variant, seed=own_seed, **said, **more)
                        )
    return lines


def _said(rng: np.random.Generator, hard: float, variant: str) -> dict[str, Any]:
    outcome: Outcome = rng.choice(["answer"] * 8 + ["unparsed", "refused", "failed"])
    gone = variant in ("masked", "blank")
    right = CANNOT_SEE if gone else "red"
    others = ["red", "blue", "green", "grey", *([CANNOT_SEE] if gone or variant == "intact" else [])]
    answer = right if rng.random() > hard else str(rng.choice([other for other in others if other != right]))
    if outcome != "answer":
        answer = None
    return {
        "outcome": str(outcome),
        "answer": answer,
        "correct": answer == right,
        "expected": None if gone else "red",
    }
