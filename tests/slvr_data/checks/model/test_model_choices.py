"""How a question is asked several times: orders of choices, what a reply may be, when enough has been asked."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest
from pydantic import ValidationError

from slvr_data.checks.model.choices import answer_schema, reader_of, rotated, whole_turns
from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.checks.model.questions import settled_above, settled_by_half
from slvr_data.checks.model.readers import Tally, together
from slvr_data.requests.failures import BadReplyError, UnfinishedError


def test_each_choice_stands_in_each_place_equally_often() -> None:
    for choices in (["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]):
        samples = whole_turns(4, len(choices))
        assert samples >= 4 and samples % len(choices) == 0
        orders = [rotated(choices, sample) for sample in range(samples)]
        assert orders[0] == choices and all(sorted(order) == choices for order in orders)
        for place in range(len(choices)):
            at_place = [order[place] for order in orders]
            assert {at_place.count(choice) for choice in choices} == {samples // len(choices)}


def test_a_letter_means_the_choice_as_it_was_shown() -> None:
    read = reader_of(["blue", "red"], undecided=False)
    assert read('{"choice": "A"}') == "blue" and read('```json\n{"choice": "B"}\n```') == "red"
    assert read('{"choice": "A", "why": "it is"}') == "blue", "what was not asked for is passed over"
    assert reader_of(["blue", "red"], undecided=True)('{"choice": null}') is None


@pytest.mark.parametrize(
    "text, failure",
    [
        ("A", "malformed"),
        ("", "malformed"),
        ('{"choice": "A"', "malformed"),
        ('{"choice": "C"}', "schema"),
        ('{"choice": null}', "schema"),
        ('{"choice": ["A"]}', "schema"),
        ('{"choice": 1}', "schema"),
        ('{"answer": "A"}', "schema"),
        ('["A"]', "schema"),
    ],
)
def test_other_replies_are_bad(text: str, failure: str) -> None:
    with pytest.raises(BadReplyError) as found:
        reader_of(["blue", "red"], undecided=False)(text)
    assert found.value.failure == failure


def test_the_schema_offers_just_the_letters() -> None:
    assert answer_schema(3, False)["properties"]["choice"]["enum"] == ["A", "B", "C"]
    assert {"type": "null"} in answer_schema(2, True)["properties"]["choice"]["anyOf"]


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 6])
def test_stopping_early_changes_no_outcome(samples: int) -> None:
    """Over all runs of right and wrong answers: the same verdict as after all samples, and some calls are spared."""
    spared = 0
    for run in product((True, False), repeat=samples):
        for most in (0.0, 0.65 * samples, samples - 0.5):
            seen = _until(run, settled_above(most, samples))
            assert (sum(seen) > most) == (sum(run) > most)
            spared += samples - len(seen)
        seen = _until(run, settled_by_half(samples))
        assert (seen.count(False) > samples / 2) == (run.count(False) > samples / 2)
        spared += samples - len(seen)
    assert samples == 1 or spared > 0


def _until(run: tuple[bool, ...], settled: object) -> list[bool]:
    assert callable(settled)
    tally = Tally("right")
    seen = []
    for right in run:
        tally.chosen["right" if right else "wrong"] += 1
        seen.append(right)
        if settled(tally):
            break
    return seen


def test_settings_that_decide_data_are_those_of_checks_that_run() -> None:
    assert ModelChecksConfig().affects_data() == {} and not ModelChecksConfig().asks_about_questions
    found = ModelChecksConfig(blind_samples=4).affects_data()
    assert set(found) == {"blind_samples", "blind_margin", "blind_temperature"}
    assert "second_look_fields" in ModelChecksConfig(second_look="crop").affects_data()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValidationError, match=r"appearance.colour.* is no field"):
        ModelChecksConfig(second_look_fields=["appearance.colour"])
    with pytest.raises(ValidationError):
        ModelChecksConfig(answer_temperature=0)


def test_a_fault_is_not_hidden_behind_an_unfinished_call() -> None:
    async def unfinished() -> int:
        raise UnfinishedError("no reply")

    async def wrong() -> int:
        await asyncio.sleep(0.01)
        raise KeyError("a fault of the program")

    async def fine(ended: list[str]) -> int:
        await asyncio.sleep(0.01)
        ended.append("fine")
        return 1

    with pytest.raises(KeyError):
        asyncio.run(together([unfinished(), wrong()]))
    ended: list[str] = []
    with pytest.raises(UnfinishedError):
        asyncio.run(together([unfinished(), fine(ended)]))
    assert ended == ["fine"]
