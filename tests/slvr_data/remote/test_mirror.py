"""Scratch folders and addresses: what goes where, in which order, and what survives what."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from slvr_data.errors import RunError, UsageError
from slvr_data.lock import Lock
from slvr_data.remote import holding, mirror
from slvr_data.remote.artefacts import note_removed
from slvr_data.remote.holding import NAME, LostError
from slvr_data.remote.mirror import mirrored, scratch_of
from slvr_data.remote.place import Place
from slvr_data.remote.record import Record, load_record
from slvr_data.remote.steady import RefusedError, StoreError, steady
from slvr_data.requests.store import RequestStore
from tests.builds import wait_for
from tests.slvr_data.remote.copies import Copy, another
from tests.slvr_data.requests.putting import reply


def test_units_and_files_go_there_and_come_back(copy: Copy, tmp_path: Path) -> None:
    copy.unit("crop/a", images="1", crops="2")
    copy.unit("embeddings/model/b", texts="3")
    (copy.work / "plan" / "coco").mkdir(parents=True)
    (copy.work / "plan" / "coco" / "odd [name]*.parquet").write_text("rows")
    (copy.work / "preview.html").write_text("a page")
    (copy.work / "publish").mkdir()
    (copy.work / "publish" / "half.parquet").write_text("made again")
    copy.sending.work()
    assert not {"preview.html", "publish/half.parquet", "lock", "removed"} & copy.names()
    two = another(copy.place, tmp_path)
    for name in ("crop/a/images.parquet", "embeddings/model/b/texts.parquet", "plan/coco/odd [name]*.parquet"):
        assert (two.work / name).read_bytes() == (copy.work / name).read_bytes()
    assert two.record.sent.keys() == copy.record.sent.keys()


def test_a_unit_is_there_when_its_last_object_is(copy: Copy, tmp_path: Path) -> None:
    copy.unit("crop/a", images="1", crops="2")
    copy.unit("crop/b", images="1")
    copy.sending.work()
    copy.place.remove([".work/crop/a/whole.json"])  # as if the run had been killed before it
    copy.place.write(".work/crop/b/images.parquet", b"damaged")
    two = another(copy.place, tmp_path)
    assert not (two.work / "crop" / "a").exists()
    assert not (two.work / "crop" / "b").exists()
    assert any("crop/b is damaged (images.parquet is not what was sent): it is made again" in line for line in two.said)


def test_absence_removes_nothing_and_a_note_does(copy: Copy) -> None:
    copy.unit("crop/a", images="1")
    copy.unit("crop/b", images="2")
    (copy.work / "retry-attributes.json").write_text("{}")
    copy.sending.work()
    shutil.rmtree(copy.work / "crop" / "a")
    note_removed(copy.work, "crop/b")
    shutil.rmtree(copy.work / "crop" / "b")
    note_removed(copy.work, "retry-attributes.json")
    copy.sending.work()  # the journal is still here: the note was written before its removal, which a kill prevented
    assert "crop/a/whole.json" in copy.names()
    assert not {name for name in copy.names() if name.startswith("crop/b")}
    assert "retry-attributes.json" in copy.names()


def test_a_unit_that_is_made_again_under_its_name_replaces_the_other(copy: Copy, tmp_path: Path) -> None:
    copy.unit("crop/a", images="1")
    copy.sending.work()
    shutil.rmtree(copy.work / "crop" / "a")
    copy.unit("crop/a", images="quite another")
    copy.sending.work()
    assert (another(copy.place, tmp_path).work / "crop/a/images.parquet").read_text() == "quite another"


def test_what_was_not_sent_is_kept_only_where_nobody_went_on(copy: Copy, tmp_path: Path) -> None:
    copy.unit("crop/a", images="1")
    copy.sending.work()
    copy.unit("crop/mine", images="2")
    again = Copy(copy.place, copy.folder).fetch(contiguous=True)
    assert (again.work / "crop" / "mine").exists()
    again.sending.work()
    assert "crop/mine/whole.json" in again.names()
    again.unit("crop/late", images="3")
    again.place.remove([".work/crop/a/whole.json", ".work/crop/a/images.parquet"])  # another run did that
    last = Copy(copy.place, copy.folder).fetch(contiguous=False)
    assert sorted(path.name for path in (last.work / "crop").iterdir()) == ["mine"]
    assert any("2 things" in line for line in last.said)


def test_embeddings_that_were_not_sent_are_kept_and_sent_wherever_others_went_on(copy: Copy) -> None:
    """They were paid for while the address could not be reached, and no other run has them."""
    copy.unit("crop/a", images="1")
    copy.sending.work()
    copy.unit("embeddings/model/b", texts="3")
    copy.unit("crop/mine", images="2")
    again = Copy(copy.place, copy.folder).fetch(contiguous=False)
    assert (again.work / "embeddings" / "model" / "b").exists() and not (again.work / "crop" / "mine").exists()
    again.sending.work()
    assert "embeddings/model/b/whole.json" in again.names()


def test_a_scratch_that_is_removed_while_it_is_used_takes_nothing_along(copy: Copy) -> None:
    copy.unit("crop/a", images="1")
    copy.sending.work()
    shutil.rmtree(copy.folder)
    with pytest.raises(StoreError, match="was removed while it was used: run the same command again"):
        copy.sending.work()
    assert "crop/a/whole.json" in copy.names()
    (copy.work / "crop").mkdir(parents=True)
    assert (Copy(copy.place, copy.folder).fetch(contiguous=True).work / "crop" / "a").exists()


def test_settings_are_there_before_any_unit(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    for method in ("write", "put"):
        before = getattr(Place, method)

        def noted(
            self: Place, one: object, two: object, *rest: object, before: object = before, **more: object
        ) -> None:
            written.append(str(one if isinstance(two, bytes) else two))
            before(self, one, two, *rest, **more)  # type: ignore[operator]

        monkeypatch.setattr(Place, method, noted)
    copy.unit("crop/a", images="1")
    (copy.work / "retry-attributes.json").write_text("{}")
    copy.sending.work()
    order = [written.index(f".work/{name}") for name in (
        "settings.json", "crop/a/images.parquet", "crop/a/whole.json", "retry-attributes.json")]  # fmt: skip
    assert order == sorted(order)


def test_paid_replies_survive_the_loss_of_the_machine(copy: Copy, tmp_path: Path) -> None:
    kept = reply(7)
    with RequestStore(copy.work / "requests", tmp_path / "local-1") as store:
        store.put(kept)
        store.flush()
        copy.sending.work()  # while the run goes on
        shutil.rmtree(tmp_path / "local-1")
        shutil.copytree(copy.folder, tmp_path / "lost")
    two = another(copy.place, tmp_path)
    with RequestStore(two.work / "requests", tmp_path / "local-2") as store:
        assert store.get(kept.key) == kept


def test_a_run_that_begins_nothing_leaves_nothing(place: Place, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no rows"), mirrored(place, tmp_path / "set", print):
        raise UsageError("no rows")
    assert place.names() == {}


def test_a_run_that_loses_its_place_stops_and_publishes_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(mirror, "Holding", lambda place, say: holding.Holding(place, say, 0.1))
    with pytest.raises(LostError, match="is now written by process 7 on far"), mirrored(place, tmp_path / "set", print):
        (tmp_path / "set/.work/settings.json").write_text("{}")
        wait_for(lambda: ".work/settings.json" in place.names())
        place.write(NAME, json.dumps({"held": True, "session": "other", "pid": 7, "host": "far"}).encode())
        threading.Event().wait(60)
    assert json.loads(place.read(NAME))["session"] == "other"


def test_locks_that_a_gone_driver_left_in_the_scratch_are_taken_over(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared disk they name another host: who drives the place knows that its process is gone."""
    monkeypatch.setattr(holding, "_SETTLE_SECONDS", 0.0)
    left = json.dumps({"host": "elsewhere", "pid": 7})
    (tmp_path / "set/.work").mkdir(parents=True)
    outer, inner = tmp_path / "lock", tmp_path / "set/.work/lock"
    for file in (outer, inner):
        file.write_text(left)
    with mirrored(place, tmp_path / "set", print), Lock(inner):
        assert str(os.getpid()) in outer.read_text()
    assert outer.read_text() == inner.read_text() == ""


def test_a_scratch_that_the_kernel_says_is_in_use_is_not_taken_over(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "_SETTLE_SECONDS", 0.0)
    (tmp_path / "set/.work").mkdir(parents=True)
    for file in (tmp_path / "lock", tmp_path / "set/.work/lock"):
        with (
            Lock(file),
            pytest.raises(UsageError, match=f"is being written by process {os.getpid()} on"),
            mirrored(place, tmp_path / "set", print),
        ):
            raise AssertionError("it is used twice")


def test_calls_that_fail_are_made_again_and_in_the_end_say_so() -> None:
    calls: list[int] = []

    def fails(times: int) -> str:
        calls.append(1)
        if len(calls) <= times:
            raise OSError("Please reduce your request rate: token=hidden")
        return "done"

    assert steady("s3://b/set", "writing", lambda: fails(2), seconds=60) == "done"
    assert len(calls) == 3
    with pytest.raises(StoreError, match=r"writing s3://b/set failed \(Please reduce .*token=\*\*\*\): see that the"):
        steady("s3://b/set", "writing", lambda: fails(99), seconds=0)
    with pytest.raises(RefusedError, match="permission denied"):
        steady("s3://b/set", "writing", lambda: (_ for _ in ()).throw(PermissionError("Access Denied")))


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere://bucket/set cannot be opened: Protocol not known: nowhere"):
        Place("nowhere://bucket/set")


def test_a_scratch_that_cannot_be_made_is_named(place: Place) -> None:
    with pytest.raises(RunError, match=r"making /dev/null/set-[0-9a-f]+ failed"):
        scratch_of(place, Path("/dev/null"))


def test_the_environment_may_name_the_scratch(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLVR_SCRATCH", str(tmp_path / "environment"))
    assert scratch_of(place, None).is_relative_to(tmp_path / "environment")
    assert scratch_of(place, None, "read").is_relative_to(tmp_path / "environment")
    assert scratch_of(place, tmp_path / "told").is_relative_to(tmp_path / "told")


def test_records_that_are_damaged_are_empty(tmp_path: Path) -> None:
    (tmp_path / "mirror.json").write_text("{")
    assert load_record(tmp_path / "mirror.json") == Record()
