"""Errors that the stub's model makes: the paper's classes at the paper's shares, some of them in every look."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from slvr_data.injector import CLASSES, SHARES, Corruption, Surroundings, corrupt_profile, corrupt_query
from slvr_data.schema import AttributeProfile, Query
from slvr_data.sources.scenes.forms import SHAPES

VOCABULARY = sorted(SHAPES)
"""All things that scenes draw."""


@dataclass(frozen=True)
class Errors:
    """How often the model is wrong of a region, in any one look: `rate`, of which `repeat` is wrong in every look."""

    rate: float = 0.0
    repeat: float = 0.0
    answers: float = 0.0
    """Share of questions that it answers wrong though it sees the picture."""
    seed: int = 0

    def profile(self, around: Surroundings, look: str) -> Corruption[AttributeProfile] | None:
        """The error in this look at the region, or None; equal looks have equal errors."""
        random = self._wrong(around.region.row.region_id, look)
        if random is None:
            return None
        for error in _classes(random):
            spoilt = corrupt_profile(around, error, random.getrandbits(30))
            if spoilt is not None:
                return spoilt
        return None

    def query(self, query: Query, around: Surroundings, look: str) -> Corruption[Query] | None:
        """The same for a question."""
        random = self._wrong(query.query_id, look)
        if random is None:
            return None
        for error in _classes(random):
            spoilt = corrupt_query(query, around, error, random.getrandbits(30))
            if spoilt is not None:
                return spoilt
        return None

    def _wrong(self, record: str, look: str) -> Random | None:
        """The dice that the error is made with: of the record alone where it is in every look."""
        always = self.rate * self.repeat
        random = Random(f"{self.seed}:{record}")
        if random.random() < always:
            return random
        random = Random(f"{self.seed}:{record}:{look}")
        return random if random.random() < (self.rate - always) / max(1e-9, 1 - always) else None


def _classes(random: Random) -> list[str]:
    """All classes in a drawn order, likelier ones first."""
    weights = dict(SHARES)
    order = []
    while weights:
        (drawn,) = random.choices([c for c in CLASSES if c in weights], [weights[c] for c in CLASSES if c in weights])
        order.append(drawn)
        del weights[drawn]
    return order


def described(found: Corruption[Any], region_id: str, name: str, seed: int) -> dict[str, Any]:
    """For the log."""
    return {"region_id": region_id, "error": found.error, "kind": found.kind, "schema": name, "seed": seed}
