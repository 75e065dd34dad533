"""The released pair form: rows 2k and 2k + 1 share a picture and a box, or are named and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from slvr_data.errors import RunError, UsageError
from slvr_model.data import Unusable
from slvr_model.mgrpo.pairs import PairSamples


def row(picture: int, place: int, **changed: Any) -> dict[str, Any]:
    told = {
        "id": f"p{picture}-{place}",
        "images": [f"p{picture}.png"],
        "conversations": [
            {"from": "human", "value": f"<image>\nWhat is thing {place}?"},
            {"from": "gpt", "value": f"<answer> red {place} </answer>"},
        ],
        "bboxes": [[0.25, 0.25, 0.75, 0.5]],
    }
    return {name: value for name, value in (told | changed).items() if value is not None}


def write_rows(folder: Path, rows: list[Any], pictures: int = 4, array: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(pictures):
        Image.new("RGB", (48, 40), (40 * number % 255, 90, 120)).save(folder / f"p{number}.png")
    file = folder / "pairs.json"
    lines = [one if isinstance(one, str) else json.dumps(one) for one in rows]
    file.write_text("[" + ",\n".join(lines) + "]" if array else "\n".join(lines))
    return file


def write_pairs(folder: Path, pairs: int) -> Path:
    """A sound file."""
    return write_rows(folder, [row(number, place) for number in range(pairs) for place in (1, 2)], pairs)


def opened(file: Path, whole: bool = False, budget: float = 0.0) -> PairSamples:
    return PairSamples(file, file.parent, whole=whole, budget=budget)


@pytest.mark.parametrize("array", [True, False])
def test_pairs_are_questions_about_one_region(tmp_path: Path, array: bool) -> None:
    rows = [row(number, place) for number in (0, 1) for place in (1, 2)]
    samples = opened(write_rows(tmp_path, rows, array=array))
    assert len(samples) == 4
    first, second, third = samples[0], samples[1], samples[2]
    assert (first.question, first.answer, first.box) == ("What is thing 1?", "red 1", (12.0, 10.0, 36.0, 20.0))
    assert first.region_id == second.region_id != third.region_id
    assert first.picture.size == (48, 40) and first.query_id != second.query_id
    known = [one for piece in samples.rows() for one in piece]
    assert [one["region_id"] for one in known] == [samples[number].region_id for number in range(4)]


def test_rows_that_do_not_share_a_picture_are_named_and_refused(tmp_path: Path) -> None:
    rows = [row(0, 1), row(0, 2), row(1, 1), row(2, 2), row(3, 1), row(3, 2)]
    with pytest.raises(RunError, match=r"pair-images-differ, e\.g\. rows 2 and 3 \(they show 'p1.png' and 'p2.png'"):
        opened(write_rows(tmp_path, rows))
    kept = opened(write_rows(tmp_path, rows), budget=1)
    assert [kept[number].query_id for number in range(len(kept))] == ["row-0", "row-1", "row-4", "row-5"]
    assert kept.accounts.unusable == {"pair-images-differ": 2} and kept.accounts.used == len(kept), "both rows go"
    first, second = kept.several([0, 1])
    assert first.picture is second.picture, "it was decoded once"


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"bboxes": [[0.1, 0.1, 0.2, 0.2]]}, r"pair-boxes-differ, e\.g\. rows 0 and 1"),
        ({"id": "p0-1"}, r"pair-incomplete, e\.g\. rows 0 and 1 \(their ids are 'p0-1' and 'p0-1'"),
        ({"bboxes": None}, r"box-missing, e\.g\. row 1 \(it has no bboxes: give them, or data\.boxless=whole"),
        ({"bboxes": [[0, 0, 1, 1], [0, 0, 1, 1]]}, r"pair-form, e\.g\. row 1 \(2 boxes and 1 questions"),
        ({"bboxes": [[3, 3, 40, 30]]}, r"bbox-not-normalized, e\.g\. row 1"),
        ({"images": []}, r"image-absent, e\.g\. row 1"),
        ({"conversations": [{"from": "human", "value": "What?"}]}, r"conversations-invalid, e\.g\. row 1"),
    ],
)
def test_what_is_wrong_with_a_row_is_counted_by_reason(tmp_path: Path, second: dict[str, Any], says: str) -> None:
    file = write_rows(tmp_path, [row(0, 1), row(0, 2, **second), row(1, 1), row(1, 2)])
    with pytest.raises(RunError, match=says):
        opened(file)
    accounts = opened(file, budget=0.5).accounts
    assert (accounts.seen, accounts.unusable.total(), accounts.used) == (4, 2, 2), "a row goes with its partner"


def test_an_odd_number_of_rows_is_refused_whatever_the_budget(tmp_path: Path) -> None:
    rows = [row(0, 1), row(0, 2), row(1, 1)]
    with pytest.raises(UsageError, match=r"3 rows, an odd number.*row 2 has no partner"):
        opened(write_rows(tmp_path, rows), budget=1)
    with pytest.raises(UsageError, match="holds no pair that could be used"):
        opened(write_rows(tmp_path, ["[1]", "[2]"]), budget=1)


def test_whole_pictures_are_regions_where_that_is_asked_for(tmp_path: Path) -> None:
    file = write_rows(tmp_path, [row(0, place, bboxes=None) for place in (1, 2)])
    samples = opened(file, whole=True)
    assert samples[1].box == (0.0, 0.0, 48.0, 40.0)


def test_a_picture_is_read_below_its_folder_alone(tmp_path: Path) -> None:
    bad = {"gone.png": "picture-missing", "../p0.png": "path-climbs", "broken.png": "picture-"}
    rows = [row(number, place, images=[name]) for number, name in enumerate(bad) for place in (1, 2)]
    file = write_rows(tmp_path, rows)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    samples = opened(file)
    for number, reason in enumerate(bad.values()):
        with pytest.raises(Unusable, match=reason):
            samples[2 * number]
    with pytest.raises(UsageError, match=r"data\.pictures .* is not a folder"):
        PairSamples(file, tmp_path / "nowhere", whole=False, budget=0)


def test_pairs_without_boxes_are_regions_of_their_own(tmp_path: Path) -> None:
    """As the data is released: several pairs on one picture, about whatever is in it."""
    pairs = [{"id": f"p0{pair}-{place}", "bboxes": None} for pair in "abcd" for place in (1, 2)]
    file = write_rows(tmp_path, [row(0, number + 1, **told) for number, told in enumerate(pairs)])
    samples = opened(file, whole=True)
    regions = [samples[number].region_id for number in range(8)]
    assert [regions.index(one) for one in regions] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert samples[0].box == samples[7].box == (0.0, 0.0, 48.0, 40.0) and len({s.image_id for s in samples}) == 1
    boxed = [told | {"bboxes": [[0.25, 0.25, 0.75, 0.5]]} for told in pairs]
    same = opened(write_rows(tmp_path / "boxed", [row(0, n + 1, **told) for n, told in enumerate(boxed)]))
    assert len({same[number].region_id for number in range(8)}) == 1, "a box is what they share"
