"""How a run shows where it is: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Any

from benchmark.records import Outcome

_LINE_SECONDS = 5.0


class Progress:
    """Counts asks whose line is in the log, and says so on stderr."""

    def __init__(self, total: int, reused: int = 0) -> None:
        """`reused`: asks that had their line before."""
        self._total, self._reused = total, reused
        self._outcomes: Counter[str] = Counter()
        self._started = self._printed = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._open_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._show()
            self._bar.stop()
            self._bar = None
        print(self.line(), file=sys.stderr, flush=True)

    @property
    def asked(self) -> int:
        """Asks that got their line in this run."""
        return self._outcomes.total()

    def count(self, outcome: Outcome) -> None:
        """One more line is written."""
        self._outcomes[outcome] += 1
        now = time.monotonic()
        if self._bar is None and now - self._printed < _LINE_SECONDS:
            return
        if self._bar is not None:
            if now - self._printed >= 0.1:
                self._printed = now
                self._show()
            return
        self._printed = now
        print(self.line(), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line for the person who waits."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def line(self) -> str:
        """E.g. "asking: 120/900 asks, 20 reused, 3 unparsed, 41.2 asks/s, 0 min 19 s left"."""
        done, seconds = self.asked + self._reused, max(1e-6, time.monotonic() - self._started)
        rate = self.asked / seconds
        words = [f"asking: {done:,}/{self._total:,} asks"]
        words += [f"{self._reused:,} reused"] if self._reused else []
        words += [
            f"{self._outcomes[name]:,} {name}" for name in ("unparsed", "refused", "failed") if self._outcomes[name]
        ]
        words.append(f"{rate:.1f} asks/s")
        if rate > 0 and done < self._total:
            left = int((self._total - done) / rate)
            words.append(f"{left // 3600} h {left // 60 % 60:02d} min left" if left >= 3600 else
                         f"{left // 60} min {left % 60:02d} s left")  # fmt: skip
        return ", ".join(words)

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (BarColumn(), TextColumn("{task.fields[words]}", markup=False))
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("", total=self._total, completed=self._reused, words=self.line())
        self._bar.start()

    def _show(self) -> None:
        self._bar.update(self._task, completed=self.asked + self._reused, words=self.line())
