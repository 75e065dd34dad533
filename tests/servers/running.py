"""Start the stub as a process, talk to it, restart and kill it; it never outlives its block."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TAKEN: list[socket.socket] = []


def nobody() -> str:
    """An address, as `--base-url` takes it, where nobody listens: this process keeps its port from all others."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    _TAKEN.append(taken)
    return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


class RunningStub:
    """A stub on a port of its own, which it keeps over restarts, as it keeps its log."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self._folder = folder
        self._options: dict[str, Any] = {"log": folder / "log.jsonl", "with_parent": True} | options
        self.port = int(options.get("port", 0))
        self.process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def root(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """As `--base-url` takes it."""
        return f"{self.root}/v1"

    @property
    def log_file(self) -> Path:
        """A line of JSON for each call that has ended (`tests.servers.tally`)."""
        return Path(self._options["log"])

    def start(self) -> None:
        """Start the process and wait until it listens."""
        self._options["port"] = self.port
        errors = (self._folder / "stderr.txt").open("a")
        with errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.servers.stub", *arguments(self._options)],
                stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.kill()
            raise RuntimeError(f"the stub did not start: {(self._folder / 'stderr.txt').read_text()[-2000:]}")
        self.port = int(line.split()[1])

    def control(self, **wanted: Any) -> dict[str, Any]:
        """`POST /control`: slots=, service_ms=, seed=, faults=, errors=, refuse_seconds=, reset=True, ..."""
        return self._json("/control", wanted)

    def log(self, bodies: bool = False, errors: bool = False) -> dict[str, Any]:
        """`GET /log`."""
        wanted = [name for name, on in (("bodies=1", bodies), ("errors=1", errors)) if on]
        return self._json("/log?" + "&".join(wanted))

    def wait_drawn(self, seconds: float = 300) -> None:
        """Wait until all its scenes are drawn."""
        until = time.monotonic() + seconds
        while self.log()["drawing"]:
            if time.monotonic() > until:
                raise TimeoutError("the stub is still drawing its scenes")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL, with the processes that draw for it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            self.process = None

    def restart(self) -> None:
        """Kill it and start it again on the same port; what was in flight is lost, the log is kept."""
        self.kill()
        self.start()

    def _json(self, path: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            tree: dict[str, Any] = json.loads(reply.read())
        return tree


def arguments(options: dict[str, Any]) -> list[str]:
    """slots=16 as "--slots 16", faults={...} as JSON, True as a flag; None is left out."""
    found: list[str] = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            found.append(option)
        elif isinstance(value, dict):
            found += [option, json.dumps(value)]
        elif value is not None and value is not False:
            found += [option, str(value)]
    return found


@contextlib.contextmanager
def running_stub(**options: Any) -> Iterator[RunningStub]:
    """A stub with options as on its command line, e.g. `running_stub(slots=16, faults={"5xx": 0.1})`."""
    with tempfile.TemporaryDirectory() as folder:
        stub = RunningStub(Path(folder), **options)
        try:
            yield stub
        finally:
            stub.kill()
