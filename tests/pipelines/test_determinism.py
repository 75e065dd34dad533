"""The same rows give the same bytes: whatever the workers, shards, parts, places, orders and steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.builds import (
    coco,
    config,
    counts,
    jsonl,
    jsonl_rows,
    mixed_set,
    of_coco,
    of_jsonl,
    published,
    refused,
    rows,
    run,
    shared,
    sound,
)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources with a configuration, and the set of one worker (`set`)."""
    return shared(tmp_path_factory, "mixed", mixed_set)


@pytest.fixture(scope="session")
def parts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three parts of that set, made by different numbers of workers."""

    def make(folder: Path) -> None:
        for part, workers in ((0, 1), (1, 2), (2, 2)):
            more = ("--shard", f"{part}/3", "--workers", workers, "--shard-size", 3 + part)
            run("build-attributes", "--config", base / "config.yaml", *more, "--out", folder / f"part-{part}")

    folder = shared(tmp_path_factory, "parts", make)
    return [folder / f"part-{part}" for part in range(3)]


def test_the_set_holds_what_can_happen(base: Path) -> None:
    """Otherwise this module would prove little."""
    accounts = json.loads((base / "set" / "manifest.json").read_bytes())["accounts"]
    assert accounts["malformed"] == 3
    assert accounts["merged"] >= 4
    assert accounts["rejected"] == 2
    assert {row["split"] for row in rows(base / "set", "images")} == {"train", "validation", "test"}
    assert any(len(row["source_refs"]) == 2 for row in rows(base / "set", "attributes"))
    assert {row["reason"] for row in rows(base / "set", "rejections")} == {
        "category-unknown", "bbox-invalid", "not-json", "bbox-outside", "region-too-small"
    }  # fmt: skip
    sound(base / "set")


@pytest.mark.parametrize(("workers", "size", "seed"), [(2, 1, "1"), (3, 7, "2")])
def test_workers_shard_size_and_hash_seed(base: Path, tmp_path: Path, workers: int, size: int, seed: str) -> None:
    options = ("--workers", workers, "--shard-size", size, "--out", tmp_path / "set")
    run("build-attributes", "--config", base / "config.yaml", *options, PYTHONHASHSEED=seed)
    assert published(tmp_path / "set") == published(base / "set")


def test_another_place_and_another_order_of_the_sources(base: Path, tmp_path: Path) -> None:
    """Inputs are copied elsewhere, named relative to the configuration, and listed backwards."""
    there = tmp_path / "elsewhere with a space"
    shutil.copytree(base / "pictures", there / "pictures")
    for name in ("instances.json", "regions.jsonl"):
        shutil.copy(base / name, there / name)
    text = (base / "config.yaml").read_text().replace(f"{base}/", "")
    head, *sources = text.split("- ")
    sources = [source for source in ("- " + "- ".join(sources)).split("- kind") if source.strip()]
    (there / "config.yaml").write_text(head + "".join("- kind" + source for source in reversed(sources)))
    run("build-attributes", "--config", "config.yaml", "--workers", 1, "--out", "a set", cwd=there)
    assert published(there / "a set") == published(base / "set")


def test_what_varies_stands_in_run_json_only(base: Path) -> None:
    """No path, host or time of this machine is in what is published."""
    for name in published(base / "set"):
        data = (base / "set" / name).read_bytes()
        assert str(base).encode() not in data, name
        assert b".work" not in data, name
    assert str(base) in (base / "set" / "run.json").read_text()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_merged(base: Path, parts: list[Path], tmp_path: Path, order: tuple[int, ...]) -> None:
    run("merge", *(parts[part] for part in order), "--out", tmp_path / "set")
    assert published(tmp_path / "set") == published(base / "set")


def test_a_missing_part_is_named_and_can_follow(base: Path, parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "set"
    message = refused("merge", parts[0], parts[2], "--out", out)
    assert "pictures are not finished" in message
    assert "--shard 1/3" in message
    assert "0/3" not in message
    assert not published(out)
    run("merge", parts[1], parts[0], parts[2], "--out", out)
    assert published(out) == published(base / "set")


def test_parts_merged_without_what_is_unfinished(base: Path, parts: list[Path], tmp_path: Path) -> None:
    """As where a picture ends every worker of its part: what is missing is counted, and can follow."""
    out = tmp_path / "set"
    assert "or merge with --unfinished" in refused("merge", parts[0], parts[2], "--out", out)
    said = refused("merge", parts[0], parts[2], "--out", out, "--unfinished", code=3)
    told = json.loads((out / "manifest.json").read_bytes())["accounts"]
    assert told["regions"] == told["published"] + told["rejected"] + told["regions_unfinished"]
    assert f"{told['regions_unfinished']} regions are unfinished" in said and told["published"]
    sound(out)
    run("merge", *parts, "--out", out)
    assert "regions_unfinished" not in json.loads((out / "manifest.json").read_bytes())["accounts"]


def test_a_part_alone_publishes_nothing_and_says_what_next(parts: list[Path]) -> None:
    assert published(parts[1]) == {}
    assert "merge the parts --shard 0/3, 2/3" in refused("publish", parts[1])


def test_merging_what_is_no_part_or_of_other_settings(base: Path, parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is not a part" in refused("merge", parts[0], tmp_path / "empty", "--out", tmp_path / "set")
    padded, other = tmp_path / "padded", tmp_path / "other"
    options = ("--config", base / "config.yaml", "--workers", 1, "--shard", "1/3")
    run("build-attributes", *options, "--set", "crop.padding=0.3", "--out", padded)
    message = refused("merge", parts[0], padded, "--out", tmp_path / "set")
    assert "different settings: crop.padding" in message
    run("build-attributes", *options, "--limit", 4, "--out", other)
    assert "have read different rows" in refused("merge", parts[0], other, "--out", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_merge_that_was_stopped_does_not_go_on_with_other_parts(parts: list[Path], tmp_path: Path) -> None:
    """Its folder holds crops of the first parts already: those of another padding may not mix with them."""
    out = tmp_path / "set"
    refused("merge", parts[0], "--out", out)
    run(
        "build-attributes", "scenes", "--limit", 2, "--workers", 1, "--set", "crop.padding=0.3", "--out", tmp_path / "b"
    )
    assert "crop.padding = 0.15, now it is 0.3" in refused("merge", tmp_path / "b", "--out", out)


def test_parts_that_overlap(tmp_path: Path) -> None:
    """A job that ran twice, with shards of another size: its crops are published once."""
    file = coco(tmp_path, 6)
    for name, shard, size in (("a", "0/2", 1), ("b", "0/2", 9), ("c", "1/2", 2)):
        more = ("--shard", shard, "--shard-size", size, "--set", "publish.crops=true", "--out", tmp_path / name)
        run(*of_coco(file, "--workers", 1, *more))
    run("merge", *(tmp_path / name for name in "abc"), "--out", tmp_path / "set")
    run(*of_coco(file, "--workers", 1, "--set", "publish.crops=true", "--out", tmp_path / "at-once"))
    assert published(tmp_path / "set") == published(tmp_path / "at-once")
    assert len(rows(tmp_path / "set", "crops")) == 24
    sound(tmp_path / "set")


def test_limit_extended(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    for limit in (5, 20):
        run("build-attributes", "--config", base / "config.yaml", "--limit", limit, "--workers", 1, "--out", out)
    assert counts(out)["pictures reused"] == 15
    run("build-attributes", "--config", base / "config.yaml", "--limit", 20, "--workers", 2, "--out", tmp_path / "b")
    assert published(out) == published(tmp_path / "b")


def test_sources_added_one_by_one(base: Path, tmp_path: Path) -> None:
    """By separate commands that each name only what is new, in another order than that of the configuration."""
    sources = yaml.safe_load((base / "config.yaml").read_text())["sources"]
    out = tmp_path / "set"
    for index in (1, 2, 0):
        file = config(tmp_path / f"{index}.yaml", [sources[index]])
        run("build-attributes", "--config", file, "--workers", 1, "--out", out)
    assert published(out) == published(base / "set")


def test_rows_appended(tmp_path: Path) -> None:
    lines = jsonl_rows(tmp_path, 0, 7)
    file = jsonl(tmp_path, lines[:10])  # the fourth picture has one of its three regions
    run(*of_jsonl(file, "--workers", 1, "--shard-size", 2, "--out", tmp_path / "set"))
    jsonl(tmp_path, lines)
    run(*of_jsonl(file, "--workers", 1, "--out", tmp_path / "set"))
    run(*of_jsonl(file, "--workers", 2, "--out", tmp_path / "at-once"))
    assert published(tmp_path / "set") == published(tmp_path / "at-once")
    assert counts(tmp_path / "set") == {
        "pictures reused": 3, "pictures worked": 4, "pictures annotated": 4, "regions cropped": 11
    }  # fmt: skip
