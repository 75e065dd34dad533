"""From the address to the scratch folder: what is finished there, so that work goes on from it here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from slvr_data.errors import UsageError
from slvr_data.files import disk_errors, folder_atomic, sha256_of, write_atomic
from slvr_data.manifest import NAME as MANIFEST
from slvr_data.manifest import Manifest, read_manifest
from slvr_data.remote import holding
from slvr_data.remote.artefacts import (
    MARK,
    REMOVED,
    WORK,
    Signature,
    artefact_of,
    folder_signature,
    gone,
    is_plain,
    is_segment,
    is_unit,
    look,
    noted,
)
from slvr_data.remote.place import Place
from slvr_data.remote.record import Record
from slvr_data.remote.steady import Stop, at_once
from slvr_data.shards import DataFile

WHOLE = "whole.json"
"""The object of a unit that is written last: the unit's files, each with its bytes and sha256."""


class Fetching:
    """Makes the scratch copy of a set what the address has, and keeps of it what was not sent yet."""

    def __init__(self, place: Place, folder: Path, record: Record, say: Callable[[str], None]) -> None:
        self._stop = Stop()
        self._place, self._folder, self._record, self._say = place.until(self._stop), folder, record, say
        self._work = folder / WORK

    def everything(self, contiguous: bool) -> None:
        """All that a run goes on from.

        What is here and not there is kept only where the last run at the address was from this folder
        (`contiguous`): another may have gone on without it.

        Raises:
            UsageError: the address holds something else.
        """
        listed = self._place.names()
        self._refuse_foreign(listed)
        with disk_errors(f"fetching {self._place.shown} into {self._folder}"):
            self._work.mkdir(parents=True, exist_ok=True)
            names = {name.removeprefix(f"{WORK}/") for name in listed if name.startswith(f"{WORK}/")}
            names |= {name for name in (MARK, "settings.json") if name not in names and self._is_there(name)}
            if contiguous:
                names -= self._remove_noted(names)
            else:
                self._record.sent = {}
            (self._work / REMOVED).write_text("")
            self._drop(names, contiguous)
            self._fetch_work(names)
            if fetch_published(self._place, self._folder, None, self._say) is None:
                (self._work / MARK).touch()

    def _remove_noted(self, names: set[str]) -> set[str]:
        """Remove there what the last run had removed here when it was killed; these names."""
        notes = noted(self._work)
        sent = gone(self._work, self._record.sent, notes)
        known = {part for name in sent for part in parts_of(name, self._record.sent[name])}
        removed = set(gone(self._work, {artefact_of(name) for name in names}, notes))
        known |= {name for name in names if artefact_of(name) in removed}
        whole = {name for name in known if name.endswith(f"/{WHOLE}")}
        for some in (whole, known - whole):
            self._place.remove(f"{WORK}/{name}" for name in sorted(some))
        for name in sent:
            del self._record.sent[name]
        return known

    def stage(self, name: str) -> None:
        """All of one stage, for a reader."""
        listed = self._place.names(f"{WORK}/{name}")
        units = {path.removeprefix(f"{WORK}/").removesuffix(f"/{WHOLE}") for path in listed if path.endswith(WHOLE)}
        for path in (self._work / name).glob("*"):
            if f"{name}/{path.name}" not in units:
                self._remove(f"{name}/{path.name}")
        missing = sorted(unit for unit in units if is_unit(unit) and not (self._work / unit).is_dir())
        at_once(self._fetch_unit, missing, self._stop)

    def _is_there(self, name: str) -> bool:
        """By its name: a listing may be late."""
        return self._place.exists(f"{WORK}/{name}")

    def _refuse_foreign(self, listed: dict[str, int]) -> None:
        others = sorted(listed.keys() - {holding.NAME})
        if others and f"{WORK}/{MARK}" not in listed and MANIFEST not in listed and not self._is_there(MARK):
            raise UsageError(f"{self._place.shown} holds something else ({others[0]}): name a new or an empty location")

    def _drop(self, names: set[str], contiguous: bool) -> None:
        """Remove from here what is not there, or not the same; keep what a run from here had still to send."""
        here = look(self._work)
        dropped = 0
        for name, signature in {**here.units, **here.segments, **here.plain}.items():
            there = f"{name}/{WHOLE}" in names if name in here.units else name in names
            known = self._record.sent.get(name)
            if name in here.plain:
                keep = contiguous
            elif known is None:  # embeddings are paid for, and of any run that wants the same texts
                keep = (contiguous or name.startswith("embeddings/")) and not there
            else:
                keep = known != signature or there or self._is_there(self._last_of(name))
            if not keep:
                dropped += not there
                self._remove(name)
        if dropped:
            self._say(f"{dropped} things in {self._work} are not in {self._place.shown}, where another run went on: "
                      "they are made again where they are needed")  # fmt: skip

    @staticmethod
    def _last_of(name: str) -> str:
        return f"{name}/{WHOLE}" if is_unit(name) else name

    def _remove(self, name: str) -> None:
        path = self._work / name
        self._record.sent.pop(name, None)
        if path.is_dir():
            aside = path.with_name(f".{path.name}.gone.tmp")
            path.replace(aside)
            shutil.rmtree(aside)
        else:
            path.unlink(missing_ok=True)

    def _fetch_work(self, names: set[str]) -> None:
        units = {name.removesuffix(f"/{WHOLE}") for name in names if name.endswith(f"/{WHOLE}")}
        wanted: list[tuple[Callable[[str], None], str]] = [
            (self._fetch_unit, name) for name in sorted(units) if is_unit(name) and not (self._work / name).is_dir()
        ]
        wanted += [
            (self._fetch_file, name)
            for name in sorted(names)
            if (is_segment(name) or is_plain(name)) and not (self._work / name).exists()
        ]
        if wanted:
            self._say(f"fetching {len(wanted):,} finished things from {self._place.shown}")
        at_once(lambda one: one[0](one[1]), wanted, self._stop)

    def _fetch_file(self, name: str) -> None:
        path = self._work / name
        try:
            fetch_file(self._place, f"{WORK}/{name}", path)
        except FileNotFoundError:  # removed: a listing may be late
            return
        info = path.stat()
        self._record.sent[name] = ((path.name, info.st_size, info.st_mtime_ns),)

    def _fetch_unit(self, name: str) -> None:
        """A unit, whole and as it was sent; one that is not is left out, and so made again."""
        try:
            files = _parts(self._place.read(f"{WORK}/{name}/{WHOLE}"))
            with folder_atomic(self._work / name) as folder:
                for file, (size, digest) in files.items():
                    self._fetch_part(f"{WORK}/{name}/{file}", folder / file)
                    if (folder / file).stat().st_size != size or sha256_of(folder / file) != digest:
                        raise ValueError(f"{file} is not what was sent")
        except (FileNotFoundError, ValueError) as error:
            self._say(f"{self._place.at(f'{WORK}/{name}')} is damaged ({error}): it is made again")
            return
        self._record.sent[name] = folder_signature(self._work / name)

    def _fetch_part(self, name: str, path: Path) -> None:
        try:
            self._place.get(name, path)
        except FileNotFoundError:
            raise ValueError(f"{path.name} is not there") from None


def parts_of(name: str, signature: Signature) -> list[str]:
    """The objects of a unit or file in the working folder, the one first without which it does not count."""
    return [f"{name}/{WHOLE}", *(f"{name}/{file}" for file, _, _ in signature)] if is_unit(name) else [name]


def _parts(data: bytes) -> dict[str, tuple[int, str]]:
    """Of a unit's last object. Raises ValueError."""
    tree = json.loads(data)
    files: Any = tree.get("files") if isinstance(tree, dict) else None
    if not isinstance(files, dict) or any("/" in name or name.startswith(".") for name in files):
        raise ValueError(f"{WHOLE} names no files")
    return {name: (int(size), str(digest)) for name, (size, digest) in files.items()}


def fetch_file(place: Place, name: str, path: Path) -> None:
    """An object as a file that is whole or not there. Raises FileNotFoundError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.fetched.tmp")
    try:
        place.get(name, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fetch_published(
    place: Place, folder: Path, configs: Iterable[str] | None, say: Callable[[str], None]
) -> Manifest | None:
    """What is published at the address, as far as `configs` want it (None: all); None where nothing is.

    The manifest comes last, so that it never names here what is not here yet.
    """
    try:
        data = place.read(MANIFEST)
    except FileNotFoundError:
        (folder / MANIFEST).unlink(missing_ok=True)
        return None
    with disk_errors(f"fetching {place.shown} into {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        manifest = read_manifest(data, place.at(MANIFEST))
        wanted = None if configs is None else {*configs, "card"}
        files = [file for file in manifest.files if wanted is None or file.config in wanted]
        if missing := sum(file.bytes for file in files if not (folder / file.path).exists()):
            say(f"fetching {missing / 2**20:,.1f} MiB of {place.shown} into {folder}")
        stop = Stop()
        some = place.until(stop)
        at_once(lambda file: _fetch_data(some, folder, file), files, stop)
        write_atomic(folder / MANIFEST, data)
    return manifest


def _fetch_data(place: Place, folder: Path, file: DataFile) -> None:
    path = folder / file.path
    named_by_content = file.sha256[:12] in path.name
    if path.is_file() and path.stat().st_size == file.bytes and (named_by_content or sha256_of(path) == file.sha256):
        return
    try:
        fetch_file(place, file.path, path)
    except FileNotFoundError:  # somebody removed it: publishing again brings it back, validating names it
        path.unlink(missing_ok=True)
