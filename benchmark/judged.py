"""A run of open questions with the answers judged that the rules left undecided, kept beside its log.

The log itself never changes: `run.jsonl` says what was replied and what the rules make of it, `judged.jsonl` what
a judge adds. The extraction's stamp in its header names the judge, so judged runs are compared with their like alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.runlog import LOG, WORK, Log, read_log
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic

if TYPE_CHECKING:
    from benchmark.models.base import ModelOptions

JUDGED = "judged.jsonl"
"""Name of the judged log in a run's folder."""


def judge_run(folder: Path, spec: str, options: ModelOptions, say: Callable[[str], None]) -> str:
    """Judge the open answers of a run and keep the result; who decided how often, in words.

    Replies of the judge are kept in the run's folder, so the same command goes on and asks nothing twice.

    Args:
        folder: of the run.
        spec: of the judge, NAME@URL.
        options: how its server is called: key, time, patience, calls at once.
        say: takes what is said to people.

    Raises:
        UsageError: `spec` names no server, or the run has lettered choices, which need no judge.
        UnfinishedError: calls are open.
    """
    from benchmark.judge import judge_lines, stamp
    from benchmark.models.served import config_of

    log = read_log(folder)
    if log.header.form != "open":
        raise UsageError("--judge: lettered choices are read by rules alone; ask with --form open")
    served = config_of("--judge", spec, "Qwen/Qwen3-32B@http://localhost:8000/v1", options)
    lines, tally = judge_lines(log.lines, served, folder / WORK / "judge", say)
    told = ", ".join(f"{name} {value}" for name, value in stamp(served).items() if name != "extraction")
    header = log.header.model_copy(update={"extraction": f"{log.header.extraction}, {told}"})
    rows = [header.model_dump_json(), *(line.model_dump_json() for line in lines)]
    write_atomic(folder / JUDGED, "".join(f"{row}\n" for row in rows).encode())
    return tally.line()


def best_log(run: Path) -> Log:
    """The judged log of a run where there is one of all that was replied; otherwise its log.

    Raises:
        UsageError: there is neither, or it is damaged.
    """
    log = read_log(run)
    if log.path.name != LOG or not (log.path.parent / JUDGED).is_file():
        return log
    judged = read_log(log.path.parent / JUDGED)
    same = {line.ask_id for line in judged.lines} == {line.ask_id for line in log.lines}
    return judged if same and judged.header.asks == log.header.asks else log
