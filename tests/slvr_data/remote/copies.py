"""Scratch copies of sets at addresses, in tests."""

from __future__ import annotations

from pathlib import Path

from slvr_data.remote.fetching import Fetching
from slvr_data.remote.place import Place
from slvr_data.remote.record import load_record
from slvr_data.remote.sending import Sending


class Copy:
    """A scratch copy, and both ways between it and its place."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder, self.work = place, folder, folder / ".work"
        self.record_file = folder.parent / "mirror.json"
        self.record = load_record(self.record_file)
        self.sending = Sending(place, folder, self.record, self.record_file)
        self.said: list[str] = []

    def fetch(self, contiguous: bool = False) -> Copy:
        Fetching(self.place, self.folder, self.record, self.said.append).everything(contiguous)
        return self

    def unit(self, name: str, **files: str) -> None:
        (self.work / name).mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (self.work / name / f"{file}.parquet").write_text(text)

    def begin(self) -> Copy:
        self.fetch()
        (self.work / "settings.json").write_text("{}")
        return self

    def names(self) -> set[str]:
        return {name.removeprefix(".work/") for name in self.place.names()}


def another(place: Place, tmp_path: Path, name: str = "two") -> Copy:
    return Copy(place, tmp_path / name / "set").fetch()
