"""Shards of a run -> the run: one log, as if one process had asked everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.interventions.measured import FILE
from benchmark.records import Header
from benchmark.runlog import LOG, WORK, Log, differing, read_log
from benchmark.shards import Shard, shards_in
from benchmark.wording import plural
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors, write_atomic
from slvr_data.lock import Lock

OWN = frozenset({"items", "asks", "shard"})
"""Of a header: what the shards of one run do not share."""


@dataclass(frozen=True)
class Joined:
    """What was joined."""

    log: Path
    shards: int
    asks: int


def join(run: Path) -> Joined:
    """Write `run/run.jsonl` from the shards in `run`, and take over what is known of their latents.

    Every shard stays as it is: after `--limit` has grown in all of them, they are joined again.

    Raises:
        UsageError: a shard is missing, not whole, or of another run; or the folder's log is of another run, or has
            replies that no shard has.
        RunError: the disk is full.
    """
    logs = _logs(run)
    first = next(iter(logs.values())).header
    for shard, log in logs.items():
        _check(run, shard, log, first)
    header = first.model_copy(
        update={
            "items": first.whole_items, "asks": first.whole_asks,
            "shard": None, "whole_items": None, "whole_asks": None,
        }
    )  # fmt: skip
    lines = [line for log in logs.values() for line in log.lines]
    if len(lines) != header.asks:
        raise UsageError(
            f"the shards in {run} have {len(lines):,} replies together, not {header.asks:,}: run them anew"
        )
    with disk_errors(f"making {run / WORK}"):
        (run / WORK).mkdir(exist_ok=True)
    with Lock(run / WORK / "lock"):
        _same_as_before(run, header, {line.ask_id for line in lines})
        rows = [header.model_dump_json(), *(line.model_dump_json() for line in lines)]
        write_atomic(run / LOG, "".join(f"{row}\n" for row in rows).encode())
        _take_latents(run, logs)
    return Joined(run / LOG, len(logs), header.asks)


def _logs(run: Path) -> dict[Shard, Log]:
    """The logs of all shards, by number. Raises UsageError where one is missing."""
    found = shards_in(run)
    if not found:
        raise UsageError(f"{run} holds no shards: slvr-bench run --shard i/n --out {run} makes them")
    numbers = {shard.of for shard in found}
    if len(numbers) > 1:
        parts = " and ".join(f"of {of}" for of in sorted(numbers))
        raise UsageError(f"{run} holds shards {parts}: they are of two ways to part a run; move one kind away")
    (of,) = numbers
    here = {shard.number for shard, folder in found.items() if (folder / LOG).is_file()}
    missing = [str(Shard(number, of)) for number in range(of) if number not in here]
    if missing:
        raise UsageError(
            f"{run} lacks shard {', '.join(missing)}: slvr-bench run --shard makes it, with the same options"
        )
    return {shard: read_log(folder) for shard, folder in found.items()}


def _check(run: Path, shard: Shard, log: Log, first: Header) -> None:
    """Raises UsageError where a shard is not whole, or is none of this run."""
    where, header = run / shard.folder, log.header
    if header.shard != str(shard):
        raise UsageError(f"{where} holds shard {header.shard or 'none'}: it is named as another; give it back its name")
    if told := differing(first, header, OWN):
        raise UsageError(f"{where} is of another run than the first shard: {told}; run it anew with the same options")
    if log.left:
        raise UsageError(
            f"{where} has {len(log.lines):,} of {plural(header.asks, 'reply', 'replies')}: the command that began it "
            "goes on with it"
        )
    foreign = next((line.ask_id for line in log.lines if not shard.has(line.item_id)), None)
    if foreign is not None:
        raise UsageError(f"{where} holds {foreign}, which is of another shard: run it anew")


def _same_as_before(run: Path, header: Header, ids: set[str]) -> None:
    """Raises UsageError where a log is there already that the shards do not contain."""
    if not (run / LOG).is_file():
        return
    before = read_log(run)
    told = differing(before.header, header, frozenset({"items", "asks", "smallest_picture", "largest_picture"}))
    if told or any(line.ask_id not in ids for line in before.lines):
        why = told or "it has replies that no shard has"
        raise UsageError(f"{run / LOG} is another run's ({why}): name another folder for the shards")


def _take_latents(run: Path, logs: Mapping[Shard, Log]) -> None:
    """Every shard has measured the same queries: the first one's is the run's."""
    found: Sequence[Path] = [log.path.parent / FILE for log in logs.values() if (log.path.parent / FILE).is_file()]
    if found:
        with disk_errors(f"reading {found[0]}"):
            data = found[0].read_bytes()
        write_atomic(run / FILE, data)
