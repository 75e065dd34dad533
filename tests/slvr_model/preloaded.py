"""Processes that find torch and our modules loaded, which costs a process of its own some seven seconds.

The standard library's server of forks loads them, once for each test process that wants such a process. It computes
nothing itself, so that what it forks knows as little as what is started by a command line; where that line or the
loading is what is tested, tests start the real command.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkContext, ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = ["slvr_model.sft.run", "slvr_model.mgrpo.run", "slvr_model.recipes.tiny", "torch.distributed.fsdp"]

_forks: list[ForkContext] = []
"""In such a process: what its own are made by, before it has computed anything."""


@cache
def context() -> ForkServerContext:
    """Of processes that are such forks; each has one thread."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(LOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # read while torch is loaded
        forkserver.ensure_running()
    return made


def python(arguments: Sequence[object], out: Path, environment: Mapping[str, str] | None = None) -> ForkServerProcess:
    """`python -m MODULE ...` or `python -c CODE ...` in the root of the repository, begun; what it says, on both
    streams, is appended to `out`.
    """
    told = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    begun = context().Process(target=_become, args=([str(one) for one in arguments], out, told))
    begun.start()
    return begun


def _become(arguments: list[str], out: Path, environment: dict[str, str]) -> None:
    _forks.append(multiprocessing.get_context("fork"))  # a server of its own would load everything again
    with out.open("ab") as said:
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kind, what, *sys.argv[1:] = arguments
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(what, {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()


@contextmanager
def spawned() -> Iterator[None]:
    """Processes that our code spawns here meanwhile are such forks too."""
    forks = _forks[0] if _forks else context()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", lambda method: forks)
        yield
