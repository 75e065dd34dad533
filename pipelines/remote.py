"""Commands on sets at an address: each works on a local copy, which is fetched before and sent after, or read alone.

Everything between is as on one machine: no stage, check or publication knows of addresses. `preview`, `audit` (but for
`--read`), `stats` and `validate --sample` make no copy: they read parts of the published files where they lie
(`slvr_data.remote.reading`).
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from slvr_data.commandline import plain
from slvr_data.errors import SlvrError
from slvr_data.files import disk_errors
from slvr_data.manifest import NAME as MANIFEST
from slvr_data.manifest import load_manifest
from slvr_data.remote.addresses import copy_of, local_path
from slvr_data.remote.artefacts import WORK
from slvr_data.remote.place import Place, place_of

PUBLISHED = ("images", "attributes", "multiquery", "embeddings", "crops", "rejections")
_LEDGER = f"{WORK}/requests/ledger.json"
_WITH_STAGES = (f"{WORK}/settings.json", f"{WORK}/avoided.jsonl")


def _say(text: str) -> None:
    print(plain(text), file=sys.stderr, flush=True)


@contextmanager
def writing(folder: Path, scratch: Path | None = None) -> Iterator[Path]:
    """The folder in which a command builds: `folder` itself, or the scratch copy of a set at an address.

    Raises:
        UsageError, RunError: as `slvr_data.remote.mirror.mirrored`.
    """
    place = place_of(folder)
    if place is None:
        yield local_path(folder)
        return
    from slvr_data.remote.mirror import mirrored, scratch_of

    copy = scratch_of(place, scratch)
    with named(place, copy), mirrored(place, copy, _say):
        yield copy


@contextmanager
def merging(parts: list[Path], out: Path, scratch: Path | None = None) -> Iterator[tuple[list[Path], Path]]:
    """As `writing`, of the parts of a build and of the whole.

    Nobody else writes a part at an address meanwhile. A local part is not locked: what it finishes meanwhile may be
    taken over or not, and its shards are whole.
    """
    with ExitStack() as held:
        yield [held.enter_context(writing(part, scratch)) for part in parts], held.enter_context(writing(out, scratch))


@contextmanager
def reading(
    folder: Path,
    configs: tuple[str, ...] = PUBLISHED,
    scratch: Path | None = None,
    stages: tuple[str, ...] = (),
) -> Iterator[Path]:
    """The folder in which a command reads a published set: `folder` itself, or a copy of these configs of it.

    Of the working files it has the settings, the list of what was avoided and these `stages`, if any. Copies are kept,
    in `scratch`, SLVR_SCRATCH or the user's cache: only files that are new are fetched the next time.

    Raises:
        UsageError: nothing is published there.
    """
    place = place_of(folder)
    if place is None:
        yield local_path(folder)
        return
    copy = _copy(place, scratch)
    with named(place, copy), (copy.parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"waiting for another command that reads {place.shown} in {copy}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _fetch(place, copy, configs, stages)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield copy


def _copy(place: Place, scratch: Path | None) -> Path:
    """Where a set's copy for readers lies."""
    from slvr_data.remote.mirror import scratch_of

    return scratch_of(place, scratch, "read")


def page_of(folder: Path, name: str, scratch: Path | None = None) -> Path:
    """Where a page about a set goes unless told: among its working files, if it has any, or beside what is published.

    The page about a set at an address goes among the working files of its copy for readers (below `scratch`, as in
    `reading`), whatever else that holds.
    """
    place = place_of(folder)
    if place is None:
        here = local_path(folder)
        return (here / WORK if (here / WORK).is_dir() else here) / name
    work = _copy(place, scratch) / WORK
    with disk_errors(f"making {work}"):
        work.mkdir(parents=True, exist_ok=True)
    return work / name


def _fetch(place: Place, copy: Path, configs: tuple[str, ...], stages: tuple[str, ...]) -> None:
    from slvr_data.release import remove_unnamed
    from slvr_data.remote.fetching import Fetching, fetch_file, fetch_published
    from slvr_data.remote.record import Record

    manifest = fetch_published(place, copy, configs, _say)
    if manifest is None:
        load_manifest(copy)  # says so
        return
    remove_unnamed(copy, manifest)
    for name in (_LEDGER, *(_WITH_STAGES if stages else ())):
        (copy / name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            fetch_file(place, name, copy / name)
    for stage in stages:
        Fetching(place, copy, Record(), _say).stage(stage)


@contextmanager
def named(place: Place, copy: Path) -> Iterator[None]:
    """Errors name the set by its address, not by its copy on this machine, unless it is this machine that failed."""
    try:
        with copy_of(copy, place.shown):
            yield
    except SlvrError as error:
        text = str(error).replace(str(copy), place.shown)
        if text == str(error) or isinstance(error.__cause__, OSError):
            raise
        again = type(error)(text)
        raise again.with_traceback(error.__traceback__) from error.__cause__


def status(folder: Path) -> dict[str, Any]:
    """As `pipelines.report.status`, also of a set at an address: there with what its finished work tells is left.

    Raises:
        UsageError: there is no set.
        RunError: as `pipelines.remote_work.work_at`.
    """
    from pipelines import report

    place = place_of(folder)
    if place is None:
        return report.status(local_path(folder))
    import tempfile

    from pipelines.progress import eta_text
    from pipelines.remote_work import work_at
    from slvr_data.remote import holding

    with tempfile.TemporaryDirectory() as held:
        copy = Path(held) / place.address.rpartition("/")[2]
        for name in (MANIFEST, f"{WORK}/progress.json", _LEDGER):
            with suppress(FileNotFoundError):
                data = place.read(name)
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (copy / name).write_bytes(data)
        listed = place.names(WORK)
        if listed:
            (copy / WORK).mkdir(parents=True, exist_ok=True)
        with named(place, copy):
            found = report.status(copy)
    work = work_at(place, listed)
    found["writer"] = holding.holder(place)
    if found["writer"] and "progress" in found:
        found["progress"]["left"] = eta_text(found["progress"], found["progress"]["rate"])
    return found | work


def stats(folder: Path) -> dict[str, Any]:
    """As `pipelines.report.stats`, also of a set at an address, of which it reads what is counted."""
    from pipelines import report

    place = place_of(folder)
    if place is None:
        return report.stats(local_path(folder))
    import tempfile

    from slvr_data.remote.fetching import fetch_file

    with tempfile.TemporaryDirectory() as held:
        with suppress(FileNotFoundError):
            fetch_file(place, _LEDGER, Path(held) / _LEDGER)
        return report.stats(folder, Path(held) / WORK)


def unnamed(folder: Path) -> list[str]:
    """Objects at an address that no publication names; nothing for a local folder, whose files `validate` sees."""
    place = place_of(folder)
    if place is None:
        return []
    named_there = {file.path for file in load_manifest(folder).files}
    return sorted(name for top in ("data", "assets") for name in place.names(top) if name not in named_there)
