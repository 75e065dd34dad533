"""Commands in this process: a process of their own would need seconds to load torch."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from slvr_data import console

DOORS = {"slvr-train": console.train, "slvr-bench": console.bench}


def inside(command: str, *arguments: object, code: int = 0) -> str:
    """What the command says, on both streams, until it ends with this exit code.

    What it has set in the environment is gone then: a process of its own would have taken it along.
    """
    said, before, environment = io.StringIO(), signal.getsignal(signal.SIGTERM), dict(os.environ)
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            patch.setattr(sys, "argv", [command, *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                DOORS[command]()
    finally:
        signal.signal(signal.SIGTERM, before)
        os.environ.clear()
        os.environ.update(environment)
    assert (ended.value.code or 0) == code, said.getvalue()
    return said.getvalue()
