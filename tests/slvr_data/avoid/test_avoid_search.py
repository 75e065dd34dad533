"""Avoided pictures are found again however they were changed, and other pictures are not taken for them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from slvr_data.avoid.features import SIDE, describe, mirrored, require
from slvr_data.avoid.index import AvoidedPicture, Index, write_index
from slvr_data.avoid.search import Match, alike, find
from slvr_data.errors import UsageError
from slvr_data.images import decoded
from slvr_data.sources.scenes_source import scene_at
from tests.builds import photograph

COUNT = 4


def shot(seed: int) -> Image.Image:
    return decoded(photograph(seed, size=(400, 300))[0])


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return decoded(out.getvalue())


def made(folder: Path, pictures: list[Image.Image]) -> Index:
    rows = ((AvoidedPicture("given", str(n), f"digest-{n}", b"jpeg"), describe(p)) for n, p in enumerate(pictures))
    assert write_index(folder, rows) == len(pictures)
    return Index(folder)


@pytest.fixture(scope="module")
def shots() -> list[Image.Image]:
    return [shot(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def index(shots: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Index:
    return made(tmp_path_factory.mktemp("avoid") / "index", shots)


def found(index: Index, picture: Image.Image) -> Match | None:
    return find(index, describe(picture), ())


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "90 % of the area": lambda p: p.crop((8, 6, 388, 290)),
    "50 % of the area": lambda p: p.crop((90, 50, 373, 262)),
    "a quarter of each side": lambda p: p.resize((100, 75)),
    "twice each side": lambda p: p.resize((800, 600)),
    "stretched": lambda p: p.resize((400, 240)),
    "quality 30": lambda p: jpeg(p, 30),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.8),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "all at once": lambda p: jpeg(p.crop((90, 50, 373, 262)).resize((142, 106)), 50),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(index: Index, shots: list[Image.Image], change: str) -> None:
    for number, turned in ((1, False), (3, True)):
        copy = CHANGES[change](shots[number])
        match = found(index, ImageOps.mirror(copy) if turned else copy)
        assert match is not None and match.number == number and match.mirrored == turned, (number, turned)


def test_the_boxes_say_what_both_show(index: Index, shots: list[Image.Image]) -> None:
    copy = shots[2].crop((100, 60, 360, 285))
    match = found(index, copy)
    assert match is not None
    assert match.box == pytest.approx((0, 0, 1, 1), abs=0.03)
    assert match.avoided_box == pytest.approx((0.25, 0.2, 0.9, 0.95), abs=0.02)
    wider = Image.new("RGB", (600, 300), "white")
    wider.paste(shots[2], (0, 0))
    match = found(index, wider)
    assert match is not None and match.box == pytest.approx((0, 0, 2 / 3, 1), abs=0.03)
    match = found(index, ImageOps.mirror(wider))
    assert match is not None and match.mirrored
    assert match.box == pytest.approx((1 / 3, 0, 1, 1), abs=0.03), "in the picture as it is"
    assert match.avoided_box == pytest.approx((0, 0, 1, 1), abs=0.03)


def test_other_pictures_are_not_taken_for_avoided_ones(index: Index) -> None:
    for seed in range(100, 104):
        assert alike(index, describe(shot(seed))) == []


def test_parts_of_one_picture_that_share_nothing(tmp_path: Path, shots: list[Image.Image]) -> None:
    left, right = shots[0].crop((0, 0, 200, 300)), shots[0].crop((200, 0, 400, 300))
    assert alike(made(tmp_path / "index", [left]), describe(right)) == []


def test_scenes_are_told_apart(tmp_path: Path) -> None:
    scenes = [decoded(scene_at(f"easy/seed0/{n:08d}.ppm").ppm) for n in range(10)]
    index = made(tmp_path / "index", scenes[:5])
    for scene in scenes[5:]:
        assert alike(index, describe(scene)) == []
    for number, scene in enumerate(scenes[:5]):
        match = found(index, jpeg(scene.resize((scene.width // 2, scene.height // 2)), 60))
        assert match is not None and match.number == number


def test_pictures_that_show_next_to_nothing_are_known_by_their_bytes_alone(tmp_path: Path) -> None:
    grey, white = Image.new("RGB", (300, 200), "gray"), Image.new("RGB", (300, 200), "white")
    index = made(tmp_path / "index", [grey])
    assert alike(index, describe(white)) == [] and alike(index, describe(grey)) == []
    match = find(index, describe(grey), ("other", "digest-0"))
    assert match is not None and match.how == "same-file"


def test_a_smooth_picture_without_features_is_found_as_a_whole(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 320), np.linspace(0, 1, 240))
    smooth = Image.fromarray(np.uint8(40 + 180 * np.sqrt(x * y) * (1 - 0.6 * x))).convert("RGB")
    assert len(describe(smooth).places) < 4
    index = made(tmp_path / "index", [smooth])
    for copy, turned in ((smooth.resize((160, 120)), False), (ImageOps.mirror(jpeg(smooth, 60)), True)):
        match = found(index, copy)
        assert match is not None and match.how == "whole" and match.mirrored == turned


def test_an_empty_index_finds_nothing(tmp_path: Path, shots: list[Image.Image]) -> None:
    assert found(made(tmp_path / "index", []), shots[0]) is None


def test_the_mirror_image_has_the_mirrored_description(shots: list[Image.Image]) -> None:
    picture = shots[3].resize((SIDE, 192))
    ours, real = mirrored(describe(picture)), describe(ImageOps.mirror(picture))
    there = {tuple(np.rint(place / 32).tolist()): n for n, place in enumerate(real.places.astype(float))}
    pairs = [(n, there[key]) for n, place in enumerate(ours.places.astype(float))
             if (key := tuple(np.rint(place / 32).tolist())) in there]  # fmt: skip
    assert len(pairs) > len(ours.places) / 2
    a, b = (d[[pair[i] for pair in pairs]].astype(float) for i, d in enumerate((ours.descriptors, real.descriptors)))
    cosines = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    assert np.median(cosines) > 0.97
    assert np.array_equal(ours.small, real.small)
    assert ours.hashes == real.hashes


def test_equal_pictures_make_equal_files(tmp_path: Path, shots: list[Image.Image]) -> None:
    for name in ("one", "two"):
        made(tmp_path / name, shots[:3])
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    again = describe(shots[0])
    assert np.array_equal(again.descriptors, Index(tmp_path / "one").described(0).descriptors)


def test_each_file_stands_in_the_index_once(tmp_path: Path, shots: list[Image.Image]) -> None:
    row = (AvoidedPicture("given", "a", "digest", b"jpeg"), describe(shots[0]))
    assert write_index(tmp_path / "index", [row, row]) == 1
    assert Index(tmp_path / "index").about(0).name == "a"


def test_without_opencv_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[avoid\]' in a clone"):
        require()
