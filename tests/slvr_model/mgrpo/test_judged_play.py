"""Rollouts of a real model before a served judge: whose verdict is whose, what is asked, and when."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slvr_data.judging import VERDICTS
from slvr_model.mgrpo.composer import composed
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.judging import Judge
from slvr_model.mgrpo.play import Played
from slvr_model.mgrpo.run import train_mgrpo
from slvr_model.mgrpo.types import Rollouts, Shown
from slvr_model.prompts import question_text
from slvr_model.right import letter
from slvr_model.sft import records
from tests.calls import MODEL
from tests.servers.running import running_stub
from tests.slvr_model.mgrpo.judge_support import beside, passed, put, settings, verdict
from tests.slvr_model.mgrpo.update_support import Bench, configured

CHOICES = ("red", "green", "blue")


def said(question: str, given: str) -> str:
    """What the server says: of each answer to each question something else."""
    return VERDICTS[hashlib.sha256(f"{question}\n{given}".encode()).digest()[0] % 3]


def judged(url: str, **answer: Any) -> MgrpoConfig:
    served = {"base_urls": [url], "model": MODEL}
    return configured(rewards={"answer": {"kind": "judge", **answer}}, judge=served, sampling={"rollouts": 6})


def lettered(shown: Shown, *queries: int) -> Shown:
    """Some of its questions have choices, and a letter for their answer; each question has words of its own."""
    samples = [
        replace(sample, question=f"{sample.question} ({number})", choices=CHOICES, answer="blue")
        for number, sample in enumerate(shown.group.samples)
    ]
    asks = tuple(number in queries for number in range(len(samples)))
    answers = tuple("C" if one else "blue" for one in asks)
    return replace(shown, group=replace(shown.group, samples=tuple(samples)), answers=answers, lettered=asks)


def expected(played: Played, row: int, asks_letters: bool) -> tuple[float, bool]:
    """(what a rollout's answer earns, whether that is known), from its own words alone."""
    rollouts, query = played.rollouts, row // played.rollouts.number
    shown, given = rollouts.shown, rollouts.answers[row]
    sample = shown.group.samples[query]
    if shown.lettered[query] and not asks_letters:
        return letter(given, "C"), True
    if not rollouts.formed[row]:
        return 0.0, True
    word = said(question_text(sample.question, CHOICES if shown.lettered[query] else ()), given)
    return float(word == "yes"), word != "unknown"


@pytest.mark.parametrize("how", ["letter", "as_open"])
def test_each_rollout_earns_the_verdict_on_its_own_answer(how: str, tmp_path: Path) -> None:
    """Of three regions, with no, one and two lettered questions; the first call is the last to be answered."""

    async def reply(number: int, body: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.2 / (1 + number))
        asked = put(body)
        return verdict(said(asked.question, asked.given))

    def work(url: str) -> list[Played]:
        with Judge(settings(url, tmp_path)) as judge:
            bench = Bench(judged(url, lettered=how), composed, judge=judge)
            first, second = bench.shown
            bench.shown = [lettered(first), lettered(second, 1), lettered(replace(first, group=second.group), 0, 1)]
            return bench.player.play(bench.shown, 1)[0]

    found, bodies = beside(reply, work)
    known, rows = set[tuple[float, bool]](), set[str]()
    for played in found:
        term, number = played.rewards.terms["answer"], played.rollouts.number
        for row, given in enumerate(played.rollouts.answers):
            at = divmod(row, number)
            earned = float(term.values_kG[at]), bool(term.present_kG[at])
            assert earned == expected(played, row, how == "as_open"), (row, given)
            assert bool(played.rewards.valid_kG[at]) == earned[1], "what is not known is left out"
            known.add(earned)
            rows.add("whole" if played.rollouts.formed[row] else "malformed")
    assert known == {(1.0, True), (0.0, True), (0.0, False)} and rows == {"whole", "malformed"}
    asked = {put(body) for body in bodies}
    assert len(asked) == len(bodies), "none twice"
    assert {one.right for one in asked} == ({"blue"} if how == "letter" else {"blue", "C"})
    for one in asked:
        assert one.question.endswith("\nA. red\nB. green\nC. blue") == (one.right == "C"), "with what the letters mean"


def test_a_region_is_judged_while_the_next_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is written once the judge was asked about the first; the judge speaks once the second is written."""
    asked, written, in_time = threading.Event(), threading.Event(), list[bool]()

    async def reply(number: int, body: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        in_time.append(await passed(written.is_set))
        return verdict("yes")

    def work(url: str) -> list[Played]:
        with Judge(settings(url, tmp_path)) as judge:
            bench, lots = Bench(judged(url), composed, judge=judge), list[Sequence[Shown]]()
            many = bench.generator.many

            def noted(shown: Sequence[Shown], *, step: int) -> list[Rollouts]:
                if lots:
                    in_time.append(asyncio.run(passed(asked.is_set)))
                lots.append(shown)
                found = many(shown, step=step)
                if len(lots) == len(bench.shown):
                    written.set()
                return found

            monkeypatch.setattr(bench.generator, "many", noted)
            found, _ = bench.player.play(bench.shown, 1)
            assert [len(shown) for shown in lots] == [1, 1]
            return found

    found, _ = beside(reply, work)
    assert len(found) == 2 and len(in_time) > 2 and all(in_time)
    for played in found:
        assert played.rewards.right_kG.flatten().tolist() == list(played.rollouts.formed)


def test_a_judge_of_all_right_alone_is_asked_and_its_verdicts_outlive_another_number_of_processes(
    set_up: Callable[..., MgrpoConfig], tmp_path: Path
) -> None:
    with running_stub(model=MODEL, service_ms=1, slots=16, text_only="silent") as stub:
        config = set_up(
            "rewards.answer={weight: 0, kind: judge}", f"judge.base_urls=[{stub.base_url}]", f"judge.model={MODEL}",
            f"judge.scratch={tmp_path / 'scratch'}", "preflight.regions=0", "evaluation.regions=0", "cases.every=0",
        )  # fmt: skip
        final = train_mgrpo(config, "slvr:tiny")
        asked = stub.log()["calls"]
        lines = [json.loads(line) for line in (final / records.LOG).read_text().splitlines()]
        assert asked > 0 and [line["step"] for line in lines] == [1, 2]
        assert all("reward/all_right" in line and line["reward/left_out"] < 1 for line in lines)
        told = [{name: line[f"judge/{name}"] for name in ("yes", "no", "unknown", "called", "empty")} for line in lines]
        assert all(one["yes"] + one["no"] + one["unknown"] >= one["called"] for one in told)
        assert any(one["called"] for one in told), "a step whose replies are all the wanted words needs no judge"
        assert config.out is not None and "judge" in json.loads((config.out / "run.json").read_text())["parts"]
        weights = (final / "model.safetensors").read_bytes()
        shutil.rmtree(final)
        (config.out / "judge-0").rename(config.out / "judge-1")  # as if two had begun
        assert (train_mgrpo(config, "slvr:tiny", resume=True) / "model.safetensors").read_bytes() == weights
        assert stub.log()["calls"] == asked
