"""SIGTERM and Ctrl-C while answers are judged: it ends in order, and what was judged is not asked again."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from benchmark.judged import JUDGED, best_log, judge_run
from benchmark.models.base import ModelOptions
from benchmark.run import run_bench
from benchmark.runlog import open_log, read_log
from tests.benching import folder, plan
from tests.benchmark.bench_logs import header, items, line
from tests.benchmark.test_bench_served import serving
from tests.builds import BIN, environment, wait_for
from tests.calls import MODEL, completion
from tests.servers.running import RunningStub, running_stub

ITEMS, SLOTS = 40, 4


def open_run(folder: Path) -> Path:
    """A run of open questions whose answers no rule decides, no two the same."""
    own = items(ITEMS, ITEMS)
    asked = [(each, place) for each in own for place in range(2)]
    with open_log(folder, header("m", ITEMS, len(asked), form="open")) as log:
        for number, (each, place) in enumerate(asked):
            said = {"reply": f"something like shade {number} of crimson", "choices": (), "answer": None}
            rest = {"outcome": "unparsed", "correct": False, "chance": None}
            log.write(line(each, place, "plain", 0, "").model_copy(update=said | rest))
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_judging_in_order_whenever_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, terminable: None, number: int
) -> None:
    """It falls into the loop, its sleep, the store, the first calls; those in flight alone are asked again."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run, handlers = open_run(tmp_path / "run"), [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    said, calls, wanted = [], 0, 0
    options = ModelOptions(api_key_env="NO_KEY", concurrency=2)

    def reply(place: int, body: dict[str, Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls == wanted:
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        return completion(json.dumps({"verdict": ("yes", "no")[calls % 2]}))

    with serving(reply) as server:
        for more in (1, 4, 2, 12, 3, 20):
            wanted = calls + more
            with pytest.raises(KeyboardInterrupt):
                judge_run(run, f"{MODEL}@{server.url}", options, said.append)
            assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
            assert not (run / JUDGED).exists() and len(read_log(run).lines) == 2 * ITEMS
        wanted = 0
        assert "judge: no" in judge_run(run, f"{MODEL}@{server.url}", options, said.append)
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == [], "a task was torn apart"
    assert all(line.outcome == "answer" for line in best_log(run).lines)
    assert 2 * ITEMS <= calls <= 2 * ITEMS + 6 * 3, "those in flight are lost, and no other"


def judging(run: Path, data: Path, stub: RunningStub, scratch: Path) -> subprocess.Popen[str]:
    """The command, on a run whose replies are all there."""
    served = f"{MODEL}@{stub.base_url}"
    arguments: list[object] = ["--model", f"served:{served}", "--data", data, "--form", "open", "--variants",
                               "paraphrase", "--judge", served, "--out", run, "--concurrency", SLOTS,
                               "--scratch", scratch]  # fmt: skip
    return subprocess.Popen(
        [str(BIN / "slvr-bench"), "run", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def verdicts(stub: RunningStub) -> int:
    """Calls of the judge that the server has answered."""
    return int(stub.log()["names"].get("verdict", 0))


def test_sigterm_during_the_command_and_the_same_command_again(tmp_path: Path) -> None:
    bench, run, scratch = folder(tmp_path / "bench", ITEMS), tmp_path / "run", tmp_path / "scratch"
    with running_stub(model=MODEL, service_ms=0.5, slots=SLOTS) as stub:
        options = ModelOptions(scratch=scratch, concurrency=SLOTS)
        run_bench(bench, f"served:{MODEL}@{stub.base_url}", plan("paraphrase", form="open"), options, run)
        asked = (run / "run.jsonl").read_bytes()
        stub.control(service_ms=60, reset=True)
        for after in (1, 25):
            before = verdicts(stub)
            child = judging(run, tmp_path / "bench", stub, scratch)
            wanted = before + after
            wait_for(lambda wanted=wanted, child=child: verdicts(stub) >= wanted or child.poll() is not None)
            child.send_signal(signal.SIGTERM)
            out, error = child.communicate(timeout=120)
            assert child.returncode == 130, out + error
            assert "Traceback" not in error and "slvr-bench: stopped" in error.splitlines()[-1]
            assert not (run / JUDGED).exists() and (run / "run.jsonl").read_bytes() == asked
        stub.control(service_ms=1)
        child = judging(run, tmp_path / "bench", stub, scratch)
        out, error = child.communicate(timeout=120)
        assert child.returncode == 0 and "judged: judge: " in out, out + error
        log = stub.log()
    number = sum(line.outcome != "failed" for line in best_log(run).lines)
    assert number == ITEMS * 4 and 4 * ITEMS >= log["different"] > ITEMS
    assert log["names"]["verdict"] <= log["different"] + 2 * SLOTS, "those in flight alone are asked again"
    assert log["repeated_after_answer"] <= 2 * SLOTS and (run / "run.jsonl").read_bytes() == asked
