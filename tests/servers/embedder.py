"""A process that serves `/v1/embeddings`, slowly and badly where told, and writes down every text it was asked for.

    python -m tests.servers.embedder LOG --dim 16

It prints "ready PORT" when it listens. Its vectors depend on the text alone. Texts that hold `--refuse` are answered
as too long, those that hold `--infinite` with numbers beyond float16; a share `--fail` of the calls gets 500. It
answers no more texts than the number in the file LOG.most, where that is there: who asks for more waits.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

MODEL = "tiny-embedder"


def vector(text: str, dim: int) -> list[float]:
    """The vector of a text: of length 1."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    numbers = np.random.default_rng(seed).normal(size=dim)
    return [float(x) for x in numbers / np.linalg.norm(numbers)]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    options: argparse.Namespace
    log = threading.Lock()
    answered = 0
    draw = random.Random(0)

    def do_GET(self) -> None:
        """The list of models."""
        self._answer(200, {"object": "list", "data": [{"id": self.options.model, "object": "model"}]})

    def do_POST(self) -> None:
        """Embeddings, or an error as vLLM words it."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts: list[str] = body["input"]
        time.sleep(self.options.seconds)
        with self.log:
            failed = self.draw.random() < self.options.fail
        if self.options.chat_only:
            self._refuse(400, "The model does not support Embeddings API")
        elif failed:
            self._refuse(500, "Internal server error")
        elif self.options.refuse and any(self.options.refuse in text for text in texts):
            self._refuse(
                400, "This model's maximum context length is 40960 tokens. However, you requested 50000 tokens"
            )
        elif self._may_answer(texts):
            scale = [1e6 if self.options.infinite and self.options.infinite in text else 1.0 for text in texts]
            rows = [
                {"object": "embedding", "index": i, "embedding": [s * x for x in vector(text, self.options.dim)]}
                for i, (text, s) in enumerate(zip(texts, scale, strict=True))
            ]
            self._answer(200, {"object": "list", "model": MODEL, "data": rows, "usage": {"prompt_tokens": len(texts)}})

    def _may_answer(self, texts: list[str]) -> bool:
        """Write them down, when their turn has come; False where nobody waits for them any more."""
        most = Path(f"{self.options.log}.most")
        while not select.select([self.connection], [], [], 0)[0]:  # else closed: who waits says nothing
            with self.log:
                if not most.exists() or Handler.answered + len(texts) <= int(most.read_text()):
                    Handler.answered += len(texts)
                    with Path(self.options.log).open("a") as stream:
                        stream.write(json.dumps(texts) + "\n")
                    return True
            time.sleep(0.01)
        self.close_connection = True
        return False

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"error": {"message": message, "type": "BadRequestError", "code": status}})

    def _answer(self, status: int, tree: dict[str, Any]) -> None:
        data = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""


@dataclass
class Running:
    """An embedder that runs."""

    base_url: str
    log: Path

    @property
    def asked(self) -> list[str]:
        """Every text that it has answered, in order, and as often as it was asked."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [text for line in lines for text in json.loads(line)]

    def answer_most(self, texts: int) -> None:
        """So many in all, until another number is told."""
        file = self.log.with_name(f"{self.log.name}.most")
        file.with_suffix(".tmp").write_text(str(texts))
        file.with_suffix(".tmp").replace(file)


@contextlib.contextmanager
def embedder(log: Path, **options: Any) -> Iterator[Running]:
    """An embedder with options as on its command line; it does not outlive the block."""
    told = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.embedder", str(log), *told],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready "), "the embedder did not start"
        yield Running(f"http://127.0.0.1:{line.split()[1]}/v1", log)
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--refuse", default="")
    parser.add_argument("--infinite", default="")
    parser.add_argument("--fail", type=float, default=0.0)
    parser.add_argument("--chat-only", type=int, default=0)
    Handler.options = parser.parse_args()
    ThreadingHTTPServer.request_queue_size = 128  # of connections that a busy machine has not taken yet
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"ready {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
