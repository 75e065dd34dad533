"""Near hashes: no pair is missed or told twice, and heaps of them take neither the memory nor the time of all pairs."""

from __future__ import annotations

import random
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slvr_data.checks.global_ import near_hashes
from slvr_data.checks.global_.joined import Joined
from slvr_data.checks.global_.near_hashes import MAX_DISTANCE, near_pairs

hashes = st.integers(0, 2**64 - 1)
flips = st.sets(st.integers(0, 63), max_size=MAX_DISTANCE + 2)


def pairs(found: list[int]) -> list[tuple[int, int]]:
    every = np.arange(len(found))
    pieces = near_pairs(np.array(found, np.uint64), Joined(len(found)), every)
    return [(min(i, j), max(i, j)) for one, other in pieces for i, j in zip(one.tolist(), other.tolist(), strict=True)]


def slow(found: list[int]) -> set[tuple[int, int]]:
    every = ((i, j) for j in range(len(found)) for i in range(j) if found[i] != found[j])
    return {(i, j) for i, j in every if (found[i] ^ found[j]).bit_count() <= MAX_DISTANCE}


@given(
    st.lists(hashes, min_size=1, max_size=12, unique=True), st.lists(st.tuples(st.integers(0, 11), flips), max_size=25)
)
@settings(max_examples=300, deadline=None)
def test_pairs_are_those_of_a_slow_search(some: list[int], planted: list[tuple[int, set[int]]]) -> None:
    every = [*some, *(some[index % len(some)] ^ sum(1 << bit for bit in bits) for index, bits in planted)]
    found = pairs(every)
    assert len(set(found)) == len(found)
    assert set(found) == slow(every)


@pytest.mark.parametrize("large", [0, 64])
@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 22])
def test_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, piece: int, large: int) -> None:
    """Hashes that share whole bands: one long list of pairs, however it is cut."""
    monkeypatch.setattr(near_hashes, "_PIECE", piece)
    monkeypatch.setattr(near_hashes, "_ROWS", piece)
    monkeypatch.setattr(near_hashes, "_LARGE", large)
    rng = random.Random(5)
    every = [rng.getrandbits(3) << 48 | rng.getrandbits(4) << 16 | rng.getrandbits(5) for _ in range(60)]
    found = pairs(every)
    assert len(set(found)) == len(found) and set(found) == slow(every)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_joined_meanwhile_is_all_that_may_be_left_out(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(near_hashes, "_PIECE", 50)
    monkeypatch.setattr(near_hashes, "_LARGE", 3)
    rng = random.Random(seed)
    every = np.array([sum(1 << rng.randrange(64) for _ in range(3)) & (2**64 - 1) for _ in range(120)], np.uint64)
    places = np.array(rng.sample(range(200), 120))
    joined, told = Joined(200), set()
    for one, other in near_pairs(every, joined, places):
        for i, j in zip(one.tolist(), other.tolist(), strict=True):
            told.add((min(i, j), max(i, j)))
            if (i + j) % 3 == 0:
                joined.join(int(places[i]), int(places[j]))
    roots = joined.roots(places)
    missed = slow(every.tolist()) - told
    assert told <= slow(every.tolist())
    assert missed and all(roots[i] == roots[j] for i, j in missed)


def test_a_heap_takes_the_memory_of_its_hashes() -> None:
    """8 million pairs, and the same where each is joined as it is told of."""
    rng = np.random.default_rng(2)
    heap = np.array([sum(1 << int(bit) for bit in rng.choice(64, 3, replace=False)) for _ in range(4000)], np.uint64)
    joined, every = Joined(len(heap)), np.arange(len(heap))
    tracemalloc.start()
    first = next(pair for pair in near_pairs(heap, joined, every) if len(pair[0]))
    for one, other in near_pairs(heap, joined, every):
        for i, j in zip(one[:4000].tolist(), other[:4000].tolist(), strict=True):
            joined.join(i, j)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert len(first[0]) and len(joined.groups()) == 1
    again = sum(len(one) for one, _ in near_pairs(heap, joined, every))
    assert again < 400_000, "only those in small lists"


def test_a_hundred_thousand_hashes_take_little_time() -> None:
    rng = np.random.default_rng(3)
    some = rng.integers(0, 2**63, 100_000, dtype=np.uint64)
    some[1::1000] = some[::1000] ^ np.uint64(0x8001)
    started = time.process_time()
    found = sum(len(one) for one, _ in near_pairs(some, Joined(len(some)), np.arange(len(some))))
    assert found >= 100 and time.process_time() - started < 10
