"""What went wrong once with sets that a model writes: retries, other writers of questions, merged costs."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.asking_config import load_asking
from pipelines.served import Left
from slvr_data.annotators.served.replies import Neighbour, read_profile
from slvr_data.requests.failures import BadReplyError
from slvr_data.schema import AttributeProfile
from tests.builds import environment, published, refused, rows, run, shared, sound
from tests.served_builds import KEY, accounts, answered, ask, build, calls, clean_sets, profiled, scenes_stub
from tests.servers.running import RunningStub
from tests.support import refused_here

SCENES = 12
ONCE = ("--set", "served.attempts=1")
RETRY = ("--retry-rejected", "reply-schema")
ONE_CALL = ("--budget-requests", 1, "--set", "served.max_concurrency=1")
KILLED = """
import os, signal, sys
from pipelines import retry
strikes = {strikes}
def strike(real):
    def struck(store, *more):
        strikes.append(store.folder.name)
        if len(strikes) == {number}:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(store, *more)
    return struck
retry.keep_old, retry.without = strike(retry.keep_old), strike(retry.without)
sys.argv = ["slvr-data", *{arguments}]
from pipelines.cli import main
main()
"""


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    """Without faults, between tests."""
    with scenes_stub(SCENES) as running:
        yield running


@pytest.fixture(autouse=True)
def faultless(stub: RunningStub) -> Iterator[None]:
    """Whatever a test has set, the next one finds the stub without faults."""
    yield
    stub.control(faults={})


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set without any fault; `profiles` beside it is the same before it was asked about."""
    return clean_sets(tmp_path_factory, SCENES, attempts=1)


@pytest.fixture(scope="session")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of which every third region was rejected for its reply, or so."""

    def make(folder: Path) -> None:
        with scenes_stub(SCENES, service_ms=1, faults={"schema": 0.35}) as faulty:
            run(*build(faulty, folder / "set", *ONCE, scenes=SCENES), STUB_KEY=KEY)
        assert 2 <= rejected(folder / "set") < accounts(folder / "set")["regions"]

    return shared(tmp_path_factory, "served-bad", make) / "set"


def rejected(out: Path, reason: str = "reply-schema") -> int:
    return sum(row["reason"] == reason for row in rows(out, "rejections"))


def copied(tmp_path: Path, source: Path) -> Path:
    shutil.copytree(source, tmp_path / "set")
    return tmp_path / "set"


def old_shards(out: Path) -> list[Path]:
    return list((out / ".work").glob("*/old-*"))


def unlinked(profile: Any) -> Any:
    """A profile without the ids of links: where one more region is published, a link to it gains its id."""
    if isinstance(profile, dict):
        return {key: unlinked(value) for key, value in profile.items() if key != "target_region_id"}
    return [unlinked(value) for value in profile] if isinstance(profile, list) else profile


# Retries


@pytest.mark.slow
def test_a_retry_that_another_command_has_ended_is_over(
    stub: RunningStub, bad: Path, clean: Path, tmp_path: Path
) -> None:
    """The next retry is another one, and opens what it finds."""
    out = copied(tmp_path, bad)
    command = build(stub, out, *ONCE, scenes=SCENES)
    stub.control(faults={"schema": 1.0})
    run(*command, *RETRY, *ONE_CALL, code=3, STUB_KEY=KEY)
    run(*command, STUB_KEY=KEY)
    assert not (out / ".work/retry-attributes.json").exists() and not old_shards(out)
    stub.control(faults={})
    wanted, before = rejected(out), answered(stub)
    said = run(*command, *RETRY, STUB_KEY=KEY).stderr
    assert f"{wanted} regions rejected as reply-schema get 1 more attempts each" in said
    assert answered(stub) - before == wanted and published(out) == published(clean / "profiles")
    profiled(out)


@pytest.mark.slow
def test_a_retry_that_is_stopped_takes_nothing_from_what_is_published(
    stub: RunningStub, bad: Path, clean: Path, tmp_path: Path
) -> None:
    out = copied(tmp_path, bad)
    command = build(stub, out, *ONCE, "--shard-size", 2, scenes=SCENES)
    first = {row["region_id"]: row["profile"] for row in rows(out, "attributes")}
    done = run(*command, *RETRY, *ONE_CALL, code=3, STUB_KEY=KEY)
    assert "are not asked about again yet, and stay as they were" in done.stderr.splitlines()[-1]
    now = {row["region_id"]: row["profile"] for row in rows(out, "attributes")}
    changed = {key: (was, now.get(key)) for key, was in first.items() if unlinked(now.get(key)) != unlinked(was)}
    assert not changed
    sound(out)
    run("publish", out, "--crops")  # other commands find the set whole
    run("publish", out, "--no-crops")
    assert len(rows(out, "attributes")) == len(now)
    before = answered(stub)
    run(*command, STUB_KEY=KEY)
    assert answered(stub) - before <= rejected(bad) and not old_shards(out)
    assert published(out) == published(clean / "profiles")


@pytest.mark.slow
def test_a_retry_that_is_killed_while_it_opens(stub: RunningStub, bad: Path, clean: Path, tmp_path: Path) -> None:
    """Before each step in turn: the same command goes on, and no request gets more attempts than once."""
    wanted = rejected(bad)
    for number in range(1, 5):
        out = copied(tmp_path / str(number), bad)
        command = build(stub, out, *ONCE, scenes=SCENES, workers=1)
        code = KILLED.format(strikes=[], number=number, arguments=[str(word) for word in (*command, *RETRY)])
        died = subprocess.run(
            [sys.executable, "-c", code], env=environment(STUB_KEY=KEY), capture_output=True, text=True, timeout=300
        )
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert json.loads((out / ".work/retry-attributes.json").read_bytes())["retries"][0]["opened"] is False
        stub.control(faults={"schema": 1.0})
        asked = Counter(call["name"] for call in calls(stub))["region_profile"]
        run(*command, *RETRY, STUB_KEY=KEY)
        assert Counter(call["name"] for call in calls(stub))["region_profile"] - asked == wanted
        assert rejected(out) == wanted, "nobody has had more attempts than were granted"
        stub.control(faults={})
        run(*command, *RETRY, STUB_KEY=KEY)
        assert published(out) == published(clean / "profiles")
        profiled(out)


@pytest.mark.slow
def test_questions_that_are_tried_again_stay_until_they_are_there(
    stub: RunningStub, clean: Path, tmp_path: Path
) -> None:
    out = copied(tmp_path, clean / "profiles")
    stub.control(faults={"malformed": 0.3})
    run(*ask(stub, out, *ONCE), STUB_KEY=KEY)
    stub.control(faults={})
    groups = {row["group_id"] for row in rows(out, "multiquery")}
    again = ("--retry-rejected", "reply-malformed")
    done = run(*ask(stub, out, *ONCE, *again, *ONE_CALL), code=3, STUB_KEY=KEY)
    assert "are not asked about again yet and keep the questions they had" in done.stderr.splitlines()[-1]
    assert groups <= {row["group_id"] for row in rows(out, "multiquery")}
    sound(out)
    run(*ask(stub, out, *ONCE), STUB_KEY=KEY)
    assert published(out) == published(clean / "set")
    assert not old_shards(out) and not (out / ".work/retry-multiquery.json").exists()


@pytest.mark.slow
def test_nothing_is_rejected_so(stub: RunningStub, bad: Path, clean: Path, tmp_path: Path) -> None:
    out = copied(tmp_path, bad)
    line = refused(*build(stub, out, *ONCE, scenes=SCENES), "--retry-rejected", "reply-shema", STUB_KEY=KEY)
    assert f"no regions are rejected as reply-shema; rejected for their replies: reply-schema ({rejected(bad)})" in line
    out = copied(tmp_path / "asked", clean / "set")
    line = refused(*ask(stub, out, *ONCE), "--retry-rejected", "typo", STUB_KEY=KEY)
    assert "no groups are rejected as typo; rejected for their replies: none" in line
    new = tmp_path / "new"
    assert "nothing has been built yet" in refused(*build(stub, new, *RETRY, scenes=SCENES), STUB_KEY=KEY)
    assert not (new / ".work").exists()


# Who writes questions


@pytest.mark.slow
def test_another_writer_needs_a_word(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = copied(tmp_path, clean / "set")
    before, asked = published(out), answered(stub)
    line = refused(*ask(stub, out, *ONCE, "--model-revision", "r2"), "--set", "served.max_tokens=900", STUB_KEY=KEY)
    assert "model_revision: None -> 'r2'" in line and "max_tokens: " in line and "-> 900" in line
    assert "--rewrite" in line and "temperature" not in line
    line = refused("build-multiquery", out)
    assert "annotator: 'served' -> 'templates'" in line and "--rewrite" in line
    assert published(out) == before and answered(stub) == asked
    run("build-multiquery", out, "--rewrite", "--workers", 1)
    assert {row["provenance"]["annotator"] for row in rows(out, "multiquery")} == {"templates"}


@pytest.mark.slow
def test_another_writer_that_is_stopped_leaves_the_questions_of_the_first(
    stub: RunningStub, clean: Path, tmp_path: Path
) -> None:
    out = copied(tmp_path, clean / "set")
    before = published(out)
    command = ask(stub, out, *ONCE, "--model-revision", "r2", "--rewrite")
    done = run(*command, "--budget-requests", 5, "--shard-size", 1, code=3, STUB_KEY=KEY)
    line = done.stderr.splitlines()[-1]
    assert "until all have, those of the served model stub-vl stay published" in line
    assert published(out) == before
    run(*command, STUB_KEY=KEY)
    settings = json.loads((out / ".work/settings.json").read_bytes())
    assert json.loads(settings["question_writer"])["model_revision"] == "r2"
    assert {row["provenance"]["revision"] for row in rows(out, "multiquery")} == {"r2"}


@pytest.mark.parametrize(
    ("said", "option", "who"),
    [
        ("served", None, "served"),
        ("measured", None, "templates"),
        ("exact", None, "templates"),
        ("measured", "served", "served"),
        ("served", "templates", "templates"),
    ],
)
def test_the_file_says_who_writes(tmp_path: Path, said: str, option: str | None, who: str) -> None:
    file = tmp_path / "build.yaml"
    file.write_text(f"annotator: {said}\nserved: {{model: m, base_urls: [http://localhost:1/v1]}}\n")
    assert load_asking({"annotator": option}, file, []).annotator == who


# Servers and costs


@pytest.mark.slow
def test_a_finished_set_needs_no_server(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = copied(tmp_path, clean / "set")
    before, nobody = published(out), "http://127.0.0.1:9/v1"
    where = ("--annotator", "served", "--base-url", nobody, "--model", "stub-vl")
    run(*build(nobody, out, *ONCE, scenes=SCENES), STUB_KEY=KEY)
    run("build-multiquery", out, *where, *ONCE)
    assert published(out) == before
    open_again = copied(tmp_path / "open", clean / "profiles")
    assert "no server answers" in refused("build-multiquery", open_again, *where, code=1)


@pytest.mark.slow
def test_merged_parts_bring_their_costs(stub: RunningStub, tmp_path: Path) -> None:
    parts = [tmp_path / f"part{index}" for index in range(2)]
    for index, part in enumerate(parts):
        run(*build(stub, part, "--shard", f"{index}/2", scenes=SCENES), STUB_KEY=KEY)
    spent: list[dict[str, Any]] = [json.loads((p / ".work/requests/ledger.json").read_bytes()) for p in parts]
    wanted = sum(each["purposes"]["profile"]["calls"] for each in spent)
    out = tmp_path / "set"
    for _ in range(2):  # merged again, nothing counts twice
        run("merge", *parts, "--out", out)
        told = json.loads((out / "run.json").read_bytes())["requests"]
        assert told["purposes"]["profile"]["calls"] == wanted > 0
        assert told["runs"] == 2 and told["per_record"]["calls"] > 0
    run(*ask(stub, out), STUB_KEY=KEY)
    run("merge", *parts, "--out", out)
    told = json.loads((out / "run.json").read_bytes())["requests"]["purposes"]
    assert told["profile"]["calls"] == wanted and told["questions"]["calls"] > 0, "what the whole has asked stays"


def test_an_address_with_a_password_is_refused_by_embed(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = refused_here(capfd, "embed", tmp_path, "--base-url", "http://me:sk-hidden@host/v1", "--model", "e")
    assert "--base-url of host: leave user, password and query out" in said and "sk-hidden" not in said


def test_reasons_do_not_grow_with_the_regions() -> None:
    left = Left()
    for number in range(1000):
        left.note(f"no reply after 3 calls: 503 Service Unavailable (request req-{number:x}a7: overloaded)")
    left.note("another reason")
    assert sorted(left.reasons.values()) == [1, 1000] and len(left.examples) == 2
    assert left.why() == "no reply after 3 calls: 503 Service Unavailable (request req-0a7: overloaded)"


def test_a_reply_in_another_language() -> None:
    """Only what is read off a thing, and names that the annotation gives, are in whatever letters they are in."""

    def reply(entity: str = "cup", target: str = "table", text: str = "STOP") -> AttributeProfile:
        place = {
            "position": None,
            "orientation": None,
            "depth": None,
            "relations": [{"kind": "above", "target": target}],
        }
        looks = {"entity": entity, "colors": None, "shape": None, "size": None, "material": "porcelán"}
        told = {"appearance": looks, "action": None, "interaction": None, "spatial": place, "visible_text": [text]}
        return read_profile(json.dumps(told), [0, 0, 10, 10], [Neighbour("r", "桌子", [0, 20, 10, 30])], None)

    assert reply(text="停車").visible_text == ["停車"] and reply(target="桌子").spatial.relations
    with pytest.raises(BadReplyError, match=r"appearance\.entity = '杯子': not in English") as caught:
        reply(entity="杯子")
    assert caught.value.failure == "schema"
    with pytest.raises(BadReplyError, match=r"spatial\.relations\.target = 'стол': not in English"):
        reply(target="стол")
