"""From the scratch folder to the address: what is finished, as it is made, and in the end the publication.

The order makes every moment whole. Files that must be there before anything else is (the settings) go first, then
segments, then new units, each with its last object after its files, then what was removed, then files that have
changed.
Files are read before units are looked for: what they say is never newer than the units that lie beside them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from slvr_data.files import sha256_of
from slvr_data.manifest import NAME as MANIFEST
from slvr_data.manifest import Manifest, is_ours, load_manifest, read_manifest
from slvr_data.remote.artefacts import MARK, WORK, Found, Signature, gone, look, noted
from slvr_data.remote.fetching import WHOLE, parts_of
from slvr_data.remote.place import Place
from slvr_data.remote.record import Record, save_record
from slvr_data.remote.steady import StoreError

_CARD, _RUN = "README.md", "run.json"
_PROGRESS = "progress.json"
_LATE = "retry-"
"""Journals say what was done to units, and so come after them, also when they are new."""
_UNITS_AT_ONCE = 64


class Sending:
    """Sends what is new in the working folder of `folder` to `place`; one thread at a time."""

    def __init__(self, place: Place, folder: Path, record: Record, record_file: Path) -> None:
        self._place, self._folder, self._record, self._record_file = place, folder, record, record_file
        self._work = folder / WORK
        self._handled = 0
        self._pending: set[str] = set()
        """Notes of removals that are not seen to be done."""
        self._progress = b""
        self._changed = False
        self.look_seconds = 0.0
        """What the last look for something new took."""

    @property
    def sent_anything(self) -> bool:
        """Whether the address holds any of the work."""
        return bool(self._record.sent)

    def work(self) -> None:
        """Everything that is new since the last time. Does nothing before a set has its settings.

        Raises:
            StoreError: the scratch folder was removed, or as the methods of `Place`.
        """
        if not (self._work / "settings.json").exists():
            if self.sent_anything:
                raise StoreError(f"{self._work} was removed while it was used: run the same command again")
            return
        try:
            self._send_new()
        finally:
            if self._changed:
                save_record(self._record_file, self._record)
                self._changed = False

    def _send_new(self) -> None:
        started = time.monotonic()
        before = look(self._work)
        self.look_seconds = time.monotonic() - started
        plain = {name: (sign, self._bytes(name)) for name, sign in before.plain.items() if self._is_new(name, sign)}
        found = look(self._work) if plain else before
        first = [name for name in plain if name not in self._record.sent and not name.startswith(_LATE)]
        for name in sorted(first, key=lambda name: (name == MARK, name)):
            self._send_plain(name, *plain.pop(name))
        self._send_units(found)
        self._send_removals()
        for name, (signature, data) in sorted(plain.items()):
            self._send_plain(name, signature, data)

    def _note(self, name: str, signature: Signature | None) -> None:
        """What of `name` is there now."""
        self._changed = True
        if signature is None:
            self._record.sent.pop(name, None)
        else:
            self._record.sent[name] = signature

    def progress(self) -> None:
        """What `slvr-data status` shows, if it has changed; not worth waiting for."""
        try:
            data = (self._work / _PROGRESS).read_bytes()
        except FileNotFoundError:
            return
        if data != self._progress:
            self._place.write(f"{WORK}/{_PROGRESS}", data, seconds=0)
            self._progress = data

    def _bytes(self, name: str) -> bytes | None:
        try:
            return (self._work / name).read_bytes()
        except FileNotFoundError:
            return None

    def _is_new(self, name: str, signature: Signature) -> bool:
        return bool(signature) and self._record.sent.get(name) != signature

    def _send_plain(self, name: str, signature: Signature, data: bytes | None) -> None:
        if data is not None:
            self._place.write(f"{WORK}/{name}", data)
            self._note(name, signature)

    def _send_units(self, found: Found) -> None:
        segments = {name: sign for name, sign in found.segments.items() if self._is_new(name, sign)}
        self._place.put_all((self._work / name, f"{WORK}/{name}") for name in segments)
        for name, sign in segments.items():
            self._note(name, sign)
        units = [name for name, sign in found.units.items() if self._is_new(name, sign)]
        for first in range(0, len(units), _UNITS_AT_ONCE):
            self._send_some(units[first : first + _UNITS_AT_ONCE], found)

    def _send_some(self, units: list[str], found: Found) -> None:
        """All files of some units, then the last object of each."""
        again = [name for name in units if name in self._record.sent]
        self._place.remove(f"{WORK}/{name}/{WHOLE}" for name in again)
        files = {name: [file for file, _, _ in found.units[name]] for name in units}
        try:
            told = {name: _whole(self._work / name, files[name]) for name in units}
            self._place.put_all((self._work / name / f, f"{WORK}/{name}/{f}") for name in units for f in files[name])
        except FileNotFoundError:  # a unit was removed meanwhile: the next time finds what there is then
            return
        for name in units:
            self._place.write(f"{WORK}/{name}/{WHOLE}", told[name])
            self._note(name, found.units[name])

    def _send_removals(self) -> None:
        """What was removed here goes there too; a note is done when its name is gone, which may be after it is seen."""
        notes = noted(self._work)
        self._pending.update(notes[self._handled :])
        self._handled = len(notes)
        if not self._pending:
            return
        done = {note for note in self._pending if not (self._work / note).exists()}
        for name in gone(self._work, self._record.sent, self._pending):
            last, *others = (f"{WORK}/{part}" for part in parts_of(name, self._record.sent[name]))
            self._place.remove([last])
            self._place.remove(others)
            self._note(name, None)
        self._pending -= done

    def publication(self, confirm: Callable[[], None]) -> bool:
        """The set as it is published here, put there in the order of a publication; False where nothing is new.

        Readers find one whole set at each moment; stopped anywhere, doing it again completes it. `confirm` raises where
        another driver has come meanwhile: it is asked before readers see anything of this one.
        """
        if not (self._folder / MANIFEST).exists():
            return False
        manifest = load_manifest(self._folder)
        there = self._manifest_there()
        listed = {name: size for folder in ("data", "assets") for name, size in self._place.names(folder).items()}
        data = [file for file in manifest.files if file.path != _CARD]
        known = {file.path: file.sha256 for file in there.files} if there else {}
        new = [f for f in data if listed.get(f.path) != f.bytes or known.get(f.path, f.sha256) != f.sha256]
        text, card = manifest.to_bytes(), (self._folder / _CARD).read_bytes()
        same = there is not None and there.to_bytes() == text and not new and self._same(_CARD, card)
        if not same:
            self._place.put_all((self._folder / file.path, file.path) for file in new)
            confirm()
            self._place.write(MANIFEST, (self._folder / MANIFEST).read_bytes())
            self._place.write(_CARD, card)
        confirm()
        self._remove_unnamed(listed, manifest)
        if (self._folder / _RUN).exists():
            self._place.write(_RUN, self._run())
        return not same

    def _manifest_there(self) -> Manifest | None:
        try:
            return read_manifest(self._place.read(MANIFEST), self._place.at(MANIFEST))
        except FileNotFoundError:
            return None

    def _same(self, name: str, data: bytes) -> bool:
        try:
            return self._place.read(name) == data
        except FileNotFoundError:
            return False

    def _remove_unnamed(self, listed: Iterable[str], manifest: Manifest) -> None:
        named = {file.path for file in manifest.files}
        self._place.remove(name for name in listed if name not in named and is_ours(name))

    def _run(self) -> bytes:
        """`run.json`, where the set's folder is its address, not the scratch of one machine."""
        tree = json.loads((self._folder / _RUN).read_bytes())
        if isinstance(tree.get("configuration"), dict) and "out" in tree["configuration"]:
            tree["configuration"]["out"] = self._place.shown
        return (json.dumps(tree, indent=1) + "\n").encode()


def _whole(folder: Path, files: list[str]) -> bytes:
    """The last object of a unit."""
    told = {file: [(folder / file).stat().st_size, sha256_of(folder / file)] for file in files}
    return (json.dumps({"files": told}) + "\n").encode()
