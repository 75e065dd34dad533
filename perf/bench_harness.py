"""What the benchmark adds to a model's own time: a stub that takes 1 ms for a reply, and everything around it.

    python perf/bench_harness.py [--replies 50000] [--milliseconds 1.0] [--busy] [--replied "..."]

The stub's own wall time is measured by letting it answer the same asks with nothing around it. With --busy it
calculates in Python all the while, and shares the interpreter with the threads of the benchmark: the worst case.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import machine
from PIL import Image

from benchmark.asks import Asks, Plan
from benchmark.models.base import ModelOptions
from benchmark.prompts import DEFAULT_PROTOCOL, protocol_of
from benchmark.records import Ask, Item, ItemQuery, Reply
from benchmark.run import ask_all, header_of
from benchmark.runlog import open_log, read_log

COLORS = ("red", "green", "blue", "yellow")


@dataclass
class Shelf:
    """Items of two queries, two items to a picture, in memory."""

    number: int
    name: str = "shelf"
    revision: str = "0" * 64
    items: list[Item] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pictures = [_noise(seed) for seed in range(16)]
        self.items = [_item(n) for n in range(self.number // 2)]

    def picture(self, image_id: str) -> bytes:
        return self.pictures[int(image_id) % len(self.pictures)]


def _noise(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _item(number: int) -> Item:
    queries = tuple(
        ItemQuery(
            query_id=hashlib.sha256(f"{number} {facet}".encode()).hexdigest()[:16],
            facet=facet,
            template=f"the {facet} of it",
            question=f"What is the {facet} of the largest thing at the left of the picture, number {number}?",
            answer=COLORS[number % 4],
            choices=COLORS,
            answer_index=number % 4,
            chance=0.25,
        )
        for facet in ("color", "shape")
    )
    return Item(
        item_id=f"{number:06d}", image_id=f"{number // 2:06d}", region_id=f"{number:06d}", bbox=(8, 8, 40, 40),
        width=64, height=64, queries=queries,
    )  # fmt: skip


class Stub:
    """Takes its time, and says a letter."""

    def __init__(self, seconds: float, busy: bool, words: str) -> None:
        self.name = "stub"
        self._seconds, self._busy, self._words = seconds, busy, words

    def details(self) -> dict[str, Any]:
        return {}

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        for number, ask in enumerate(asks):
            if self._busy:
                until = time.perf_counter() + self._seconds
                while time.perf_counter() < until:
                    pass
            else:
                time.sleep(self._seconds)
            yield ask, Reply(self._words.format(letter="ABCD"[number % 4]), "stop", None, 100, 8, self._seconds)


def measured(replies: int, milliseconds: float, busy: bool, words: str, folder: Path) -> dict[str, float]:
    """Seconds of the stub alone and within a run, the share that the run adds, and what it calculates per reply."""
    bench: Any = Shelf(replies)
    asks = Asks(bench, Plan(protocol_of(DEFAULT_PROTOCOL)))
    stub = Stub(milliseconds / 1000, busy, words)
    ready = list(asks.asks())
    started, cpu = time.perf_counter(), time.process_time()
    for _ in stub.replies(iter(ready)):
        pass
    alone, own = time.perf_counter() - started, time.process_time() - cpu
    del ready
    with open_log(folder, header_of(bench, stub, asks, ModelOptions())) as log:
        started, cpu = time.perf_counter(), time.process_time()
        ask_all(stub, asks.asks(log.done), log, lambda outcome: None)
        within, whole = time.perf_counter() - started, time.process_time() - cpu
    assert len(read_log(folder).lines) == len(asks)
    added = (whole - own) / len(asks) * 1e6
    return {
        "replies": len(asks),
        "alone_s": alone,
        "within_s": within,
        "added": within / alone - 1,
        "added_cpu_us": added,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replies", type=int, default=50_000)
    parser.add_argument("--milliseconds", type=float, default=1.0)
    parser.add_argument("--busy", action="store_true", help="calculate in place of sleeping")
    parser.add_argument("--replied", default="The answer is {letter}.", help='what the stub says, with "{letter}"')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measured(options.replies, options.milliseconds, options.busy, options.replied, Path(name))
    print(machine())
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))


if __name__ == "__main__":
    main()
