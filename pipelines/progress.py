"""How a run shows where it is: a live line on a terminal, plain lines elsewhere, a file for `status`."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slvr_data.commandline import plain
from slvr_data.remote.addresses import told

_FILE_SECONDS = 1.0
_LINE_SECONDS = 5.0


class Progress:
    """One phase at a time; `file` is what `slvr-data status` reads from another shell."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._terminal = sys.stderr.isatty()
        self._state: dict[str, Any] = {}
        self._bar: Any = None
        self._note: Callable[[], str] | None = None
        self._written = self._printed = 0.0

    def say(self, text: str) -> None:
        """A line for the person who waits; of a set at an address, the address stands for its copy here."""
        text = "\n".join(map(plain, told(text).split("\n")))
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def phase(
        self, name: str, unit: str, total: int | None, note: Callable[[], str] | None = None
    ) -> Iterator[Progress]:
        """Count `unit`s up to `total` (None: nobody knows yet); `note` tells what else stands in the line."""
        now = time.time()
        self._note = note
        self._state = {
            "phase": name,
            "unit": unit,
            "total": total,
            "done": 0,
            "reused": 0,
            "started": now,
            "updated": now,
            "host": socket.gethostname(),
        }
        self._printed = now
        self._write()
        if self._terminal:
            self._open_bar()
        try:
            yield self
        finally:
            if self._bar is not None:
                self._show()
                self._bar.stop()
                self._bar = None
            self._write()
        if not self._terminal:
            print(self._line(), file=sys.stderr, flush=True)

    def advance(self, count: int, reused: bool = False) -> None:
        """`count` more are done; `reused` ones cost nothing and do not count for the rate."""
        state = self._state
        state["done"] += count
        state["reused"] += count if reused else 0
        state["updated"] = now = time.time()
        if self._bar is not None:
            self._show()
        elif now - self._printed >= _LINE_SECONDS:
            self._printed = now
            print(self._line(), file=sys.stderr, flush=True)
        if now - self._written >= _FILE_SECONDS:
            self._write()

    def _show(self) -> None:
        note = self._note() if self._note else ""
        fields = {"rate": self._rate_text(), "eta": self._eta_text(), "note": note}
        self._bar.update(self._bar_task, completed=self._state["done"], **fields)

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            "{task.description}",
            BarColumn(),
            "{task.completed}/{task.total}",
            "{task.fields[rate]}",
            "{task.fields[eta]}",
            "{task.fields[note]}",
        )
        self._bar = Progress(
            *[TextColumn(c) if isinstance(c, str) else c for c in columns], console=Console(stderr=True)
        )
        self._bar_task = self._bar.add_task(
            self._state["phase"], total=self._state["total"], rate=self._rate_text(), eta=self._eta_text(), note=""
        )
        self._bar.start()

    def _rate(self) -> float:
        state = self._state
        return float((state["done"] - state["reused"]) / max(1e-6, state["updated"] - state["started"]))

    def _rate_text(self) -> str:
        return f"{self._rate():.1f} {self._state['unit']}/s"

    def _eta_text(self) -> str:
        return eta_text(self._state, self._rate())

    def _line(self) -> str:
        state = self._state
        of = f"/{state['total']}" if state["total"] is not None else ""
        reused = f", {state['reused']} reused" if state["reused"] else ""
        eta = f", {self._eta_text()}" if self._eta_text() else ""
        said = self._note() if self._note else ""
        note = f"; {said}" if said else ""
        return f"{state['phase']}: {state['done']}{of} {state['unit']}{reused}, {self._rate_text()}{eta}{note}"

    def _write(self) -> None:
        self._written = time.time()
        temporary = self._file.with_name(f".{self._file.name}.tmp")
        try:
            temporary.write_text(
                json.dumps(self._state | {"rate": self._rate(), "note": self._note() if self._note else ""})
            )
            temporary.replace(self._file)
        except OSError as error:  # a status line is not worth a run; the run's own writes will tell
            print(f"progress file not written: {error}", file=sys.stderr)
            self._written = float("inf")


def eta_text(state: dict[str, Any], rate: float) -> str:
    """The time that is left at this rate, in words; empty where it cannot be told."""
    if state["total"] is None or state["done"] >= state["total"] or rate <= 0:
        return ""
    seconds = int((state["total"] - state["done"]) / rate)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours} h {minutes:02d} min left" if hours else f"{minutes} min {seconds % 60:02d} s left"
