"""When going on is of no use: servers that refuse everything, or that nobody can reach any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from slvr_data.errors import SlvrError
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import BudgetError, Failed, ServerError, UnfinishedError

FIRST = 20
"""When so many answers have come and all were 4xx, the server does not understand us."""
IN_A_ROW = 20
"""So many calls without a reply (twice those in flight at least), over `patience`, mean that the servers are gone."""
QUOTA = 5
"""Times the patience for a server that says 429 and nothing else: it is there, and wants to be left alone."""
FIRST_REPLY = 600.0
"""Seconds that a server which has answered nothing yet may take at most: it loads, or compiles."""
STEP = 2.0
"""Seconds of silence that one look may add: after a pause of the whole process, replies are read first."""


class Health:
    """Watches what becomes of all calls of a run, and holds its budget. `stopped` says why the run is over."""

    def __init__(self, config: ServedConfig) -> None:
        self._patience, self._timeout, self._connect = config.patience, config.timeout, config.connect_timeout
        self._requests, self._tokens = config.budget_requests, config.budget_tokens
        self._called, self._spent = 0, 0
        self._rejected = 0
        self._proven = False
        self._in_flight = 0
        self._in_a_row = 0
        self._failing_since = 0.0
        self._silent = 0.0
        self._longest: float | None = None
        self.stopped: SlvrError | None = None
        self.on_stop: Callable[[], None] = lambda: None

    @property
    def proven(self) -> bool:
        """A reply other than 4xx has come: the server understands us."""
        return self._proven

    @property
    def in_flight(self) -> int:
        """Calls that have begun and are not over."""
        return self._in_flight

    @property
    def idle(self) -> bool:
        """No call is under way."""
        return self._in_flight == 0

    def stop(self, error: SlvrError) -> None:
        """End the run; the first reason stays."""
        if self.stopped is None:
            self.stopped = error
            self.on_stop()

    def check(self) -> None:
        """Raises the error that ended the run, for each call its own."""
        if self.stopped is not None:
            raise type(self.stopped)(str(self.stopped))

    def starts(self) -> None:
        """A call is about to be made. Raises what ended the run, or BudgetError."""
        self.check()
        if self._requests is not None and self._called >= self._requests:
            self.stop(BudgetError(f"the budget of {self._requests} calls is spent: the same command goes on with more"))
        elif self._tokens is not None and self._spent >= self._tokens:
            self.stop(BudgetError(f"the budget of {self._tokens} tokens is spent: the same command goes on with more"))
        self.check()
        self._called += 1
        self._in_flight += 1

    def ended(self) -> None:
        """A call that was started is over, whatever became of it."""
        self._in_flight -= 1

    def heard(self, seconds: float) -> None:
        """A reply came, so many seconds after its call."""
        self._silent = 0.0
        self._longest = max(self._longest or 0.0, seconds)

    def hangs(self, seconds: float) -> bool:
        """So much time has passed since the last look: whether calls in flight wait for servers that have gone silent.

        They have when nothing came for `patience` and the longest reply so far; before any reply the bound is wide.
        """
        self._silent = self._silent + min(seconds, STEP) if self._in_flight else 0.0
        if self._longest is None:
            most = max(self._patience, min(self._timeout, FIRST_REPLY))
        else:
            most = self._patience + min(self._longest, self._timeout)
        if self._silent <= most + self._connect:
            return False
        self.gone(self._silent, f"{self._in_flight} calls wait")
        return True

    def replied(self, rejected: str, tokens: int) -> None:
        """An answer came; `rejected` are the words of a 4xx, or empty."""
        self._in_a_row = 0
        self._spent += tokens
        if not rejected:
            self._proven = True
        elif not self._proven:
            self._rejected += 1
            if self._rejected >= FIRST:
                words = f"the server turned down all of the first {FIRST} calls, the last with: {rejected}"
                self.stop(ServerError(f"{words}; nothing of it is kept"))

    def failed(self, failure: Failed, evidence: str) -> None:
        """No reply came to a call."""
        if failure not in ("timeout", "refused"):
            self._silent = 0.0  # somebody is there
        now = time.monotonic()
        if self._in_a_row == 0:
            self._failing_since = now
        self._in_a_row += 1
        silent = now - self._failing_since
        patience = self._patience * (QUOTA if failure == "429" else 1)
        if self._in_a_row >= max(IN_A_ROW, 2 * self._in_flight) and silent >= patience:
            self.gone(silent, evidence)

    def gone(self, silent: float, evidence: str) -> None:
        """No server answers any more, for `silent` seconds."""
        self.stop(
            UnfinishedError(
                f"no reply from any server for {silent:.0f} s ({evidence}); what is finished is kept: "
                "run the same command when the server is back"
            )
        )
