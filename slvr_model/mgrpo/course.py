"""What is said and kept of a run's course: `log.jsonl`, a line or a bar for the person who waits, and the clock.

A line of the log depends on the run alone, not on the clock: equal runs write equal bytes. Times stand in `run.json`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from slvr_data.files import write_atomic
from slvr_model.sft.records import LOG

TIMES = "run.json"
_SHOWN = {
    "reward/total": "reward",
    "reward/right": "right",
    "reward/all_right_share": "all right",
    "advantage/mixed": "mixed",
    "formed": "formed",
    "loss": "loss",
    "kl": "kl",
    "eval/accuracy": "held out: right",
    "eval/all_right": "all right",
}
"""What of a line is shown, and under which name."""


class Course:
    """Shows where the run is, with the time left, and writes the log.

    Args:
        out: the run's folder.
        total: steps of the whole run.
        done: steps before this process began.
        first: this process speaks.
        every: steps between the lines that are shown; the log has all.
    """

    def __init__(self, out: Path, total: int, done: int, first: bool, every: int) -> None:
        self.out, self.total, self.first, self.every = out, total, first, every
        self.began_at, self.began, self.processor = done, time.monotonic(), time.process_time()
        self.spent: dict[str, float] = {}
        self._bar: Any = None
        if first and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress

            self._bar = Progress(
                "{task.description}", BarColumn(), "{task.completed}/{task.total}", "{task.fields[left]}",
                "{task.fields[note]}", console=Console(stderr=True),
            )  # fmt: skip
            self._task = self._bar.add_task("steps", total=total, completed=done, left="", note="")
            self._bar.start()

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the seconds of a block under a name."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + time.monotonic() - began

    def line(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add a line to the log, and show it."""
        if not self.first:
            return
        with (self.out / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **numbers}) + "\n")
        note = ", ".join(f"{told} {numbers[name]:.3g}" for name, told in _SHOWN.items() if name in numbers)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, left=self._left(step), note=note)
        elif step % self.every == 0 or step in (1, self.total):
            left = self._left(step)
            self.say(f"step {step}/{self.total}: {note}" + (f", {left}" if left else ""))

    def say(self, text: str) -> None:
        """A sentence for the person who waits."""
        if not self.first:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self, step: int) -> None:
        """Leave the terminal as it was, and write what the run took since it was begun or resumed."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self.first and self.out.is_dir():
            taken = {
                "from_step": self.began_at,
                "to_step": step,
                "seconds": round(time.monotonic() - self.began, 3),
                "processor_seconds": round(time.process_time() - self.processor, 3),
                "parts": {name: round(seconds, 3) for name, seconds in sorted(self.spent.items())},
            }
            write_atomic(self.out / TIMES, (json.dumps(taken, indent=1) + "\n").encode())

    def _left(self, step: int) -> str:
        done = step - self.began_at
        if done <= 0 or step >= self.total:
            return ""
        seconds = (time.monotonic() - self.began) / done * (self.total - step)
        return f"{timedelta(seconds=round(seconds))} left"
