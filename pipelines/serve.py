"""`slvr-data serve`: the right `vllm serve` line for a model and some GPUs, or the servers themselves.

Several replicas are several servers with a port each: builds send all calls on one picture to one of them, whose
caches then hold it. A replica has as many GPUs as its weights need.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slvr_data.errors import RunError, UsageError

USABLE = 0.9
"""Share of a GPU's memory that vLLM takes (its --gpu-memory-utilization)."""
WEIGHTS_AT_MOST = 0.85
"""Share of that which weights may fill; the rest is for the key-value cache."""
MAX_MODEL_LEN = 8192
"""Tokens of the longest call of a build: two pictures of 1280, the prompt, a profile and the reply."""
MOST_PICTURE_TOKENS = 16384
"""Of one picture that is sent as it is: public processors of Qwen2.5-VL (28 x 28 pixels a token) and Qwen3-VL (32 x 32)
scale larger ones down to so many."""
_WORDS = 2048
"""Tokens for a question of a benchmark with its choices, and the reply."""
LENGTHS = {"build": MAX_MODEL_LEN, "bench": MOST_PICTURE_TOKENS + _WORDS}
"""What the server is for -> tokens of the longest call."""
GRAMMAR = {"backend": "guidance", "disable_any_whitespace": True}
"""How replies are held to their schema: xgrammar lets bare control characters into strings, which is no JSON."""
_BYTES = {r"fp8|int8|w8a8|8bit": 1.1, r"awq|gptq|int4|w4a16|4bit|nvfp4|mxfp4": 0.65}
"""Bytes per parameter by what a name says of its weights; 2 (bf16) otherwise."""
_START_SECONDS = 3600.0
_END_SECONDS = 30.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Servers of this machine are asked past any proxy of the environment."""


@dataclass(frozen=True)
class Replica:
    """One server: its GPUs, its port and its command."""

    gpus: tuple[int, ...]
    port: int
    command: tuple[str, ...]

    @property
    def line(self) -> str:
        """As it is typed into a shell."""
        chosen = f"CUDA_VISIBLE_DEVICES={','.join(map(str, self.gpus))} " if self.gpus else ""
        return chosen + shlex.join(self.command)


def replicas(
    model: str,
    gpus: int,
    gpu_memory: float,
    port: int,
    host: str,
    revision: str | None,
    tensor_parallel: int | None,
    executable: str,
    extra: Sequence[str],
    max_model_len: int = MAX_MODEL_LEN,
) -> list[Replica]:
    """The servers that `gpus` GPUs of `gpu_memory` GB carry, at least one; 0 GPUs for a server without any.

    A call of more than `max_model_len` tokens, pictures and reply with it, is refused by them.

    Raises:
        UsageError: the model does not fit, or its size cannot be told.
    """
    each = tensor_parallel or (_gpus_needed(model, gpus, gpu_memory) if gpus else 0)
    if each > gpus:
        raise UsageError(f"--tensor-parallel {each} needs {each} GPUs, there are {gpus}: raise --gpus")
    command = [executable, "serve", model, "--host", host]
    if revision:
        command += ["--revision", revision]
    if each > 1:
        command += ["--tensor-parallel-size", str(each)]
    if gpus:
        command += ["--gpu-memory-utilization", str(USABLE)]
    command += ["--max-model-len", str(max_model_len), "--limit-mm-per-prompt", json.dumps({"image": 2, "video": 0})]
    command += ["--structured-outputs-config", json.dumps(GRAMMAR), "--enable-prompt-tokens-details"]
    return [
        Replica(
            tuple(range(number * each, (number + 1) * each)),
            port + number,
            (*command, "--port", str(port + number), *extra),
        )
        for number in range(gpus // each if each else 1)
    ]


def name_of(model: str, extra: Sequence[str]) -> str:
    """The name under which the server lists the model."""
    told = [word.partition("=")[2] for word in extra if word.startswith("--served-model-name=")]
    told += [after for word, after in itertools.pairwise(extra) if word == "--served-model-name"]
    return told[-1] if told else model


def base_urls(servers: Sequence[Replica], host: str) -> str:
    """The options that tell a build of these servers."""
    return " ".join(f"--base-url {url}" for url in _urls(servers, host))


def next_command(purpose: str, servers: Sequence[Replica], host: str, model: str) -> str:
    """What is typed once the servers answer."""
    if purpose == "bench":
        return f"slvr-bench run --model served:{model}@{','.join(_urls(servers, host))} --data BENCH"
    return f"slvr-data doctor {base_urls(servers, host)} --model {model}"


def _urls(servers: Sequence[Replica], host: str) -> list[str]:
    name = "localhost" if host in ("0.0.0.0", "127.0.0.1", "::") else host
    return [f"http://{name}:{server.port}/v1" for server in servers]


def _gpus_needed(model: str, gpus: int, gpu_memory: float) -> int:
    size = weights_gb(model)
    if size is None:
        raise UsageError(f"the size of {model} cannot be told from its name: say --tensor-parallel N, GPUs per replica")
    room = gpu_memory * USABLE * WEIGHTS_AT_MOST
    each = 1
    while each * room < size:
        each *= 2
    if each > gpus:
        raise UsageError(
            f"{model} has about {size:.0f} GB of weights and needs {each} GPUs of {gpu_memory:g} GB, there are {gpus}: "
            "raise --gpus, say --gpu-memory GB, or take a quantised or smaller model"
        )
    return each


def weights_gb(model: str) -> float | None:
    """GB of a model's weights: of a folder's files, or by what its name tells; None where it tells nothing.

    A mixture of experts counts with all its parameters ("235B-A22B": 235).
    """
    folder = Path(model)
    if folder.is_dir():
        return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e9 or None
    name = model.rsplit("/", 1)[-1].lower()
    sizes = [float(size) for size in re.findall(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?![a-z0-9])", name)]
    if not sizes:
        return None
    per_parameter = next((size for pattern, size in _BYTES.items() if re.search(pattern, name)), 2.0)
    return max(sizes) * per_parameter


def run(servers: Sequence[Replica], host: str, say: Callable[[str], None]) -> None:
    """Start all servers, say when they answer, and stay until they end; Ctrl-C ends them all.

    Raises:
        UsageError: there is no such executable.
        RunError: a server ended by itself.
    """
    executable = servers[0].command[0]
    if shutil.which(executable) is None:
        raise UsageError(
            f"{executable!r} is not installed here: pip install vllm, in an environment of its own, and name it with "
            "--vllm /path/to/bin/vllm"
        )
    signal.signal(signal.SIGHUP, _hung_up)  # a closed terminal must not leave servers on their GPUs
    started = [_start(server) for server in servers]
    try:
        _await(servers, started, host)
        say(f"ready: {base_urls(servers, host)}")
        while True:
            _check(servers, started)
            time.sleep(1)
    finally:
        _end(started)


def _hung_up(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _start(server: Replica) -> subprocess.Popen[bytes]:
    chosen = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, server.gpus))} if server.gpus else {}
    return subprocess.Popen(server.command, env=os.environ | chosen, start_new_session=True)


def _await(servers: Sequence[Replica], started: Sequence[subprocess.Popen[bytes]], host: str) -> None:
    """Until every server says that it is well."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    deadline = time.monotonic() + _START_SECONDS
    open_ports = [server.port for server in servers]
    while open_ports:
        _check(servers, started)
        if time.monotonic() > deadline:
            raise RunError(f"no server on port {open_ports[0]} after {_START_SECONDS / 60:.0f} minutes: see its output")
        open_ports = [port for port in open_ports if not _healthy(f"http://{name}:{port}/health")]
        time.sleep(1)


def _healthy(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _check(servers: Sequence[Replica], started: Sequence[subprocess.Popen[bytes]]) -> None:
    for server, process in zip(servers, started, strict=True):
        code = process.poll()
        if code is not None:
            raise RunError(f"the server on port {server.port} ended with code {code}: see its output above")


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all to end, and end those that do not, with everything that they have started."""
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    for process in started:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
