"""The two ends of a region that a model could not be asked about: rejected for its replies, or unfinished."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builds import end, published, refused, rows, run, sound, start, wait_for
from tests.served_builds import KEY, accounts, answered, ask, build, clean_sets, profiled, scenes_stub
from tests.servers.running import RunningStub

SCENES, FEW = 24, 12
ONCE = ("--set", "served.attempts=1")


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    """Without faults, between tests."""
    with scenes_stub(SCENES) as running:
        yield running


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that was built and asked about without any fault; `profiles` beside it is the same before it was asked."""
    return clean_sets(tmp_path_factory, SCENES)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of `FEW` scenes, where each call is made once."""
    return clean_sets(tmp_path_factory, FEW, attempts=1)


@pytest.fixture(autouse=True)
def faultless(stub: RunningStub) -> Iterator[None]:
    """Whatever a test has set, the next one finds the stub without faults."""
    yield
    stub.control(faults={}, model="stub-vl")


@pytest.mark.slow
def test_unfinished_regions_are_left_open_and_finished_by_the_same_command(
    stub: RunningStub, clean: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    command = build(stub, out, "--set", "served.transport_retries=0", scenes=SCENES)
    stub.control(faults={"503": 0.25})
    done = run(*command, code=3, STUB_KEY=KEY)
    told, whole = accounts(out), accounts(clean / "profiles")
    assert told["regions"] == told["published"] + told["rejected"] + told["regions_unfinished"] == whole["regions"]
    assert 0 < told["published"] < whole["published"]
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"slvr-data: {told['regions_unfinished']} regions are unfinished (no reply after 1 calls")
    assert "what is finished is published, the same command goes on" in line
    assert "\nunfinished " in done.stdout
    sound(out)
    finished = rows(out, "attributes")
    final = {row["region_id"]: row for row in rows(clean / "profiles", "attributes")}
    assert all(row == final[row["region_id"]] for row in finished)
    assert f"+ {told['regions_unfinished']} unfinished" in (out / "README.md").read_text()
    stub.control(faults={})
    before, shards = answered(stub), profiled(out)
    run(*command, STUB_KEY=KEY)
    assert published(out) == published(clean / "profiles")
    assert shards.items() <= profiled(out).items(), "a finished picture was made again"
    assert answered(stub) - before <= told["regions_unfinished"]


@pytest.mark.slow
def test_other_commands_work_over_what_is_published(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    command = build(stub, out, "--budget-requests", 40, scenes=SCENES)
    run(*command, code=3, STUB_KEY=KEY)
    told = accounts(out)
    said = "pictures are not finished: going on without"
    assert said in run("publish", out, "--crops").stderr
    assert accounts(out) == told
    asked = run(*ask(stub, out), STUB_KEY=KEY)
    assert said in asked.stderr
    assert accounts(out)["regions_unfinished"] == told["regions_unfinished"]
    assert {row["image_id"] for row in rows(out, "multiquery")} == {row["image_id"] for row in rows(out, "images")}
    sound(out)
    finished = run(*command, "--set", "served.budget_requests=null", STUB_KEY=KEY)
    open_pictures = accounts(clean / "set")["pictures_published"] - told["pictures_published"]
    line = f"{open_pictures} pictures have no questions: run slvr-data build-multiquery"
    assert line in finished.stderr
    assert accounts(out)["pictures_without_questions"] == open_pictures
    run(*ask(stub, out), STUB_KEY=KEY)
    run("publish", out, "--no-crops")
    assert published(out) == published(clean / "set")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--budget-requests", "--budget-tokens"])
def test_a_budget_ends_the_run_cleanly(stub: RunningStub, clean: Path, tmp_path: Path, option: str) -> None:
    out, before = tmp_path / "set", answered(stub)
    budget = 30 if option == "--budget-requests" else 40_000
    done = run(*build(stub, out, option, budget, scenes=SCENES), code=3, STUB_KEY=KEY)
    spent = json.loads((out / "run.json").read_bytes())["requests"]["total"]
    assert f"the budget of {budget} {'calls' if budget == 30 else 'tokens'} is spent" in done.stderr.splitlines()[-1]
    if budget == 30:
        assert spent["calls"] == 30
    else:
        tokens = spent["prompt_tokens"] + spent["completion_tokens"]
        assert budget <= tokens < budget + 64 * 1500, "only calls in flight may go beyond"
    sound(out)
    run(*build(stub, out, scenes=SCENES), STUB_KEY=KEY)
    assert published(out) == published(clean / "profiles")
    assert answered(stub) - before == accounts(out)["regions"], "a reply was asked for twice"


@pytest.mark.slow
def test_unfinished_questions(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(clean / "profiles", out)
    done = run(*ask(stub, out, "--budget-requests", 25), code=3, STUB_KEY=KEY)
    told = accounts(out)
    assert f"{told['pictures_without_questions']} pictures have no questions yet" in done.stderr.splitlines()[-1]
    assert 0 < told["groups_published"] < accounts(clean / "set")["groups_published"]
    sound(out)
    run(*ask(stub, out), STUB_KEY=KEY)
    assert published(out) == published(clean / "set")


@pytest.mark.slow
def test_rejected_for_their_replies_and_tried_again(stub: RunningStub, once: Path, tmp_path: Path) -> None:
    """Once rejected, a region stays so, until it is given more attempts; all else is reused without a call."""
    out = tmp_path / "set"
    stub.control(faults={"schema": 0.3, "refusal": 0.2})
    command = build(stub, out, *ONCE, scenes=FEW)
    run(*command, STUB_KEY=KEY)
    stub.control(faults={})
    reasons = [row["reason"] for row in rows(out, "rejections")]
    rejected = [reason for reason in reasons if reason == "reply-schema"]
    assert rejected and "reply-refusal" in reasons
    assert all("the last reply:" in row["evidence"] for row in rows(out, "rejections") if row["reason"] in rejected)
    before, bytes_before = answered(stub), published(out)
    run(*command, STUB_KEY=KEY)
    assert answered(stub) == before and published(out) == bytes_before
    nothing = refused(*command, "--retry-rejected", "reply-length", STUB_KEY=KEY)
    assert "no regions are rejected as reply-length; rejected for their replies: reply-" in nothing
    assert answered(stub) == before and published(out) == bytes_before
    again = run(*command, "--retry-rejected", "reply-schema", STUB_KEY=KEY)
    assert f"{len(rejected)} regions rejected as reply-schema get 1 more attempts each" in again.stderr
    assert answered(stub) - before == len(rejected)
    assert {row["reason"] for row in rows(out, "rejections")} == {"reply-refusal"}
    profiled(out)
    run(*command, "--retry-rejected", "reply-refusal", STUB_KEY=KEY)
    assert published(out) == published(once / "profiles")
    sound(out)


@pytest.mark.slow
def test_a_retry_that_is_killed_goes_on(stub: RunningStub, tmp_path: Path) -> None:
    """The same command does not begin another retry: nobody gets more attempts than were granted."""
    out = tmp_path / "set"
    stub.control(faults={"schema": 1.0})
    command = build(stub, out, *ONCE, "--shard-size", 2, scenes=SCENES, workers=1)
    run(*command, STUB_KEY=KEY)
    regions = accounts(out)["regions"]
    assert accounts(out)["published"] == 0
    calls = stub.log()["calls"]
    again = [*command, "--retry-rejected", "reply-schema"]
    for _ in range(2):
        asked = stub.log()["calls"]
        process = start(*again, STUB_KEY=KEY)
        try:
            wait_for(lambda asked=asked: stub.log()["calls"] > asked + random.randrange(5, 15), pause=0.02)
        finally:
            end(process)
    run(*again, STUB_KEY=KEY)
    assert len({json.dumps(row) for row in rows(out, "rejections")}) == accounts(out)["rejected"] == regions
    asked_again = stub.log()["calls"] - calls - 3  # each run begins with a look at the server
    assert regions <= asked_again <= regions + 2 * 64, "more than the calls in flight were lost"
    profiled(out)
    stub.control(faults={})
    run(*again, STUB_KEY=KEY)
    assert accounts(out)["published"] == regions


@pytest.mark.slow
def test_questions_that_no_reply_told_are_tried_again(stub: RunningStub, once: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(once / "profiles", out)
    stub.control(faults={"malformed": 0.3})
    run(*ask(stub, out, *ONCE), STUB_KEY=KEY)
    stub.control(faults={})
    refused_groups = [row for row in rows(out, "rejections") if row["reason"] == "reply-malformed"]
    assert refused_groups and accounts(out)["groups_rejected"] >= len(refused_groups)
    sound(out)
    before = answered(stub)
    run(*ask(stub, out, *ONCE, "--retry-rejected", "reply-malformed"), STUB_KEY=KEY)
    assert answered(stub) - before == len(refused_groups)
    assert published(out) == published(once / "set")


def test_another_writer_of_questions_is_told(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    """A set remembers who wrote its questions: no command drops them in silence."""
    out = tmp_path / "set"
    shutil.copytree(clean / "set", out)
    run("build-multiquery", out, "--rewrite", "--workers", 1)
    assert {row["provenance"]["annotator"] for row in rows(out, "multiquery")} == {"templates"}
    before = answered(stub)
    run(*ask(stub, out, "--rewrite"), STUB_KEY=KEY)
    assert answered(stub) == before and published(out) == published(clean / "set")
    path = out / ".work/settings.json"  # as after a change of the program: nothing is written by this writer
    settings = json.loads(path.read_bytes())
    path.write_text(json.dumps(settings | {"question_writer": "templates-0"}))
    pictures = accounts(out)["pictures_published"]
    said = run("publish", out).stderr
    assert f"{pictures} pictures have no questions: run slvr-data build-multiquery {out} again" in said
    assert accounts(out)["pictures_without_questions"] == pictures


@pytest.mark.slow
def test_a_server_that_is_plainly_wrong_in_the_middle(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    """The run ends with one line, nothing new is published, and what was answered is kept."""
    out = tmp_path / "set"
    run(*build(stub, out, scenes=4), STUB_KEY=KEY)
    before, first = published(out), answered(stub)
    stub.control(service_ms=1000)
    process = start(*build(stub, out, scenes=SCENES, workers=1), STUB_KEY=KEY)
    try:
        wait_for(lambda: answered(stub) > first + 8, pause=0.02)
        stub.control(model="another")
        _, errors = process.communicate(timeout=300)
    finally:
        end(process)
        stub.control(service_ms=20)
    assert process.returncode == 1 and "Traceback" not in errors
    assert "does not know the model stub-vl; it lists another" in errors.splitlines()[-1]
    assert published(out) == before
    stub.control(model="stub-vl")
    run(*build(stub, out, scenes=SCENES), STUB_KEY=KEY)
    assert published(out) == published(clean / "profiles")


@pytest.mark.parametrize("wrong", ["key", "model", "address", "path", "text-only"])
def test_a_wrong_server_is_one_sentence(stub: RunningStub, tmp_path: Path, wrong: str) -> None:
    url = {"address": "http://127.0.0.1:9/v1", "path": stub.root}.get(wrong, stub.base_url)
    model = "other" if wrong == "model" else "stub-vl"
    try:
        if wrong == "text-only":
            stub.control(text_only="loud")
        where = ("--annotator", "served", "--base-url", url, "--model", model, "--api-key-env", "STUB_KEY")
        key = "wrong" if wrong == "key" else KEY
        line = refused("build-attributes", "scenes", *where, "--out", tmp_path / "set", code=1, STUB_KEY=key)
    finally:
        stub.control(text_only=None)
    cure = {"key": "set STUB_KEY", "model": "it lists stub-vl", "address": "no server answers",
            "path": "does the address end in /v1?", "text-only": "picture"}[wrong]  # fmt: skip
    assert cure in line
    assert not (tmp_path / "set").exists()
