"""Traps for the workers of a test's cluster, which find this file on their path: pictures that stop or kill them.

SLVR_TEST_TRAPS is a folder. A worker that decodes NAME kills itself (SIGKILL) where NAME.kill lies there, and, where
NAME.kill-compared does, if it compares NAME with what is avoided; it waits while NAME.hold lies there, having told its
process id in NAME.held-PID. Where no-slvr lies there, none finds the package `pipelines`.
"""

import os
import signal
import sys
import time
from pathlib import Path

_TRAPS = os.environ.get("SLVR_TEST_TRAPS")
_DECODING = "upright"


def _look(event, arguments):
    if event != "open" or not isinstance(arguments[0], str | Path) or not str(arguments[0]).endswith(".jpg"):
        return
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != _DECODING:
        frame = frame.f_back
    if frame is None:
        return
    trap = Path(_TRAPS) / Path(arguments[0]).name
    if trap.with_name(f"{trap.name}.kill").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if trap.with_name(f"{trap.name}.kill-compared").exists() and _within(frame, "compare_shard"):
        os.kill(os.getpid(), signal.SIGKILL)
    hold = trap.with_name(f"{trap.name}.hold")
    if hold.exists():
        trap.with_name(f"{trap.name}.held-{os.getpid()}").touch()
        while hold.exists():
            time.sleep(0.01)


def _within(frame, name):
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame is not None


class _NotInstalled:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "pipelines" and Path(_TRAPS, "no-slvr").exists():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if _TRAPS:
    sys.meta_path.insert(0, _NotInstalled)
    sys.addaudithook(_look)
