"""Runs: every ask gets one line, whatever the model says, and nothing is asked twice."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.asks import Asks
from benchmark.folder import open_bench
from benchmark.lines import CUT, MOST_REPLY, line_of
from benchmark.models.base import ModelOptions
from benchmark.records import CANNOT_SEE, Ask, LogLine, Reply
from benchmark.run import ask_all, header_of, run_bench
from benchmark.runlog import open_log, read_log
from slvr_data.errors import RunError, UsageError
from slvr_data.requests.failures import UnfinishedError
from tests.benching import COLORS, Shelf, Stub, asks_of, folder, item, letter, plan, query, shelf

Counted = list[str]


def ran(folder: Path, model: Stub, bench: Any = None, *families: Any, **changed: Any) -> tuple[list[LogLine], Counted]:
    """The log of a run of a stub, and the outcomes that were reported."""
    asks = Asks(bench or shelf(), plan(*families, **changed))
    counted: Counted = []
    with open_log(folder, header_of(asks.bench, model, asks, ModelOptions())) as log:
        ask_all(model, asks.asks(log.done), log, counted.append)
    return read_log(folder).lines, counted


def test_a_run(tmp_path: Path) -> None:
    lines, counted = ran(tmp_path, Stub())
    assert len(lines) == 12 and all(line.correct for line in lines)
    assert counted == ["answer"] * 12
    first = lines[0]
    assert (first.item_id, first.query_id, first.position, first.facet) == (
        "item-00000", "color-item-00000", 0, "color",
    )  # fmt: skip
    assert (first.expected, first.answer, first.reply, first.chance) == ("red", "red", "A", 0.25)
    assert (first.prompt_tokens, first.reply_tokens, first.reply_length) == (10, 1, 1)
    assert [line.position for line in lines[:2]] == [0, 1]


def test_wrong_answers_and_others(tmp_path: Path) -> None:
    said = {"red": "B", "green": "I see no way to tell A from B.", "blue": "", "yellow": "(D) yellow"}
    lines, _ = ran(tmp_path, Stub(lambda ask: said.get(ask.query.answer, "A")))
    found = {line.expected: (line.outcome, line.answer, line.correct) for line in lines if line.facet == "color"}
    assert found["red"] == ("answer", "green", False)
    assert found["yellow"] == ("answer", "yellow", True)
    assert found["blue"] == ("unparsed", None, False)
    assert found["green"][0] in ("unparsed", "refused") and not found["green"][2]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(None, "error", "the prompt is too long"), "failed"),
        (Reply("A. Or perhaps", "length"), "failed"),
        (Reply("I cannot help with that.", "refused"), "refused"),
        (Reply("A", "error", "broken off"), "failed"),
    ],
)
def test_replies_that_are_none(tmp_path: Path, reply: Reply, outcome: str) -> None:
    lines, counted = ran(tmp_path, Stub(lambda ask: reply))
    assert {line.outcome for line in lines} == {outcome} == set(counted)
    assert not any(line.correct for line in lines) and {line.answer for line in lines} == {None}
    assert {(line.reply, line.finish, line.error) for line in lines} == {(reply.text, reply.finish, reply.error)}


def test_rotated_choices_are_read_by_their_new_letters(tmp_path: Path) -> None:
    lines, _ = ran(tmp_path, Stub(), None, "circular", "paraphrase")
    assert len(lines) == 12 * 5 and all(line.correct for line in lines)
    always_a, _ = ran(tmp_path / "a", Stub(lambda ask: "A"), None, "circular")
    turned = [line for line in always_a if line.item_id == "item-00000" and line.facet == "color"]
    assert [line.answer for line in turned] == list(COLORS)
    assert [line.correct for line in turned] == [True, False, False, False]


def test_evidence(tmp_path: Path) -> None:
    """A model that answers whatever it is shown, and one that always says that it cannot see."""
    knows, _ = ran(tmp_path / "knows", Stub(), None, "evidence")
    gone = {line.variant for line in knows if line.expected is None}
    assert gone == {"masked", "cropped-out", "swapped", "blank"}
    assert all(line.correct == (line.expected is not None) for line in knows)
    shy, _ = ran(tmp_path / "shy", Stub(lambda ask: letter(ask, ask.choices[-1])), None, "evidence")
    family = [line for line in shy if line.variant != "plain"]
    assert {line.answer for line in family} == {CANNOT_SEE}
    assert all(line.correct == (line.expected is None) for line in family)
    assert {line.chance for line in family} == {0.2}


def test_open_questions_are_matched(tmp_path: Path) -> None:
    said = {"red": "It is red.", "green": "red", "blue": "a shade that I have no word for", "yellow": "Yellow!"}
    lines, _ = ran(tmp_path, Stub(lambda ask: said.get(ask.query.answer, "")), None, form="open")
    found = {line.expected: (line.outcome, line.correct) for line in lines if line.facet == "color"}
    assert found["red"] == found["yellow"] == ("answer", True)
    assert found["green"] == ("answer", False)
    assert found["blue"] == ("unparsed", False)
    assert {line.choices for line in lines} == {()} and {line.chance for line in lines} == {None}


def test_an_open_question_about_what_is_gone(tmp_path: Path) -> None:
    said = {"masked": "It cannot be seen.", "blank": "red"}
    lines, _ = ran(tmp_path, Stub(lambda ask: said.get(ask.variant, "")), shelf(2), "evidence", form="open")
    masked, blank = ([line for line in lines if line.variant == name] for name in ("masked", "blank"))
    assert all(line.correct for line in masked)
    assert not any(line.correct for line in blank)


def test_megabyte_replies(tmp_path: Path) -> None:
    long = "word \u00e9 " * 200_000 + "The answer is A."
    lines, _ = ran(tmp_path, Stub(lambda ask: long), shelf(1))
    for line in lines:
        assert line.reply is not None and line.reply_length == len(long)
        head, cut, tail = line.reply.partition(CUT)
        assert cut and long.startswith(head) and long.endswith(tail)
        assert 4 * len(head.encode()) <= MOST_REPLY
        assert MOST_REPLY - 10 <= len(line.reply.encode()) <= MOST_REPLY
        assert line.answer == "red" if line.facet == "color" else line.answer == "left"


def test_replies_that_no_file_can_hold(tmp_path: Path) -> None:
    lines, _ = ran(tmp_path, Stub(lambda ask: f"{letter(ask)} \ud83d\x00\n\u2028"), shelf(1))
    assert [line.correct for line in lines] == [True, True]


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    first = Stub()
    ran(tmp_path, first, None, "circular")
    again = Stub()
    lines, counted = ran(tmp_path, again, None, "circular")
    assert again.seen == [] and counted == [] and len(lines) == len(first.seen) == 48


class Dying(Stub):
    """Gives some replies, and then no more."""

    def __init__(self, after: int, error: BaseException) -> None:
        super().__init__()
        self.after, self.error = after, error

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        for number, pair in enumerate(super().replies(asks)):
            if number == self.after:
                raise self.error
            yield pair


@pytest.mark.parametrize("after", [0, 1, 7, 11])
def test_a_server_that_dies(tmp_path: Path, after: int) -> None:
    with pytest.raises(UnfinishedError, match=r"asks are left \(it is gone\); the same command goes on") as ended:
        ran(tmp_path, Dying(after, UnfinishedError("it is gone")))
    assert ended.value.exit_code == 3
    assert len(read_log(tmp_path).lines) == after
    rest = Stub()
    lines, _ = ran(tmp_path, rest)
    assert len(rest.seen) == 12 - after and len(lines) == 12


@pytest.mark.parametrize("error", [RunError("out of memory"), KeyboardInterrupt(), ZeroDivisionError()])
def test_other_ends_keep_what_came_before(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        ran(tmp_path, Dying(5, error))
    assert len(read_log(tmp_path).lines) == 5
    assert not [thread for thread in threading.enumerate() if thread.name in ("asks", "lines")]


def test_a_picture_that_cannot_be_read_stops_the_run_by_name(tmp_path: Path) -> None:
    bench = shelf(30)
    del bench.pictures["image-00020"]
    with pytest.raises(RunError, match="picture image-00020 of shelf cannot be read"):
        ran(tmp_path, Stub(), bench)
    assert len(read_log(tmp_path).lines) == 40


def test_a_model_that_forgets_asks_is_found_out(tmp_path: Path) -> None:
    class Forgetful(Stub):
        def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
            for ask in asks:
                if ask.query.facet == "color":
                    yield ask, Reply("A")

    with pytest.raises(RunError, match="stub gave 6 replies to 12 asks"):
        ran(tmp_path, Forgetful())


def test_a_model_that_replies_twice_to_half_of_the_asks(tmp_path: Path) -> None:
    class Stammering(Stub):
        def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
            for ask in asks:
                if ask.query.facet == "color":
                    yield from [(ask, Reply("A"))] * 2

    with pytest.raises(RunError, match="stub gave 6 replies to 12 asks"):
        ran(tmp_path, Stammering())


def test_a_run_counts_what_is_in_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaving(Stub):
        def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
            for _, pair in zip(range(5), super().replies(asks), strict=False):
                yield pair

    monkeypatch.setattr("benchmark.run.open_model", lambda spec, options: Leaving())
    with pytest.raises(RunError, match="7 of 12 asks have no line"):
        run_bench(folder(tmp_path / "bench"), "stub", plan(), ModelOptions(), tmp_path / "run")


def test_ids_with_slashes_are_asked_each(tmp_path: Path) -> None:
    items = [
        item(0, item_id="d/x", queries=(query("a", "color", COLORS, 0, query_id="q"),)),
        item(1, item_id="d", queries=(query("b", "color", COLORS, 1, query_id="x/q"),)),
    ]
    found = run_bench(Shelf(items), "oracle", plan(), ModelOptions(), tmp_path)  # type: ignore[arg-type]
    assert (found.asks, found.asked, len(read_log(tmp_path).lines), read_log(tmp_path).left) == (2, 2, 2, 0)


def test_replies_in_any_order(tmp_path: Path) -> None:
    class Backwards(Stub):
        def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
            yield from reversed(list(super().replies(asks)))

    backwards, _ = ran(tmp_path / "a", Backwards())
    forwards, _ = ran(tmp_path / "b", Stub())
    assert sorted(backwards, key=lambda line: line.ask_id) == sorted(forwards, key=lambda line: line.ask_id)
    assert backwards[0].ask_id == forwards[-1].ask_id


def test_equal_runs_write_equal_logs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        ran(tmp_path / name, Stub(), shelf(), "evidence")
    assert (tmp_path / "a/run.jsonl").read_bytes() == (tmp_path / "b/run.jsonl").read_bytes()


def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    bench = folder(tmp_path / "bench")
    found = run_bench(bench, "oracle", plan("evidence"), ModelOptions(), out, said.append)
    assert (found.asks, found.asked, found.reused, found.log) == (12 + 66, 78, 0, out / "run.jsonl")
    assert said[0] == "78 asks about 6 items: 12 plain, 66 evidence"
    assert said[1].startswith("not asked, because the right answer cannot be told there: 6 of masked, 12 of blurred")
    log = read_log(out)
    assert all(line.correct for line in log.lines if line.variant == "plain")
    assert "asking: 78/78 asks" in capsys.readouterr().err
    assert (log.header.variants, log.header.seeds, log.header.model) == (["evidence"], [0], "oracle")
    assert log.header.data_revision == bench.revision
    again = run_bench(open_bench(tmp_path / "bench"), "oracle", plan("evidence"), ModelOptions(), out, said.append)
    assert (again.asked, again.reused) == (0, 78) and "78 of them have their reply from before" in said


def test_data_that_changed_between_two_commands(tmp_path: Path) -> None:
    run_bench(folder(tmp_path / "bench"), "random", plan(limit=2), ModelOptions(), tmp_path / "run")
    before = (tmp_path / "run/run.jsonl").read_bytes()
    with pytest.raises(UsageError, match="the data changed since this run began"):
        run_bench(folder(tmp_path / "other", 7), "random", plan(), ModelOptions(), tmp_path / "run")
    assert (tmp_path / "run/run.jsonl").read_bytes() == before
    found = run_bench(open_bench(tmp_path / "bench"), "random", plan(), ModelOptions(), tmp_path / "run")
    assert (found.reused, found.asked) == (4, 8)


def test_nothing_to_ask(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shelf has no items"):
        run_bench(Shelf([]), "oracle", plan(), ModelOptions(), tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "run.jsonl").exists()


def test_a_line_of_an_ask(tmp_path: Path) -> None:
    one = item(0, queries=(query("x", "color", COLORS, 2), query("x", "shape", COLORS, 1)))
    ask = asks_of(Shelf([one]))[1]
    line = line_of(ask, Reply("B", "stop", None, 5, 1, 0.25))
    assert (line.position, line.facet, line.correct, line.seconds) == (1, "shape", True, 0.25)
    assert LogLine.model_validate_json(line.model_dump_json()) == line
    assert line_of(replace(ask, picture=b"other"), Reply("B", "stop", None, 5, 1, 0.25)) == line
