"""What baselines without sight have learnt from pictures that are not asked about: answers and word weights.

Where a build has training pictures of its own (the training split, or another set), one *part* answers for all items.
Where it has none (`--split all`), pictures are cut in three by their hash. A third's queries are answered by what was
learnt from the third before it; the third behind it decides which templates are refused. So no picture has a say in its
own items, and what is reported had none in choosing templates.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.models.blind import SIZE, Text, Weights, fitted
from slvr_data.errors import UsageError
from slvr_data.remote.reading import read_bytes

FORMAT = "slvr-bench training"
MOST_ANSWERS = 1000
"""Answers that are kept per facet."""


@dataclass(frozen=True)
class Part:
    """What one part of the pictures teaches."""

    pictures: int
    queries: int
    answers: dict[str, dict[str, int]]
    """Facet -> answer -> how often, as published, the most frequent first."""
    weights: Weights
    """Of the answerer from words (`benchmark.models.blind`), learnt from queries balanced as the items are."""

    @classmethod
    def of(cls, published: Iterable[tuple[str, str]], balanced: Sequence[Text]) -> Part:
        """Learn from (facet, answer) as they are published, and from balanced queries."""
        counts: dict[str, Counter[str]] = {}
        for facet, answer in published:
            counts.setdefault(facet, Counter())[answer] += 1
        answers = {
            facet: dict(sorted(own.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_ANSWERS])
            for facet, own in sorted(counts.items())
        }
        return cls(len({text.image_id for text in balanced}), len(balanced), answers, fitted(balanced))

    def frequency(self, answer: str, facet: str | None = None) -> int:
        """How often an answer is right, in a facet or in all of them."""
        facets = self.answers.values() if facet is None else [self.answers.get(facet, {})]
        return sum(own.get(answer, 0) for own in facets)


@dataclass(frozen=True)
class Statistics:
    """All parts: one for all pictures, or one for each third of them."""

    parts: tuple[Part, ...]

    def of(self, image_id: str) -> Part:
        """The part that answers for a picture."""
        return self.parts[third_of(image_id) if len(self.parts) == THIRDS else 0]

    def to_bytes(self) -> bytes:
        """As `training.json` holds it; weights are float16, little-endian, base64."""
        parts = [
            {
                "pictures": part.pictures,
                "queries": part.queries,
                "answers": part.answers,
                "weights": base64.b64encode(part.weights.astype("<f2").tobytes()).decode(),
            }
            for part in self.parts
        ]
        return (json.dumps({"format": FORMAT, "version": 1, "parts": parts}, ensure_ascii=False) + "\n").encode()


THIRDS = 3


def third_of(image_id: str) -> int:
    """Which third a picture is in: 0, 1 or 2."""
    return _hash(image_id) % THIRDS


def half_of(image_id: str) -> int:
    """Which half a picture is in: 0 decides which templates are refused, 1 is what baselines learn from."""
    return _hash(image_id) % 2


def _hash(image_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"part:{image_id}".encode()).digest()[:8], "big")


def load_statistics(path: Path | None, model: str) -> Statistics:
    """What a benchmark folder's baselines have learnt.

    Raises:
        UsageError: the folder has nothing of the kind, or the file is damaged.
    """
    if path is None:
        raise UsageError(
            f"--model {model} needs something to learn from, and this benchmark was made without training pictures: "
            "build it from a set with a training split, or with --training DIR"
        )
    try:
        tree: dict[str, Any] = json.loads(read_bytes(path))
        if tree["format"] != FORMAT or tree["version"] != 1 or len(tree["parts"]) not in (1, THIRDS):
            raise ValueError("it is of another format")
        return Statistics(tuple(_part(part) for part in tree["parts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _part(tree: dict[str, Any]) -> Part:
    weights = np.frombuffer(base64.b64decode(tree["weights"], validate=True), "<f2").astype(np.float32)
    if weights.shape != (SIZE,):
        raise ValueError(f"it has {len(weights)} weights, not {SIZE}")
    return Part(tree["pictures"], tree["queries"], tree["answers"], weights)
