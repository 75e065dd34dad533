"""The checks that ask a model, against the stub: what passes, what fails, and what becomes of calls without a reply."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypeVar

import pytest

from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.requests.client import Client
from slvr_data.requests.failures import ServerError, UnfinishedError
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Answer, Request
from slvr_data.schema import Query
from tests.judging import first_looks, judge, look_again, with_client
from tests.servers.running import RunningStub

T = TypeVar("T")
ALL = ModelChecksConfig(blind_samples=8, profile_samples=3, answer_samples=4, answer_min_rate=0.5)


def another_answer(query: Query) -> Query | None:
    wrong = next((choice for choice in query.choices if choice != query.answer), None)
    if wrong is None:
        return None
    return query.model_copy(update={"answer": wrong, "answer_index": query.choices.index(wrong)})


def test_sound_questions_pass_and_have_their_pass_rate(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    found = with_client(stub, lambda client: judge(client, pictures[0], ALL), tmp_path)
    judged = [one for verdicts in found for one in verdicts.judged]
    asked_through = [one for one in judged if one.failure is None]
    assert len(asked_through) > 0.9 * len(judged), "a blind guess may be right all the time, once in 200 questions"
    for one in asked_through:
        assert [v.check for v in one.verdicts] == ["blind", "from_profile", "answer"]
        assert one.query.pass_rate == 1.0
    assert {v.verdict for one in judged for v in one.verdicts if v.check == "from_profile"} <= {
        "pass",
        "not applicable",
    }
    told = Ledger(tmp_path / "ledger.json").summary()["all_runs"]["purposes"]
    assert set(told) == {"blind", "from_profile", "answer"} and stub.log()["names"].keys() == {"answer"}


def test_wrong_answers_are_not_supported_by_the_profile(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    config = ModelChecksConfig(profile_samples=3)
    found = with_client(stub, lambda client: judge(client, pictures[0], config, another_answer), tmp_path)
    verdicts = [one.verdicts[0] for group in found for one in group.judged]
    applied = [verdict for verdict in verdicts if verdict.verdict != "not applicable"]
    assert applied and all(verdict.reason == "not-supported-by-profile" for verdict in applied)
    assert all("the answer is" in (verdict.evidence or "") for verdict in applied)
    assert all("does not tell" in (v.evidence or "") for v in verdicts if v.verdict == "not applicable")


def test_a_model_that_sees_the_picture_disagrees_with_wrong_answers(
    stub: RunningStub, pictures: list[Any], tmp_path: Path
) -> None:
    config = ModelChecksConfig(answer_samples=4, answer_min_rate=0.5)
    found = with_client(stub, lambda client: judge(client, pictures[1], config, another_answer), tmp_path)
    refused = [pair for group in found for pair in group.refused]
    assert refused and not any(group.kept for group in found)
    assert {(query.pass_rate, verdict.reason) for query, verdict in refused} == {(0.0, "model-disagrees")}


def test_the_pass_rate_is_the_share_that_is_right(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    """A model that errs in half of its answers, over questions of four choices: about a half, without failing any."""
    stub.control(errors={"answers": 0.5})
    config = ModelChecksConfig(answer_samples=8)
    found = with_client(stub, lambda client: judge(client, pictures[0], config), tmp_path)
    rates = [query.pass_rate for group in found for query in group.kept]
    assert len(rates) >= 8 and not any(group.refused for group in found)
    assert 0.35 < sum(rate for rate in rates if rate is not None) / len(rates) < 0.65 and len(set(rates)) > 2


def test_a_question_that_tells_its_answer_is_answerable_blind(
    stub: RunningStub, pictures: list[Any], tmp_path: Path
) -> None:
    def telling(query: Query) -> Query:
        return query.model_copy(update={"question": f"Is it {query.answer}? {query.question}"})

    found = with_client(
        stub, lambda client: judge(client, pictures[0], ModelChecksConfig(blind_samples=4), telling), tmp_path
    )
    failures = [one.failure for group in found for one in group.judged]
    assert sum(f is not None and f.reason == "answerable-blind" for f in failures) > 0.8 * len(failures)
    assert any("chance is 25%" in (f.evidence or "") for f in failures if f)


class FirstPlace:
    """A reader that takes what stands first."""

    def __init__(self) -> None:
        self.requests: list[Request[Any]] = []

    async def ask(self, request: Request[T]) -> Answer[T]:
        self.requests.append(request)
        return Answer(request.accept('{"choice": "A"}'), "key", 0, reused=False)


def test_preferring_a_place_counts_for_nothing(pictures: list[Any]) -> None:
    reader = FirstPlace()
    found = asyncio.run(judge(reader, pictures[0], ModelChecksConfig(blind_samples=4, answer_samples=4)))
    for one in (one for group in found for one in group.judged):
        assert one.failure is None and one.query.pass_rate == pytest.approx(1 / len(one.query.choices))
    blind = [request for request in reader.requests if request.purpose == "blind"]
    assert all(isinstance(part, str) for request in blind for message in request.messages for part in message.parts)
    assert all(request.sampling.temperature > 0 for request in reader.requests)
    assert len({(r.sampling.seed, r.messages) for r in reader.requests}) == len(reader.requests), "no two are the same"


def test_questions_of_a_source_are_only_measured(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    def of_a_source(query: Query) -> Query | None:
        wrong = another_answer(query)
        return wrong and wrong.model_copy(update={"origin": "source"})

    found = with_client(stub, lambda client: judge(client, pictures[0], ALL, of_a_source), tmp_path)
    judged = [one for group in found for one in group.judged]
    assert judged and all(one.failure is None and one.query.pass_rate == 0 for one in judged)
    assert all([v.check for v in one.verdicts] == ["answer"] for one in judged)


def test_open_questions_and_checks_that_are_off_cost_nothing(
    stub: RunningStub, pictures: list[Any], tmp_path: Path
) -> None:
    def opened(query: Query) -> Query:
        return query.model_copy(update={"choices": [], "answer_index": None, "chance": None, "origin": "source"})

    for config, change in ((ALL, opened), (ModelChecksConfig(), lambda query: query)):
        found = with_client(stub, lambda client: judge(client, pictures[0], config, change), tmp_path)  # noqa: B023
        assert all(not one.verdicts and one.query.pass_rate is None for group in found for one in group.judged)
    assert stub.log()["calls"] == 0


def test_a_check_whose_calls_come_to_nothing_is_not_applicable(
    stub: RunningStub, pictures: list[Any], tmp_path: Path
) -> None:
    stub.control(faults={"malformed": 1.0})
    found = with_client(stub, lambda client: judge(client, pictures[0], ALL), tmp_path)
    verdicts = [v for group in found for one in group.judged for v in one.verdicts]
    assert verdicts and {v.verdict for v in verdicts} == {"not applicable"}
    assert any("no usable reply (malformed): not JSON" in (v.evidence or "") for v in verdicts)
    assert all(query.pass_rate is None for group in found for query in group.kept)


def test_no_reply_leaves_it_unfinished(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    stub.control(faults={"reset": 1.0})
    with pytest.raises(UnfinishedError):
        with_client(stub, lambda client: judge(client, pictures[0], ALL), tmp_path, transport_retries=1)
    look = ModelChecksConfig(second_look="both")
    said = {region.row.region_id: region.row.profile for region in pictures[0].picture.view.regions}
    with pytest.raises(UnfinishedError):
        with_client(stub, lambda client: look_again(client, pictures[0], said, look), tmp_path, transport_retries=1)


def test_a_wrong_server_stops_all(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="another-model"):
        with_client(stub, lambda client: judge(client, pictures[0], ALL), tmp_path, model="another-model")


def test_a_second_run_makes_no_call(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    look = ModelChecksConfig(second_look="both")

    async def work(client: Client) -> tuple[Any, Any]:
        said = await first_looks(client, stub, pictures[0])
        return await judge(client, pictures[0], ALL), await look_again(client, pictures[0], said, look)

    first = with_client(stub, work, tmp_path)
    calls = stub.log()["calls"]
    assert with_client(stub, work, tmp_path) == first and stub.log()["calls"] == calls > 0


def test_the_same_blind_question_is_asked_once_for_all_pictures(
    stub: RunningStub, pictures: list[Any], tmp_path: Path
) -> None:
    def equal(query: Query) -> Query:
        asked = {"question": "Which color?", "choices": ["blue", "red"], "answer": "red", "answer_index": 1}
        return query.model_copy(update=asked)

    async def work(client: Client) -> None:
        await asyncio.gather(*(judge(client, one, ModelChecksConfig(blind_samples=4), equal) for one in pictures))

    with_client(stub, work, tmp_path)
    assert 2 <= stub.log()["calls"] <= 4
