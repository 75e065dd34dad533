"""Checks that ask the model again, through both builds: what they turn away, and that nothing is asked twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builds import published, rows, run, shared, sound
from tests.served_builds import KEY, accounts, ask, build, calls, scenes_stub
from tests.servers.running import RunningStub

SCENES = 12
LOOK = ("--set", "model_checks.second_look=whole")
READERS = tuple(
    word for name in ("blind", "profile", "answer") for word in ("--set", f"model_checks.{name}_samples=2")
)  # fmt: skip


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    with scenes_stub(SCENES) as running:
        yield running


@pytest.fixture(scope="session")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of which each region was looked at twice, without any fault; not to be changed."""

    def make(folder: Path) -> None:
        with scenes_stub(SCENES, service_ms=1) as sound_stub:
            run(*build(sound_stub, folder / "set", *LOOK, scenes=SCENES), STUB_KEY=KEY)

    return shared(tmp_path_factory, "served-looked", make) / "set"


@pytest.fixture(autouse=True)
def faultless(stub: RunningStub) -> Iterator[None]:
    yield
    stub.control(errors={"rate": 0.0, "repeat": 0.0}, faults={})


def test_a_second_look_that_agrees_is_a_verdict_of_each_region(looked: Path) -> None:
    sound(looked)
    found = [
        [verdict["verdict"] for verdict in row["verdicts"] if verdict["check"] == "second_look"]
        for row in rows(looked, "attributes")
    ]
    assert found and all(one == ["pass"] for one in found)
    assert not [row for row in rows(looked, "rejections") if row["check"] == "second_look"]


def test_an_error_that_is_not_repeated_is_turned_away_by_the_second_look(stub: RunningStub, tmp_path: Path) -> None:
    stub.control(errors={"rate": 0.3, "repeat": 0.0})
    run(*build(stub, tmp_path / "plain", scenes=SCENES), STUB_KEY=KEY)
    run(*build(stub, tmp_path / "looked", *LOOK, scenes=SCENES), STUB_KEY=KEY)
    sound(tmp_path / "looked")
    turned = [row for row in rows(tmp_path / "looked", "rejections") if row["reason"] == "second-look-differs"]
    assert turned and all(row["stage"] == "check" and row["check"] == "second_look" for row in turned)
    assert all("with another seed, " in row["evidence"] for row in turned)
    kept = {name: {row["region_id"] for row in rows(tmp_path / name, "attributes")} for name in ("plain", "looked")}
    assert kept["looked"] < kept["plain"]


def test_readers_of_questions_measure_and_turn_away(stub: RunningStub, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(*build(stub, out, scenes=SCENES), STUB_KEY=KEY)
    run(*ask(stub, out, *READERS), STUB_KEY=KEY)
    sound(out)
    queries = [query for row in rows(out, "multiquery") for query in row["queries"]]
    assert queries and all(query["pass_rate"] == 1.0 for query in queries), "the stub answers by the truth"
    by = {row["check"] for row in rows(out, "rejections") if row["kind"] == "query"}
    assert by & {"blind", "from_profile", "answer"}, "two blind guesses are right by chance now and then"
    told = accounts(out)
    assert told["queries"] == told["queries_published"] + told["queries_rejected"]


def test_what_readers_said_is_not_asked_again(stub: RunningStub, looked: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "set", tmp_path / "other"
    for folder in (out, other):
        shutil.copytree(looked, folder)
    stub.control(faults={"503": 0.4})
    command = ask(stub, out, *READERS, "--set", "served.transport_retries=0")
    first = len(calls(stub))
    run(*command, code=3, STUB_KEY=KEY)
    stub.control(faults={})
    answered = {call["body"] for call in calls(stub)[first:] if call["status"] == 200 and call["name"] is not None}
    before = len(calls(stub))
    run(*command, STUB_KEY=KEY)
    again = [call for call in calls(stub)[before:] if call["body"] in answered]
    assert answered and not again
    sound(out)
    run(*ask(stub, other, *READERS, "--set", "served.transport_retries=0"), STUB_KEY=KEY)
    assert published(other) == published(out)


def test_settings_of_checks_decide_data_and_need_a_model(stub: RunningStub, looked: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(looked, out)
    done = run(*build(stub, out, scenes=SCENES), code=2, STUB_KEY=KEY)
    assert "model_checks.second_look" in done.stderr
    done = run("build-attributes", "scenes", "--out", tmp_path / "measured", *LOOK, code=2)
    assert "goes with the annotator 'served'" in done.stderr
    done = run("build-multiquery", out, *READERS, code=2)
    assert "--annotator served" in done.stderr
