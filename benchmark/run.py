"""A run: asks go to the model, replies become lines of the log. What is shown is in the log already.

Three threads share the work, so that a model never waits for the benchmark: one makes the next asks (pictures are read,
transformed and encoded there), this one runs the model, one reads answers out of replies and writes lines.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmark.asks import Asks, Plan, family_of
from benchmark.budgets import looks_at_nothing, most_of
from benchmark.extract import VERSION
from benchmark.interventions.measured import FILE, measure
from benchmark.interventions.names import FAMILY, SURVEYED, Wanted, resolved
from benchmark.lines import line_of
from benchmark.models.base import LatentModel, Model, ModelOptions, open_model
from benchmark.progress import Progress
from benchmark.records import Ask, Header, Outcome, Reply
from benchmark.runlog import LOG, WORK, LogWriter, open_log
from slvr_data.errors import RunError, UsageError
from slvr_data.requests.failures import UnfinishedError

if TYPE_CHECKING:
    from benchmark.folder import Bench

AHEAD = 32
"""Asks that are made before the model wants them."""
BEHIND = 256
"""Replies that may wait for their line; a slow disk then stops the model."""


@dataclass(frozen=True)
class Ran:
    """What a run has done."""

    log: Path
    asks: int
    """Of the whole plan."""
    asked: int
    """Those that got their reply now."""
    reused: int
    """Those that had it from before."""


def run_bench(
    bench: Bench,
    spec: str,
    plan: Plan,
    options: ModelOptions,
    out: Path,
    say: Callable[[str], None] = lambda text: None,
    interventions: Sequence[Wanted] = (),
) -> Ran:
    """Ask a model everything in a plan that the log in `out` has no line for.

    Args:
        bench: the items.
        spec: the model (`benchmark.models.base.FORMS`).
        plan: what is asked.
        options: how the model is run; what follows from bench, plan and `out` is filled in here.
        out: the run's folder; the log is `out/run.jsonl`.
        say: is told what is about to be asked.
        interventions: what is done to the latents of the model, beside what the plan asks; what these latents are
            like is then written to `out/latents.json`.

    Raises:
        UsageError: nothing is there to ask, the specification is wrong, the model has no latents to change, or `out`
            holds another run.
        UnfinishedError: asks are left, and the same command goes on with them (exit code 3).
        RunError: the run could not go on; the log keeps what came before.
    """
    asks = Asks(bench, plan)
    if not asks.whole_length:
        raise UsageError(f"{bench.name} has no items that could be asked")
    if interventions and not spec.startswith("slvr:"):
        raise UsageError(f"--interventions: {spec} has no latents; they are for slvr:tiny and slvr:PATH")
    filled = replace(
        options, bench=bench, work=out / WORK, prompt_version=plan.protocol.version, seeds=plan.seeds, say=say
    )
    model = open_model(spec, filled)
    latents = cast(LatentModel, model) if interventions else None
    if latents is not None:
        changes = resolved(interventions, latents.latent_shape(), plan.profiles is not None)
        asks = Asks(bench, replace(plan, changes=changes))
    header = header_of(bench, model, asks, options)
    with open_log(out, header) as log:
        _announce(asks, log, say)
        _tell_budget(header, asks, say)
        if latents is not None and (len(log.done) < len(asks) or not (out / FILE).is_file()):
            say("reading what the model writes into its latents")
            say(f"latents: {measure(latents, asks, out)}")
        with Progress(len(asks), len(log.done)) as progress:
            written = ask_all(model, asks.asks(log.done), log, progress.count)
        asked, reused = progress.asked, len(log.done)
    if left := sum(slot.ask_id not in written and slot.ask_id not in log.done for slot in asks.slots()):
        raise RunError(
            f"{left:,} of {len(asks):,} asks have no line in {log.path}: the adapter of {model.name} is at fault"
        )
    return Ran(out / LOG, len(asks), asked, reused)


def header_of(bench: Bench, model: Model, asks: Asks, options: ModelOptions) -> Header:
    """What the log begins with."""
    plan = asks.plan
    details = dict(model.details())
    if any(change.name == "mean" for change in plan.changes):
        details |= {"mean_latent_of_items": min(len(asks.whole), SURVEYED)}
    least, most = details.pop("least_pixels", None), details.pop("most_pixels", None)
    sizes = [item.width * item.height for item in asks.whole]
    sampling = {"temperature": options.temperature, "top_p": options.top_p} if options.temperature > 0 else {}
    return Header(
        model=model.name,
        model_details=details,
        data=bench.name,
        data_revision=bench.revision,
        items=len(asks.items),
        asks=len(asks),
        form=plan.form,
        protocol=plan.protocol.name,
        prompt_sha256=plan.protocol.sha256,
        extraction=VERSION,
        variants=[*plan.families, *(change.variant for change in plan.changes)],
        seeds=list(range(plan.seeds)),
        max_pixels=options.max_pixels,
        least_pixels=None if least is None else int(least),
        most_pixels=None if most is None else int(most),
        smallest_picture=min(sizes, default=None),
        largest_picture=max(sizes, default=None),
        max_new_tokens=options.max_new_tokens,
        sampling=sampling,
        shard=None if plan.shard is None else str(plan.shard),
        whole_items=None if plan.shard is None else len(asks.whole),
        whole_asks=None if plan.shard is None else asks.whole_length,
    )


def _announce(asks: Asks, log: LogWriter, say: Callable[[str], None]) -> None:
    parts = ", ".join(f"{number:,} {family}" for family, number in asks.counts().items())
    part = "" if asks.plan.shard is None else f", shard {asks.plan.shard} of {asks.whole_length:,} asks"
    say(f"{len(asks):,} asks about {len(asks.items):,} items: {parts or 'none'}{part}")
    left_out = asks.left_out()
    for why, latents in (("the right answer cannot be told there", False), ("there are no such latents", True)):
        parts = ", ".join(
            f"{number:,} of {name}" for name, number in left_out.items() if (family_of(name) == FAMILY) == latents
        )
        if parts:
            say(f"not asked, because {why}: {parts}")
    if log.damaged:
        say(f"{log.damaged:,} damaged lines of {log.path} are passed over, what they held is asked again")
    if log.done:
        say(f"{len(log.done):,} of them have their reply from before")


def _tell_budget(header: Header, asks: Asks, say: Callable[[str], None]) -> None:
    """Say how many regions are shown at less than their pictures' size."""
    most = most_of(header)
    if most is None or looks_at_nothing(header):
        return
    larger = sum(item.width * item.height > most for item in asks.items)
    if larger:
        say(
            f"{larger:,} of {len(asks.items):,} items are shown scaled down to {most:,} pixels (--max-pixels): "
            "compare with runs of the same bound"
        )


def ask_all(model: Model, asks: Iterator[Ask], log: LogWriter, count: Callable[[Outcome], None]) -> frozenset[str]:
    """Put asks to a model and write their lines; `count` is told of each line that is written.

    Returns:
        The ids of the asks that have got a line.

    Raises:
        UnfinishedError: the model left asks open; all lines of the others are written.
        RunError: the model gave no reply to some ask without saying why, or the disk is full.
    """
    ahead = _Ahead(asks)
    lines = _Lines(log, count)
    replies = model.replies(ahead)
    try:
        for ask, reply in replies:
            lines.put(ask, reply)
    except UnfinishedError as error:
        raise UnfinishedError(f"asks are left ({error}); the same command goes on with them") from error
    finally:
        close = getattr(replies, "close", None)  # a generator has it, another iterator need not
        if close is not None:
            close()
        ahead.close()
        lines.close()
    if len(lines.ids) < ahead.number:
        raise RunError(f"{model.name} gave {len(lines.ids)} replies to {ahead.number} asks: the adapter is at fault")
    return frozenset(lines.ids)


class _Ahead:
    """An iterator that is run in a thread of its own, a little ahead.

    It begins again when half of what it had made is taken, so that the two threads seldom wake each other.
    """

    def __init__(self, asks: Iterator[Ask]) -> None:
        self.number = 0
        """Asks that were taken."""
        self._asks = asks
        self._queue: queue.SimpleQueue[Ask | BaseException | None] = queue.SimpleQueue()
        self._room = threading.Event()
        self._over = self._closed = False
        self._thread = threading.Thread(target=self._make, name="asks", daemon=True)
        self._thread.start()

    def __iter__(self) -> _Ahead:
        return self

    def __next__(self) -> Ask:
        if self._over:
            raise StopIteration
        found = self._queue.get()
        if self._queue.qsize() <= AHEAD // 2:
            self._room.set()
        if isinstance(found, Ask):
            self.number += 1
            return found
        self._over = True
        raise StopIteration if found is None else found

    def _make(self) -> None:
        end: BaseException | None = None
        try:
            for ask in self._asks:
                self._queue.put(ask)
                if self._queue.qsize() >= AHEAD:
                    self._room.clear()
                    if self._queue.qsize() >= AHEAD and not self._closed:  # nothing has happened in between
                        self._room.wait()
                if self._closed:
                    return
        except BaseException as error:
            end = error
        self._queue.put(end)

    def close(self) -> None:
        """End the thread."""
        self._over = self._closed = True
        self._room.set()
        self._thread.join()


class _Lines:
    """Takes replies, and writes their lines in a thread of its own."""

    def __init__(self, log: LogWriter, count: Callable[[Outcome], None]) -> None:
        self.number = 0
        """Lines that are in the log."""
        self.ids: set[str] = set()
        """Their asks."""
        self._log, self._count = log, count
        self._queue: queue.SimpleQueue[tuple[Ask, Reply] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="lines", daemon=True)
        self._thread.start()

    def put(self, ask: Ask, reply: Reply) -> None:
        """Have a line written. Raises what went wrong with an earlier one."""
        while self._queue.qsize() >= BEHIND and self._error is None:
            time.sleep(0.001)
        if self._error is not None:
            raise self._error
        self._queue.put((ask, reply))

    def _write(self) -> None:
        try:
            while (found := self._queue.get()) is not None:
                line = line_of(*found)
                self._log.write(line)
                self.number += 1
                self.ids.add(line.ask_id)
                self._count(line.outcome)
        except BaseException as error:
            self._error = error

    def close(self) -> None:
        """Write what is waiting. Raises what went wrong."""
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
