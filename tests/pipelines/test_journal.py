"""What is remembered of files is added to a journal: sound wherever a kill cuts it, and never written whole again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import journal
from pipelines.journal import Journal
from tests.builds import coco, of_coco, published, run, wait_for

ODD = ("a.jpg", "tab\tand\nline", "\udcff not UTF-8", "本棚", '"quoted"', "")

WRITER = """
import sys
from pathlib import Path
from pipelines.journal import Journal
kept = Journal(Path(sys.argv[1]))
for number in range(10**9):
    kept[f"key {number % 5000}"] = [number, "x" * (number % 700)]
    if number % 7 == 0:
        kept.write()
        print(number, flush=True)
"""


def held(path: Path) -> dict[str, object]:
    found = Journal(path)
    return {key: found.get(key) for key in found}


def test_what_is_put_is_there_again(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "j")
    for number, key in enumerate(ODD):
        kept[key] = [number, key]
    assert kept.get("tab\tand\nline") == [1, "tab\tand\nline"] and kept.get("other") is None
    assert not (tmp_path / "j").exists()
    kept.write()
    assert held(tmp_path / "j") == {key: [number, key] for number, key in enumerate(ODD)}


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    path = tmp_path / "j"
    kept = Journal(path)
    kept["a"], kept["b"] = 1, 2
    kept.write()
    first, inode = path.read_bytes(), path.stat().st_ino
    kept["a"], kept["b"] = 1, 3
    kept.write()
    again = Journal(path)
    again["b"], again["c"] = 3, None
    again.write()
    assert path.stat().st_ino == inode
    assert path.read_bytes() == first + b'"b"\t3\n"c"\tnull\n'
    assert held(path) == {"a": 1, "b": 3, "c": None}


def test_cut_anywhere_it_tells_whole_lines_and_takes_more(tmp_path: Path) -> None:
    path = tmp_path / "j"
    kept = Journal(path)
    for number, key in enumerate(ODD):
        kept[key] = [number, {"size": [640, 480]}]
    kept.write()
    whole = path.read_bytes()
    values = held(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        lines = whole[:length].count(b"\n")
        expected = {key: values[key] for key in ODD[:lines]}
        assert held(path) == expected, length
        more = Journal(path)
        more["more"] = length
        more.write()
        assert held(path) == expected | {"more": length}, length


@pytest.mark.parametrize("garbage", [b"\0" * 4096, b"[[[", b"\xff\xfe\t1\n", b'"k"\tnonsense\n', b"7\t8\n", b"\n"])
def test_what_a_loss_of_power_leaves_is_passed_over(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'"a"\t1\n' + garbage)
    kept = Journal(path)
    kept["b"] = 2
    kept.write()
    found = held(path)
    assert {key: value for key, value in found.items() if value is not None} == {"a": 1, "b": 2}


def test_killed_while_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for _ in range(3):
        line = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            size = path.stat().st_size if path.exists() else 0
            wait_for(lambda size=size: path.exists() and path.stat().st_size > size + 200_000)
            os.kill(process.pid, signal.SIGKILL)
            told = [int(text) for text in process.stdout.read().split()]
        found = held(path)
        for number in range(max(0, told[-1] - 4000), told[-1] + 1):
            value = found[f"key {number % 5000}"]
            assert isinstance(value, list) and value[0] >= number and value[1] == "x" * (value[0] % 700)


def test_lines_that_no_longer_count_go_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_SPARE_LINES", 10)
    path = tmp_path / "j"
    kept = Journal(path)
    for number in range(40):
        kept["a" if number % 2 else "b"] = number
    kept["b"] = None
    kept.write()
    assert path.read_bytes().count(b"\n") == 41
    assert held(path) == {"a": 39, "b": None}
    assert path.read_bytes() == b'"a"\t39\n'
    assert held(path) == {"a": 39} and [file.name for file in tmp_path.iterdir()] == ["j"]


def test_a_build_adds_what_it_has_read(tmp_path: Path) -> None:
    """And takes over what older versions remembered, in a file that was written whole each time."""
    file, out = coco(tmp_path, 4), tmp_path / "set"
    memory = out / ".work" / "files.tsv"
    run(*of_coco(file, "--limit", 2, "--workers", 1, "--out", out))
    first = memory.read_bytes()
    run(*of_coco(file, "--limit", 3, "--workers", 1, "--out", out))
    assert memory.read_bytes().startswith(first) and memory.read_bytes().count(b"\n") == 3
    known = held(memory) | {"/gone.jpg": [1, 2, "x", None, None, None]}
    (memory.parent / "files.json").write_text(json.dumps(known))
    memory.unlink()
    run(*of_coco(file, "--workers", 1, "--out", out))
    assert len(held(memory)) == 5 and held(memory).items() >= known.items()
    assert not (memory.parent / "files.json").exists()
    run(*of_coco(file, "--workers", 1, "--out", tmp_path / "at-once"))
    assert published(out) == published(tmp_path / "at-once")
