"""What killed writers leave behind, and what their last workers still do there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slvr_data.files import folder_atomic, remove_leftovers, write_atomic


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder that a killed writer was making."""
    code = "import os, signal, sys; from pathlib import Path; from slvr_data.files import folder_atomic\n"
    code += "with folder_atomic(Path(sys.argv[1])) as made:\n"
    code += "    (made / 'crops').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "shard"], check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    (found,) = tmp_path.iterdir()
    return found


def just_before(monkeypatch: pytest.MonkeyPatch, name: str, then: Callable[[], Any]) -> None:
    """What another process does at the worst moment: once, before the next call of `os.name`."""
    real, due = getattr(os, name), [then]

    def called(*arguments: Any, **more: Any) -> None:
        if due:
            due.pop()()
        real(*arguments, **more)

    monkeypatch.setattr(os, name, called)


def test_a_worker_that_still_writes_there_stops_nobody(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command removes what it had to leave."""
    just_before(monkeypatch, "rmdir", (left / "late").touch)
    remove_leftovers(left.parent)
    assert left.exists(), "it came too late to be removed"
    remove_leftovers(left.parent)
    assert not left.exists()


def test_what_another_removes_meanwhile_is_gone_all_the_same(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    just_before(monkeypatch, "unlink", (left / "crops").unlink)
    remove_leftovers(left.parent)
    remove_leftovers(left.parent)
    assert not left.exists()


def test_anything_else_is_said(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError(errno.EIO, "Input/output error")

    just_before(monkeypatch, "rmdir", broken)
    with pytest.raises(OSError, match="Input/output"):
        remove_leftovers(left.parent)


def test_a_name_that_is_used_again_must_be_free(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stayed in it would be part of what is made there next."""
    staging = left.rename(left.with_name(".attach.tmp"))
    just_before(monkeypatch, "rmdir", (staging / "late").touch)
    with pytest.raises(OSError, match="not empty"):
        remove_leftovers(staging.parent)


def test_what_is_whole_stays(tmp_path: Path) -> None:
    write_atomic(tmp_path / "plan.parquet", b"whole")
    with folder_atomic(tmp_path / "shard") as made:
        (made / "crops").write_bytes(b"whole")
    remove_leftovers(tmp_path)
    assert (tmp_path / "plan.parquet").read_bytes() == (tmp_path / "shard/crops").read_bytes() == b"whole"
