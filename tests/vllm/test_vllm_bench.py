"""The real vLLM server scored end to end. Its model answers at random: every ask has its line, and tokens are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.models.base import ModelOptions
from benchmark.records import Ask, LogLine
from benchmark.run import Ran, run_bench
from benchmark.runlog import read_log
from benchmark.table import Outcomes
from tests.benching import asks_of, folder, plan
from tests.servers.real import KEY, MODEL, RunningVllm
from tests.vllm.asked import KEY_VARIABLE, Counted

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
LOOKS = 2
"""Calls of the preflight."""
CAP = 24


def scored(vllm: RunningVllm, place: Path) -> Ran:
    options = ModelOptions(max_new_tokens=CAP, api_key_env=KEY_VARIABLE, scratch=place / "scratch", revision="seed0")
    spec = f"served:{MODEL}@{vllm.base_url}"
    return run_bench(folder(place / "bench"), spec, plan("circular", "evidence"), options, place / "run")


def test_the_server_is_scored(vllm: RunningVllm, tmp_path: Path) -> None:
    asks = asks_of(folder(tmp_path / "bench"), "circular", "evidence")
    with Counted(vllm) as counted:
        found = scored(vllm, tmp_path)
    assert found.asked == found.asks == len(asks) > 100
    log = read_log(tmp_path / "run")
    assert {line.ask_id for line in log.lines} == {ask.ask_id for ask in asks} and log.damaged == 0
    _check_lines(log.lines)
    calls = {(ask.picture, ask.prompt) for ask in asks}  # equal pictures with equal words are one call
    assert counted.moved["request_success_total"] == len(calls) + LOOKS
    once = {(ask.picture, ask.prompt): line for ask, line in zip(asks, _in_order(log.lines, asks), strict=True)}
    prompts = sum(line.prompt_tokens or 0 for line in once.values())
    replies = sum(line.reply_tokens or 0 for line in once.values())
    assert 0 <= counted.moved["prompt_tokens_total"] - prompts <= LOOKS * 500
    assert 0 <= counted.moved["generation_tokens_total"] - replies <= LOOKS * 16
    table = Outcomes.from_log(log.lines)
    assert len(table.items) == 6 and len(table.keys) == 12
    with Counted(vllm) as counted:
        again = scored(vllm, tmp_path)
    assert (again.asked, again.reused) == (0, len(asks)) and counted.moved["request_success_total"] == 0
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def _in_order(lines: list[LogLine], asks: list[Ask]) -> list[LogLine]:
    found = {line.ask_id: line for line in lines}
    return [found[ask.ask_id] for ask in asks]


def _check_lines(lines: list[LogLine]) -> None:
    for line in lines:
        assert line.reply is not None and (line.error is None or line.finish == "length")
        assert line.prompt_tokens is not None and line.prompt_tokens > 20
        assert line.reply_tokens is not None and 1 <= line.reply_tokens <= CAP
        assert (line.finish == "length") == (line.reply_tokens == CAP and line.outcome == "failed")
        assert line.seconds is not None and line.seconds > 0
    assert len({line.reply for line in lines}) > 10  # what it says depends on what it is shown
