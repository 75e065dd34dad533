"""What the reading commands print: `stats`, `status`, `rejections`, and the summary at the end of a run."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.progress import eta_text
from slvr_data.commandline import plain
from slvr_data.errors import UsageError
from slvr_data.lock import holder
from slvr_data.manifest import NAME, load_manifest
from slvr_data.reader import opened
from slvr_data.remote.addresses import shown
from slvr_data.schema import SPLITS
from slvr_data.shards import files_of

if TYPE_CHECKING:
    from pipelines.build import Summary
    from pipelines.config import BuildConfig

_PROFILE_FIELDS = (
    "appearance.entity", "appearance.colors", "appearance.shape", "appearance.material", "appearance.size", "action",
    "interaction", "spatial.position", "spatial.orientation", "spatial.depth", "spatial.relations", "visible_text",
    "peers.same_label_count",
)  # fmt: skip


def print_summary(summary: Summary, config: BuildConfig) -> None:
    """The table at the end of a build."""
    if not summary.published:
        return
    print_accounts(summary.accounts)
    print_reasons(summary.accounts, config.out, summary.reasons)
    seconds = sum(summary.seconds.values())
    reused = summary.counts["pictures reused"]
    print(f"{seconds:.1f} s, {reused} pictures reused from earlier runs")
    if summary.accounts.get("pictures_kept_out") or summary.accounts.get("pictures_avoided_elsewhere"):
        print(f"kept out:    slvr-data avoided {shown(config.out)}")
    print(f"look at it:  slvr-data preview {shown(config.out)}")


def print_reasons(accounts: dict[str, int], folder: Path, reasons: dict[str, int]) -> None:
    """The most frequent reasons for which records were turned away, and where to read them all."""
    if reasons:
        most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:3]
        print("turned away, most: " + ", ".join(f"{reason} ({count:,})" for reason, count in most))
        print(f"all of them:  slvr-data rejections {shown(folder)}")
    if not accounts["published"] and not accounts.get("regions_unfinished"):
        print("warning: nothing was published, every row was turned away", file=sys.stderr)


def print_accounts(accounts: dict[str, int]) -> None:
    """Rows = malformed + merged + regions; regions = published + rejected (+ unfinished)."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("", justify="right")
    for name, count in named_accounts(accounts).items():
        table.add_row(name, f"{count:,}")
    Console(file=sys.stdout, highlight=False).print(table)


def named_accounts(accounts: dict[str, int]) -> dict[str, int]:
    """The accounts in the order in which they add up, under names for people."""
    names = {
        "rows": "rows read",
        "malformed": "malformed",
        "merged": "merged",
        "regions": "regions",
        "rejected": "rejected",
        "regions_unfinished": "unfinished",
        "published": "regions published",
        "pictures_published": "pictures published",
        "pictures_kept_out": "pictures kept out (avoided)",
        "pictures_avoided_elsewhere": "avoided, in other splits",
        "queries": "queries",
        "queries_rejected": "queries rejected",
        "queries_published": "queries published",
        "groups": "groups",
        "groups_rejected": "groups rejected",
        "groups_published": "groups published",
        "embeddings": "embeddings published",
        "embeddings_rejected": "embeddings rejected",
        "regions_without_embedding": "regions without embedding",
    }
    return {label: accounts[name] for name, label in names.items() if name in accounts}


def stats(folder: Path, work: Path | None = None) -> dict[str, Any]:
    """Counts over a published set, which may lie at an address; `work`: its working files, if they lie elsewhere.

    Raises:
        UsageError: there is no published set.
        RunError: a file of the set is damaged, or was taken away meanwhile.
    """
    manifest = load_manifest(folder)
    labels: Counter[str] = Counter()
    known: Counter[str] = Counter()
    total = 0
    for file in files_of(manifest.files, "attributes"):
        with opened(folder / file.path) as parquet:
            total += parquet.metadata.num_rows
            for batch in parquet.iter_batches(columns=["label"], batch_size=1 << 16):
                for pair in pc.value_counts(batch.column("label")).to_pylist():
                    labels[pair["values"]] += pair["counts"]
            for field in _PROFILE_FIELDS:
                known[field] += _known(parquet, field)
    return {
        "accounts": named_accounts(manifest.accounts),
        "splits": {s: sum(f.rows for f in files_of(manifest.files, "attributes", s)) for s in SPLITS},
        "bytes": {
            c: sum(f.bytes for f in files_of(manifest.files, c))
            for c in ("images", "attributes", "multiquery", "embeddings", "crops")
        },
        "labels": {label or "(none)": count for label, count in labels.most_common(30)},
        "known_share": {field: round(known[field] / total, 4) if total else None for field in _PROFILE_FIELDS},
    } | ({"requests": requests} if (requests := requests_of(work or folder / ".work", total)) else {})


def _known(parquet: pq.ParquetFile, field: str) -> int:
    """How many profiles know a field: from the file's statistics, or, of a list, from one of its columns."""
    metadata = parquet.metadata
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    columns = [n for n, path in enumerate(paths) if f"{path}.".startswith(f"profile.{field}.")]
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    if paths[columns[0]] == f"profile.{field}":  # no list: what is null is counted
        statistics = [group.column(columns[0]).statistics for group in groups]
        if all(known is not None and known.has_null_count for known in statistics):
            return int(metadata.num_rows - sum(known.null_count for known in statistics))
    least = min(columns, key=lambda n: sum(group.column(n).total_compressed_size for group in groups))
    found = 0
    for batch in parquet.iter_batches(columns=[paths[least]], batch_size=1 << 16):
        column = batch.column("profile")
        for part in field.split("."):
            column = pc.struct_field(column, part)
        found += len(column) - column.null_count
    return found


def requests_of(work: Path, published: int | None = None) -> dict[str, Any]:
    """What all runs have asked of served models, and what it cost for each published region; empty without any."""
    path = work / "requests" / "ledger.json"
    if not path.exists():
        return {}
    from slvr_data.requests.ledger import Ledger

    found: dict[str, Any] = Ledger(path).summary(published)["all_runs"]
    return found


def status(folder: Path) -> dict[str, Any]:
    """Who writes the set and how far it is; what is published."""
    work = folder / ".work"
    if not work.is_dir() and not (folder / NAME).exists():
        raise UsageError(f"{folder} is not the folder of a set")
    found: dict[str, Any] = {"writer": holder(work / "lock")}
    path = work / "progress.json"
    state = _progress(path)
    if state:
        state["left"] = eta_text(state, state["rate"]) if found["writer"] else ""
        updated = state.pop("updated")
        if state.pop("host") == socket.gethostname():  # clocks of two machines are not compared
            state["seconds_since_update"] = round(max(0.0, time.time() - updated), 1)
        state.pop("started")
        state["rate"] = round(state["rate"], 1)
        found["progress"] = state
    if (folder / NAME).exists():
        found["published"] = named_accounts(load_manifest(folder).accounts)
    if requests := requests_of(work):
        found["requests"] = requests
    return found


def _progress(path: Path) -> dict[str, Any]:
    """What a run last said of itself; nothing where its file is damaged."""
    try:
        state = json.loads(path.read_bytes())
        return (
            {key: state[key] for key in ("phase", "unit", "total", "done", "reused", "started", "updated", "rate")}
            | {"host": state.get("host")}
            | ({"note": state["note"]} if state.get("note") else {})
        )
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def rejected_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The published list of rejections, in order."""
    for file in files_of(load_manifest(folder).files, "rejections"):
        for batch in pq.ParquetFile(folder / file.path).iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def print_rejections(folder: Path, as_json: bool, reason: str | None) -> None:
    """As JSON lines, or as a table for people."""
    for row in rejected_rows(folder):
        if reason is not None and row["reason"] != reason:
            continue
        if as_json:
            print(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())
        else:
            what = f"{row['stage']}/{row['check']}/{row['reason']}"
            print(plain(f"{row['file']}:{row['line']}  {what}  {row['evidence']}"))


def print_tree(tree: dict[str, Any], indent: str = "") -> None:
    """Nested counts as indented lines."""
    for key, value in tree.items():
        if isinstance(value, dict):
            print(f"{indent}{plain(key)}")
            print_tree(value, indent + "  ")
        else:
            print(f"{indent}{plain(key):<28} {'-' if value is None else plain(value)}")
