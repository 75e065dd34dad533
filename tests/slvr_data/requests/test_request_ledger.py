"""What calls cost, over several runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from slvr_data.errors import RunError
from slvr_data.requests import ledger as module
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.replies import StoredReply


def run(file: Path) -> None:
    """One bad reply, one call without any, one good reply, and one from the store; one question."""
    with Ledger(file) as ledger:
        ledger.called("profile")
        ledger.replied(StoredReply("a", "b", 0, "profile", "schema", "", None, "stop", "why", 1000, 40, 900, 1.5, "m"))
        ledger.called("profile")
        ledger.failed("profile", "5xx", 0.25)
        ledger.retried("profile")
        ledger.called("profile")
        ledger.replied(StoredReply("c", "b", 1, "profile", None, "{}", None, "stop", None, 1000, 60, 1000, 2.25, "m"))
        ledger.accepted("profile")
        ledger.reused("profile")
        ledger.called("questions")
        ledger.replied(StoredReply("d", "e", 0, "questions", prompt_tokens=500, completion_tokens=100, seconds=1.0))
        ledger.accepted("questions")


def test_counts_by_purpose_and_in_total(tmp_path: Path) -> None:
    run(tmp_path / "requests" / "ledger.json")
    found = Ledger(tmp_path / "requests" / "ledger.json").summary(records=1)["all_runs"]
    each = {
        "calls": 3, "prompt_tokens": 2000, "completion_tokens": 100, "cached_tokens": 1900, "server_seconds": 4.0,
        "retries": 1,
    }  # fmt: skip
    counted = {"replies": 2, "accepted": 1, "reused": 1, "failures": {"5xx": 1, "schema": 1}}
    assert found["purposes"]["profile"] == each | counted | {"per_accepted": each}
    assert found["total"]["calls"] == 4
    assert found["total"]["server_seconds"] == 5.0
    assert found["records"] == 1
    assert found["per_record"]["prompt_tokens"] == 2500
    assert found["per_record"]["retries"] == 1
    assert found["runs"] == 1


def test_counts_of_all_runs_add_up(tmp_path: Path) -> None:
    file = tmp_path / "ledger.json"
    for _ in range(3):
        run(file)
    ledger = Ledger(file)
    ledger.called("blind")
    found = ledger.summary()
    assert found["all_runs"]["runs"] == 4
    assert found["all_runs"]["total"]["calls"] == 13
    assert found["all_runs"]["total"]["failures"] == {"5xx": 3, "schema": 3}
    assert found["this_run"]["total"]["calls"] == 1
    assert list(found["this_run"]["purposes"]) == ["blind"]
    copy = ledger.purposes()
    assert {purpose: counts.calls for purpose, counts in copy.items()} == {"profile": 9, "questions": 3, "blind": 1}
    copy["blind"].calls = 100
    assert ledger.summary() == found
    assert found["this_run"]["purposes"]["blind"]["per_accepted"] is None
    ledger.close()


def test_a_run_without_calls_leaves_no_trace(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.json") as ledger:
        assert ledger.line() == "0 calls, 0 accepted"
    assert not (tmp_path / "ledger.json").exists()
    run(tmp_path / "ledger.json")
    before = (tmp_path / "ledger.json").read_bytes()
    Ledger(tmp_path / "ledger.json").close()
    assert (tmp_path / "ledger.json").read_bytes() == before


def test_the_line_speaks_of_this_run(tmp_path: Path) -> None:
    run(tmp_path / "ledger.json")
    with Ledger(tmp_path / "ledger.json") as ledger:
        for _ in range(1200):
            ledger.called("profile")
        ledger.replied(StoredReply("a", "b", 0, "profile", prompt_tokens=2000, completion_tokens=400, seconds=3))
        ledger.retried("profile")
        assert ledger.line() == "1,200 calls, 0 accepted"
        ledger.accepted("profile")
        ledger.accepted("profile")
        ledger.failed("profile", "timeout", 1)
        ledger.failed("profile", "429", 0)
        ledger.reused("profile")
        words = "1,200 calls, 2 accepted, 1 reused; each {} retries; 429 1, timeout 1"
        assert ledger.line() == words.format("1,200 tokens, 2.00 server s, 0.50")
        assert ledger.line(records=4) == words.format("600 tokens, 1.00 server s, 0.25")


def test_threads_may_count_at_once(tmp_path: Path) -> None:
    def count() -> None:
        for _ in range(500):
            ledger.called("profile")

    with Ledger(tmp_path / "ledger.json") as ledger:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Ledger(tmp_path / "ledger.json").summary()["all_runs"]["total"]["calls"] == 2000


def test_a_file_that_is_not_a_ledger_is_put_aside_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ledger.json"
    for data in (b"", b"{", b"[]", b'{"purposes": {"profile": {"calls": -1}}}', b'{"purposes": 3}', b"\xff\xfe"):
        file.write_bytes(data)
        run(file)
        assert f"{file} is damaged (" in capsys.readouterr().err, data
        assert (tmp_path / "ledger.json.damaged").read_bytes() == data
        assert json.loads(file.read_bytes())["purposes"]["profile"]["calls"] == 3


def test_a_killed_run_loses_what_was_counted_since_the_last_saving(tmp_path: Path) -> None:
    """A real process; it saves every 0.2 s instead of 30."""
    script = f"""
import pathlib, time
from slvr_data.requests import ledger as module
module.SAVE_SECONDS = 0.2
file = pathlib.Path({str(tmp_path / "ledger.json")!r})
ledger = module.Ledger(file)
ledger.called("profile")
while not file.exists():
    time.sleep(0.01)
ledger.called("profile")
print("counted", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"counted\n"
        os.kill(process.pid, signal.SIGKILL)
    assert Ledger(tmp_path / "ledger.json").summary()["all_runs"]["total"]["calls"] in (1, 2)


def test_what_goes_wrong_while_saving_is_raised_by_the_next_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.05)
    (tmp_path / "requests").write_text("a file where a folder is needed")
    ledger = Ledger(tmp_path / "requests" / "ledger.json")
    ledger.called("profile")
    with pytest.raises(RunError, match=r"writing .*ledger\.json failed"):
        for _ in range(1000):
            time.sleep(0.05)
            ledger.called("profile")
    (tmp_path / "requests").unlink()
    ledger.close()
    assert json.loads((tmp_path / "requests" / "ledger.json").read_bytes())["purposes"]["profile"]["calls"] >= 1
