"""What a run leaves open, and why."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipelines.engines.lost import region_count
from slvr_data.errors import RunError

_VARYING = re.compile(r"[\w-]*\d[\w-]*")
"""A number, or an id: a word with a digit in it."""
_REASON_CHARACTERS = 80
UNSEEN = "shards that were finished are damaged, or a network file system does not show them here yet"
"""Why something is open although every call has come back."""


@dataclass
class Left:
    """What was left open, and why."""

    pictures: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why, by how many regions; what differs from region to region (numbers, ids) is left out."""
    stopped: str = ""
    """Why no more was asked, where the whole run ended early."""

    examples: dict[str, str] = field(default_factory=dict)
    """The first of each reason, in full."""
    lost: set[str] = field(default_factory=set)
    """image_id of pictures that end every worker which takes them, or whose file is gone."""

    def note(self, evidence: str) -> None:
        """Count a region that was left open."""
        reason = _VARYING.sub("#", evidence)[:_REASON_CHARACTERS]
        self.reasons[reason] += 1
        self.examples.setdefault(reason, evidence)

    def lose(self, task: Any, error: RunError) -> None:
        """Count the regions of a shard that ends its workers, or whose picture is gone."""
        for picture in task.pictures:
            self.pictures += 1
            self.lost.add(picture.planned.image_id if picture.planned is not None else picture.image_id)
            for _ in range(max(1, region_count(picture))):
                self.note(str(error))

    def why(self) -> str:
        """What ended the run, or an example of the most frequent reason."""
        if self.stopped:
            return self.stopped
        return self.examples[max(self.reasons, key=lambda reason: self.reasons[reason])] if self.reasons else ""
