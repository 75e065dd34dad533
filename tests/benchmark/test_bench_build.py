"""From a published set to a benchmark folder: balanced, accounted for, deterministic, and at chance unseen."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from benchmark.build import TAUGHT_ENOUGH, _nothing_left, build
from benchmark.drawn import REASONS, Drawn
from benchmark.extract import extracted
from benchmark.folder import open_bench
from benchmark.models.base import ModelOptions, open_model
from benchmark.records import Ask
from slvr_data.errors import UsageError
from slvr_data.manifest import load_manifest
from slvr_data.reader import rows_of
from tests.benchmark.bench_pictures import scenes
from tests.builds import run
from tests.support import Published


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory)


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "all"
    build(source, out, "all")
    return out


def test_items_are_the_groups_with_choices_in_blocks(source: Path, folder: Path) -> None:
    bench = open_bench(folder)
    groups = {row["group_id"]: row for row in rows_of(source, load_manifest(source), "multiquery", None)}
    own = {row["region_id"]: row for row in rows_of(source, load_manifest(source), "attributes", None)}
    assert len(bench.items) > 100
    for item in bench.items:
        group = groups[item.item_id]
        queries = {query["query_id"]: query for query in group["queries"]}
        assert 2 <= len(item.queries) <= 4 and item.region_id == group["region_id"]
        assert list(item.bbox or ()) == own[item.region_id]["bbox"] and item.label == own[item.region_id]["label"]
        for query in item.queries:
            before = queries[query.query_id]
            assert (query.question, query.answer, query.facet) == (
                before["question"],
                before["answer"],
                before["facet"],
            )
            assert query.choices[query.answer_index or 0] == query.answer and query.chance == 1 / len(query.choices)
            assert list(query.paraphrases) == before["paraphrases"] and query.evidence
    order = [query["query_id"] for query in groups[bench.items[0].item_id]["queries"]]
    assert [query.query_id for query in bench.items[0].queries] == [
        q for q in order if q in {query.query_id for query in bench.items[0].queries}
    ]


def test_each_choice_is_right_as_often_as_any_it_stands_beside(folder: Path) -> None:
    """Within facet, template and set of choices: every answer, and over all of them every place, equally often."""
    answers: dict[tuple[str, str, frozenset[str]], Counter[str]] = defaultdict(Counter)
    places: dict[tuple[str, str, int], Counter[int]] = defaultdict(Counter)
    for item in open_bench(folder).items:
        for query in item.queries:
            answers[query.facet, query.template, frozenset(query.choices)][query.answer] += 1
            places[query.facet, query.template, len(query.choices)][query.answer_index or 0] += 1
    for (_, _, choices), counts in answers.items():
        assert set(counts) == choices and len(set(counts.values())) == 1
    for (_, _, k), found in places.items():
        assert set(found) == set(range(k)) and len(set(found.values())) == 1


def test_a_build_that_cannot_tell_what_is_answered_unseen_says_so(source: Path, tmp_path: Path) -> None:
    """Some 140 groups: thirds of them teach each other from fewer than 100 queries. 800 are wanted."""
    from dataclasses import replace

    report = build(source, tmp_path / "out", "all")
    told = [line for line in report.lines() if "answered unseen is known badly" in line]
    parts = json.loads((tmp_path / "out" / "training.json").read_text())["parts"]
    assert report.taught == min(part["queries"] for part in parts) < TAUGHT_ENOUGH
    assert len(told) == 1 and f"only {report.taught:,} queries" in told[0] and "--training" in told[0]
    assert not [line for line in replace(report, taught=TAUGHT_ENOUGH).lines() if "known badly" in line]


def test_everything_is_accounted_for(source: Path, folder: Path) -> None:
    bench = open_bench(folder)
    about = json.loads((folder / "bench.json").read_text())
    accounts, dropped = about["accounts"], about["dropped"]
    published = sum(len(row["queries"]) for row in rows_of(source, load_manifest(source), "multiquery", None))
    assert accounts["queries_published"] == published
    assert accounts["queries"] == sum(len(item.queries) for item in bench.items)
    assert published == accounts["queries"] + sum(dropped.values()) and set(dropped) <= set(REASONS)
    assert sum(facet["asked"] for facet in about["facets"].values()) == accounts["queries"]
    assert about["facets"]["material"]["asked"] == 0 and dropped["one-answer"] > 0  # easy scenes: all things are solid
    assert {test["template"] for test in about["templates"]} >= {"what color is {}?", "how large is {} in the picture?"}


def test_the_same_bytes_twice_and_other_ones_for_another_seed(source: Path, folder: Path, tmp_path: Path) -> None:
    report = build(source, tmp_path / "again", "all")
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert report.bench.revision == open_bench(folder).revision
    other = build(source, tmp_path / "other", "all", seed=1)
    assert other.bench.revision != report.bench.revision
    lines = list(report.lines())
    assert any(line.startswith("color") for line in lines) and any("no-partner" in line for line in lines)


def test_blind_and_majority_are_at_chance(folder: Path) -> None:
    """Over all queries; the figures for large sets are in docs/items.md."""
    bench = open_bench(folder)
    for spec in ("blind", "majority", "prior"):
        model = open_model(spec, ModelOptions(bench=bench))
        excess: dict[str, float] = defaultdict(float)
        number = 0
        asks = [
            Ask(f"{i.item_id}/{q.query_id}", i, q, "plain", 0, q.question, q.choices, "", b"")
            for i in bench.items for q in i.queries
        ]  # fmt: skip
        for ask, reply in model.replies(asks):
            read = extracted(reply.text or "", ask.choices)
            assert read.outcome == "answer"
            excess[ask.item.image_id] += (read.index == ask.query.answer_index) - (ask.query.chance or 0)
            number += 1
        mean = sum(excess.values()) / number
        error = math.sqrt(sum(e * e for e in excess.values())) / number
        assert mean - 1.96 * error < 0.05, spec


def test_pictures_are_those_of_the_set(source: Path, folder: Path) -> None:
    bench = open_bench(folder)
    rows = {
        row["image_id"]: row["image"]["bytes"]
        for row in rows_of(source, load_manifest(source), "images", None, ("image_id", "image"))
    }
    for image_id in sorted({item.image_id for item in bench.items})[::17]:
        assert bench.picture(image_id) == rows[image_id]


def test_the_test_split_is_answered_from_the_training_split(source: Path, tmp_path: Path) -> None:
    report = build(source, tmp_path / "test")
    test = {row["image_id"] for row in rows_of(source, load_manifest(source), "images", "test", ("image_id",))}
    assert {item.image_id for item in report.bench.items} <= test
    about = json.loads((tmp_path / "test" / "bench.json").read_text())
    assert about["made"]["learnt"] == "training" and report.bench.training is not None
    assert len(json.loads(report.bench.training.read_text())["parts"]) == 1


def test_another_set_teaches(source: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = scenes(tmp_path_factory, 12, 77)
    report = build(source, tmp_path / "bench", "test", training=other)
    assert report.bench.about["made"]["learnt"] == "training"
    with pytest.raises(UsageError, match="of the pictures that are asked about"):
        build(source, tmp_path / "self", "test", training=source)


def test_an_empty_split_names_the_cure(source: Path, small_set: Published, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'validation' .* \(train \d+, validation 0, test \d+\): give --split all"):
        build(source, tmp_path / "out", "validation")
    with pytest.raises(UsageError, match="no questions: slvr-data build-multiquery"):
        build(small_set.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_set_of_which_nothing_is_left_says_what_became_of_its_questions() -> None:
    dropped = {"a": "one-answer", "b": "item-too-small", "c": "one-answer"}
    told = _nothing_left(Path("mine"), "all", Drawn([], {}, dropped))
    assert f"'all' of mine has two queries left (2: {REASONS['one-answer']}; 1: {REASONS['item-too-small']}): " in told


def test_a_set_without_pictures_names_the_cure(source: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "referenced"
    shutil.copytree(source, folder)
    run("publish", folder, "--pictures", "reference")
    with pytest.raises(UsageError, match="slvr-data attach"):
        build(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_set_and_what_is_no_place(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published set"):
        build(tmp_path, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="holds something else"):
        build(source, tmp_path / "full")


def test_a_place_that_holds_another_benchmark_is_seen_before_any_work(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    import shutil

    said: list[str] = []
    other = tmp_path / source.name
    shutil.copytree(source, other)
    tree = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(tree | {"versions": tree["versions"] | {"slvr": "0.0.1"}}))
    for taken, split, seed, words in (
        (source, "all", 1, "seed 0, not 1"),
        (source, "test", 0, "name .*-all', not .*-test'"),
        (other, "all", 0, "source '[0-9a-f]+', not"),
    ):
        with pytest.raises(UsageError, match=f"holds another benchmark .{words}"):
            build(taken, folder, split, seed, say=said.append)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="learnt 'thirds', not 'training'"):
        build(source, folder, "all", training=tmp_path, say=said.append)
    assert not said


def test_a_leaking_template_is_refused(tmp_path: Path) -> None:
    """A set whose entity questions of one place always have the answer that stands first in the alphabet."""
    from benchmark.drawn import draw
    from benchmark.fitted import Part, Statistics
    from benchmark.groups import Group
    from benchmark.learning import Learnt
    from benchmark.models.blind import Text, fitted
    from benchmark.templates import Form
    from slvr_data.schema import Provenance, Query, QueryGroup

    groups = []
    for i in range(400):
        queries = []
        for facet in ("color", "size"):
            value = ("red", "blue")[i % 2]
            question = f"What {facet}{' first' if facet == 'color' and value == 'red' else ''} is it?"
            choices = ["red", "blue"]
            queries.append(
                Query(query_id=f"{facet}{i}", facet=facet, question=question, answer=value, choices=choices,
                      answer_index=choices.index(value), chance=0.5, paraphrases=[], evidence=[], origin="generated")
            )  # fmt: skip
        group = QueryGroup(group_id=f"g{i}", region_id=f"r{i}", image_id=f"p{i}", reference=None, queries=queries,
                           provenance=Provenance(annotator="other"))  # fmt: skip
        forms = [Form("what {} is it?", "", "")] * 2
        groups.append(Group(group, {"bbox": [0, 0, 1, 1], "label": None}, 9, 9, forms))
    whole = draw(groups, 0)
    assert isinstance(whole, Drawn) and not whole.dropped
    teaching = [Text(t.question, t.choices, t.answer_index, f"other{i}") for i, (_, _, t) in enumerate(whole.texts())]
    learning = Learnt((fitted(teaching),), Statistics((Part.of([], teaching),)), "training")
    tests = {test.facet: test for test in learning.tested(whole)}
    assert tests["color"].refused and tests["color"].accuracy > 0.9 and not tests["size"].refused
    left = draw(groups, 0, frozenset({("color", "what {} is it?")}))
    assert Counter(left.dropped.values()) == {"template-refused": 400, "item-too-small": 400} and not left.items()
