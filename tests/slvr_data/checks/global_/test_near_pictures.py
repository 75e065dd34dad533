"""Near-identical pictures: no pair of hashes is missed, what differs is kept apart, and order decides nothing."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from slvr_data.checks.global_ import near_pictures
from slvr_data.checks.global_.near_pictures import (
    MAX_DISTANCE,
    candidates,
    clusters,
    encoded_thumbnail,
    near_identical,
    thumbnail,
)
from slvr_data.images import perceptual_hash
from tests.builds import photograph

hashes = st.integers(0, 2**64 - 1)
flips = st.sets(st.integers(0, 63), max_size=MAX_DISTANCE + 2)


def slow(found: list[int]) -> set[tuple[int, int]]:
    pairs = ((i, j) for j in range(len(found)) for i in range(j))
    return {(i, j) for i, j in pairs if (found[i] ^ found[j]).bit_count() <= MAX_DISTANCE}


@given(
    st.lists(hashes, min_size=1, max_size=12, unique=True), st.lists(st.tuples(st.integers(0, 11), flips), max_size=25)
)
@settings(max_examples=300, deadline=None)
def test_candidates_are_those_of_a_slow_search(some: list[int], planted: list[tuple[int, set[int]]]) -> None:
    near = [some[index % len(some)] ^ sum(1 << bit for bit in bits) for index, bits in planted]
    every = list(dict.fromkeys([*some, *near]))
    found = list(candidates(np.array(every, np.uint64)))
    assert len(set(found)) == len(found)
    assert set(found) == slow(every)


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 22])
def test_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Hashes that share whole bands: one long list of pairs, however it is cut."""
    monkeypatch.setattr(near_pictures, "_CHUNK", chunk)
    rng = random.Random(5)
    every = list({rng.getrandbits(3) << 48 | rng.getrandbits(4) << 16 | rng.getrandbits(5) for _ in range(60)})
    assert set(candidates(np.array(every, np.uint64))) == slow(every)


def shot(seed: int, size: tuple[int, int] = (400, 300)) -> Image.Image:
    return Image.open(io.BytesIO(photograph(seed, size, 6)[0])).convert("RGB")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def small(image: Image.Image) -> Any:
    return thumbnail(encoded_thumbnail(image))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded anew": lambda image: jpeg(image, 35),
    "half as large": lambda image: image.resize((200, 150), Image.Resampling.LANCZOS),
    "twice as large": lambda image: image.resize((800, 600), Image.Resampling.BICUBIC),
    "scaled and encoded": lambda image: jpeg(image.resize((300, 225)), 85),
    "another shape by a pixel": lambda image: image.resize((399, 301)),
    "a little brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.03),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_the_same_picture(change: str) -> None:
    for seed in range(5):
        one, other = shot(seed), CHANGES[change](shot(seed))
        distance = int(perceptual_hash(one), 16) ^ int(perceptual_hash(other), 16)
        assert distance.bit_count() <= MAX_DISTANCE, "it is proposed"
        assert near_identical(small(one), small(other))


def test_what_is_another_picture() -> None:
    seen = [small(shot(seed)) for seed in range(12)]
    assert not [(i, j) for j in range(12) for i in range(j) if near_identical(seen[i], seen[j])]
    for seed in range(5):
        assert not near_identical(seen[seed], small(shot(seed).transpose(Image.Transpose.FLIP_LEFT_RIGHT)))


def drawn(things: int, without: int | None = None, recolored: int | None = None) -> Image.Image:
    """Ellipses on grey: all of them, all but one, or one in another colour."""
    image = Image.new("RGB", (320, 240), (128, 128, 128))
    for index in range(things):
        x, y = 8 + 104 * (index % 3), 8 + 78 * (index // 3)
        fill = "blue" if index == recolored else ("red", "green", "yellow")[index % 3]
        if index != without:
            ImageDraw.Draw(image).ellipse([x, y, x + 44, y + 40], fill=fill)
    return image


@pytest.mark.parametrize("index", range(9))
def test_one_thing_makes_another_picture(index: int) -> None:
    whole = small(drawn(9))
    assert not near_identical(whole, small(drawn(9, without=index)))
    assert not near_identical(whole, small(drawn(9, recolored=index)))
    assert near_identical(whole, small(jpeg(drawn(9), 50)))


def flat(level: int) -> Any:
    return np.full((64, 64, 3), level, np.int16)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=14), st.randoms()
)
@settings(max_examples=200, deadline=None)
def test_clusters_do_not_depend_on_order(made: list[tuple[int, int, int]], rng: random.Random) -> None:
    """Pictures of some grey levels under hashes that are equal, near or far."""
    groups = [0, 0b11, 0xFFFF0000, 0xFFFF0000FFFF]
    pictures = {
        f"p{index:02d}": (f"{groups[which] ^ (1 << bit):016x}", flat(20 * level))
        for index, (which, level, bit) in enumerate(made)
    }

    def found() -> list[list[str]]:
        names = list(pictures)
        rng.shuffle(names)
        hashes = np.array([int(pictures[name][0], 16) for name in names], np.uint64)
        return clusters(names, hashes, lambda name: pictures[name][1])

    first = found()
    assert found() == first
    members = [name for cluster in first for name in cluster]
    assert len(set(members)) == len(members)
    assert all(len(cluster) > 1 and cluster == sorted(cluster) for cluster in first)
    assert [cluster[0] for cluster in first] == sorted(cluster[0] for cluster in first)
    # Grey levels are 20 apart: near-identical is equal here, so clusters are what a slow search joins.
    joined = {name: {name} for name in pictures}
    for one in pictures:
        for other in pictures:
            close = (int(pictures[one][0], 16) ^ int(pictures[other][0], 16)).bit_count() <= MAX_DISTANCE
            if close and (pictures[one][1] == pictures[other][1]).all() and joined[one] is not joined[other]:
                joined[one] |= joined[other]
                for name in list(joined[one]):
                    joined[name] = joined[one]
    assert first == sorted(
        sorted(cluster) for cluster in {id(c): c for c in joined.values()}.values() if len(cluster) > 1
    )


def test_only_proposed_pictures_are_looked_at() -> None:
    asked: list[str] = []

    def look(name: str) -> Any:
        asked.append(name)
        return flat(0)

    assert clusters(["a", "b", "c"], np.array([0, 2**64 - 1, 1], np.uint64), look) == [["a", "c"]]
    assert set(asked) == {"a", "c"}


def test_a_hundred_thousand_hashes_take_little_time() -> None:
    import time

    rng = np.random.default_rng(3)
    some = rng.integers(0, 2**63, 100_000, dtype=np.uint64)
    some[1::1000] = some[::1000] ^ np.uint64(0x8001)
    started = time.process_time()
    found = list(candidates(some))
    assert len(found) >= 100 and time.process_time() - started < 10
