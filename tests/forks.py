"""Commands without the wait for their libraries: forks of a process that has loaded them once.

Most of what a command of a test costs is the loading of libraries. `run` has it forked off a server instead, which
each test process starts when it first needs it. What runs is a process of its own as before, with its own arguments,
folder, environment, streams and exit code; it only finds loaded what it imports. Its workers are forks too, made
before the command did anything, so that they know as little of it as those that are spawned. Where loading matters,
or how Python itself starts (`suits`), and for commands that are stopped or killed, tests start the real command.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import multiprocessing.process
import multiprocessing.spawn
import multiprocessing.util
import os
import pkgutil
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

from pipelines.engines.local import processors
from slvr_data import console

_AT_THE_START = ("PYTHON", "LD_", "LC_", "LANG", "OMP_", "ARROW_", "HF_", "HOME", "TMPDIR", "TZ", "XDG_")
"""What variables are called that Python or a library reads when it starts: a fork has those of the server."""
_PACKAGES = ("slvr_data", "pipelines")
_THEIRS = ("PIL.JpegImagePlugin", "PIL.PngImagePlugin", "aiohttp", "anyio._backends._asyncio", "dateutil.tz", "h11",
           "httpcore2", "jinja2", "openai.resources.chat.completions.completions", "openai.resources.embeddings",
           "openai.resources.models", "pyarrow.parquet", "rich.console", "rich.progress", "rich.table")  # fmt: skip
"""Libraries that our modules import when they are needed."""
_BYTES = 1 << 19
"""Of a message, at most."""
_STARTED_WITH = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "0"}
"""The server, and with it every fork."""
_MOST_WORKERS = 4
"""That are forked ahead; others are spawned."""
_POOLS = {"build-attributes": 1, "build-multiquery": 1, "doctor": 2}
"""Commands, and their pools at most, each with a worker per processor where they are not told how many."""


def run(
    command: str, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path | None, seconds: float
) -> subprocess.CompletedProcess[str]:
    """The console script at `command` with `arguments`, to its end, which must come within so many seconds."""
    line = [command, *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        told = {"line": line, "environment": dict(environment), "cwd": str(cwd or Path.cwd())}
        code = _server().run(told, out, err, seconds)
        streams = []
        for stream in (out, err):
            stream.seek(0)
            streams.append(stream.read().decode().replace("\r\n", "\n").replace("\r", "\n"))
    return subprocess.CompletedProcess(line, code, *streams)


def suits(environment: Mapping[str, str]) -> bool:
    """Whether a fork can have this environment: what counts at the start is as the server has it."""
    names = [name for name in {*environment, *_STARTED_WITH} if name.startswith(_AT_THE_START)]
    return all(environment.get(name) == _STARTED_WITH.get(name) for name in names)


@cache
def _server() -> _Server:
    """Of this process; it ends with it."""
    return _Server()


class _Server:
    """The process that forks, as those see it who want something run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BYTES)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env=_STARTED_WITH, cwd=Path(__file__).parent.parent,
            )  # fmt: skip

    def run(self, told: dict[str, Any], out: IO[bytes], err: IO[bytes], seconds: float) -> int:
        """The exit code; negative is the signal that ended it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.settimeout(seconds)
            with theirs, self._lock:
                fds = [theirs.fileno(), out.fileno(), err.fileno()]
                socket.send_fds(self._socket, [json.dumps(told).encode()], fds)
            pid = int(ours.recv(64))
            try:
                status = ours.recv(64)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
        assert status, "the server of forks died"
        return os.waitstatus_to_exitcode(int(status))


def _serve(number: int) -> None:
    """Load everything, then fork for each request until nobody is left who could ask."""
    for package in _PACKAGES:
        paths = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(paths, f"{package}."):
            importlib.import_module(module.name)
    for name in _THEIRS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=number) as requests:
        while True:
            data, fds, _, _ = socket.recv_fds(requests, _BYTES, 3)
            if not data:
                return
            if os.fork() == 0:
                requests.close()
                _to_its_end(_mind, json.loads(data), fds)
            for fd in fds:
                os.close(fd)


def _to_its_end(work: Callable[..., int], *arguments: Any) -> NoReturn:
    """End this fork with the exit code of its work, as Python ends a program, and never return to the server's."""
    code = 1
    try:
        try:
            code = work(*arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _mind(told: dict[str, Any], fds: list[int]) -> int:
    """Fork the command, tell who it is and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    answer, out, err = fds
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        _to_its_end(_become, told, out, err)
    os.write(answer, b"%d" % pid)
    os.write(answer, b"%d" % os.waitpid(pid, 0)[1])
    return 0


def _become(told: dict[str, Any], out: int, err: int) -> int:
    """Be the command."""
    for source, target in ((out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["environment"])
    script, *arguments = told["line"]
    sys.argv, sys.path[0] = told["line"], str(Path(script).parent)
    sys.modules["__main__"] = types.ModuleType("__main__")
    _sow(_workers(arguments))
    sys.modules["__main__"].__file__ = script  # what its workers load
    assert Path(script).name == "slvr-data"
    console.data()
    return 0


def _workers(arguments: Sequence[str]) -> int:
    """How many workers a command may start."""
    if "--workers" in arguments:
        told = "".join(arguments[arguments.index("--workers") + 1 :][:1])
        return int(told) if told.isdecimal() else 0
    return processors() * _POOLS.get(arguments[0], 0) if arguments else 0


def _sow(count: int) -> None:
    """Fork workers ahead, and let those that the command would spawn come of them."""
    waiting: list[tuple[int, socket.socket]] = []
    for _ in range(min(count, _MOST_WORKERS)):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            for _, other in [*waiting, (0, ours)]:
                other.close()
            _to_its_end(_grow, theirs)
        theirs.close()
        waiting.append((pid, ours))
    spawn = multiprocessing.util.spawnv_passfds

    def planted(path: str, line: list[str], fds: Sequence[int]) -> int:
        named = re.search(r"spawn_main\(tracker_fd=(\d+), pipe_handle=(\d+)\)", " ".join(map(str, line)))
        if named is None or not waiting:
            found: int = spawn(path, line, fds)
            return found
        pid, seed = waiting.pop()
        with seed:
            told: dict[str, Any] = {
                "tracker_fd": int(named[1]),
                "pipe_handle": int(named[2]),
                "fds": [int(fd) for fd in fds],
            }
            socket.send_fds(seed, [json.dumps(told).encode()], told["fds"])
        return pid

    multiprocessing.util.spawnv_passfds = planted


def _grow(seed: socket.socket) -> int:
    """Wait until a worker is wanted, and be it, with descriptors of the same numbers."""
    with seed:
        data, fds, _, _ = socket.recv_fds(seed, _BYTES, 64)
    if not data:
        os._exit(0)
    told = json.loads(data)
    wanted = told.pop("fds")
    kept = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 1000) for fd in fds]
    for fd in fds:
        os.close(fd)
    for fd, number in zip(kept, wanted, strict=True):
        os.dup2(fd, number, inheritable=False)
        os.close(fd)
    sys.argv = ["-c", "--multiprocessing-fork"]
    multiprocessing.spawn.spawn_main(**told)
    return 0


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
