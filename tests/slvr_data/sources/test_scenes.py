"""The embedded world: the same on every machine, and exactly what its profiles say."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from slvr_data import geometry, ids, masks
from slvr_data.masks import BoolArray
from slvr_data.sources.scenes import LEVELS, Scene, SceneRegion, glyphs, layers, raster, scene, world
from slvr_data.sources.scenes.colours import FILLS, JITTER
from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.forms import AXES, SHAPES
from slvr_data.sources.scenes.grounds import TONES, palette_on
from slvr_data.sources.scenes.patterns import LEAST

COUNT = {"easy": 300, "full": 200}
SEED = 7
GOLDEN = {
    ("easy", 0, 0): "623d8afde4c9e274e118f7067d20b008b6c13a5f7c0da903deb2643b42b19048",
    ("easy", 1, 5): "2307ce04f6455a65a97b8fb4555ea26b9d4db8686ce319d9a73ea76a455bac51",
    ("full", 0, 0): "6a206a7cb30c33a8cc99ef977e0b7a6f652bc3704cbb308d7a4e3da2e23ca70a",
    ("full", 0, 1): "777c354256bcb0718ad02e4155cff7c9369a978552110b0178c3cf10036d1435",
    ("full", 3, 4): "4879525ec82cbc07093fa608ab25ec87504651525e8abebbb2c37d3b4976f214",
}
"""(level, seed, index) -> sha256 of the pixels as PPM. A change here changes every published id."""
INVERSE = {"touching": "touching", "holding": "held by", "held by": "holding", "inside": "around", "around": "inside"}


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {level: [scene(level, SEED, i) for i in range(COUNT[level])] for level in LEVELS}


@pytest.fixture(scope="module")
def worlds() -> list[world.World]:
    return [world.build("full", Dice(f"full:{SEED}:{i}")) for i in range(COUNT["full"])]


def everything(scenes: dict[str, list[Scene]]) -> Iterator[tuple[Scene, SceneRegion]]:
    return ((s, r) for level in LEVELS for s in scenes[level] for r in s.regions)


def full_regions(scenes: dict[str, list[Scene]]) -> list[SceneRegion]:
    return [r for s in scenes["full"] for r in s.regions]


def corners(r: SceneRegion) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (int(c) for c in r.box)
    return x1, y1, x2, y2


def distinct_region_pairs(s: Scene) -> Iterator[tuple[SceneRegion, SceneRegion]]:
    return ((a, b) for i, a in enumerate(s.regions) for b in s.regions[:i])


# --- the same everywhere -------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "seed", "index"), GOLDEN)
def test_pixels_never_change(level: str, seed: int, index: int) -> None:
    assert hashlib.sha256(scene(level, seed, index).ppm).hexdigest() == GOLDEN[level, seed, index]


def test_processes_agree_on_pixels_and_profiles() -> None:
    code = (
        "import hashlib; from slvr_data.sources.scenes import scene; h = hashlib.sha256()\n"
        "for level in ('easy', 'full'):\n"
        "  for i in range(8):\n"
        "    s = scene(level, 11, i); h.update(s.ppm)\n"
        "    for r in s.regions: h.update((r.region_id + r.profile.model_dump_json()).encode())\n"
        "print(h.hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""


def test_scenes_differ_by_level_seed_and_index() -> None:
    keys = [("easy", 0, 0), ("easy", 0, 1), ("easy", 1, 0), ("full", 0, 0)]
    assert len({scene(*key).image_id for key in keys}) == len(keys)


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(ValueError, match="'hard': use one of easy, full"):
        scene("hard", 0, 0)


def test_ppm_is_the_picture_and_names_it(scenes: dict[str, list[Scene]]) -> None:
    for level in LEVELS:
        for s in scenes[level][:20]:
            header, size, depth, data = s.ppm.split(b"\n", 3)
            assert (header, depth) == (b"P6", b"255")
            assert size.decode().split() == [str(n) for n in s.picture.size]
            assert s.picture.mode == "RGB"
            assert s.picture.tobytes() == data
            assert s.image_id == hashlib.sha256(s.ppm).hexdigest()


# --- regions and profiles ------------------------------------------------------------------------------


def test_every_field_is_known(scenes: dict[str, list[Scene]]) -> None:
    def check(value: Any) -> None:
        assert value is not None and value != ""
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(inner)

    for _, r in everything(scenes):
        check(r.profile.model_dump())
        assert r.label == r.profile.appearance.entity
        assert r.profile.appearance.shape == SHAPES[r.label]


def test_regions_are_the_bounds_of_disjoint_masks(scenes: dict[str, list[Scene]]) -> None:
    for s in (s for level in LEVELS for s in scenes[level]):
        names = [r.region_id for r in s.regions]
        assert names == sorted(set(names)), "sorted, and no two the same"
        assert np.sum([r.mask for r in s.regions], axis=0).max() == 1
        for r in s.regions:
            assert r.mask.shape == (s.picture.height, s.picture.width)
            assert tuple(r.box) == masks.bounds(r.mask)
            assert r.region_id == ids.region_id(s.image_id, r.box, r.label)
        counts = Counter(r.label for r in s.regions)
        assert all(r.profile.peers.same_label_count == counts[r.label] for r in s.regions)


def test_words_of_place_are_those_of_geometry(scenes: dict[str, list[Scene]]) -> None:
    for s, r in everything(scenes):
        width, height = s.picture.size
        assert r.profile.appearance.size == geometry.size_of(r.box, width, height)
        assert r.profile.spatial.position == geometry.position_of(r.box, width, height)
        others = [o for o in s.regions if o is not r]
        order = [others[i] for i in geometry.nearest(r.box, [o.box for o in others], len(others))]
        expected = [(geometry.relation_of(r.box, o.box), o.label, o.region_id) for o in order]
        links = r.profile.spatial.relations or []
        found = [(link.kind, link.target, link.target_region_id) for link in links]
        assert found == [e for e in expected if e[0] is not None]


def test_interactions_resolve_and_are_mutual(scenes: dict[str, list[Scene]]) -> None:
    for s, r in everything(scenes):
        by_id = {o.region_id: o for o in s.regions}
        for link in r.profile.interaction or []:
            other = by_id[link.target_region_id or ""]
            assert other is not r and other.label == link.target
            back = [(b.kind, b.target_region_id) for b in other.profile.interaction or []]
            assert (INVERSE[link.kind], r.region_id) in back
            if link.kind == "holding":
                assert r.label == "figure"
            if link.kind == "around":
                x1, y1, x2, y2 = other.box
                assert r.label in ("frame", "ring")
                assert r.box[0] < x1 and r.box[1] < y1 and x2 < r.box[2] and y2 < r.box[3]


def test_all_facets_occur(scenes: dict[str, list[Scene]]) -> None:
    found = full_regions(scenes)
    assert {r.label for r in found} == set(SHAPES)
    assert {r.profile.appearance.material for r in found} == {"solid", "striped", "dotted", "checkered"}
    assert {r.profile.appearance.size for r in found} == set(geometry.SIZES)
    assert {r.profile.spatial.position for r in found} == set(geometry.POSITIONS)
    assert {r.profile.spatial.orientation for r in found} == {*AXES, "none"}
    assert {r.profile.spatial.depth for r in found} == {"front", "middle", "back", "none"}
    assert {link.kind for r in found for link in r.profile.interaction or []} == set(INVERSE)
    assert {link.kind for r in found for link in r.profile.spatial.relations or []} == set(geometry.RELATIONS)
    assert {c for r in found for c in r.profile.appearance.colors or []} == set(FILLS)
    assert {len(t) for r in found for t in r.profile.visible_text or []} == {1, 2, 3, 4}
    pointing = {f"pointing {way}" for way in ("left", "right", "up", "down", "up left", "down right")}
    poses = {"none", "standing", "waving", "lying", "leaning left", "leaning right"}
    assert {r.profile.action for r in found} == poses | pointing | {"pointing up right", "pointing down left"}


def test_numbers_of_things_and_of_their_peers(scenes: dict[str, list[Scene]]) -> None:
    assert {len(s.regions) for s in scenes["easy"]} == {2, 3, 4}
    assert {len(s.regions) for s in scenes["full"]} == set(range(2, 9))
    crowded = [any(r.profile.peers.same_label_count != 1 for r in s.regions) for s in scenes["full"]]
    assert 0.3 < np.mean(crowded) < 0.7


# --- what the pixels show ------------------------------------------------------------------------------


def shows(pixels: np.ndarray[Any, Any], name: str) -> bool:
    """Whether a sixth of the pixels [n, 3] are a shade of the colour, in a light of 0.8 to 1.0."""
    light = np.arange(0.79, 1.01, 0.02)[:, None, None]
    near = np.abs(pixels - light * np.array(FILLS[name])).max(2) <= JITTER + 4
    return bool(near.any(0).mean() >= 1 / 6)


def test_colours_are_in_the_pixels(scenes: dict[str, list[Scene]]) -> None:
    for s, r in everything(scenes):
        pixels = np.asarray(s.picture)[r.mask].astype(float)
        assert all(shows(pixels, name) for name in r.profile.appearance.colors or []), (r.label, r.profile)


def test_letters_can_be_read(scenes: dict[str, list[Scene]]) -> None:
    patterns = {glyphs.lettering(c, 1).tobytes(): c for c in glyphs.CHARACTERS}
    assert len(patterns) == 36
    for s, r in everything(scenes):
        if r.label != "sign":
            assert r.profile.visible_text == []
            continue
        x1, y1, x2, y2 = corners(r)
        plate = np.asarray(s.picture.convert("L")).astype(int)[y1:y2, x1:x2]
        dot = (y2 - y1) // 11
        assert dot >= 2
        dots = plate[2 * dot + dot // 2 : -2 * dot : dot, 2 * dot + dot // 2 : -2 * dot : dot]
        assert np.abs(dots - plate[0, 0]).max() > 80, "high contrast"
        ink = np.abs(dots - plate[0, 0]) > 40
        text = "".join(patterns[ink[:, i : i + 5].tobytes()] for i in range(0, ink.shape[1], glyphs.PITCH))
        assert r.profile.visible_text == [text]


def axis_degrees(mask: BoolArray) -> float:
    """Angle of the mask's principal axis, 0 to 180, counted from "to the right" towards "up"."""
    y, x = np.nonzero(mask)
    (xx, xy), (_, yy) = np.cov(x, -y)
    return float(np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) % 180)


def test_orientation_is_that_of_the_second_moments(scenes: dict[str, list[Scene]]) -> None:
    middle = {"horizontal": 0, "diagonal rising": 45, "vertical": 90, "diagonal falling": 135}
    for _, r in everything(scenes):
        word = r.profile.spatial.orientation
        long_sign = r.label == "sign" and len((r.profile.visible_text or [""])[0]) >= 3
        assert (word != "none") == (long_sign or r.label in ("bar", "ellipse", "arrow", "figure"))
        if word in middle:
            off = abs((axis_degrees(r.mask) - middle[word] + 90) % 180 - 90)
            assert off < 22.5, (r.label, r.profile.action, off)


def test_arrows_point_where_their_head_is(scenes: dict[str, list[Scene]]) -> None:
    steps = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    for r in full_regions(scenes):
        if r.label == "arrow":
            way = np.sum([steps[w] for w in (r.profile.action or "").split()[1:]], axis=0)
            y, x = np.nonzero(r.mask)
            along = x * way[0] + y * way[1]
            assert (2 * along > along.min() + along.max()).mean() > 0.5


# --- the composition -----------------------------------------------------------------------------------


def test_easy_things_are_plain_in_every_word(scenes: dict[str, list[Scene]]) -> None:
    for s in scenes["easy"]:
        assert s.picture.size == (64, 64)
        assert all(layers.apart(corners(a), corners(b), 2) for a, b in distinct_region_pairs(s))
        for r in s.regions:
            share = (r.box[2] - r.box[0]) * (r.box[3] - r.box[1]) / 4096
            assert all(abs(share / t - 1) >= 0.199 for t in (geometry.SMALL_SHARE, geometry.LARGE_SHARE))
            centre = (r.box[0] + r.box[2]) / 2, (r.box[1] + r.box[3]) / 2
            assert all(abs(c - 64 * i / 3) >= 2 for c in centre for i in (1, 2))
            colours = r.profile.appearance.colors or []
            ground = {TONES[tone] for tone in TONES if s.picture.getpixel((0, 0)) == tone}
            assert len(colours) == 1 and not ground & set(colours)


def test_every_ground_leaves_a_choice_of_colours() -> None:
    assert all(len(palette_on(tone, tone)) >= 5 for tone in TONES)


def test_depth_is_the_order_of_the_outlines(worlds: list[world.World], scenes: dict[str, list[Scene]]) -> None:
    for w, s in zip(worlds, scenes["full"], strict=True):
        full = [whole(p, w) for p in w.placed]
        for i, p in enumerate(w.placed):
            below = any((full[i] & other).any() for other in full[i + 1 :])
            above = any((full[i] & other).any() for other in full[:i])
            word = {(0, 0): "none", (1, 0): "back", (0, 1): "front", (1, 1): "middle"}[below, above]
            mask = full[i] & ~np.any(full[i + 1 :] or [np.zeros_like(full[i])], axis=0)
            region = next(r for r in s.regions if np.array_equal(r.mask, mask))
            assert (region.label, region.profile.spatial.depth) == (p.thing.entity, word)
            assert mask.sum() >= 0.6 * full[i].sum()
            assert min(region.box[2] - region.box[0], region.box[3] - region.box[1]) >= 10


def test_things_overlap_or_interact_or_keep_their_gap(worlds: list[world.World]) -> None:
    for w in worlds:
        full = [whole(p, w) for p in w.placed]
        bonds = {(b.a, b.b): b.kind for b in w.bonds}
        for i, mask in enumerate(full):
            grown = [spread(mask, d) for d in range(5)]
            for j, other in enumerate(full[i + 1 :], i + 1):
                distance = next((d for d in range(5) if (grown[d] & other).any()), 5)
                kind = bonds.get((i, j))
                if kind == "touching":
                    assert distance == 1 and (neighbours(mask) & other).sum() >= 3
                else:
                    assert distance in {"holding": (0,), "around": (3, 4, 5), None: (0, 5)}[kind]


def test_second_colours_and_patterns_are_plain_to_see(worlds: list[world.World]) -> None:
    for w in worlds:
        for p, mask in zip(w.placed, layers.visible(w.placed), strict=True):
            if p.thing.second is not None:
                share = (p.thing.second >= raster.HALF)[mask].mean()
                assert 0.25 <= share <= 0.75
                assert p.thing.material == "solid" or p.thing.repeats >= LEAST


def whole(placed: layers.Placed, w: world.World) -> BoolArray:
    """A thing's own pixels, covered or not, in the whole picture."""
    mask = np.zeros((w.height, w.width), bool)
    x1, y1, x2, y2 = placed.window
    mask[y1:y2, x1:x2] = placed.thing.own
    return mask


def spread(mask: BoolArray, by: int) -> BoolArray:
    """The mask grown by `by` rows and columns."""
    y, x = np.nonzero(mask)
    wide = np.zeros((mask.shape[0] + 2 * by, mask.shape[1] + 2 * by), bool)
    for dy in range(2 * by + 1):
        for dx in range(2 * by + 1):
            wide[y + dy, x + dx] = True
    return wide[by : by + mask.shape[0], by : by + mask.shape[1]]


def neighbours(mask: BoolArray) -> BoolArray:
    """The pixels that share a side with one of the mask."""
    padded = np.pad(mask, 1)
    return padded[2:, 1:-1] | padded[:-2, 1:-1] | padded[1:-1, 2:] | padded[1:-1, :-2]
