"""Injected errors are plainly wrong, repeatable, and touch nothing else; checks are measured with them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from slvr_data import geometry
from slvr_data.colors import CONFUSED
from slvr_data.injector import CLASSES, PROFILE_KINDS, QUERY_KINDS, SHARES, Surroundings, corrupt_profile, corrupt_query
from slvr_data.injector.measure import SoundPicture, measure_profiles, measure_queries, surroundings
from slvr_data.queries.generate import write_groups

PER_CLASS = 60
TARGETS = ("color", "spatial", "invisible object", "ambiguous reference", "vague")
"""Classes that checks without a model are to catch."""


def load_script() -> ModuleType:
    path = Path(__file__).parents[3] / "perf/checks.py"
    sys.path.insert(0, str(path.parent))  # its neighbours
    spec = importlib.util.spec_from_file_location("perf_checks", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["perf_checks"] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


@pytest.fixture(scope="module")
def pictures() -> list[SoundPicture]:
    found: list[SoundPicture] = SCRIPT.drawn(round(PER_CLASS / SCRIPT.PER_PICTURE), seed=5)
    return found


@pytest.fixture(scope="module")
def regions(pictures: list[SoundPicture]) -> list[Surroundings]:
    return [around for _, around in surroundings(pictures)]


def test_shares_are_those_of_the_paper() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    assert {name: round(100 * share, 2) for name, share in SHARES.items()} == {
        "color": 19.94, "action/pose": 14.55, "spatial": 13.28, "hallucinated attribute": 11.80,
        "invisible object": 10.72, "held object": 9.98, "ambiguous reference": 9.62, "vague": 7.70, "other": 2.41,
    }  # fmt: skip
    assert tuple(PROFILE_KINDS) == tuple(QUERY_KINDS) == CLASSES


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_changes_the_profile_and_is_repeatable(error: str, regions: list[Surroundings]) -> None:
    done = set()
    for around in regions:
        before = around.region.row.profile.model_dump_json()
        spoilt = corrupt_profile(around, error, 1)
        assert around.region.row.profile.model_dump_json() == before, "the sound record stays as it is"
        if spoilt is not None:
            assert spoilt.error == error and spoilt.record.model_dump_json() != before
            assert spoilt == corrupt_profile(around, error, 1)
            assert spoilt.record == type(spoilt.record).model_validate(spoilt.record.model_dump())
            done.add(spoilt.kind)
    assert done == set(PROFILE_KINDS[error])


def test_wrong_colours_are_wrong(regions: list[Surroundings]) -> None:
    for around in regions:
        spoilt = corrupt_profile(around, "color", 2)
        assert spoilt is not None
        true, said = around.region.colors or [], spoilt.record.appearance.colors or []
        (wrong,) = set(said) - set(true)
        assert all({wrong, name} not in CONFUSED for name in true)


def test_wrong_relations_are_wrong(regions: list[Surroundings]) -> None:
    for around in regions:
        for kind in ("relation reversed", "relation turned"):
            spoilt = corrupt_profile(around, "spatial", 2, kind)
            boxes = {o.row.region_id: o.row.bbox for o in around.others}
            for link in (spoilt.record.spatial.relations or []) if spoilt else []:
                if link not in (around.region.row.profile.spatial.relations or []):
                    right = geometry.relation_of(around.region.row.bbox, boxes[link.target_region_id or ""])
                    assert right is not None and link.kind != right


def test_wrong_questions_are_wrong_and_keep_their_form(regions: list[Surroundings]) -> None:
    seen = set()
    for around in regions:
        for written in write_groups(around.picture, around.region):
            for query in written.group.queries:
                for error in CLASSES:
                    spoilt = corrupt_query(query, around, error, 1)
                    if spoilt is None:
                        continue
                    seen.add(error)
                    wrong = spoilt.record
                    assert wrong != query and spoilt == corrupt_query(query, around, error, 1)
                    assert wrong.answer_index is not None and wrong.choices[wrong.answer_index] == wrong.answer
                    assert wrong.answer != query.answer or wrong.question != query.question
    assert seen == set(CLASSES)


def test_profiles_reach_their_targets(pictures: list[SoundPicture]) -> None:
    """The small form of `python perf/checks.py`; its margins allow for 60 per class."""
    found = measure_profiles(pictures, PER_CLASS, seed=1)
    for error in CLASSES:
        share = found.of_class(error)
        assert share.number >= PER_CLASS
        if error in TARGETS:
            assert share.value >= 0.85, f"{error}: {found.caught[error]}"
    assert found.of_class("action/pose").value <= 0.1, "nothing here sees poses"
    assert found.dropped.value <= 0.01 and found.dropped.interval[1] <= 0.02, found.reasons
    assert found.beside.value <= 0.05
    assert 0.5 <= found.weighted <= 1


def test_questions_reach_their_targets(pictures: list[SoundPicture]) -> None:
    found = measure_queries(pictures, PER_CLASS, seed=1)
    for error in CLASSES:
        share = found.of_class(error)
        assert share.number >= PER_CLASS * 0.5
        assert share.value >= 0.9, f"{error}: {found.caught[error]}"
    assert found.dropped.value <= 0.01 and found.dropped.interval[1] <= 0.02, found.reasons


def test_the_script_prints_its_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["checks.py", "--per-class", "4"])
    SCRIPT.main()
    text = capsys.readouterr().out
    assert all(f"| {error} |" in text for error in CLASSES) and "Sound questions dropped" in text
