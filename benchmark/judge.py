"""A served model that judges open answers which the rules cannot decide: yes, no, or unknown.

The judge is sent the question, the right answer and the reply, never the picture: it says whether two answers mean the
same, not what there is to see. Where its calls come to nothing, the rules' own verdict stands (which is "unknown" for
what they could not decide) and is counted. Nothing is ever drawn at random.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from benchmark.extract import VERSION as EXTRACTION
from benchmark.extract import open_answer
from benchmark.extract.clean import single_spaced
from benchmark.extract.rules import said_aloud
from benchmark.records import LogLine
from slvr_data.annotators.served.asking import Asks
from slvr_data.judging import PROMPT_VERSION, Verdict, verdict_request
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Refusal, Request
from slvr_data.requests.store import RequestStore

T = TypeVar("T")
MOST_WORDS = 200
"""Characters of a reply that stand for its answer, where the rules found none in it."""


@dataclass(frozen=True)
class Judged:
    """Whether a reply gives the right answer, and who says so."""

    verdict: Verdict
    by: Literal["rules", "judge", "fallback"]
    """The rules were sure; the judge said so; or its calls came to nothing, and the rules' verdict stands."""
    why: str | None = None
    """What became of the judge's calls, for a fallback."""


@dataclass
class Tally:
    """Who decided how often."""

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(by, verdict) -> how often."""
    failures: Counter[str] = field(default_factory=Counter)
    """Class of the last failure -> fallbacks."""

    @property
    def fallbacks(self) -> int:
        """Answers that the judge was asked about and did not judge."""
        return sum(self.failures.values())

    def line(self) -> str:
        """In a few words, for people."""
        words = ", ".join(f"{by}: {verdict} {n:,}" for (by, verdict), n in sorted(self.verdicts.items()))
        failed = ", ".join(f"{failure} {n:,}" for failure, n in sorted(self.failures.items()))
        return (words or "nothing to judge") + (f"; fallbacks: {failed}" if failed else "")


class Judge:
    """Judges one answer at a time; `tally` counts."""

    def __init__(self, client: Asks, served: ServedConfig) -> None:
        self._client, self._served = client, served
        self.tally = Tally()

    async def judged(
        self, question: str, expected: str, reply: str, alternatives: Sequence[str] = (), group: str = ""
    ) -> Judged:
        """Whether a reply gives the expected answer; a call is made only where the rules cannot decide.

        Raises:
            UnfinishedError: transport, server or budget kept the call from being made: the same command takes it up.
            ServerError: the server is plainly wrong.
        """
        by_rules = ruled(expected, reply, alternatives)
        if by_rules is not None:
            return self._counted(Judged(by_rules, "rules"))
        answer = await self._client.ask(judge_request(question, expected, reply, self._served, group))
        if isinstance(answer, Refusal):
            self.tally.failures[answer.failure] += 1
            return self._counted(Judged("unknown", "fallback", f"{answer.failure}: {answer.evidence}"))
        return self._counted(Judged(answer.value, "judge"))

    def _counted(self, judged: Judged) -> Judged:
        self.tally.verdicts[judged.by, judged.verdict] += 1
        return judged


def ruled(expected: str, reply: str, alternatives: Sequence[str] = ()) -> Verdict | None:
    """The rules' verdict on an open answer; None where they cannot decide and a judge may.

    A reply that says nothing, declines or was cut within a thought is "unknown" without any call.
    """
    found = open_answer(reply, expected, alternatives)
    if found.outcome == "answer" and found.correct is not None:
        return "yes" if found.correct else "no"
    if found.outcome == "refused" or found.rule in ("empty", "thought-cut", "json-without-answer"):
        return "unknown"
    return None


def judge_request(question: str, expected: str, reply: str, served: ServedConfig, group: str = "") -> Request[Verdict]:
    """One call about a whole reply, whose thoughts and markup the judge is not sent."""
    return verdict_request(question, expected, single_spaced(said_aloud(reply)).strip(), served, group)


@asynccontextmanager
async def opened_judge(served: ServedConfig, folder: Path, say: Callable[[str], None]) -> AsyncIterator[Judge]:
    """A judge whose replies are kept in `folder`, so that nothing is asked twice.

    Raises:
        ServerError: the server is not there, or plainly wrong.
        UsageError: the configuration names no server or model, or a package is missing.
    """
    with Ledger(folder / "ledger.json") as ledger, RequestStore(folder, served.scratch, say) as store:
        async with Client(served, store, ledger, say) as client:
            await client.check(vision=False)
            yield Judge(client, served)


def judge_lines(
    lines: Sequence[LogLine], served: ServedConfig, folder: Path, say: Callable[[str], None]
) -> tuple[list[LogLine], Tally]:
    """The lines of an open run with the answers judged that the rules left undecided, and who decided what.

    Lines with choices, without a right answer, and those that failed or were decided by the rules stay as they are.
    "yes" makes a line a right answer, "no" a wrong one; with "unknown" it stays unparsed.

    Args:
        lines: of a log, in any order; the result has the same.
        served: the judge.
        folder: where its replies are kept.
        say: takes what is said to people.

    Raises:
        UnfinishedError: calls are open: the same command takes them up.
        ServerError, UsageError: see `opened_judge`.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was judged is kept in `folder`.
    """
    open_lines = [place for place, line in enumerate(lines) if undecided(line)]
    if not open_lines:
        return list(lines), Tally()

    async def work() -> tuple[list[Judged], Tally]:
        async with opened_judge(served, folder, say) as judge:
            results = await asyncio.gather(*(_of(judge, lines[n]) for n in open_lines), return_exceptions=True)
        failed = [error for error in results if isinstance(error, BaseException)]
        if failed:
            raise next((error for error in failed if not isinstance(error, UnfinishedError)), failed[0])
        return [judged for judged in results if isinstance(judged, Judged)], judge.tally

    verdicts, tally = asyncio.run(_stoppable(work()))
    judged = dict(zip(open_lines, verdicts, strict=True))
    return [_with(line, judged.get(place)) for place, line in enumerate(lines)], tally


async def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which SIGTERM ends as asyncio has Ctrl-C end it: cancelled where it waits.

    A handler that raises would leave the loop in the middle of a turn. Outside of the main thread no signal comes.
    """
    task = asyncio.ensure_future(work)
    if threading.current_thread() is not threading.main_thread():
        return await task
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def undecided(line: LogLine) -> bool:
    """Whether a line is an open answer that the rules read no verdict from."""
    if line.choices or line.expected is None or line.reply is None or line.outcome != "unparsed":
        return False
    return ruled(line.expected, line.reply) is None


async def _of(judge: Judge, line: LogLine) -> Judged:
    assert line.expected is not None and line.reply is not None
    return await judge.judged(line.question, line.expected, line.reply, group=line.image_id)


def _with(line: LogLine, judged: Judged | None) -> LogLine:
    if judged is None or judged.verdict == "unknown":
        return line
    right = judged.verdict == "yes"
    words = line.answer or " ".join(said_aloud(line.reply or "").split())[:MOST_WORDS]
    answer = line.expected if right else words
    return line.model_copy(update={"outcome": "answer", "answer": answer, "correct": right})


def stamp(served: ServedConfig) -> dict[str, str | None]:
    """What two judged runs must share to be compared."""
    return {
        "judge": served.model, "judge_revision": served.model_revision, "judge_prompt": PROMPT_VERSION,
        "extraction": EXTRACTION,
    }  # fmt: skip
