"""The barrier between shards and publication: near-identical pictures, regions told twice, and contradictions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from slvr_data.ids import image_id
from tests.builds import coco, config, jsonl, of_jsonl, photograph, published, rows, run, sound  # fmt: skip

BOX = [10, 10, 90, 80]
SPLITS = "splits={train: 0.4, validation: 0.3, test: 0.3}"


def again(data: bytes, quality: int) -> bytes:
    """The same photograph in another file."""
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def source(root: Path, name: str, files: dict[str, bytes], **more: Any) -> dict[str, Any]:
    """A `jsonl` source with one box on each of these pictures."""
    folder = root / name
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    lines = jsonl(root, [{"image": file, "bbox": BOX, "label": "dog"} | more for file in files], f"{name}.jsonl")
    return {"kind": "jsonl", "name": name, "annotations": [str(lines)], "images": str(folder)}


def build(root: Path, out: Path, sources: Iterable[dict[str, Any]], *more: object) -> Path:
    file = config(root / f"{out.name}.yaml", list(sources))
    run("build-attributes", "--config", file, "--set", SPLITS, "--workers", 1, *more, "--out", out)
    sound(out)
    return out


def splits(out: Path) -> dict[str, str]:
    return {row["image_id"]: row["split"] for row in rows(out, "images")}


def reasons(out: Path) -> dict[str, str]:
    """Why regions were rejected, by picture."""
    return {row["image_id"]: row["reason"] for row in rows(out, "rejections")}


@pytest.fixture(scope="module")
def shots() -> list[bytes]:
    return [photograph(seed)[0] for seed in range(12)]


def test_copies_in_two_sources_share_a_split(tmp_path: Path, shots: list[bytes]) -> None:
    one = source(tmp_path, "one", {f"{n}.jpg": data for n, data in enumerate(shots)})
    two = source(tmp_path, "two", {f"{n}.jpg": again(data, 55) for n, data in enumerate(shots)})
    found = splits(build(tmp_path, tmp_path / "set", [one, two]))
    assert len(found) == 24 and len(set(found.values())) == 3, "there is something to tell apart"
    alone = {
        **splits(build(tmp_path, tmp_path / "alone-1", [one])), **splits(build(tmp_path, tmp_path / "alone-2", [two])),
    }  # fmt: skip
    pairs = [sorted((image_id(data), image_id(again(data, 55)))) for data in shots]
    assert any(alone[low] != alone[high] for low, high in pairs), "by themselves, copies would part"
    for low, high in pairs:
        assert found[low] == found[high] == alone[low], "the split of the smallest id"


def test_neither_order_nor_workers_matter(tmp_path: Path, shots: list[bytes]) -> None:
    one = source(tmp_path, "one", {f"{n}.jpg": data for n, data in enumerate(shots)})
    two = source(tmp_path, "two", {f"{n}.jpg": again(data, 55) for n, data in enumerate(shots)})
    first = build(tmp_path, tmp_path / "set", [one, two])
    other = build(tmp_path, tmp_path / "other", [two, one], "--workers", 3, "--shard-size", 2)
    assert published(first) == published(other)


def test_a_new_copy_takes_the_split_of_the_published_one(tmp_path: Path, shots: list[bytes]) -> None:
    one = source(tmp_path, "one", {f"{n}.jpg": data for n, data in enumerate(shots)})
    two = source(tmp_path, "two", {f"{n}.jpg": again(data, 55) for n, data in enumerate(shots)})
    out = build(tmp_path, tmp_path / "set", [one])
    before = splits(out)
    after = splits(build(tmp_path, out, [one, two]))
    assert before.items() <= after.items(), "nothing published moves"
    assert all(after[image_id(again(data, 55))] == before[image_id(data)] for data in shots)
    build(tmp_path, out, [one, two])
    assert splits(out) == after, "and it stays so"


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_test_pictures_copy_is_no_training_picture(tmp_path: Path, shots: list[bytes], split: str) -> None:
    """A cluster goes where a source puts one of its pictures; a published train picture keeps its place."""
    one = source(tmp_path, "one", {f"{n}.jpg": data for n, data in enumerate(shots)})
    two = source(tmp_path, "two", {f"{n}.jpg": again(data, 55) for n, data in enumerate(shots)}, split=split)
    at_once = build(tmp_path, tmp_path / "at-once", [one, two])
    assert set(splits(at_once).values()) == {"validation" if split == "val" else "test"}
    assert not reasons(at_once)

    out = build(tmp_path, tmp_path / "set", [one])
    before = splits(out)
    build(tmp_path, out, [one, two])
    after, gone = splits(out), reasons(out)
    assert before.items() <= after.items()
    for data in shots:
        copy = image_id(again(data, 55))
        if before[image_id(data)] == "train":
            assert gone[copy] == "near-identical-to-train" and copy not in after
        else:
            assert copy not in gone
    assert "train" in before.values() and len(gone) == list(before.values()).count("train")
    accounts = json.loads((out / "manifest.json").read_bytes())["accounts"]
    assert accounts["rejected"] == len(gone) and accounts["published"] == len(after)


def blend(one: bytes, other: bytes, share: float) -> bytes:
    """A picture between two."""
    out = io.BytesIO()
    pair = (Image.open(io.BytesIO(data)).convert("RGB") for data in (one, other))
    Image.blend(*pair, share).save(out, "PNG")
    return out.getvalue()


def test_a_picture_that_would_join_two_splits_is_turned_away(tmp_path: Path, shots: list[bytes]) -> None:
    """Two pictures that are not near-identical stand in two splits; a third is near to both."""
    steps = [blend(shots[0], shots[1], share) for share in (0.0, 0.05, 0.1)]
    ends = {
        name: source(tmp_path, name, {"a.png": data}, split=split)
        for name, data, split in (("first", steps[0], "val"), ("last", steps[2], "test"))
    }
    out = build(tmp_path, tmp_path / "set", ends.values())
    assert splits(out) == {image_id(steps[0]): "validation", image_id(steps[2]): "test"}, "apart, so far"
    before = splits(out)
    middle = source(tmp_path, "middle", {"a.png": steps[1]})
    build(tmp_path, out, [*ends.values(), middle])
    assert splits(out) == before
    assert reasons(out) == {image_id(steps[1]): "near-identical-across-splits"}
    (row,) = rows(out, "rejections")
    assert "test and validation" in row["evidence"] and row["check"] == "near-pictures"


def test_copies_do_not_join_what_is_only_alike(tmp_path: Path) -> None:
    """Scenes on one ground are no copies of each other."""
    out = tmp_path / "set"
    run("build-attributes", "scenes", "--limit", 40, "--set", SPLITS, "--workers", 1, "--out", out)
    assert len(set(splits(out).values())) == 3
    assert not rows(out, "rejections")


def test_the_same_thing_boxed_twice(tmp_path: Path) -> None:
    """Of two nearly equal boxes with one label, one is published: the published one, where one is."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(photograph(1)[0])
    boxes: list[tuple[list[float], str]] = [(BOX, "dog"), ([10.4, 10, 90, 80.3], "dog"), ([11, 10, 90, 80], "tree")]
    all_rows = [{"image": "a.jpg", "bbox": box, "label": label} for box, label in boxes]
    file = jsonl(tmp_path, all_rows[:1])
    out = tmp_path / "set"
    run(*of_jsonl(file, "--workers", 1, "--out", out))
    (first,) = (row["region_id"] for row in rows(out, "attributes"))
    jsonl(tmp_path, all_rows)
    run(*of_jsonl(file, "--workers", 1, "--out", out))
    kept = rows(out, "attributes")
    assert first in [row["region_id"] for row in kept]
    assert sorted(row["label"] for row in kept) == ["dog", "tree"], "another label is another thing"
    (gone,) = rows(out, "rejections")
    assert (gone["line"], gone["check"]) == (2, "duplicates") and first in gone["evidence"]
    sound(out)
    run(*of_jsonl(jsonl(tmp_path, all_rows, "turned.jsonl"), "--workers", 1, "--out", tmp_path / "at-once"))
    assert sorted(row["label"] for row in rows(tmp_path / "at-once", "attributes")) == ["dog", "tree"]


def test_sound_profiles_have_no_contradictions(tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(*["build-attributes", "coco", "--annotations", coco(tmp_path, 12, size=(320, 240), regions=8)],
        "--images", tmp_path / "pictures", "--workers", 2, "--out", out)  # fmt: skip
    assert not [row for row in rows(out, "rejections") if row["check"] in ("relations", "depths", "targets")]
    sound(out)
