"""Where the local database lies."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from slvr_data.errors import RunError, UsageError
from slvr_data.requests.scratch import network_file_system, scratch_folder
from slvr_data.requests.store import RequestStore


def test_the_scratch_folder_is_this_users_and_the_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a").mkdir()
    one = scratch_folder(tmp_path / "a" / "requests", None)
    assert one.parent == tmp_path / f"slvr-{os.getuid()}"
    assert one.stat().st_mode & 0o077 == 0
    assert one.parent.stat().st_mode & 0o077 == 0
    assert scratch_folder(tmp_path / "link" / "requests", None) == one
    assert scratch_folder(tmp_path / "b" / "requests", None) != one
    assert scratch_folder(tmp_path / "a" / "requests", tmp_path / "mine").parent == tmp_path / "mine"


@pytest.mark.skipif(os.getuid() != 0, reason="needs a user that can give files away")
def test_a_scratch_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"slvr-{os.getuid()}").mkdir()
    os.chown(tmp_path / f"slvr-{os.getuid()}", 12345, 12345)
    with pytest.raises(UsageError, match=r"belongs to another user \(12345\): name a folder of your own"):
        RequestStore(tmp_path / "set")


def test_a_scratch_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("a file")
    with pytest.raises(RunError, match=f"making {tmp_path / 'here'}/requests-.* failed"):
        RequestStore(tmp_path / "set", tmp_path / "here")


def test_a_network_file_system_is_told_by_its_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n/dev/b {tmp_path}/disk ext4 rw 0 0\n"
        f"proc /proc proc rw 0 0\nhost:/y {tmp_path}/two\\040words lustre rw 0 0\n"
        f"host:/z {tmp_path}/later ext4 rw 0 0\nhost:/z {tmp_path}/later cifs rw 0 0\nodd\n"
    )
    kinds = {name: network_file_system(tmp_path / name, mounts) for name in ("a/b", "disk/a", "two words/a", "later/a")}
    assert kinds == {"a/b": "nfs4", "disk/a": None, "two words/a": "lustre", "later/a": "cifs"}
    assert network_file_system(Path("/"), mounts) is None
    assert network_file_system(tmp_path, tmp_path / "no such file") is None


def test_a_network_file_system_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slvr_data.requests.store.network_file_system", lambda path: "nfs4")
    said: list[str] = []
    RequestStore(tmp_path / "set", tmp_path / "here", said.append).close()
    (line,) = said
    assert "is on a network file system (nfs4)" in line
    assert "name a folder on a local disk as scratch" in line
