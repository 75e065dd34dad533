"""What a command's own process had in hand when it ended without a word is told to the next one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.engines.in_hand import InHand


def call(*names: str) -> tuple[Any, ...]:
    """A call on a shard of pictures of one source."""
    return (SimpleNamespace(pictures=[SimpleNamespace(planned=SimpleNamespace(files=[("s", n)])) for n in names]),)


def ends(work: Path, arguments: tuple[Any, ...], how: Callable[[], object]) -> None:
    """A process that holds a call in hand, and ends so."""
    child = os.fork()
    if child == 0:
        try:
            with InHand(work).holding("run", arguments):
                how()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def suspects(work: Path, *names: str) -> list[str]:
    found = InHand(work)
    return [name for name in names if found.suspected("run", call(name))]


def test_only_a_sudden_end_makes_suspects(tmp_path: Path) -> None:
    ends(tmp_path, call("a", "b"), lambda: None)
    ends(tmp_path, call("a", "b"), lambda: 1 // 0)
    assert suspects(tmp_path, "a", "b") == []
    ends(tmp_path, call("a", "b"), lambda: os.kill(os.getpid(), signal.SIGKILL))
    ends(tmp_path, call("c"), lambda: os._exit(1))
    assert suspects(tmp_path, "a", "b", "c", "d") == ["a", "b", "c"]
    assert InHand(tmp_path).suspected("run", call("d", "c"))
    assert not InHand(tmp_path).suspected("compare", call("c")), "what was done with it counts"


def test_what_has_gone_well_elsewhere_is_none_any_more(tmp_path: Path) -> None:
    ends(tmp_path, call("a", "b", "c"), lambda: os.kill(os.getpid(), signal.SIGKILL))
    InHand(tmp_path).cleared("run", call("a", "b", "x"), but=[call("b")[0]])
    assert suspects(tmp_path, "a", "b", "c", "x") == ["b", "c"]
    last = InHand(tmp_path)
    last.cleared("run", call("b", "c"))
    last.nothing()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", '["s:a', "{}", "7", "[3]"])
def test_a_note_that_was_cut_off_tells_nothing(tmp_path: Path, text: str) -> None:
    ends(tmp_path, call("b"), lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert suspects(tmp_path, "b") == ["b"]
    (tmp_path / ".in-hand.json").write_text(text)
    assert suspects(tmp_path, "a", "b") == ["b"]
    assert json.loads((tmp_path / ".suspects.json").read_text()) == ["run s:b"]


def test_units_and_files_are_known_again(tmp_path: Path) -> None:
    units = ("coco", [(SimpleNamespace(path="1.jpg"), None), (SimpleNamespace(path=None), None)])
    chunk = (SimpleNamespace(root="/avoid", files=("x.jpg",), pictures=()),)
    for arguments in (units, chunk):
        ends(tmp_path, arguments, lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert InHand(tmp_path).suspected("run", arguments)
    assert json.loads((tmp_path / ".suspects.json").read_text()) == ["run /avoid/x.jpg", "run coco:1.jpg"]
