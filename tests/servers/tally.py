"""The stub's log: what was asked of it and what became of each call, over restarts where it has a file."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

BUCKET_SECONDS = 0.5


class Tally:
    """Counts of calls to /v1/chat/completions (and others by path). Never holds a key or a picture."""

    def __init__(self, file: Path | None = None) -> None:
        self._file: TextIO | None = None
        self.reset()
        if file is not None:
            if file.exists():
                for line in file.read_text().splitlines():
                    self._count(json.loads(line))
            self._file = file.open("a", buffering=1)

    def reset(self) -> None:
        """Forget everything but the number of calls, by which faults are drawn."""
        self.calls = 0
        self.since = time.time()
        self.paths: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.names: Counter[str] = Counter()
        self.usage: Counter[str] = Counter()
        self.authorization: Counter[str] = Counter()
        self.errors: list[dict[str, Any]] = []
        self.bodies: dict[str, list[int]] = {}
        self.repeated = self.received = 0
        self._answered_at: dict[str, float] = {}
        self.buckets: Counter[int] = Counter()
        if self._file is not None:
            self._file.truncate(0)

    def request(self, path: str, authorization: bool) -> None:
        """A request of any kind came in."""
        self.paths[path] += 1
        self.authorization["seen" if authorization else "absent"] += 1

    def call(self, **record: Any) -> None:
        """A chat call has ended: body, name, status, fault, usage, size, began, at."""
        self._count(record)
        if self._file is not None:
            self._file.write(json.dumps(record) + "\n")

    def _count(self, record: dict[str, Any]) -> None:
        self.calls += 1
        self.received += record["size"]
        self.statuses[str(record["status"])] += 1
        self.names[record["name"] or "none"] += 1
        if record["fault"]:
            self.faults[record["fault"]] += 1
        sound = record["status"] == 200 and record["fault"] in (None, "slow")
        counts = self.bodies.setdefault(record["body"], [0, 0])
        counts[0] += 1
        counts[1] += sound
        self.repeated += record["began"] > self._answered_at.get(record["body"], record["at"])
        if sound:
            self._answered_at.setdefault(record["body"], record["at"])
            self.buckets[int((record["at"] - self.since) / BUCKET_SECONDS)] += 1
        self.usage.update(record["usage"])
        self.errors += record.get("errors", [])

    def as_tree(self, bodies: bool, errors: bool) -> dict[str, Any]:
        """For `GET /log`."""
        last = max(self.buckets, default=-1)
        tree: dict[str, Any] = {
            "calls": self.calls,
            "answered": sum(self.buckets.values()),
            "paths": dict(self.paths),
            "statuses": dict(self.statuses),
            "faults": dict(self.faults),
            "names": dict(self.names),
            "usage": dict(self.usage),
            "authorization": dict(self.authorization),
            "repeated_after_answer": self.repeated,
            "received_bytes": self.received,
            "different": len(self.bodies),
            "errors": dict(Counter(error["error"] for error in self.errors)),
            "bucket_seconds": BUCKET_SECONDS,
            "answered_per_bucket": [self.buckets[n] for n in range(last + 1)],
        }
        if bodies:
            tree["bodies"] = self.bodies
        if errors:
            tree["error_list"] = self.errors
        return tree
