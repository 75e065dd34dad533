"""Runs as commands name them: their logs, and a short name for each that no other of them has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.judged import best_log
from benchmark.records import Header, LogLine
from benchmark.runlog import LOG, WORK, Log, log_file
from benchmark.wording import plural
from slvr_data.errors import UsageError
from slvr_data.remote.addresses import address_of, shown

RUNS = "runs"
"""Folder in a benchmark folder where runs lie that were given no other place."""


@dataclass(frozen=True)
class Run:
    """A run that was read."""

    name: str
    """Short, and no other run of the same command has it."""
    log: Log

    @property
    def header(self) -> Header:
        """Of the log."""
        return self.log.header

    @property
    def lines(self) -> Sequence[LogLine]:
        """Of the log; each ask once."""
        return self.log.lines

    @property
    def folder(self) -> Path:
        """Where the log lies."""
        return self.log.path.parent

    @cached_property
    def state(self) -> str:
        """What is wrong with a run that is not whole; otherwise empty."""
        if self.header.shard is not None:
            return f"shard {self.header.shard} alone; slvr-bench join makes one run of all"
        if self.log.left:
            damaged = f", {plural(self.log.damaged, 'damaged line')}" if self.log.damaged else ""
            return f"{len(self.lines):,} of {self.header.asks:,} replies{damaged}"
        return ""


def open_runs(paths: Iterable[Path]) -> list[Run]:
    """The runs in these folders (or logs), in their order.

    Raises:
        UsageError: one is missing or damaged, or is named twice.
    """
    logs: list[Log] = []
    for path in paths:
        log = best_log(path)
        if log.path.resolve() in {other.path.resolve() for other in logs}:
            raise UsageError(f"{path} is named twice")
        logs.append(log)
    return [Run(name, log) for name, log in zip(_names(logs), logs, strict=True)]


def _names(logs: Sequence[Log]) -> list[str]:
    """The model of each; where several runs are of one model, with what tells their places apart."""
    models = Counter(log.header.model for log in logs)
    names = []
    for log in logs:
        name = log.header.model
        if models[name] > 1:
            others = {other.path.parent.name for other in logs if other is not log and other.header.model == name}
            own = log.path.parent.name
            name = f"{name} ({own if own not in others else log.path.parent})"
        names.append(name)
    return names


def runs_below(folder: Path) -> list[Path]:
    """Folders of runs in `folder`, or in the benchmark folder's own place for them, sorted."""
    found = {path.parent for pattern in (f"*/{LOG}", f"{RUNS}/*/{LOG}") for path in folder.glob(pattern)}
    if (folder / LOG).is_file():
        found.add(folder)
    return sorted(path for path in found if WORK not in path.parts)


def bench_of(run: Run) -> Path | None:
    """The benchmark folder that a run lies in, where it lies in one: DIR/runs/NAME."""
    parent = log_file(run.folder).resolve().parent.parent
    return parent.parent if parent.name == RUNS else None


def place_of(data: Path, spec: str) -> Path:
    """Where the run of a model on a benchmark folder lies, where no place is given: DIR/runs/NAME.

    Raises:
        UsageError: the benchmark folder is not on this machine.
    """
    if address_of(data) is not None:
        raise UsageError(f"--data {shown(data)} is at an address: name a local folder for the run with --out DIR")
    return data / RUNS / (re.sub(r"[^A-Za-z0-9._-]+", "-", spec).strip("-.") or "model")
