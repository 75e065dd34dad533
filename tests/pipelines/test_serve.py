"""`slvr-data serve`: how many replicas with how many GPUs, the lines it prints, and servers that start and end."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.serve import LENGTHS, Replica, base_urls, name_of, replicas, weights_gb
from slvr_data.errors import UsageError
from tests.builds import COMMAND
from tests.ports import free_port

FAKE = """\
import http.server, os, sys
arguments = sys.argv
port = int(arguments[arguments.index("--port") + 1])
if "--die" in arguments:
    sys.exit(7)
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""
"""A server that answers /health and nothing else: `serve` needs no more of one."""


def some(model: str, gpus: int, **changes: object) -> list[Replica]:
    told = {"gpu_memory": 80, "port": 8000, "host": "127.0.0.1", "revision": None, "tensor_parallel": None}
    return replicas(model, gpus, **(told | {"executable": "vllm", "extra": []} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", 14),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 144),
        ("Qwen/Qwen2.5-VL-72B-Instruct-AWQ", 46.8),
        ("Qwen/Qwen3-VL-235B-A22B-Instruct", 470),
        ("Qwen/Qwen3-VL-235B-A22B-Instruct-FP8", 258.5),
        ("someone/mystery", None),
    ],
)
def test_weights_are_told_by_the_name(model: str, size: float | None) -> None:
    assert weights_gb(model) == (pytest.approx(size) if size is not None else None)


def test_weights_of_a_folder_are_those_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(bytes(3_000_000))
    (tmp_path / "model-2.safetensors").write_bytes(bytes(1_000_000))
    assert weights_gb(str(tmp_path)) == pytest.approx(0.004)


@pytest.mark.parametrize(
    ("model", "gpus", "each", "number"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", 8, 1, 8),
        ("Qwen/Qwen2.5-VL-32B-Instruct", 8, 2, 4),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 8, 4, 2),
        ("Qwen/Qwen3-VL-235B-A22B-Instruct", 8, 8, 1),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 1, 1, 1),
    ],
)
def test_a_replica_has_the_gpus_that_its_weights_need(model: str, gpus: int, each: int, number: int) -> None:
    servers = some(model, gpus)
    assert [len(server.gpus) for server in servers] == [each] * number
    assert sorted(gpu for server in servers for gpu in server.gpus) == list(range(each * number))
    assert [server.port for server in servers] == list(range(8000, 8000 + number))


def test_a_line_can_be_typed_into_a_shell() -> None:
    [server] = some("Qwen/Qwen2.5-VL-7B-Instruct", 1, revision="main", extra=["--seed", "3"])
    words = shlex.split(server.line)
    assert words[:4] == ["CUDA_VISIBLE_DEVICES=0", "vllm", "serve", "Qwen/Qwen2.5-VL-7B-Instruct"]
    assert words[words.index("--structured-outputs-config") + 1] == (
        '{"backend": "guidance", "disable_any_whitespace": true}'
    )
    assert words[-2:] == ["--seed", "3"]
    assert name_of("a/b", ["--served-model-name", "x"]) == name_of("a/b", ["--served-model-name=x"]) == "x"
    assert name_of("a/b", []) == "a/b"
    assert base_urls([server], "0.0.0.0") == "--base-url http://localhost:8000/v1"


def length(line: str) -> int:
    words = shlex.split(line)
    return int(words[words.index("--max-model-len") + 1])


def test_calls_may_be_as_long_as_what_the_servers_are_for() -> None:
    """A photograph of 4032 x 3024 is 15,552 tokens of Qwen2.5-VL, as it is."""
    told = ["serve", "Qwen/Qwen2.5-VL-7B-Instruct", "--gpus", "2"]
    build, bench = run(*told), run(*told, "--for", "bench")
    assert {length(line) for line in build[:2]} == {8192}
    assert {length(line) for line in bench[:2]} == {18432} and 4032 * 3024 // 28**2 + 2048 < 18432
    assert build[2].startswith("# then: slvr-data doctor --base-url http://localhost:8000/v1 --base-url ")
    assert bench[2] == (
        "# then: slvr-bench run --model "
        "served:Qwen/Qwen2.5-VL-7B-Instruct@http://localhost:8000/v1,http://localhost:8001/v1 --data BENCH"
    )
    assert length(run(*told, "--for", "bench", "--max-model-len", "40000")[0]) == 40000
    [server] = some("Qwen/Qwen2.5-VL-7B-Instruct", 1, max_model_len=LENGTHS["bench"])
    assert length(server.line) == LENGTHS["bench"] < 32768, "beyond it Qwen2.5-VL needs other settings"


def run(*arguments: str) -> list[str]:
    """The lines that the command prints."""
    found = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


@pytest.mark.parametrize(
    ("model", "gpus", "changes", "cure"),
    [
        ("Qwen/Qwen2.5-VL-72B-Instruct", 2, {}, "needs 4 GPUs of 80 GB, there are 2"),
        ("someone/mystery", 2, {}, "--tensor-parallel"),
        ("someone/mystery", 2, {"tensor_parallel": 4}, "raise --gpus"),
    ],
)
def test_what_does_not_fit_is_said(model: str, gpus: int, changes: dict[str, object], cure: str) -> None:
    with pytest.raises(UsageError, match=cure):
        some(model, gpus, **changes)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    path = tmp_path / "vllm"
    code = tmp_path / "fake.py"
    code.write_text(FAKE)
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(code))} "$@"\n')
    path.chmod(0o755)
    return path


def served(fake: Path, port: int, *extra: str, **more: str) -> subprocess.Popen[str]:
    command = [COMMAND, "serve", "a-1b", "--gpus", "2", "--port", str(port), "--vllm", str(fake), "--run", "--", *extra]
    pipe, env = subprocess.PIPE, os.environ | more
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=env)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_servers_start_say_so_and_end_together(fake: Path, number: signal.Signals) -> None:
    port = free_port(3)
    process = served(fake, port)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line == f"ready: --base-url http://localhost:{port}/v1 --base-url http://localhost:{port + 1}/v1\n"
    os.kill(process.pid, number)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert len([line for line in out.splitlines() if "CUDA_VISIBLE_DEVICES" in line]) == 2
    for number in (port, port + 1):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", number)) != 0, "the server is still there"


def test_a_proxy_is_not_asked_about_servers_of_this_machine(fake: Path) -> None:
    """On a cluster the environment names one, and it does not know them."""
    port = free_port(3)
    nothing = f"http://127.0.0.1:{port + 2}"
    process = served(fake, port, http_proxy=nothing, HTTP_PROXY=nothing, no_proxy="", NO_PROXY="")
    try:
        with selectors.DefaultSelector() as waiting:
            assert process.stderr is not None
            waiting.register(process.stderr, selectors.EVENT_READ)
            assert waiting.select(120), "it still waits for servers that are well"
        assert process.stderr.readline().startswith("ready: ")
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)


def test_a_server_that_ends_by_itself_ends_the_command(fake: Path) -> None:
    process = served(fake, free_port(3), "--die")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "ended with code 7" in errors


def test_no_vllm_is_one_sentence() -> None:
    command = [COMMAND, "serve", "a-1b", "--vllm", "/nowhere/vllm", "--run"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 2
    assert "is not installed here: pip install vllm" in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
