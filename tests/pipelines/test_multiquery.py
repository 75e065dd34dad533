"""`build-multiquery`: balanced accounts, equal bytes however it runs, and nothing asked twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from slvr_data.manifest import load_manifest
from tests.builds import (  # fmt: skip
    coco,
    counts,
    end,
    jsonl,
    of_coco,
    of_jsonl,
    photograph,
    published,
    refused,
    rows,
    run,
    shards,
    shared,
    sound,
    start,
    wait_for,
)

SCENES = ("build-attributes", "scenes:full", "--annotator", "exact")


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of drawn pictures with all their questions."""

    def make(folder: Path) -> None:
        run(*SCENES, "--limit", 30, "--workers", 1, "--out", folder / "set")
        run("build-multiquery", folder / "set", "--workers", 1)

    return shared(tmp_path_factory, "asked", make) / "set"


@pytest.fixture(scope="session")
def unasked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        run(*SCENES, "--limit", 30, "--workers", 2, "--out", folder / "set")

    return shared(tmp_path_factory, "unasked", make) / "set"


def test_groups_are_whole(asked: Path) -> None:
    splits = {row["region_id"]: row["image_id"] for row in rows(asked, "attributes")}
    groups = rows(asked, "multiquery")
    assert len(groups) > 60
    for group in groups:
        assert splits[group["region_id"]] == group["image_id"]
        facets = [query["facet"] for query in group["queries"]]
        assert 2 <= len(facets) <= 4 and len(set(facets)) == len(facets)
        for query in group["queries"]:
            assert query["choices"][query["answer_index"]] == query["answer"]
            assert len(set(query["choices"])) == len(query["choices"]) == round(1 / query["chance"])
            assert len(query["paraphrases"]) == 3 and query["question"] not in query["paraphrases"]
            assert query["evidence"] and query["origin"] == "generated"


def test_the_accounts_are_those_of_the_rows(asked: Path) -> None:
    accounts = load_manifest(asked).accounts
    groups = rows(asked, "multiquery")
    kinds = Counter(row["kind"] for row in rows(asked, "rejections"))
    assert accounts["queries_published"] == sum(len(group["queries"]) for group in groups)
    assert accounts["groups_published"] == len(groups)
    assert (accounts["queries_rejected"], accounts["groups_rejected"]) == (kinds["query"], kinds["group"])
    assert accounts["queries"] == accounts["queries_published"] + accounts["queries_rejected"]
    assert accounts["groups"] == accounts["groups_published"] + accounts["groups_rejected"]
    assert accounts["groups"] == accounts["published"], "one group a region, where the source asks nothing"
    assert accounts["pictures_without_questions"] == 0
    sound(asked)


def test_it_opens_in_datasets(asked: Path) -> None:
    whole = load_dataset(str(asked), "multiquery")
    attributes = load_dataset(str(asked), "attributes")
    for split, table in whole.items():
        own = set(attributes[split]["region_id"])
        assert set(table["region_id"]) <= own
        assert table["image_id"] == sorted(table["image_id"]), "in picture order"
    first = next(iter(load_dataset(str(asked), "multiquery", split="train", streaming=True)))
    assert first["queries"][0]["question"].endswith("?")


@pytest.mark.parametrize("options", [("--workers", 2, "--shard-size", 1), ("--workers", 3, "--shard-size", 7)])
def test_equal_bytes_however_it_is_cut(asked: Path, unasked: Path, tmp_path: Path, options: tuple[Any, ...]) -> None:
    out = tmp_path / "set"
    shutil.copytree(unasked, out)
    run("build-multiquery", out, *options)
    assert published(out) == published(asked)


def test_killed_at_several_moments(asked: Path, unasked: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(unasked, out)
    for number in (1, 5, 12):
        process = start("build-multiquery", out, "--workers", 2, "--shard-size", 1)
        try:
            wait_for(lambda n=number, p=process: len(shards(out, "multiquery")) >= n or p.poll() is not None)
            if process.poll() is None:  # else the moment passed unseen: this machine is busy
                os.killpg(process.pid, signal.SIGKILL)
        finally:
            end(process)
    before = shards(out, "multiquery")
    run("build-multiquery", out, "--workers", 2, "--shard-size", 1)
    after = shards(out, "multiquery")
    assert published(out) == published(asked)
    assert before and before.items() <= after.items(), "finished shards are not touched"


def test_an_extension_is_asked_about_and_nothing_twice(asked: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(*SCENES, "--limit", 12, "--out", out)
    run("build-multiquery", out)
    first = {group["group_id"] for group in rows(out, "multiquery")}
    run(*SCENES, "--limit", 30, "--out", out)
    accounts = load_manifest(out).accounts
    assert accounts["pictures_without_questions"] == accounts["pictures_published"] - 12
    assert {group["group_id"] for group in rows(out, "multiquery")} == first, "questions of before stay"
    sound(out)
    run("build-multiquery", out)
    assert counts(out)["pictures reused"] == 12
    assert published(out) == published(asked)


def test_photographs_are_asked_about(tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(*of_coco(coco(tmp_path, 6, size=(320, 240), regions=8), "--out", out))
    run("build-multiquery", out)
    assert rows(out, "multiquery")
    sound(out)
    page = run("preview", out).stdout.strip()
    text = Path(page).read_text(encoding="utf-8")
    assert rows(out, "multiquery")[0]["queries"][0]["question"] in text


def test_the_questions_of_a_source_come_first(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(photograph(5, (320, 240), 2)[0])
    asked = [
        {"question": "Is the left thing red?", "answer": "Yes."},
        {"question": "Is it blue?", "answer": "no"},
        {"question": "<b>What</b> is it?", "answer": "a <i>cup</i>"},
        {"question": "How many cups are there?", "answer": ""},
        {"question": "What color is it? " * 600, "answer": "red"},
        {"question": "ما لون الكوب؟ 🫖", "answer": "أحمر"},
        {"question": "Hmm", "answer": "hmm"},
    ]
    row = {"image": "a.jpg", "bbox": [10, 10, 100, 90], "label": "cup", "original_questions": asked}
    other = {"image": "a.jpg", "bbox": [170, 100, 300, 220], "label": "dog"}
    file = jsonl(tmp_path, [row, other])
    out = tmp_path / "set"
    run(*of_jsonl(file, "--set", "sources.0.exhaustive=true", "--out", out))
    run("build-multiquery", out)
    accounts = load_manifest(out).accounts
    assert accounts["groups"] == len(asked) + 1
    groups = [group for group in rows(out, "multiquery") if group["queries"][0]["origin"] == "source"]
    assert {group["queries"][0]["question"] for group in groups} >= {"Is the left thing red?", "Is it blue?"}
    yes = next(g["queries"][0] for g in groups if g["queries"][0]["question"] == "Is the left thing red?")
    assert (yes["facet"], yes["answer"], sorted(yes["choices"]), yes["chance"]) == ("color", "yes", ["no", "yes"], 0.5)
    listed = [json.loads(r["record"]).get("question", "") for r in rows(out, "rejections") if r["kind"] == "query"]
    for text in (asked[2]["question"], asked[3]["question"], asked[6]["question"]):
        assert text in listed, text
    assert any(text.startswith("What color is it? What") for text in listed)
    sound(out)


def test_five_hundred_boxes_of_one_label(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(photograph(6, (640, 480), 2)[0])
    boxes = [[10 + 24 * (i % 25), 10 + 22 * (i // 25), 30 + 24 * (i % 25), 28 + 22 * (i // 25)] for i in range(500)]
    file = jsonl(tmp_path, [{"image": "a.jpg", "bbox": box, "label": "bead"} for box in boxes])
    out = tmp_path / "set"
    run(*of_jsonl(file, "--set", "sources.0.exhaustive=true", "--out", out))
    run("build-multiquery", out)
    accounts = load_manifest(out).accounts
    assert (accounts["regions"], accounts["groups"]) == (500, accounts["published"])
    sound(out)


def test_a_folder_that_holds_no_set_is_refused(tmp_path: Path) -> None:
    assert "holds no published set" in refused("build-multiquery", tmp_path)
    run(*SCENES, "--limit", 4, "--shard", "0/2", "--out", tmp_path / "part")
    assert "holds no published set" in refused("build-multiquery", tmp_path / "part")
