"""Near-identical pictures and answers that need no picture: neither depends on order."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from slvr_data.checks.global_.near_pictures import (
    MAX_DISTANCE,
    candidates,
    clusters,
    encoded_thumbnail,
    near_identical,
    thumbnail,
)
from slvr_data.checks.global_.priors import MOST, answerable_blind
from slvr_data.images import perceptual_hash
from slvr_data.sources.scenes import scene
from tests.builds import photograph


def seen(image: Image.Image) -> Any:
    return thumbnail(encoded_thumbnail(image))


def shot(seed: int) -> Image.Image:
    return Image.open(io.BytesIO(photograph(seed, (320, 240), 6)[0])).convert("RGB")


def again(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


@given(st.integers(0, 2**32 - 1), st.integers(0, MAX_DISTANCE + 2))
@settings(max_examples=40, deadline=None)
def test_candidates_are_those_of_a_slow_search(seed: int, flips: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, 60, dtype=np.uint64)
    for bit in rng.choice(64, flips, replace=False):
        hashes[1] = hashes[1] ^ np.uint64(1 << int(bit)) if bit else hashes[1]
    hashes[2] = hashes[0] ^ np.uint64(sum(1 << int(bit) for bit in rng.choice(64, flips, replace=False)))
    slow = {
        (i, j) for i in range(60) for j in range(i + 1, 60) if int(hashes[i] ^ hashes[j]).bit_count() <= MAX_DISTANCE
    }
    found = list(candidates(hashes))
    assert set(found) == slow and len(found) == len(slow)


def test_no_pictures_have_no_candidates() -> None:
    assert list(candidates(np.empty(0, np.uint64))) == []
    assert clusters([], [], seen) == []


def test_another_encoding_is_the_same_picture_and_another_picture_is_not() -> None:
    for seed in range(4):
        image = shot(seed)
        small = image.resize((image.width // 2, image.height // 2))
        assert near_identical(seen(image), seen(again(image, 40)))
        assert near_identical(seen(image), seen(small))
        assert not near_identical(seen(image), seen(shot(seed + 10)))


def test_one_thing_more_is_another_picture() -> None:
    for index in range(6):
        image = scene("easy", 0, index).picture
        changed = image.copy()
        changed.paste((250, 0, 250), (2, 2, 14, 14))
        assert not near_identical(seen(image), seen(changed))


def test_clusters_do_not_depend_on_order() -> None:
    pictures = {f"{seed}{kind}": again(shot(seed), kind) for seed in range(3) for kind in (35, 60, 95)}
    hashes = {name: perceptual_hash(image) for name, image in pictures.items()}
    names = list(pictures)
    expected = [[f"{seed}{kind}" for kind in (35, 60, 95)] for seed in range(3)]
    for seed in range(4):
        random.Random(seed).shuffle(names)
        found = clusters(names, [hashes[n] for n in names], lambda n: seen(pictures[n]))
        assert found == expected


def group(number: int, answer: str, noun: str = "banana") -> dict[str, Any]:
    query = {
        "query_id": f"{number:032x}", "facet": "color", "question": f"What color is the leftmost {noun}?",
        "answer": answer, "choices": ["yellow", "green"], "origin": "generated",
    }  # fmt: skip
    return {"queries": [query]}


def test_an_answer_that_is_nearly_always_the_same_is_thinned_out() -> None:
    groups = [group(n, "green" if n < 10 else "yellow") for n in range(100)]
    verdicts = answerable_blind(groups)
    gone = {verdict["query_id"] for verdict in verdicts}
    left = [g["queries"][0]["answer"] for g in groups if g["queries"][0]["query_id"] not in gone]
    assert left.count("green") == 10 and left.count("yellow") / len(left) == MOST
    random.Random(1).shuffle(groups)
    assert answerable_blind(groups) == verdicts


def test_few_questions_and_balanced_ones_stay() -> None:
    assert answerable_blind([group(n, "yellow") for n in range(19)]) == []
    assert answerable_blind([group(n, "yellow" if n % 2 else "green") for n in range(100)]) == []
    assert len(answerable_blind([group(n, "yellow") for n in range(30)])) == 30, "always the same answer"
