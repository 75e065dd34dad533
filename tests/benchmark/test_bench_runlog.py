"""The log of a run: whole lines, read while it grows, taken up again, and never mixed with another run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.lines import line_of
from benchmark.records import Header, LogLine, Reply
from benchmark.runlog import LOG, log_file, open_log, read_log
from slvr_data.errors import UsageError
from tests.benching import asks_of, letter, shelf

LINES = [line_of(ask, Reply(letter(ask))) for ask in asks_of(shelf(4))]


def header(**changed: Any) -> Header:
    plain: dict[str, Any] = {
        "model": "stub",
        "model_details": {"weights_sha256": "aa", "device": "cpu"},
        "data": "shelf",
        "data_revision": "0" * 64,
        "items": 4,
        "asks": 8,
        "form": "lettered",
        "protocol": "bare-1",
        "prompt_sha256": "bb",
        "extraction": "1",
        "variants": [],
        "seeds": [0],
        "max_pixels": None,
        "max_new_tokens": 16,
        "sampling": {},
    }
    return Header(**plain | changed)


def written(folder: Path, lines: list[LogLine] = LINES, **changed: Any) -> Path:
    with open_log(folder, header(**changed)) as log:
        for line in lines:
            log.write(line)
    return folder / LOG


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    for run in (tmp_path, tmp_path / LOG):
        log = read_log(run)
        assert (log.header, log.lines, log.damaged, log.left) == (header(), LINES, 0, 0)


def test_pandas_reads_it_in_one_line(tmp_path: Path) -> None:
    table = pd.read_json(written(tmp_path), lines=True).dropna(subset="ask_id")
    assert len(table) == 8 and table["correct"].all()
    assert set(table["facet"]) == {"color", "position"}


def test_a_line_is_in_the_file_when_write_returns(tmp_path: Path) -> None:
    with open_log(tmp_path, header()) as log:
        for number, line in enumerate(LINES, 1):
            log.write(line)
            found = read_log(tmp_path)
            assert len(found.lines) == number and found.left == 8 - number


@pytest.mark.parametrize("cut", [1, 2, 40, 10_000])
def test_a_line_that_was_cut_costs_that_line(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    last = len(data) - data[:-1].rindex(b"\n") - 1
    path.write_bytes(data[: -min(cut, last - 1)])
    assert read_log(tmp_path).lines == LINES[:-1]
    with open_log(tmp_path, header()) as log:
        assert log.done == {line.ask_id for line in LINES[:-1]}
        log.write(LINES[-1])
    assert path.read_bytes() == data


def test_a_line_that_lost_its_end_alone_is_asked_again(tmp_path: Path) -> None:
    """It may be whole, but nobody can know."""
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert len(read_log(tmp_path).lines) == 7


def test_damage_in_the_middle_costs_that_line(tmp_path: Path) -> None:
    path = written(tmp_path)
    rows = path.read_bytes().splitlines(keepends=True)
    rows[3] = b'{"ask_id": "item-0000\xff\x00\n'
    path.write_bytes(b"".join(rows))
    log = read_log(tmp_path)
    assert log.damaged == 1 and log.lines == [line for n, line in enumerate(LINES) if n != 2]
    with open_log(tmp_path, header()) as taken:
        assert taken.damaged == 1 and LINES[2].ask_id not in taken.done
        taken.write(LINES[2])
    assert len(read_log(tmp_path).lines) == 8


def test_an_ask_counts_once(tmp_path: Path) -> None:
    path = written(tmp_path, [*LINES, LINES[0].model_copy(update={"reply": "other", "correct": False})])
    assert read_log(path).lines == LINES


def test_a_log_that_was_killed_in_its_header(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(header().model_dump_json()[:50].encode())
    with pytest.raises(UsageError, match="does not begin with the header of a run"):
        read_log(tmp_path)
    written(tmp_path)
    assert read_log(tmp_path).lines == LINES


def test_data_that_changed(tmp_path: Path) -> None:
    path = written(tmp_path, LINES[:3])
    before = path.read_bytes()
    with (
        pytest.raises(UsageError, match=r"the data changed since this run began .*000000000000 of shelf, now 1111"),
        open_log(tmp_path, header(data_revision="1" * 64)),
    ):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "other"}, "model 'stub', not 'other'"),
        ({"model_details": {"weights_sha256": "cc", "device": "cpu"}}, "model_details.weights_sha256 'aa', not 'cc'"),
        ({"model_details": {"weights_sha256": "aa"}}, "model_details.device 'cpu', not None"),
        ({"protocol": "letter-1"}, "protocol 'bare-1', not 'letter-1'"),
        ({"extraction": "2"}, "extraction '1', not '2'"),
        ({"variants": ["circular"]}, r"variants \[\], not \['circular'\]"),
        ({"max_pixels": 1000}, "max_pixels None, not 1000"),
        ({"max_new_tokens": 32}, "max_new_tokens 16, not 32"),
        ({"sampling": {"temperature": 1.0}}, "sampling.temperature None, not 1.0"),
        ({"items": 3, "asks": 6}, "a run of 4 items, not 3: a limit may only grow"),
    ],
)
def test_another_run(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    path = written(tmp_path, LINES[:3])
    before = path.read_bytes()
    with pytest.raises(UsageError, match=said), open_log(tmp_path, header(**changed)):
        pass
    assert path.read_bytes() == before


def test_a_run_without_lines_is_bound_to_nothing(tmp_path: Path) -> None:
    written(tmp_path, [])
    with open_log(tmp_path, header(model="other", data_revision="1" * 64)) as log:
        log.write(LINES[0])
    found = read_log(tmp_path)
    assert (found.header.model, found.lines) == ("other", LINES[:1])


def test_a_larger_limit_adds_to_the_run(tmp_path: Path) -> None:
    written(tmp_path, LINES[:4], items=2, asks=4)
    with open_log(tmp_path, header()) as log:
        assert len(log.done) == 4
        for line in LINES[4:]:
            log.write(line)
    found = read_log(tmp_path)
    assert found.header == header() and found.lines == LINES


def test_one_writer(tmp_path: Path) -> None:
    with open_log(tmp_path, header()), pytest.raises(UsageError, match=f"is being written by process {os.getpid()}"):
        open_log(tmp_path, header()).__enter__()


def test_what_is_no_run(tmp_path: Path) -> None:
    for run in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(UsageError, match="holds no run"):
            log_file(run)
    (tmp_path / LOG).write_text('{"ask_id": "x"}\n')
    with pytest.raises(UsageError, match="does not begin with the header"):
        read_log(tmp_path)
    (tmp_path / LOG).write_text(header(bench_version=99).model_dump_json() + "\n")
    with pytest.raises(UsageError, match="is of version 99"):
        read_log(tmp_path)


FULL = """
import resource, sys
from pathlib import Path
from tests.benchmark.test_bench_runlog import LINES, header
from benchmark.runlog import open_log
from slvr_data.errors import RunError
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open_log(Path(sys.argv[1]), header()) as log:
    log.write(LINES[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 20,) * 2)
    try:
        log.write(LINES[1])
    except RunError as error:
        print(error)
"""


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert "the disk is full" in found.stdout and found.returncode == 0, found.stderr
    data = (tmp_path / LOG).read_bytes()
    assert data.endswith(b"\n") and len(data.splitlines()) == 2
    assert read_log(tmp_path).lines == LINES[:1]


def test_every_line_is_json_of_its_own(tmp_path: Path) -> None:
    odd = LINES[0].model_copy(update={"reply": "a\nb\r\u2028\x00\u0085", "reply_length": 7})
    path = written(tmp_path, [odd])
    rows = [json.loads(row) for row in path.read_bytes().split(b"\n") if row]
    assert len(rows) == 2 and rows[1]["reply"] == odd.reply
    assert read_log(path).lines == [odd]
