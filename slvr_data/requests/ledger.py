"""What calls cost: counted by purpose, over all runs of a set, for the eye and for the bill."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

from slvr_data.files import disk_errors, write_atomic
from slvr_data.requests.failures import Failed
from slvr_data.requests.replies import StoredReply

SAVE_SECONDS = 30.0
"""A killed run loses the counts of so many seconds; its replies are in the request store all the same."""


class Counts(BaseModel):
    """Of one purpose, or of all."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    calls: NonNegativeInt = 0
    """Requests that were sent."""
    replies: NonNegativeInt = 0
    """Replies that came, good or bad."""
    accepted: NonNegativeInt = 0
    """Requests whose reply was accepted when it came."""
    reused: NonNegativeInt = 0
    """Requests that an accepted reply in the store answered."""
    retries: NonNegativeInt = 0
    """Calls made again because no reply came."""
    failures: dict[Failed, NonNegativeInt] = Field(default_factory=dict)
    """Calls without a usable reply, by class."""
    prompt_tokens: NonNegativeInt = 0
    completion_tokens: NonNegativeInt = 0
    cached_tokens: NonNegativeInt = 0
    """Of the prompt tokens, those that the server had in its cache."""
    server_seconds: NonNegativeFloat = 0.0
    """Time that calls spent at the server, its queue included, summed over calls side by side."""

    def add(self, other: Counts) -> None:
        """Add all of another's."""
        for name in other.model_fields_set - {"failures"}:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for failure, count in other.failures.items():
            self.failures[failure] = self.failures.get(failure, 0) + count

    def each(self, records: int) -> dict[str, float] | None:
        """Calls, tokens, server seconds and retries for each of so many records; None without any."""
        if not records:
            return None
        names = ("calls", "prompt_tokens", "completion_tokens", "cached_tokens", "server_seconds", "retries")
        return {name: round(getattr(self, name) / records, 4) for name in names}


class _Book(BaseModel):
    """Counts by purpose over some time; the file holds one."""

    model_config = ConfigDict(extra="forbid")

    form: int = 1
    runs: NonNegativeInt = 0
    wall_seconds: NonNegativeFloat = 0.0
    purposes: dict[str, Counts] = Field(default_factory=dict)
    taken: dict[str, _Book] = Field(default_factory=dict)
    """Counts of merged parts, by name; they are not in those above."""

    def whole(self) -> _Book:
        """With the parts in one."""
        found = self.model_copy(deep=True, update={"taken": {}})
        for part in self.taken.values():
            found.add(part.whole())
        return found

    def add(self, other: _Book) -> None:
        self.runs += other.runs
        self.wall_seconds += other.wall_seconds
        for purpose, counts in other.purposes.items():
            self.purposes.setdefault(purpose, Counts()).add(counts)

    def total(self) -> Counts:
        total = Counts()
        for counts in self.purposes.values():
            total.add(counts)
        return total

    def summary(self, records: int | None) -> dict[str, Any]:
        total = self.total()
        found = {
            "runs": self.runs,
            "wall_seconds": round(self.wall_seconds, 3),
            "total": _plain(total),
            "purposes": {
                purpose: _plain(counts) | {"per_accepted": counts.each(counts.accepted)}
                for purpose, counts in sorted(self.purposes.items())
            },
        }
        return found if records is None else found | {"records": records, "per_record": total.each(records)}


def _plain(counts: Counts) -> dict[str, Any]:
    tree = counts.model_dump()
    return tree | {
        "failures": dict(sorted(counts.failures.items())),
        "server_seconds": round(counts.server_seconds, 3),
    }


class Ledger:
    """Counts of this run and of all runs; `file` is saved every 30 s and at the end. Any thread may count."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._past = _read(file)
        self._run = _Book(runs=1)
        self._started: float | None = None
        self._lock = threading.Lock()
        self._changed = False
        self._closing = threading.Event()
        self._saver: threading.Thread | None = None
        self._error: Exception | None = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What happened

    def called(self, purpose: str) -> None:
        """A call is sent."""
        self._count(purpose, Counts(calls=1))

    def failed(self, purpose: str, failure: Failed, seconds: float) -> None:
        """A call ended without a reply, after so many seconds."""
        self._count(purpose, Counts(failures={failure: 1}, server_seconds=seconds))

    def retried(self, purpose: str) -> None:
        """A call without a reply is going to be made again."""
        self._count(purpose, Counts(retries=1))

    def replied(self, reply: StoredReply) -> None:
        """A reply came, good or bad."""
        self._count(
            reply.purpose,
            Counts(
                replies=1,
                failures={reply.failure: 1} if reply.failure else {},
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.completion_tokens,
                cached_tokens=reply.cached_tokens,
                server_seconds=reply.seconds,
            ),
        )

    def accepted(self, purpose: str) -> None:
        """A request has its reply, from a call of this run."""
        self._count(purpose, Counts(accepted=1))

    def reused(self, purpose: str) -> None:
        """A request has its reply, from the store."""
        self._count(purpose, Counts(reused=1))

    def _count(self, purpose: str, counts: Counts) -> None:
        with self._lock:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            now = time.monotonic()
            self._started = now if self._started is None else self._started
            self._run.wall_seconds = now - self._started
            self._run.purposes.setdefault(purpose, Counts()).add(counts)
            self._changed = True
            if self._saver is None:
                self._saver = threading.Thread(target=self._save_now_and_then, name="ledger", daemon=True)
                self._saver.start()

    def take_in(self, file: Path, name: str) -> None:
        """Add the counts of another ledger's file, in place of what was taken in under this name before."""
        with self._lock:
            self._past.taken[name] = _read(file).whole()
            self._changed = True

    # What is said of it

    def line(self, records: int | None = None) -> str:
        """This run in a few words; cost is for each of `records`, or for each request that was accepted."""
        with self._lock:
            total = self._run.total()
        words = f"{total.calls:,} calls, {total.accepted:,} accepted"
        if total.reused:
            words += f", {total.reused:,} reused"
        each = total.each(total.accepted if records is None else records)
        if each is not None:
            tokens = each["prompt_tokens"] + each["completion_tokens"]
            words += (
                f"; each {tokens:,.0f} tokens, {each['server_seconds']:.2f} server s, {each['retries']:.2f} retries"
            )
        if total.failures:
            words += "; " + ", ".join(f"{failure} {count:,}" for failure, count in sorted(total.failures.items()))
        return words

    def summary(self, records: int | None = None) -> dict[str, Any]:
        """JSON of this run and of all runs, by purpose and in total; with `records`, also the cost of each of them.

        `records` are those that all runs have made.
        """
        with self._lock:
            return {"this_run": self._run.summary(None), "all_runs": self._all().whole().summary(records)}

    def purposes(self) -> dict[str, Counts]:
        """A copy of the counts of all runs, by purpose."""
        with self._lock:
            return self._all().whole().purposes

    def _all(self) -> _Book:
        found = self._past.model_copy(deep=True)
        if self._started is not None:
            found.add(self._run)
        return found

    # Keeping it

    def save(self) -> None:
        """Write the file, where anything has changed."""
        with self._lock:
            if not self._changed:
                return
            data = self._all().model_dump_json(indent=1).encode()
            self._changed = False
        with disk_errors(f"writing {self._file}"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file, data)

    def close(self) -> None:
        """Save, and raise what went wrong with it (RunError: a full disk)."""
        self._closing.set()
        if self._saver is not None:
            self._saver.join()
        with self._lock:
            self._changed = self._changed or self._error is not None
        self.save()

    def _save_now_and_then(self) -> None:
        while not self._closing.wait(SAVE_SECONDS):
            try:
                self.save()
            except Exception as error:
                with self._lock:
                    self._error, self._changed = error, True


def _read(file: Path) -> _Book:
    """The counts of earlier runs; a file that cannot be understood is put aside, and said."""
    with disk_errors(f"reading {file}"):
        if not file.exists():
            return _Book()
        data = file.read_bytes()
    try:
        return _Book.model_validate_json(data)
    except ValidationError as error:
        aside = file.with_name(f"{file.name}.damaged")
        with disk_errors(f"renaming {file}"):
            file.replace(aside)
        why = error.errors()[0]["msg"]
        print(f"{file} is damaged ({why}): it is now {aside.name}, counts begin anew", file=sys.stderr)
        return _Book()
