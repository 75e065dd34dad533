"""Which questions each step showed, kept where that is asked for (`data.record`): a file for each process.

    RUN/samples/RANK.jsonl    {"step": 1, "query_ids": [...]}

Whoever shared a step's samples, all files together say what it was made of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from slvr_data.errors import RunError
from slvr_data.files import disk_errors, write_atomic

FOLDER = "samples"
"""Of a run's folder."""


class Record:
    """Writes what a process shows.

    Args:
        out: the run's folder.
        rank: this process.
    """

    def __init__(self, out: Path, rank: int) -> None:
        self.file = out / FOLDER / f"{rank:04d}.jsonl"

    def add(self, step: int, query_ids: Sequence[str]) -> None:
        """Note the questions of a step, counted from 1."""
        with disk_errors(f"writing {self.file}"):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, "query_ids": list(query_ids)}) + "\n")


def cut_back(out: Path, step: int) -> None:
    """Forget what was shown after a step: a run that goes on from there shows it again."""
    for file in sorted((out / FOLDER).glob("*.jsonl")):
        kept = b"".join(line for line in _whole(file) if json.loads(line)["step"] <= step)
        if len(kept) < file.stat().st_size:
            write_atomic(file, kept)


def _whole(file: Path) -> list[bytes]:
    """The lines of a file but one that a killed process did not finish."""
    return [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def shown_in(out: Path) -> dict[int, list[str]]:
    """Step -> the ids of the questions that it showed, those of all processes.

    Raises:
        RunError: nothing was kept.
    """
    files = sorted((out / FOLDER).glob("*.jsonl"))
    if not files:
        raise RunError(f"{out} has no record of what was shown: data.record=true keeps one")
    found: dict[int, list[str]] = {}
    for file in files:
        for line in _whole(file):
            told = json.loads(line)
            found.setdefault(told["step"], []).extend(told["query_ids"])
    return {step: sorted(ids) for step, ids in sorted(found.items())}
