"""A set grows: what is finished stays, what is published keeps its id and split. It never changes otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builds import (  # fmt: skip
    box_of,
    coco,
    config,
    counts,
    jsonl,
    jsonl_rows,
    of_coco,
    of_jsonl,
    photograph,
    published,
    refused,
    rows,
    run,
    shards,
    sound,
)

STAGES = ("crop", "attributes", "check")


def everything(out: Path) -> dict[str, Any]:
    """Every file of the set and of its working folder that holds data or settings."""
    kept = {str(path.relative_to(out)): path.read_bytes() for path in sorted((out / ".work").rglob("*.parquet"))}
    return published(out) | kept | {"settings": (out / ".work" / "settings.json").read_bytes()}


def places(out: Path) -> dict[str, tuple[str, str]]:
    """(picture, split) of every published region."""
    return {row["region_id"]: (row["image_id"], row["split"]) for row in rows(out, "attributes")}


def test_a_larger_limit_does_only_what_is_new(tmp_path: Path) -> None:
    file, out = coco(tmp_path, 12), tmp_path / "set"
    run(*of_coco(file, "--limit", 5, "--workers", 1, "--out", out))
    before, first = places(out), {stage: shards(out, stage) for stage in STAGES}
    run(*of_coco(file, "--limit", 12, "--workers", 2, "--out", out))
    assert counts(out) == {
        "pictures reused": 5, "pictures worked": 7, "pictures annotated": 7, "regions cropped": 28
    }  # fmt: skip
    for stage in STAGES:
        assert first[stage].items() <= shards(out, stage).items()
    assert before.items() <= places(out).items()
    assert len(places(out)) == 48
    run(*of_coco(file, "--workers", 1, "--out", out))
    assert counts(out) == {"pictures reused": 12}


def test_new_rows_redo_the_profiles_of_their_pictures_only(tmp_path: Path) -> None:
    lines, out = jsonl_rows(tmp_path, 0, 6), tmp_path / "set"
    file = jsonl(tmp_path, lines)
    run(*of_jsonl(file, "--workers", 1, "--out", out))
    before, first = places(out), shards(out)
    jsonl(tmp_path, [*lines, {"image": "own-2.jpg", "bbox": [152, 1, 160, 10], "label": "frame"}])
    run(*of_jsonl(file, "--workers", 1, "--out", out))
    assert counts(out) == {
        "pictures reused": 5, "pictures worked": 1, "pictures annotated": 1, "regions cropped": 1
    }  # fmt: skip
    assert first.items() <= shards(out).items()
    assert before.items() <= places(out).items()
    assert any(
        link["target"] == "frame"
        for row in rows(out, "attributes")
        for link in row["profile"]["spatial"]["relations"] or []
    )


def test_an_expression_for_a_known_region_redoes_nothing(tmp_path: Path) -> None:
    lines, out = jsonl_rows(tmp_path, 0, 3), tmp_path / "set"
    file = jsonl(tmp_path, lines)
    run(*of_jsonl(file, "--workers", 1, "--out", out))
    jsonl(tmp_path, [*lines, lines[4] | {"references": ["that one"]}])
    run(*of_jsonl(file, "--workers", 1, "--out", out))
    assert counts(out) == {"pictures reused": 3}
    assert [row["references"][-1] for row in rows(out, "attributes")].count("that one") == 1


def test_another_source_by_a_second_command(tmp_path: Path) -> None:
    file, out = coco(tmp_path, 4), tmp_path / "set"
    run(*of_coco(file, "--workers", 1, "--out", out))
    before, first = places(out), shards(out)
    run("build-attributes", "scenes", "--limit", 3, "--workers", 1, "--out", out)
    assert counts(out)["pictures reused"] == 4
    assert counts(out)["pictures worked"] == 3
    assert first.items() <= shards(out).items()
    assert before.items() <= places(out).items()
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert sorted(manifest["configuration"]["sources"]) == ["coco", "scenes-easy"]
    sound(out)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_sources_own_split_never_becomes_train(tmp_path: Path, split: str) -> None:
    file, out = coco(tmp_path, 12, name=f"instances_{split}2017.json"), tmp_path / "set"
    run(*of_coco(file, "--workers", 1, "--out", out))
    assert {row["split"] for row in rows(out, "images")} == {"validation" if split == "val" else "test"}


def test_a_published_train_picture_that_reappears_in_a_test_file(tmp_path: Path) -> None:
    """It stays in train; what only the test file says of it is rejected."""
    file, out = coco(tmp_path, 6), tmp_path / "set"
    run(*of_coco(file, "--workers", 1, "--out", out))
    train = next(row for row in rows(out, "images") if row["split"] == "train")
    known = next(row for row in rows(out, "attributes") if row["image_id"] == train["image_id"])
    own = [
        {"image": train["path"], "bbox": [3, 3, 90, 90], "label": "secret", "split": "test"},
        {"image": train["path"], "bbox": known["bbox"], "label": known["label"], "split": "test"},
    ]
    before = places(out)
    run(*of_jsonl(jsonl(tmp_path, own), "--workers", 1, "--out", out))
    assert places(out) == before
    (rejection,) = rows(out, "rejections")
    assert (rejection["reason"], rejection["line"], rejection["file"]) == ("split-conflict", 1, "regions.jsonl")
    assert "published in train, where it stays" in rejection["evidence"]
    sound(out)
    at_once = tmp_path / "at-once"
    options = ("--annotations", file, "--images", tmp_path / "pictures", "--workers", 1)
    run("build-attributes", "coco", *options, "--limit", 1, "--out", at_once)
    assert rows(at_once, "images")[0]["split"] in ("train", "validation", "test")


def test_a_region_that_was_rejected_becomes_usable(tmp_path: Path) -> None:
    """One source declares a wrong size, another gives the same region soundly: it is published, as if at once."""
    (tmp_path / "pictures").mkdir()
    data, polygons = photograph(1)
    (tmp_path / "pictures" / "a.jpg").write_bytes(data)
    row: dict[str, Any] = {"image": "a.jpg", "bbox": box_of(polygons[0][0]), "label": "dog"}
    wrong = jsonl(tmp_path, [row | {"width": 640, "height": 480}], "wrong.jsonl")
    right = jsonl(tmp_path, [row | {"width": 160, "height": 120}], "right.jsonl")
    out = tmp_path / "set"
    run(*of_jsonl(wrong, "--workers", 1, "--out", out))
    assert [r["reason"] for r in rows(out, "rejections")] == ["size-mismatch"]
    both = of_jsonl(wrong, "--annotations", right, "--workers", 1)
    run(*both, "--out", out)
    assert len(rows(out, "attributes")) == 1
    assert not rows(out, "rejections")
    run(*both, "--out", tmp_path / "at-once")
    assert published(out) == published(tmp_path / "at-once")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set from a configuration file, in `set`."""
    folder = tmp_path_factory.mktemp("built")
    lines = jsonl(folder, jsonl_rows(folder, 0, 4))
    source = {"kind": "jsonl", "name": "own", "annotations": [lines.name], "images": "pictures", "license": "CC0"}
    file = config(folder / "config.yaml", [source])
    run("build-attributes", "--config", file, "--workers", 1, "--out", folder / "set")
    return folder


@pytest.mark.parametrize(
    ("setting", "key", "old", "new"),
    [
        ("crop.padding=0.2", "crop.padding", "0.15", "0.2"),
        ("crop.min_side=16", "crop.min_side", "8.0", "16.0"),
        ("seed=5", "seed", "0", "5"),
        ("measured.max_relations=2", "measured.max_relations", "4", "2"),
        ("picture.quality=80", "picture.quality", "95", "80"),
        ("splits={train: 0.8, validation: 0.1, test: 0.1}", "splits.test", "0.05", "0.1"),
        ("sources.0.license=MIT", "license", "'CC0'", "'MIT'"),
        ("sources.0.split=test", "split", "None", "'test'"),
        ("sources.0.exhaustive=true", "exhaustive", "False", "True"),
        ("sources.0.bbox_format=xywh", "bbox_format", "'xyxy'", "'xywh'"),
    ],
)
def test_changed_settings_are_refused(built: Path, setting: str, key: str, old: str, new: str) -> None:
    before = everything(built / "set")
    arguments = ("--config", built / "config.yaml", "--out", built / "set", "--set", setting)
    message = refused("build-attributes", *arguments, "--workers", 1)
    assert f"{key} = {old}, now it is {new}" in message
    assert ("source own: " in message) == setting.startswith("sources")
    assert everything(built / "set") == before


def test_another_annotator_is_refused(tmp_path: Path) -> None:
    arguments = ("build-attributes", "scenes", "--limit", 2, "--workers", 1, "--out", tmp_path)
    run(*arguments)
    before = everything(tmp_path)
    assert "annotator = 'measured', now it is 'exact'" in refused(*arguments, "--annotator", "exact")
    assert everything(tmp_path) == before


def test_less_is_refused(built: Path) -> None:
    out, file = built / "set", built / "regions.jsonl"
    before, whole = everything(out), file.read_text()
    arguments = ("build-attributes", "--config", built / "config.yaml", "--out", out, "--workers", 1)
    message = refused(*arguments, "--limit", 2)
    assert "6 regions of this set are no longer in what source own gives now" in message
    assert "(the first: regions.jsonl line 7)" in message
    assert "raise --limit" in message
    try:
        file.write_text("".join(whole.splitlines(keepends=True)[1:]))
        assert "1 regions of this set" in refused(*arguments)
        file.write_text("")
        assert "a set only grows" in refused(*arguments)
    finally:
        file.write_text(whole)
    assert everything(out) == before
    run(*arguments)
    assert counts(out) == {"pictures reused": 4}


def test_pictures_moved_to_another_root_are_a_new_source(built: Path, tmp_path: Path) -> None:
    other = jsonl(tmp_path, jsonl_rows(tmp_path, 50, 1))
    assert "name the new one apart" in refused(
        *of_jsonl(other, "--set", "sources.0.name=own", "--set", "sources.0.license=CC0", "--out", built / "set")
    )


def test_the_form_of_publication_is_remembered(tmp_path: Path) -> None:
    """A setting of the form changes that one only, and a build that names none keeps all."""
    file, out = coco(tmp_path, 4), tmp_path / "set"
    run(*of_coco(file, "--limit", 2, "--workers", 1, "--out", out))
    run("publish", out, "--licenses", "CC BY 2.0")
    run(*of_coco(file, "--workers", 1, "--set", "publish.crops=true", "--out", out))
    assert {row["license"] for row in rows(out, "images")} == {"CC BY 2.0"}
    assert len(rows(out, "crops")) == 8
    run(*of_coco(file, "--workers", 1, "--out", out))
    assert {row["license"] for row in rows(out, "images")} == {"CC BY 2.0"}
    assert len(rows(out, "crops")) == 8
