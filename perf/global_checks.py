"""Size of the global checks: time and memory of the barrier on synthetic records.

    python perf/global_checks.py [--records 1000000] [--heap 4000]

Regions in pictures of ten with true relations among them; as many picture hashes, drawn at random; heaps of pictures
of one colour, whose hashes are all within six bits: of equal pictures, and of colours drawn at random; as many queries
of 40 kinds. Memory is the peak of this process, to be compared with a run of few records (`--records 1000`);
what makes the records is not timed.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from common import machine

from slvr_data import geometry
from slvr_data.checks.global_ import WholeSet
from slvr_data.checks.global_.joined import Joined
from slvr_data.checks.global_.near_hashes import near_pairs
from slvr_data.checks.global_.near_pictures import Thumbnail, clusters
from slvr_data.checks.global_.priors import answerable_blind
from slvr_data.schema import AttributeProfile, Region

LABELS = [f"thing {n}" for n in range(80)]


def pictures(records: int) -> Iterator[list[tuple[Region, dict[str, Any]]]]:
    """Pictures of ten regions, each with its relations to the next two."""
    dice = random.Random(0)
    empty = AttributeProfile().model_dump()
    for picture in range(records // 10):
        image = hashlib.sha256(str(picture).encode()).hexdigest()
        regions = []
        for number in range(10):
            x, y = dice.random() * 560, dice.random() * 400
            region = Region.model_construct(
                region_id=f"{image[:24]}{number:08d}", image_id=image, bbox=[x, y, x + 60, y + 60],
                mask=None, label=dice.choice(LABELS), iscrowd=False, source_refs=[], references=[],
                original_questions=[],
            )  # fmt: skip
            regions.append(region)
        yield [(region, _profile(empty, region, regions)) for region in regions]


def _profile(empty: dict[str, Any], region: Region, regions: list[Region]) -> dict[str, Any]:
    links = []
    for other in regions[:3]:
        kind = geometry.relation_of(region.bbox, other.bbox) if other is not region else None
        if kind is not None:
            links.append({"kind": kind, "target": other.label, "target_region_id": other.region_id})
    return empty | {"spatial": empty["spatial"] | {"relations": links}}


def groups(records: int) -> Iterator[dict[str, Any]]:
    """Two queries a group, of 40 kinds, a tenth of them with one answer nearly always."""
    dice = random.Random(1)
    for number in range(records // 2):
        queries = []
        for place in range(2):
            kind = dice.randrange(40)
            answer = "red" if kind < 4 and dice.random() < 0.95 else dice.choice(["red", "blue", "green", "gray"])
            queries.append(
                {"query_id": f"{number:028d}{place:04d}", "facet": "color",
                 "question": f"What color is the {LABELS[kind]}?",
                 "answer": answer, "choices": ["red", "blue"], "origin": "generated"}
            )  # fmt: skip
        yield {"queries": queries}


def near_pictures(records: int, heap: int) -> None:
    """Hashes drawn at random, then heaps."""
    hashes = np.random.default_rng(0).integers(0, 2**63, records, dtype=np.uint64)
    started = time.perf_counter()
    pairs = sum(len(one) for one, _ in near_pairs(hashes, Joined(records), np.arange(records)))
    _tell(f"near-identical pictures ({pairs} pairs proposed)", time.perf_counter() - started)
    dice = np.random.default_rng(1)
    close = [sum(1 << int(bit) for bit in dice.choice(64, 3, replace=False)) for _ in range(heap)]
    drawn = dice.integers(0, 256, (heap, 3), dtype=np.int16)
    for what, colors in (("equal", np.zeros_like(drawn)), ("of one colour", drawn)):

        def thumbnail_of(name: str, colors: Any = colors) -> Thumbnail:
            return np.ascontiguousarray(np.broadcast_to(colors[int(name)], (64, 64, 3)))

        started = time.perf_counter()
        found = clusters([f"{number:08d}" for number in range(heap)], np.array(close, np.uint64), thumbnail_of)
        _tell(f"a heap of {heap} pictures, {what} ({len(found)} groups)", time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--heap", type=int, default=4000, help="pictures whose hashes are nearly equal")
    options = parser.parse_args()
    print(machine())
    whole, spent = WholeSet(), 0.0
    for regions in pictures(options.records):
        started = time.perf_counter()
        whole.add((region, True, profile) for region, profile in regions)
        spent += time.perf_counter() - started
    started = time.perf_counter()
    found = sum(1 for _ in whole.verdicts())
    _tell(f"profile checks ({found} verdicts)", spent + time.perf_counter() - started)
    near_pictures(options.records, options.heap)
    started = time.perf_counter()
    blind = len(answerable_blind(groups(options.records)))
    _tell(f"prior answers, with making them ({blind} verdicts)", time.perf_counter() - started)


def _tell(what: str, seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{what:55} {seconds:7.1f} s   peak so far {peak:6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
