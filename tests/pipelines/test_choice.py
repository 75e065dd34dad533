"""Which regions are taken (`regions.*`): the same in whatever parts and order; the others are rejected, by name."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.choice import LEFT_OUT, leave_out_small
from pipelines.config import BuildConfig
from pipelines.estimate import Estimate
from pipelines.settings import Settings, reconciled
from slvr_data.errors import UsageError
from slvr_data.regions import PictureFile, PlanRow
from slvr_data.sources.base import SourceConfig
from tests.builds import box_of, coco, jsonl, of_coco, of_jsonl, photograph, published, refused, rows, run, sound
from tests.served_builds import KEY, answered, build, scenes_stub

PICTURES, EACH = 8, 6
MOST = ("--set", "regions.most_per_picture=2")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs with six regions each; not to be changed."""
    return coco(tmp_path_factory.mktemp("photographs"), PICTURES, regions=EACH)


@pytest.fixture(scope="module")
def everything(file: Path) -> Path:
    """The set of all of them."""
    return built(file, "everything")


@pytest.fixture(scope="module")
def few(file: Path) -> Path:
    """Two regions of each picture."""
    return built(file, "few", *MOST)


@pytest.fixture(scope="module")
def fifteen(file: Path) -> Path:
    """Fifteen regions in all."""
    return built(file, "fifteen", "--limit-regions", 15)


def built(file: Path, name: str, *more: object) -> Path:
    out = file.parent / name
    run(*of_coco(file, "--workers", 1, *more, "--out", out))
    return out


def ids(out: Path) -> set[str]:
    return {row["region_id"] for row in rows(out, "attributes")}


def per_picture(out: Path) -> list[int]:
    """How many regions each published picture has, the largest first."""
    return sorted(Counter(row["image_id"] for row in rows(out, "attributes")).values(), reverse=True)


def reasons(out: Path) -> Counter[str]:
    """Rejections by reason; the accounts add up to them."""
    found = Counter(row["reason"] for row in rows(out, "rejections"))
    accounts = json.loads((out / "manifest.json").read_bytes())["accounts"]
    assert accounts["regions"] == accounts["published"] + accounts["rejected"]
    assert accounts["rejected"] == sum(found.values()) and accounts["published"] == len(ids(out))
    return found


def test_everything_is_taken_unless_told(everything: Path) -> None:
    assert not reasons(everything) and len(ids(everything)) == PICTURES * EACH
    data = json.loads((everything / "manifest.json").read_bytes())["configuration"]["data"]
    assert not [key for key in data if key.startswith("regions")], "sets of before keep their bytes"


# --- regions.least_share ---


def test_a_region_exactly_at_the_least_share_is_taken(tmp_path: Path) -> None:
    """40 x 48 of 160 x 120 pixels are a tenth; 0.01 px less are not. Kept + rejected are all."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(photograph(1)[0])
    boxes = [[10, 20, 50, 68], [10, 20, 50, 67.99], [10, 20, 15, 25]]
    file = jsonl(tmp_path, [{"image": "a.jpg", "bbox": box, "label": f"thing {i}"} for i, box in enumerate(boxes)])
    out = tmp_path / "set"
    run(*of_jsonl(file, "--workers", 1, "--set", "regions.least_share=0.1", "--out", out))
    assert [row["bbox"] for row in rows(out, "attributes")] == [boxes[0]]
    assert reasons(out) == {"share-too-small": 2}
    told = {row["line"]: row for row in rows(out, "rejections")}
    assert "covers 9.998 % of its picture, at least 10 % are wanted" in told[2]["evidence"]
    assert "a lower regions.least_share" in told[2]["evidence"]
    assert {(row["kind"], row["stage"], row["check"]) for row in told.values()} == {("rejected", "crop", "choice")}
    assert json.loads(told[3]["record"])["bbox"] == boxes[2]
    assert not rows(out, "images")[0]["complete"]
    sound(out)


def test_shares_are_exact_to_a_hundredth_of_a_pixel() -> None:
    """17.02 - 5.02 is less than 12 in binary; the box is a sixteenth of the picture all the same."""
    box = next([a / 100, 10.0, (a + 1200) / 100, 110.0] for a in range(1, 3000) if (a + 1200) / 100 - a / 100 < 12)
    row = PlanRow("s", "f", 1, region_id="r", box=box)
    leave_out_small([row], PictureFile("p", (160, 120), 1, None), 0.0625)
    assert row.rejected is None
    leave_out_small([row], PictureFile("p", (160, 121), 1, None), 0.0625)
    assert row.rejected is not None and row.rejected.reason in LEFT_OUT


# --- regions.most_per_picture ---


def test_some_regions_of_each_picture(few: Path, everything: Path) -> None:
    assert per_picture(few) == [2] * PICTURES and ids(few) < ids(everything)
    assert reasons(few) == {"beyond-most-per-picture": PICTURES * (EACH - 2)}
    evidence = {row["evidence"] for row in rows(few, "rejections")}
    assert len(evidence) == 1 and "2 of the 6 regions of its picture that could be taken are" in evidence.pop()
    sound(few)


def test_the_same_regions_in_parts(file: Path, few: Path, tmp_path: Path) -> None:
    for part, size in enumerate((1, 2, 5)):
        more = (*MOST, "--shard", f"{part}/3", "--shard-size", size, "--out", tmp_path / f"part-{part}")
        run(*of_coco(file, "--workers", 1 + part % 2, *more))
    run("merge", *(tmp_path / f"part-{part}" for part in (2, 0, 1)), "--out", tmp_path / "set")
    assert published(tmp_path / "set") == published(few)


def test_the_same_regions_in_another_order_and_others_by_another_seed(file: Path, few: Path) -> None:
    tree = json.loads(file.read_text())
    tree["annotations"].reverse()
    backwards = file.with_name("backwards.json")
    backwards.write_text(json.dumps(tree))
    assert ids(built(backwards, "backwards", *MOST)) == ids(few)
    seeded = built(file, "seeded", *MOST, "--seed", 5)
    assert ids(seeded) != ids(few) and per_picture(seeded) == [2] * PICTURES


def test_regions_that_cannot_be_cropped_take_no_place(file: Path, tmp_path: Path) -> None:
    """Too small ones are rejected as ever, and as many are taken as if they were not there."""
    tree = json.loads(file.read_text())
    for note in tree["annotations"]:
        if note["id"] % 1000 < 4:
            note["bbox"][2] = 5
            note["segmentation"] = []
    thin = tmp_path / "thin.json"
    thin.write_text(json.dumps(tree))
    arguments = ("build-attributes", "coco", "--annotations", thin, "--images", file.parent / "pictures")
    run(*arguments, "--workers", 1, "--set", "regions.most_per_picture=1", "--out", tmp_path / "set")
    assert reasons(tmp_path / "set") == {"region-too-small": 4 * PICTURES, "beyond-most-per-picture": PICTURES}
    assert per_picture(tmp_path / "set") == [1] * PICTURES


def test_a_profile_is_the_same_whatever_else_is_taken(few: Path, fifteen: Path, everything: Path, file: Path) -> None:
    """What is left out is in the picture all the same: it is counted, and links name it."""
    small = built(file, "small", "--set", "regions.least_share=0.11")
    assert 0 < reasons(small)["share-too-small"] < PICTURES * EACH
    whole = {row["region_id"]: without_targets(row) for row in rows(everything, "attributes")}
    counted = 0
    for out in (few, fifteen, small):
        for row in rows(out, "attributes"):
            assert without_targets(row) == whole[row["region_id"]]
            counted += (row["profile"]["peers"]["same_label_count"] or 0) > 1
    assert counted


def without_targets(row: dict[str, Any]) -> dict[str, Any]:
    """A row, with what its links point at by name alone."""
    for link in row["profile"]["spatial"]["relations"] or []:
        link["target_region_id"] = None
    return row | {"split": None}


# --- regions.limit ---


def test_whole_pictures_up_to_a_number_of_regions(fifteen: Path) -> None:
    assert per_picture(fifteen) == [6, 6, 3]
    assert reasons(fifteen) == {"beyond-limit": PICTURES * EACH - 15}
    assert "15 regions are taken" in rows(fifteen, "rejections")[0]["evidence"]
    sound(fifteen)


def test_pictures_of_which_nothing_is_taken_are_not_decoded(fifteen: Path) -> None:
    work = fifteen / ".work"
    assert sum(pq.read_table(path).num_rows for path in work.glob("crop/*/images.parquet")) == 3
    finished = [pq.read_table(path)["image_id"].to_pylist() for path in work.glob("check/*/pictures.parquet")]
    assert len({image_id for some in finished for image_id in some}) == PICTURES, "but they are finished"


def test_a_limit_and_a_bound_per_picture_in_parts_that_grow(file: Path, tmp_path: Path) -> None:
    """Seven regions, then eleven, at two a picture: what was taken stays, and parts merged are what one run makes."""
    out, kept = tmp_path / "set", set[str]()
    for limit in (7, 11):
        for part in range(2):
            more = (*MOST, "--limit-regions", limit, "--shard", f"{part}/2", "--out", tmp_path / f"part-{part}")
            run(*of_coco(file, "--workers", 1, *more))
        run("merge", tmp_path / "part-0", tmp_path / "part-1", "--out", out)
        assert per_picture(out) == [2] * (limit // 2) + [1] and kept <= ids(out)
        kept = ids(out)
    assert set(reasons(out)) == {"beyond-most-per-picture", "beyond-limit"}
    run(*of_coco(file, "--workers", 1, *MOST, "--limit-regions", 11, "--out", tmp_path / "at-once"))
    assert published(out) == published(tmp_path / "at-once")


def test_a_server_is_asked_about_what_is_taken_and_paid_once(tmp_path: Path) -> None:
    """Five regions, then nine: a picture of which more is taken is the same to the model, so four calls are made."""
    with scenes_stub(8, service_ms=1) as stub:
        for limit in (5, 9):
            out, more = tmp_path / "set", ("--limit-regions", limit, "--workers", 1)
            run(*build(stub, out, *more, scenes=8), STUB_KEY=KEY)
            assert answered(stub, "region_profile") == limit
            assert set(reasons(out)) == {"beyond-limit"} and len(ids(out)) == limit
        assert answered(stub) == 9


# --- sets that grow ---


def test_settings_are_those_of_the_set_and_a_limit_may_grow(tmp_path: Path) -> None:
    source = SourceConfig(kind="scenes", name="drawn")
    before = BuildConfig.model_validate({"out": tmp_path, "sources": [source], "regions": {"limit": 9}})
    known = Settings(data=before.affects_data(), sources=[source])

    def told(**regions: Any) -> Settings:
        changed = BuildConfig.model_validate({"out": tmp_path, "sources": [source], "regions": regions})
        return reconciled(changed, known, has_work=True)

    assert told(limit=9).data == known.data
    assert told(limit=12).data == known.data | {"regions.limit": 12}
    for regions, key, old, new in (
        ({"limit": 8}, "limit", "9", "8"),
        ({}, "limit", "9", "None"),
        ({"limit": 9, "most_per_picture": 3}, "most_per_picture", "None", "3"),
        ({"limit": 12, "least_share": 0.01}, "least_share", "None", "0.01"),
    ):
        with pytest.raises(UsageError, match=rf"built with regions\.{key} = {old}, now it is {new}"):
            told(**regions)


def test_what_is_published_stays_where_a_source_adds_regions(tmp_path: Path) -> None:
    """One region a picture, and a second file with three more of each. Parts that know of both take others, so they are
    not merged into the set; a build there keeps the first, and the same command again changes nothing.
    """
    (tmp_path / "pictures").mkdir()
    first: list[dict[str, Any]] = []
    second: list[dict[str, Any]] = []
    for number in range(6):
        data, polygons = photograph(number)
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(data)
        found = [
            {"image": f"{number}.jpg", "bbox": box_of(p[0]), "label": f"thing {i}"} for i, p in enumerate(polygons)
        ]
        first.append(found[0])
        second += found[1:]
    out, one = tmp_path / "set", ("--workers", 1, "--set", "regions.most_per_picture=1")
    both = of_jsonl(jsonl(tmp_path, first), "--annotations", jsonl(tmp_path, second, "more.jsonl"), *one)
    run(*of_jsonl(tmp_path / "regions.jsonl", *one, "--out", out))
    before = ids(out)
    run(*both, "--shard", "0/1", "--out", tmp_path / "part")
    assert "merge all parts into a new folder" in refused("merge", tmp_path / "part", "--out", out)
    assert ids(out) == before
    for _ in range(2):
        run(*both, "--out", out)
        assert ids(out) == before and reasons(out) == {"beyond-most-per-picture": 18}
    run("merge", tmp_path / "part", "--out", tmp_path / "new")
    assert len(ids(tmp_path / "new")) == 6 and ids(tmp_path / "new") != before


def test_more_pictures_take_nothing_from_what_is_published(file: Path, tmp_path: Path) -> None:
    """A set that has all that it may have, and then more pictures to choose from: ten regions, and the same ones."""
    kept: set[str] = set()
    for limit in (4, PICTURES):
        run(*of_coco(file, "--workers", 1, "--limit", limit, "--limit-regions", 10, "--out", tmp_path / "set"))
        kept = kept or ids(tmp_path / "set")
        assert ids(tmp_path / "set") == kept and len(kept) == 10
    assert reasons(tmp_path / "set") == {"beyond-limit": PICTURES * EACH - 10}
    run(*of_coco(file, "--workers", 1, "--limit-regions", 10, "--out", tmp_path / "at-once"))
    assert ids(tmp_path / "at-once") != kept, "otherwise this would prove nothing"


def test_an_estimate_ends_at_the_limit() -> None:
    assert Estimate(10, 40, 100, []).share == 10
    assert Estimate(10, 40, 100, [], limit=200).share == 5
    assert Estimate(10, 40, 100, [], limit=4000).share == 10
