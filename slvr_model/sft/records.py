"""What lies beside a checkpoint: the resolved configuration, versions, hashes of the data, accounts and the log."""

from __future__ import annotations

import json
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from slvr_data.errors import RunError, UsageError
from slvr_data.files import sha256_of, write_atomic
from slvr_data.settings import flat
from slvr_model.data import Accounts
from slvr_model.sft.settings import as_yaml
from slvr_model.sft.shown import FOLDER, cut_back

CONFIG, FACTS, LOG, COMPLETE = "sft.yaml", "sft.json", "log.jsonl", "complete.json"
"""Names of the records of stage 1; another stage has its own name in the place of "sft"."""
STAGES = {"sft": "stage 1", "mgrpo": "stage 2"}
"""What trains, by the name of its records."""
ADDED = (LOG, f"{FOLDER}/*.jsonl", "cases/*.parquet")
"""Files of a run's folder that steps add to."""
BEGUN = ".begun"
"""Marks a run's folder until the first step is done: what lies in it is of a run that may not have got that far."""
PACKAGES = (
    "slvr",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "tokenizers",
    "numpy",
    "pillow",
    "pyarrow",
)
FREE = (
    "out", "logging", "saving", "evaluation", "data.set", "data.cache", "data.workers", "data.record",
    "training.device",
)  # fmt: skip
"""Settings that a resumed run may change: they decide no weight."""


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide bits; one that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def start_hashes(folder: Path | None) -> dict[str, str]:
    """sha256 of the weight files of a start that lies on this machine."""
    files = sorted(folder.glob("*.safetensors")) if folder is not None else []
    return {file.name: sha256_of(file) for file in files}


def write_records(
    folder: Path, config: BaseModel, facts: dict[str, Any], log: Path | None = None, stage: str = "sft"
) -> None:
    """Write configuration, facts and log into a folder."""
    write_atomic(folder / f"{stage}.yaml", as_yaml(config).encode())
    write_atomic(folder / f"{stage}.json", (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())
    if log is not None and log.exists() and log.parent != folder:
        write_atomic(folder / LOG, log.read_bytes())


def mark_complete(folder: Path, step: int, accounts: Accounts) -> None:
    """Say that a checkpoint is whole: the last file that is written into it."""
    kept = {"step": step, "seen": accounts.seen, "unusable": accounts.unusable, "named": accounts.named}
    write_atomic(folder / COMPLETE, json.dumps(kept, sort_keys=True).encode())


def restore_accounts(folder: Path, accounts: Accounts) -> None:
    """What was counted until a checkpoint."""
    kept = json.loads((folder / COMPLETE).read_bytes())
    accounts.seen = kept["seen"]
    accounts.unusable.update(kept["unusable"])
    accounts.named.update(kept["named"])


def checkpoints(out: Path) -> list[Path]:
    """Whole checkpoints of a run, the oldest first."""
    found = [folder for folder in out.glob("checkpoint-*") if (folder / COMPLETE).exists()]
    return sorted(found, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))


def agree(before: Path | None) -> None:
    """Make sure that all processes go on from one checkpoint, which each has looked for by itself.

    Raises:
        RunError: they do not: a network file system shows some of them an old listing.
    """
    from accelerate.utils import gather_object  # type: ignore[import-untyped]

    seen: list[str] = gather_object([before.name if before else "the beginning"])
    if len(set(seen)) > 1:
        told = ", ".join(f"{name} (on {seen.count(name)} of {len(seen)})" for name in sorted(set(seen)))
        raise RunError(f"processes would go on from {told}: the file system shows old listings; run the command again")


def prune(out: Path, keep: int) -> None:
    """Remove all but the last whole checkpoints."""
    for folder in checkpoints(out)[:-keep]:
        (folder / COMPLETE).unlink()  # first, so that what is half removed is not taken for whole
        shutil.rmtree(folder)


def tidy(out: Path) -> None:
    """Remove checkpoints that a killed run left unfinished, and take its records back to the last whole one."""
    whole = checkpoints(out)
    for folder in out.glob("checkpoint-*"):
        if folder not in whole:
            shutil.rmtree(folder)
    if whole and (whole[-1] / LOG).exists():
        write_atomic(out / LOG, (whole[-1] / LOG).read_bytes())
    else:
        (out / LOG).unlink(missing_ok=True)
    cut_back(out, int(whole[-1].name.rsplit("-", 1)[1]) if whole else 0)


def check_free(out: Path) -> None:
    """Whether a run may begin in a folder: there is none, or nothing in it that a run would write over or add to.

    Raises:
        UsageError: it holds a run of either stage, a checkpoint, or records that no run of ours left behind.
    """
    for stage, told in STAGES.items():
        if (out / f"{stage}.yaml").exists():
            raise UsageError(f"{out} holds a run of {told} ({stage}.yaml): give another out")
    found = sorted(out.glob("checkpoint")) + sorted(out.glob("checkpoint-*"))
    if not (out / BEGUN).exists():
        found += [file for pattern in ADDED for file in sorted(out.glob(pattern))]
    if found:
        raise UsageError(f"{out} holds {found[0].relative_to(out)}, which no run of it accounts for: give another out")


def begin(out: Path) -> None:
    """Make and mark the folder of a run that begins; remove what one left there that ended before its first step."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / BEGUN).exists():
        (out / LOG).unlink(missing_ok=True)
        cut_back(out, 0)
    (out / BEGUN).touch()


def claim(out: Path, config: BaseModel, facts: dict[str, Any], stage: str = "sft") -> None:
    """Take the run's folder, with the first step: from here on it can be gone on with, and nothing else."""
    write_records(out, config, facts, stage=stage)
    (out / BEGUN).unlink(missing_ok=True)


def check_same(
    out: Path, config: BaseModel, facts: dict[str, Any], stage: str = "sft", free: tuple[str, ...] = FREE
) -> dict[str, Any]:
    """Whether a run in a folder is the one that `config` describes; its facts, as they were when it began.

    Args:
        out: the run's folder.
        config: what is to be gone on with.
        facts: data and start of now.
        stage: whose records they are.
        free: settings, and sections, that may differ.

    Raises:
        UsageError: a setting that decides weights differs, or data or start.
        RunError: the folder's records cannot be read.
    """
    try:
        before = flat(yaml.safe_load((out / f"{stage}.yaml").read_text(encoding="utf-8")))
        known: dict[str, Any] = json.loads((out / f"{stage}.json").read_bytes())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"{out} holds no run that could be gone on with: {error}") from None
    now = flat(config.model_dump(mode="json"))
    for key in sorted(before.keys() | now.keys()):
        may = any(key == name or key.startswith(f"{name}.") for name in free)
        if not may and before.get(key) != now.get(key):
            raise UsageError(
                f"{out} holds another run: {key} was {before.get(key)!r} and is {now.get(key)!r}; "
                "give another out, or the same settings"
            )
    changed = ("data", "the set has changed"), ("start", "the starting model has changed")
    apart = ("apart", "what it holds out of the split that it learns was chosen otherwise, or is of another number")
    for key, what in (*changed, ("reference", "the reference has changed"), apart):
        if known.get(key) != facts.get(key):
            raise UsageError(f"{out} holds another run: {what}; give another out")
    return known


def gone_on(known: dict[str, Any], facts: dict[str, Any], before: Path | None, stage: str = "sft") -> dict[str, Any]:
    """The facts of a run that goes on: `processes` stays what it was begun with, since the order of samples is theirs.

    Where others go on, `gone_on` tells from which step on, and how many they are.

    Args:
        known: facts of the beginning.
        facts: of now.
        before: the checkpoint from which it goes on.
        stage: whose records they are.
    """
    told: list[dict[str, int]] = []
    step = 0
    if before is not None:
        told = json.loads((before / f"{stage}.json").read_bytes()).get("gone_on", [])
        step = int(before.name.rsplit("-", 1)[1])
    begun, now = known["processes"], facts["processes"]
    if (told[-1]["processes"] if told else begun) != now:
        told = [*told, {"from_step": step, "processes": now}]
    return facts | {"processes": begun} | ({"gone_on": told} if told else {})
