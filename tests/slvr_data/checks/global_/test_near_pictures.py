"""Near-identical pictures: no pair of hashes is missed, what differs is kept apart, and order decides nothing."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from slvr_data.checks.global_ import near_pictures
from slvr_data.checks.global_.near_hashes import MAX_DISTANCE
from slvr_data.checks.global_.near_pictures import clusters, encoded_thumbnail, near_identical, thumbnail
from slvr_data.images import perceptual_hash
from tests.builds import photograph


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


def slow_clusters(pictures: dict[str, tuple[int, Any]]) -> list[list[str]]:
    """As `clusters`, pair by pair."""
    by_hash: dict[int, list[list[str]]] = {}
    for name in sorted(pictures):
        value, seen = pictures[name]
        groups = by_hash.setdefault(value, [])
        for group in groups:
            if near_identical(pictures[group[0]][1], seen):
                group.append(name)
                break
        else:
            groups.append([name])
    joined = [(value, set(group)) for value, groups in by_hash.items() for group in groups]
    together = {group[0]: group for _, members in joined for group in [sorted(members)]}
    of = {first: first for first in together}

    def root(name: str) -> str:
        return name if of[name] == name else root(of[name])

    for one in together:
        for other in together:
            (a, seen), (b, as_well) = pictures[one], pictures[other]
            if a != b and (a ^ b).bit_count() <= MAX_DISTANCE and near_identical(seen, as_well):
                of[max(root(one), root(other))] = min(root(one), root(other))
    found: dict[str, list[str]] = {}
    for first, members in together.items():
        found.setdefault(root(first), []).extend(members)
    return sorted(sorted(group) for group in found.values() if len(group) > 1)


def heap(count: int, seed: int, step: float) -> dict[str, tuple[int, Any]]:
    """Pictures whose hashes lie close together, some of them equal, and which differ by about what may differ."""
    rng = np.random.default_rng(seed)
    pictures = {}
    for number in range(count):
        value = int(sum(1 << int(bit) for bit in rng.choice(64, rng.integers(0, 4), replace=False)))
        blocks = rng.uniform(100 - step, 100 + step, (8, 8, 3)) * rng.choice([0.9, 1.0, 1.1])
        fine = rng.integers(-4, 5, (64, 64, 3))
        seen = blocks.repeat(8, 0).repeat(8, 1).astype(np.int16) + fine.astype(np.int16)
        pictures[f"p{rng.integers(1 << 30):010d}{number}"] = (value, seen)
    return pictures


@pytest.mark.parametrize("step", [0, 5, 8, 9])
def test_heaps_are_grouped_as_pair_by_pair(step: int) -> None:
    grouped = []
    for seed in range(3):
        pictures = heap(60, seed, step)
        hashes = np.array([value for value, _ in pictures.values()], np.uint64)
        grouped.append(clusters(list(pictures), hashes, lambda name, seen=pictures: seen[name][1]))
        assert grouped[-1] == slow_clusters(pictures)
    assert any(grouped) and not all(len(groups) == 1 for groups in grouped)


@given(st.integers(0, 4), st.integers(-9, 9), st.integers(0, 63), st.booleans(), st.integers(0, 40), st.randoms())
@example(0, 0, 0, True, 18, random.Random(0))
@example(0, 7, 0, False, 0, random.Random(0))
@settings(max_examples=200, deadline=None)
def test_what_is_just_alike_is_never_passed_over(
    below: int, shift: int, block: int, wide: bool, more: int, rng: random.Random
) -> None:
    """Two pictures under one hash and under two, about the bounds of what is near-identical."""
    noise = np.random.default_rng(rng.getrandbits(32))
    one = noise.integers(60, 180, (64, 64, 3)).astype(np.int16)
    other = one + np.int16(shift) + noise.integers(-below, below + 1, one.shape).astype(np.int16)
    y, x = 8 * (block // 8), 8 * (block % 8)
    side = 16 if wide else 8
    other[y : y + side, x : x + side] += np.int16(more)
    pictures = {"a": one, "b": other}
    expected = [["a", "b"]] if near_identical(one, other) else []
    assert clusters(["a", "b"], np.array([5, 5], np.uint64), pictures.__getitem__) == expected
    assert clusters(["a", "b"], np.array([5, 7], np.uint64), pictures.__getitem__) == expected


@pytest.mark.parametrize("levels", [1, 250])
@pytest.mark.parametrize("bits", [0, 3])
def test_a_heap_costs_few_looks(levels: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand blank pictures: two are compared where that may join them, not each with each."""
    rng, compared = np.random.default_rng(1), []
    value = np.array([sum(1 << int(b) for b in rng.choice(64, bits, replace=False)) for _ in range(1000)], np.uint64)
    names = [f"{number:04d}" for number in range(1000)]
    colors = {name: flat(0) + np.array([number % levels, 97 * number % 250, 0], np.int16)
              if levels > 1 else flat(9) for number, name in enumerate(names)}  # fmt: skip

    def compare(one: Any, other: Any) -> bool:
        compared.append(1)
        return near_identical(one, other)

    monkeypatch.setattr(near_pictures, "near_identical", compare)
    found = clusters(names, value, colors.__getitem__)
    assert sum(map(len, found)) > 900
    assert len(compared) < 20_000
