"""How commands end: each end that a user can meet, in a real process of a real typer application."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, time
import typer
from slvr_data import commandline
from slvr_data.errors import RunError, UsageError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

@app.callback()
def front() -> None:
    "An application."

@app.command()
def end(how: str, number: int = 0) -> None:
    if how == "usage":
        raise UsageError("the value 'x'\\n is wrong:   take another")
    if how == "run":
        raise RunError("the disk is full")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "abort":
        raise typer.Abort
    if how == "code":
        raise typer.Exit(number)
    if how == "file":
        open("/nowhere/at/all")
    if how == "memory":
        raise MemoryError
    if how == "parquet":
        import pyarrow.parquet
        with open(sys.argv[0] + ".parquet", "wb") as stream:
            stream.write(b"no parquet at all")
        pyarrow.parquet.read_table(sys.argv[0] + ".parquet")
    if how == "fault":
        raise ZeroDivisionError("ours")
    if how == "surrogate":
        print("a\\udcff name")
    if how == "pipe":
        for _ in range(100000):
            print("line")
    if how == "wait":
        print("waiting", flush=True)
        time.sleep(60)

commandline.run("it", app, stopped="stopped; again goes on", memory="out of memory: less")
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("program") / "it.py"
    file.write_text(PROGRAM)
    return file


def run(program: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("usage", 2, "it: the value 'x' is wrong: take another\n"),
        ("run", 1, "it: the disk is full\n"),
        ("interrupt", 130, "it: stopped; again goes on\n"),
        ("abort", 130, "it: stopped; again goes on\n"),
        ("file", 1, "it: the file system refused: [Errno 2] No such file or directory: '/nowhere/at/all'\n"),
        ("memory", 1, "it: out of memory: less\n"),
    ],
)
def test_ends_of_one_line(program: Path, how: str, code: int, said: str) -> None:
    assert run(program, "end", how) == (code, "", said)


def test_a_damaged_parquet_file_is_said_to_be_one(program: Path) -> None:
    code, _, said = run(program, "end", "parquet")
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("it: a file of the set is damaged (") and "slvr-data validate DIR" in said


def test_wrong_options_are_one_line_and_no_options_are_help(program: Path) -> None:
    code, _, said = run(program, "end", "x", "--number", "many")
    assert (code, said.count("\n")) == (2, 1) and "--number" in said and said.endswith("(see --help)\n")
    code, _, said = run(program, "fly")
    assert (code, said.count("\n")) == (2, 1) and "fly" in said
    code, out, said = run(program)
    assert code == 2 and "Usage" in out + said and "Traceback" not in said


def test_codes_and_output_pass_through(program: Path) -> None:
    assert run(program, "end", "code", "--number", "3") == (3, "", "")
    assert run(program, "end", "well") == (0, "", "")
    assert run(program, "end", "surrogate") == (0, "a\\udcff name\n", "")


def test_a_fault_of_ours_shows_where(program: Path) -> None:
    code, _, said = run(program, "end", "fault")
    assert code == 1 and "Traceback" in said and "ZeroDivisionError: ours" in said


def test_a_reader_that_has_seen_enough(program: Path) -> None:
    line = [sys.executable, str(program), "end", "pipe"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(120) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_in_order(program: Path, number: signal.Signals) -> None:
    line = [sys.executable, str(program), "end", "wait"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, "it: stopped; again goes on\n")
