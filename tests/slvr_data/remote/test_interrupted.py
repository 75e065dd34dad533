"""What was removed, is new, or was not sent yet when a run was killed, left, or cut off from its store."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from slvr_data.remote import holding, mirror, sending
from slvr_data.remote.artefacts import Found, look, note_removed
from slvr_data.remote.holding import NAME
from slvr_data.remote.mirror import mirrored
from slvr_data.remote.place import Place
from slvr_data.remote.record import load_record, save_record
from slvr_data.remote.steady import RefusedError
from tests.builds import wait_for
from tests.slvr_data.remote.copies import Copy, another


def test_a_removal_that_a_kill_kept_from_being_sent_is_done_by_the_next_run(copy: Copy) -> None:
    copy.unit("check/a", images="1")
    copy.unit("check/b", images="2")
    (copy.work / "plan" / "coco").mkdir(parents=True)
    (copy.work / "plan" / "coco" / "rows.parquet").write_text("rows")
    copy.sending.work()
    note_removed(copy.work, "check/b")  # killed between the note and the removal
    for name in ("check/a", "plan"):
        note_removed(copy.work, name)
        shutil.rmtree(copy.work / name)
    copy.record.sent.pop("check/a")  # the record that the killed run had saved may be older
    save_record(copy.record_file, copy.record)
    again = Copy(copy.place, copy.folder).fetch(contiguous=True)
    assert not (again.work / "check" / "a").exists()
    assert (again.work / "check" / "b").exists()
    assert not {name for name in again.names() if name.startswith(("check/a", "plan"))}
    assert "check/b/whole.json" in again.names()
    again.unit("plan/coco", rows="anew")
    again.sending.work()
    (again.work / "plan" / "coco" / "rows.parquet").unlink()  # lost, and no run of today removed it
    again.sending.work()
    assert "plan/coco/rows.parquet" in again.names()


def test_a_note_is_not_done_before_its_name_is_gone(copy: Copy) -> None:
    copy.unit("check/a", images="1")
    copy.sending.work()
    note_removed(copy.work, "check/a")
    copy.sending.work()  # the removal comes a moment later
    assert "check/a/whole.json" in copy.names()
    shutil.rmtree(copy.work / "check" / "a")
    copy.sending.work()
    assert not {name for name in copy.names() if name.startswith("check/a")}


def test_a_file_that_a_late_listing_still_shows_is_passed_over(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.unit("crop/a", images="1")
    (copy.work / "retry-attributes.json").write_text("{}")
    copy.sending.work()
    listed = copy.place.names()
    copy.place.remove([".work/retry-attributes.json", ".work/crop/a/images.parquet"])
    monkeypatch.setattr(Place, "names", lambda self, below="": listed)
    two = another(copy.place, tmp_path)
    assert not (two.work / "retry-attributes.json").exists()
    assert not (two.work / "crop" / "a").exists()
    assert "retry-attributes.json" not in two.record.sent


def test_a_look_that_finds_nothing_new_reads_once_and_writes_nothing(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []

    def counted(work: Path) -> Found:
        looks.append(work)
        return look(work)

    monkeypatch.setattr(sending, "look", counted)
    copy.unit("crop/a", images="1")
    copy.sending.work()
    saved = copy.record_file.stat().st_mtime_ns
    assert "crop/a" in load_record(copy.record_file).sent
    looks.clear()
    copy.sending.work()
    assert copy.record_file.stat().st_mtime_ns == saved
    assert len(looks) == 1


def test_after_the_first_error_no_more_are_begun(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(tmp_path / f"{number}", f"{number}") for number in range(100)]
    for file, name in files:
        file.write_text(name)
    begun: list[str] = []

    def fails(self: object, file: str, path: str, **more: object) -> None:
        begun.append(path)
        if not path.endswith("/0"):
            raise OSError("no answer")
        raise PermissionError("denied")

    monkeypatch.setattr(MemoryFileSystem, "put_file", fails)
    with pytest.raises(RefusedError):
        place.put_all(files)  # those that would be tried for two minutes are given up, too
    assert len(begun) < 40


def test_a_block_that_is_left_by_an_error_does_not_wait_for_a_store_that_is_away(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    tried = threading.Event()

    def away(self: object, *arguments: object, **more: object) -> None:
        tried.set()
        raise OSError("no answer")

    folder = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr(holding, "_SETTLE_SECONDS", 0.0)
        patch.setattr(mirror, "_SEND_SECONDS", 0.01)
        with pytest.raises(KeyboardInterrupt), mirrored(place, folder, said.append):
            (folder / ".work/settings.json").write_text("{}")
            wait_for(lambda: ".work/settings.json" in place.names())
            patch.setattr(MemoryFileSystem, "pipe_file", away)
            (folder / ".work/more.json").write_text("{}")
            assert tried.wait(60)
            raise KeyboardInterrupt
    assert said[-1] == "what was not sent stays in the scratch folder: the same command sends it"
    place.write(NAME, json.dumps(json.loads(place.read(NAME)) | {"held": False}).encode())  # this process lives on
    with mirrored(place, folder, said.append):
        wait_for(lambda: ".work/more.json" in place.names())


def test_removing_that_is_refused_is_told_before_any_work(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: object, path: str) -> None:
        raise PermissionError("Access Denied")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "rm_file", refused)
        with pytest.raises(RefusedError, match="permission denied"), mirrored(place, tmp_path / "set", print):
            raise AssertionError("it began")
    assert place.names() == {}
