"""What `build-multiquery` publishes: seen by validate, preview, stats and the card; and what it will not work on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from slvr_data import card
from slvr_data.shards import DataFile
from slvr_data.validate import validate
from tests.builds import (
    coco,
    counts,
    jsonl,
    of_coco,
    of_jsonl,
    photograph,
    published,
    refused,
    rows,
    run,
    shared,
    sound,
    start,
)
from tests.builds import end as end_of

Query = dict[str, Any]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs with crowded labels, so that many a group is turned away; not to be changed."""

    def make(folder: Path) -> None:
        file = coco(folder, 40, size=(320, 240), regions=8)
        tree = json.loads(file.read_text())
        for annotation in tree["annotations"]:
            if annotation["image_id"] % 3 == 0:
                annotation["category_id"] = 1
        file.write_text(json.dumps(tree))
        run(*of_coco(file, "--workers", 2, "--out", folder / "set"))
        run("build-multiquery", folder / "set", "--workers", 2)

    return shared(tmp_path_factory, "asked-photographs", make) / "set"


def accounts(out: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((out / "manifest.json").read_bytes())["accounts"]
    return found


def test_every_query_and_group_is_published_or_listed(photographs: Path) -> None:
    groups, turned = rows(photographs, "multiquery"), rows(photographs, "rejections")
    told, kinds = accounts(photographs), Counter(row["kind"] for row in turned)
    assert kinds["group"] and kinds["query"], "the set has what this test is about"
    assert told["queries_published"] == sum(len(group["queries"]) for group in groups)
    assert told["queries"] == told["queries_published"] + kinds["query"]
    assert told["groups"] == len(groups) + kinds["group"] == told["published"]
    listed = [json.loads(row["record"]) for row in turned]
    survivors = Counter(
        row["region_id"] for row in turned if row["reason"] == "too-few-queries" and row["kind"] == "query"
    )
    for row, record in zip(turned, listed, strict=True):
        if row["kind"] == "group":
            assert row["reason"] in ("too-few-queries", "no-unique-reference")
            assert survivors[row["region_id"]] == len(record["queries"]) < 2
    asked = {group["group_id"] for group in groups}
    assert not asked & {
        record["group_id"] for row, record in zip(turned, listed, strict=True) if row["kind"] == "group"
    }
    regions = {row["region_id"] for row in rows(photographs, "attributes")}
    assert {row["region_id"] for row in turned} <= regions
    assert all(row["stage"] == "multiquery" and row["evidence"] and row["file"] == "instances.json" for row in turned)
    sound(photographs)


def test_groups_lie_where_their_pictures_lie(photographs: Path, tmp_path: Path) -> None:
    regions = {row["region_id"]: (row["image_id"], row["split"]) for row in rows(photographs, "attributes")}
    loaded = load_dataset(str(photographs), "multiquery", cache_dir=str(tmp_path))
    assert sum(len(table) for table in loaded.values()) == accounts(photographs)["groups_published"]
    for split, table in loaded.items():
        assert table["image_id"] == sorted(table["image_id"])
        assert all(regions[row["region_id"]] == (row["image_id"], split) for row in table)
    first = rows(photographs, "multiquery")[0]
    assert loaded[first["split"]][0]["queries"][0] == first["queries"][0]


def test_what_people_read_tells_of_questions(photographs: Path) -> None:
    text = (photographs / "README.md").read_text()
    told = accounts(photographs)
    published_queries, turned = told["queries_published"], told["queries_rejected"]
    assert f"{told['queries']} queries = {published_queries} published + {turned} rejected" in text
    facets = Counter(q["facet"] for group in rows(photographs, "multiquery") for q in group["queries"])
    section = text.split("## Questions per facet")[1].split("##")[0]
    assert {n: int(c) for n, c in re.findall(r"^\| (\w+) \| (\d+) \|$", section, re.M)} == facets
    shown = run("stats", photographs).stdout
    for name in ("queries", "queries rejected", "groups published", "groups rejected"):
        key = name.replace(" ", "_")
        assert re.search(rf"^  {name} +{told[key]}$", shown, re.M), name


def test_the_page_shows_questions_and_refused_ones(photographs: Path, tmp_path: Path) -> None:
    run("preview", photographs, "--pictures", 40, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for group in rows(photographs, "multiquery")[::7]:
        for query in group["queries"]:
            assert query["question"] in page and query["answer"] in page
    turned = [row for row in rows(photographs, "rejections") if row["kind"] == "query"]
    assert turned and all(json.loads(row["record"])["question"] in page for row in turned[::5])
    assert "too-few-queries" in page


def forged(original: Path, out: Path, change: Callable[[list[dict[str, Any]]], Any]) -> list[str]:
    """What `validate` says of a copy whose groups were changed and whose hashes agree again."""
    shutil.copytree(original, out, ignore=shutil.ignore_patterns(".work"))
    tree = json.loads((out / "manifest.json").read_bytes())
    entry = next(file for file in tree["files"] if file["config"] == "multiquery")
    table = pq.read_table(out / entry["path"])
    changed = table.to_pylist()
    change(changed)
    pq.write_table(pa.Table.from_pylist(changed, schema=table.schema), out / entry["path"])
    seal(out, tree, entry, len(changed))
    text = card.with_files((out / "README.md").read_text(), [DataFile(**file) for file in tree["files"]])
    (out / "README.md").write_text(text)
    seal(out, tree, next(file for file in tree["files"] if file["path"] == "README.md"))
    (out / "manifest.json").write_text(json.dumps(tree))
    return validate(out)[0]


def seal(out: Path, tree: dict[str, Any], entry: dict[str, Any], number: int | None = None) -> None:
    data = (out / entry["path"]).read_bytes()
    entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    if number is not None:
        entry["rows"] = number


def first(groups: list[dict[str, Any]]) -> Query:
    query: Query = next(q for q in groups[0]["queries"] if len(q["choices"]) > 2 and q["answer_index"] < 2)
    return query


FORGERIES: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "a choice dropped": (lambda g: first(g)["choices"].pop(), "chance-wrong"),
    "all choices dropped": (lambda g: first(g).update(choices=[]), "choices-absent"),
    "a choice twice": (lambda g: first(g).update(choices=first(g)["choices"][:1] * 3), "repeated"),
    "another index": (lambda g: first(g).update(answer_index=len(first(g)["choices"]) - 1), "index-wrong"),
    "an index too far": (lambda g: first(g).update(answer_index=9), "index-wrong"),
    "an index from behind": (
        lambda g: first(g).update(answer_index=first(g)["answer_index"] - len(first(g)["choices"])), "index-wrong",
    ),
    "no index": (lambda g: first(g).update(answer_index=None), "index-wrong"),
    "another answer": (lambda g: first(g).update(answer="nothing"), "answer-not-in-choices"),
    "another chance": (lambda g: first(g).update(chance=0.9), "chance-wrong"),
    "one facet twice": (
        lambda g: g[0]["queries"][1].update(facet=g[0]["queries"][0]["facet"]), "queries on the facets",
    ),
    "no facet": (lambda g: g[0]["queries"][0].update(facet="mood"), "is no facet"),
    "a query alone": (lambda g: g[0].update(queries=g[0]["queries"][:1]), "has 1 queries"),
    "a query gone": (
        lambda g: next(x for x in g if len(x["queries"]) > 2)["queries"].pop(), "the accounts say",
    ),
    "a query twice": (lambda g: g[1].update(queries=g[0]["queries"]), "stands twice"),
    "an unknown region": (lambda g: g[0].update(region_id="0" * 32), "its region is not published beside it"),
    "another picture": (lambda g: g[0].update(image_id=g[-1]["image_id"]), "its region is not published beside it"),
    "a group twice": (lambda g: g.append(g[-1]), "stands twice"),
    "a group gone": (lambda g: g.pop(), "multiquery has"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_validate_finds_what_was_changed(photographs: Path, tmp_path: Path, name: str) -> None:
    change, told = FORGERIES[name]
    found = forged(photographs, tmp_path / "set", change)
    assert [line for line in found if told in line], found


def test_a_copy_that_nobody_changed_is_sound(photographs: Path, tmp_path: Path) -> None:
    assert forged(photographs, tmp_path / "set", lambda groups: None) == []


def test_one_label_for_all_boxes(tmp_path: Path) -> None:
    file = coco(tmp_path, 6, size=(320, 240), regions=6)
    tree = json.loads(file.read_text())
    for annotation in tree["annotations"]:
        annotation["category_id"] = 1
    file.write_text(json.dumps(tree))
    out = tmp_path / "set"
    run(*of_coco(file, "--workers", 1, "--out", out))
    run("build-multiquery", out, "--workers", 1)
    told = accounts(out)
    assert told["groups"] == told["published"] == told["groups_published"] + told["groups_rejected"]
    questions = [q["question"] for group in rows(out, "multiquery") for q in group["queries"]]
    assert questions and not [text for text in questions if re.search(r"the dog(\?| in the picture)", text)]
    assert not [text for text in questions if "of the picture in the picture" in text]
    sound(out)


def test_many_boxes_of_one_label_take_little_time(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(photograph(6, (1000, 800), 2)[0])
    corners = [(5 + 39 * (i % 25), 5 + 39 * (i // 25)) for i in range(500)]
    boxes = [[x, y, x + 14 + (7 * i) % 20, y + 14 + (11 * i) % 20] for i, (x, y) in enumerate(corners)]
    lines = jsonl(tmp_path, [{"image": "a.jpg", "bbox": box, "label": "bead"} for box in boxes])
    out = tmp_path / "set"
    run(*of_jsonl(lines, "--set", "sources.0.exhaustive=true", "--workers", 1, "--out", out))
    run("build-multiquery", out, "--workers", 1)
    told = accounts(out)
    assert told["groups"] == 500 == told["groups_published"] + told["groups_rejected"]
    assert json.loads((out / "run.json").read_bytes())["seconds"]["asking"] < 20
    sound(out)


def test_text_of_any_script_and_length(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(photograph(5, (320, 240), 2)[0])
    cases = {
        "What color is the cup 🫖?": (None, "red"),
        "What color is the كوب?": (None, "أحمر"),
        "What color is \u202eit\u202c?": ("text-direction", "red"),
        "What color is <image>?": ("text-markup", "red"),
        "What color is it": ("text-empty", "  "),
        "What color is " + "x" * 10_000: ("text-too-long", "red"),
        "What color\x07 is it?": ("text-control", "red"),
        "هل هو": ("facet-unrecognised", "نعم"),
    }
    asked = [{"question": question, "answer": answer} for question, (_, answer) in cases.items()]
    mine = {"image": "a.jpg", "bbox": [10, 10, 100, 90], "label": "cup", "original_questions": asked}
    lines = jsonl(tmp_path, [mine, {"image": "a.jpg", "bbox": [170, 100, 300, 220], "label": "dog"}])
    lines.write_bytes(lines.read_bytes() + b'{"image": "a.jpg", "bbox": [1, 1, 60, 60], "label": "bad",'
                      b' "original_questions": [{"question": "What \\ud800 color?", "answer": "red"}]}\n')  # fmt: skip
    out = tmp_path / "set"
    run(*of_jsonl(lines, "--set", "sources.0.exhaustive=true", "--workers", 1, "--out", out))
    run("build-multiquery", out, "--workers", 1)
    asked_for = {q["question"]: q for g in rows(out, "multiquery") for q in g["queries"] if q["origin"] == "source"}
    turned = {}
    for row in rows(out, "rejections"):
        if row["kind"] == "query" and row["check"] != "group":
            turned[json.loads(row["record"])["question"]] = row["reason"]
    assert {question for question, (reason, _) in cases.items() if reason is None} == asked_for.keys()
    expected = {" ".join(question.split()) if reason != "facet-unrecognised" else question: reason
                for question, (reason, _) in cases.items() if reason}  # fmt: skip
    assert expected.items() <= turned.items()
    told = accounts(out)
    assert told["rows"] == told["malformed"] + told["regions"] == 3
    assert told["queries"] == told["queries_published"] + told["queries_rejected"]
    sound(out)


def test_what_it_will_not_work_on(photographs: Path, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shutil.copytree(photographs, shipped, ignore=shutil.ignore_patterns(".work"))
    before = published(shipped)
    assert "working files" in refused("build-multiquery", shipped)
    assert published(shipped) == before and not (shipped / ".work").exists()
    assert "holds no published set" in refused("build-multiquery", tmp_path / "nowhere")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    assert "holds no published set" in refused("build-multiquery", foreign)
    assert [path.name for path in foreign.iterdir()] == ["notes.txt"]
    open_work = tmp_path / "open"
    shutil.copytree(photographs, open_work)
    shutil.rmtree(next((open_work / ".work" / "check").iterdir()))
    assert "pictures are not finished: run the build again" in refused("build-multiquery", open_work)
    assert published(open_work) == published(photographs)


def test_two_at_once_are_kept_apart(photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(photographs, out)
    shutil.rmtree(out / ".work" / "multiquery")
    one = start("build-multiquery", out, "--workers", 1, "--shard-size", 1)
    other = start("build-multiquery", out, "--workers", 1, "--shard-size", 1)
    try:
        ended = [process.communicate(timeout=300) for process in (one, other)]
    finally:
        end_of(one)
        end_of(other)
    codes = sorted(process.returncode for process in (one, other))
    assert codes in ([0, 0], [0, 2]), ended
    assert published(out) == published(photographs)
    run("build-multiquery", out)
    assert counts(out)["pictures reused"] == accounts(out)["pictures_published"]
