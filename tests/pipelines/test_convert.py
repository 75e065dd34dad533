"""`slvr-data convert`: sets into the forms of others and back, with accounts that balance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.convert import convert
from pipelines.export import export
from slvr_data.errors import UsageError
from slvr_data.forms import FORMS
from slvr_data.manifest import load_manifest
from slvr_data.schema import Provenance, Query, QueryGroup
from slvr_data.shards import TableWriter
from tests.conversions import BOX, HEBREW, QUESTIONS, SHARES, balanced, lay_out, records
from tests.support import (
    Published,
    build,
    refusal,
    refused_here,
    slvr_data,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a set of one region on each, with questions."""
    folder = lay_out(tmp_path_factory.mktemp("convert"))
    shares = [part for share in ("train=1", "validation=0", "test=0") for part in ("--set", f"splits.{share}")]
    options = ("--images", folder / "pictures", "--annotations", folder / "rows.jsonl")
    build("jsonl", folder / "set", *options, *shares)
    return folder


# A set into each form


@pytest.mark.parametrize("form", ["slvr-stage1", "lvr", "llava"])
def test_a_set_becomes_one_record_for_each_question(root: Path, tmp_path: Path, form: str) -> None:
    """Of train alone; what would be misread, or asks nothing, is listed."""
    out = tmp_path / "out.json"
    account = balanced(export(root / "set", form, out, "train", None), out, read=7)
    assert account.reasons == {"text-reserved": 1, "answer-empty": 1, "question-absent": 1}
    found = {record["conversations"][0]["value"]: record for record in records(out)}
    kept = [pair for name in ("a.png", "b.png") for pair in QUESTIONS[name]][:4]
    assert set(found) == {f"<image>\n{question}" for question, _ in kept}
    record = found[f"<image>\n{HEBREW}"]
    assert record["bboxes"] == [SHARES]
    reply = record["conversations"][1]
    if form == "slvr-stage1":
        assert record["image"] == "a.png"
        assert reply == {"from": "gpt", "value": "<lvr>\n<lvr_text>\n<answer> חום </answer>"}
    elif form == "lvr":
        assert (record["image"], record["dataset"], record["split"]) == (["a.png"], "jsonl", "train")
        assert reply["value"] == "<lvr>\n<answer> חום </answer>"
    else:
        assert record["image"] == "a.png" and reply["value"] == "חום"
    assert len({record.get("id", record.get("question_id")) for record in found.values()}) == 4


def test_a_form_of_lines_has_a_line_for_each_record(root: Path, tmp_path: Path) -> None:
    export(root / "set", "slvr-stage1", tmp_path / "out.jsonl", "all", None)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(lines) == 5 and all(json.loads(line)["bboxes"] for line in lines)


@pytest.mark.parametrize("form", ["slvr-stage1", "lvr", "llava"])
def test_a_set_comes_back_as_it_was(root: Path, tmp_path: Path, form: str) -> None:
    """Through the real command, with the pictures it wrote: the same regions, to the id, and the same questions."""
    out, back = tmp_path / "out.json", tmp_path / "back.jsonl"
    pictures = tmp_path / "pictures"
    shown = slvr_data("convert", root / "set", "--to", form, "--out", out, "--images", pictures, "--split", "all")
    assert "questions: 8 = kept 5 + rejected 3" in shown.stdout and "question-absent: 1" in shown.stdout
    shown = slvr_data("convert", out, "--from", form, "--out", back, "--images", pictures)
    assert "records: 5 = kept 5 + rejected 0" in shown.stdout
    build("jsonl", tmp_path / "set", "--images", pictures, "--annotations", back)
    first, second = Published(root / "set"), Published(tmp_path / "set")
    second.check(rows=5)
    before = {row["region_id"]: row for row in first.rows("attributes") if row["original_questions"]}
    after = {row["region_id"]: row for row in second.rows("attributes")}
    assert before.keys() == after.keys()
    for name, row in after.items():
        assert row["bbox"] == before[name]["bbox"]
        kept = [q for q in before[name]["original_questions"] if q["answer"].strip() and "<image>" not in q["question"]]
        assert sorted(map(str, row["original_questions"])) == sorted(map(str, kept))


# Pairs


def group(region: dict[str, Any], number: int, questions: list[str]) -> dict[str, Any]:
    queries = [
        Query(
            query_id=f"{number}-{n}",
            facet=("color", "position", "count", "shape")[n],
            question=question,
            answer="yes",
            choices=["yes", "no"],
            answer_index=0,
            chance=0.5,
            paraphrases=[],
            evidence=[],
            origin="generated",
        )
        for n, question in enumerate(questions)
    ]
    ids = {"group_id": f"g{number}", "region_id": region["region_id"], "image_id": region["image_id"]}
    return QueryGroup(**ids, reference=None, queries=queries, provenance=Provenance(annotator="test")).model_dump()


@pytest.fixture
def grouped(root: Path, tmp_path: Path) -> Path:
    """A copy of the set with query groups: two, three and four queries, and some that cannot be written."""
    folder = tmp_path / "grouped"
    shutil.copytree(root / "set", folder)
    published = Published(folder)
    paths = {row["image_id"]: row["path"] for row in published.rows("images")}
    rows = {paths[row["image_id"]]: row for row in published.rows("attributes")}
    asked = {"a.png": [["A?", "B?"], ["C?", "D?", "E?"]], "b.png": [["F?", "<image>?"]], "c.png": [list("GHIJ")]}
    asked["test.png"] = [["K?", "L?"]]
    manifest = load_manifest(folder)
    number = 0
    for split in ("train", "test"):
        writer = TableWriter(folder, "multiquery", split, QueryGroup, 1 << 20, 1 << 20)
        for name, row in sorted(rows.items(), key=lambda item: str(item[1]["image_id"])):
            for questions in asked[name] if (name == "test.png") == (split == "test") else []:
                number += 1
                writer.add(group(row, number, questions))
        manifest.files += writer.close()
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return folder


def pairs(file: Path) -> list[tuple[str, str]]:
    """The questions of rows 2k and 2k+1, whose ids must belong together."""
    rows = records(file)
    assert len(rows) % 2 == 0
    found = []
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert one["id"].endswith("-1") and other["id"] == one["id"][:-1] + "2"
        assert one["images"] == other["images"] and one["bboxes"] == other["bboxes"] == [SHARES]
        texts = [row["conversations"][0]["value"].removeprefix("<image>\n") for row in (one, other)]
        assert one["conversations"][1]["value"] == "<answer> yes </answer>"
        found.append((texts[0], texts[1]))
    return found


def test_groups_become_pairs(grouped: Path, tmp_path: Path) -> None:
    """No query of a group is lost; one whose partner cannot be written is."""
    out = tmp_path / "out.json"
    account = balanced(export(grouped, "slvr-stage2", out, "train", None), out, read=11)
    assert account.reasons == {"text-reserved": 1, "pair-incomplete": 1}
    assert sorted(pairs(out)) == [("A?", "B?"), ("C?", "D?"), ("E?", "C?"), ("G", "H"), ("I", "J")]
    ids = [row["id"] for row in records(out)]
    assert len(ids) == len(set(ids))


def test_pairs_come_back(grouped: Path, tmp_path: Path, root: Path) -> None:
    out, back = tmp_path / "out.json", tmp_path / "back.jsonl"
    export(grouped, "slvr-stage2", out, "all", tmp_path / "pictures")
    account = balanced(convert(out, "slvr-stage2", back, tmp_path / "pictures", False), out=back, read=12)
    assert (account.kept, account.written) == (12, 6)
    assert all(row["bbox"] == BOX and len(row["original_questions"]) == 2 for row in records(back))


def test_generated_questions_stand_beside_those_of_the_source(grouped: Path, tmp_path: Path) -> None:
    account = export(grouped, "llava", tmp_path / "out.json", "all", None)
    assert account.kept == 4 + 1 + 5 + 1 + 4 + 2 and account.reasons == {"text-reserved": 2, "answer-empty": 1}


def test_without_groups_there_are_no_pairs(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run slvr-data build-multiquery"):
        export(root / "set", "slvr-stage2", tmp_path / "out.json", "train", None)
    assert not list(tmp_path.iterdir())


# The command


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("set --out o.json", "give one of --to FORM (from a set) and --from FORM (from a file)"),
        ("set --to lvr --from lvr --out o.json", "give one of --to"),
        ("set --to slvr --out o.json", "unknown form 'slvr': known are slvr-stage1, slvr-stage2, lvr, llava"),
        ("set --to lvr --split dev --out o.json", "--split dev: known are train, validation, test and all"),
        ("pictures --to lvr --out o.json", "pictures holds no published set"),
        ("set --to lvr --out pictures", "--out pictures is a folder: name a file"),
        ("set --to lvr --out gone/o.json", "the folder gone is not there"),
        ("set --to lvr --out o.json --images rows.jsonl", "--images rows.jsonl is a file"),
        ("rows.jsonl --from lvr --out o.json", "--images is missing: name the root of the pictures"),
        ("rows.jsonl --from lvr --out o.json --images gone", "--images gone is not a folder"),
        ("rows.jsonl --from lvr --out rows.jsonl --images pictures", "would write over rows.jsonl"),
        ("rows.jsonl --from lvr --out o.json --images pictures --split test", "it does not go with --from"),
        ("gone.json --from lvr --out o.json --images pictures", "gone.json is not a file"),
        ("broken.json --from lvr --out o.json --images pictures", "line 1, column 3"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: str, says: str
) -> None:
    monkeypatch.chdir(root)
    (root / "broken.json").write_text("[{]")
    assert says in refused_here(capfd, "convert", *arguments.split())
    assert not (root / "o.json").exists() and not (root / "o.rejected.jsonl").exists()


def test_a_set_by_reference_has_no_pictures_to_write(root: Path, tmp_path: Path) -> None:
    slvr_data("publish", root / "set", "--pictures", "reference", "--to", tmp_path / "reference")
    options = ("--out", tmp_path / "out.json", "--images", tmp_path / "pictures")
    found = slvr_data("convert", tmp_path / "reference", "--to", "lvr", *options, code=2)
    assert "slvr-data attach" in refusal(found)
    assert not (tmp_path / "out.json").exists()


def test_every_form_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    assert all(f"## `{name}`" in text for name in FORMS)
