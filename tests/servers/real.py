"""Start the real vLLM of `make vllm` on the CPU, with the tiny model of `tiny_vlm.py`; it never outlives its block.

It is started as users start it, by `slvr-data serve --run`, with a few options more that the CPU needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-vllm"
COMMAND = Path(sys.executable).parent / "slvr-data"
MODEL = "tiny-qwen2.5-vl"
KEY = "only-for-tests"
START_SECONDS = 600
CONTEXT = 8192
"""Tokens of the longest call."""
SLOTS = 16
"""Calls that it works on at a time."""
BLOCK = 128
"""Tokens of a block of the key-value cache on the CPU: a prefix is found again in whole blocks."""
CPU_OPTIONS = (
    "--served-model-name", MODEL, "--dtype", "float32", "--enforce-eager", "--max-num-seqs", str(SLOTS),
    # On the CPU, vLLM 0.32 dies of a call with a seed whose prompt is read in several chunks.
    "--no-enable-chunked-prefill", "--max-model-len", str(CONTEXT), "--max-num-batched-tokens", str(2 * CONTEXT),
)  # fmt: skip
_SAMPLE = re.compile(r"^(vllm:\w+)(?:\{[^\n]*\})? (\S+)$", re.MULTILINE)


class RunningVllm:
    """A server that answers; `folder` holds its model, and keeps its log and its caches."""

    def __init__(self, folder: Path, *options: str, key: str | None = KEY) -> None:
        """Start it, with more options of vLLM, and wait until it answers."""
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.base_url = f"{self.root}/v1"
        self.key = key
        self.log = folder / "vllm.log"
        model = checkpoint(folder / "model")
        command = [COMMAND, "serve", model, "--gpus", "0", "--port", self.port, "--vllm", program("vllm"), "--run"]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [*map(str, command), "--", *CPU_OPTIONS, *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=folder, env=environment(folder, key), preexec_fn=_end_with_parent,
            )  # fmt: skip
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        started = time.monotonic()
        while not self.healthy():
            if self._process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise RuntimeError(f"vLLM did not start: {self.log.read_text()[-8000:]}")
            time.sleep(0.2)

    def healthy(self) -> bool:
        """Whether it answers now."""
        try:
            return self.get("/health")[0] == 200
        except OSError:
            return False

    def get(self, path: str, key: str | None = None) -> tuple[int, str]:
        """(Status, body), whatever the status."""
        return got(self.root + path, key)

    def post(self, path: str, body: dict[str, Any] | bytes, key: str | None = None) -> tuple[int, Any]:
        """(Status, decoded JSON) of a call, whatever its status; with another key than its own, if given."""
        return posted(self.root + path, body, key or self.key)

    def count(self, name: str) -> float:
        """A sample of /metrics, e.g. "prompt_tokens_total", summed over its labels. Raises KeyError where it is not."""
        found = [float(value) for sample, value in _SAMPLE.findall(self.get("/metrics")[1]) if sample == f"vllm:{name}"]
        if not found:
            raise KeyError(name)
        return sum(found)

    def stop(self) -> None:
        """End it as Ctrl-C does; its command ends the processes that it has started."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)


def got(url: str, key: str | None = None) -> tuple[int, str]:
    """(Status, body) of a GET, whatever the status."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def posted(url: str, body: dict[str, Any] | bytes, key: str | None) -> tuple[int, Any]:
    """(Status, decoded JSON) of a POST, whatever the status."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=120) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def program(name: str) -> Path:
    """A program of the environment with vLLM."""
    if not (ENVIRONMENT / "ready").is_file():
        raise RuntimeError(f"there is no vLLM in {ENVIRONMENT}: run `make vllm`")
    return ENVIRONMENT / "bin" / name


def environment(folder: Path, key: str | None) -> dict[str, str]:
    """Of its processes: no network, no statistics sent, no files left in the home folder; a cache of 1 GiB."""
    keys = {"VLLM_API_KEY": key} if key else {}
    return os.environ | keys | {
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder / "hf"), "VLLM_CACHE_ROOT": str(folder / "cache"),
        "VLLM_CPU_KVCACHE_SPACE": "1", "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ.get('PATH', '')}",
    }  # fmt: skip


def checkpoint(folder: Path, seed: int = 0) -> Path:
    """The tiny model, written into `folder`."""
    command = [program("python"), Path(__file__).with_name("tiny_vlm.py"), folder, "--seed", str(seed)]
    made = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if made.returncode:
        raise RuntimeError(f"the tiny model was not made: {made.stderr[-4000:]}")
    return folder


@contextlib.contextmanager
def running_vllm(*options: str, key: str | None = KEY) -> Iterator[RunningVllm]:
    """A server with options of vLLM; see `RunningVllm`."""
    with tempfile.TemporaryDirectory() as name:
        server = RunningVllm(Path(name), *options, key=key)
        try:
            yield server
        finally:
            server.stop()


def _end_with_parent() -> None:
    """Have this process ended as by `kill` when its parent is gone, even if that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
