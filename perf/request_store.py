"""Speed of the request store: durable replies per second, taking in segments on another node, look-ups, memory.

    python perf/request_store.py [--replies 100000] [--bytes 1000] [--scratch FOLDER]

Replies of random words, so that they compress as text does. "put" is from the first put until the last reply is
committed or in a segment; "another node" opens the same segments with an empty scratch folder; look-ups are
drawn at random. Each step runs in a process of its own; memory is what it holds more at its peak than a process
that has opened an empty store.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from common import machine

from slvr_data.requests.config import ServedConfig
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Message, Request, Sampling, SentPicture
from slvr_data.requests.store import RequestStore, StoredReply

LOOKUPS = 20_000
Step = Callable[[Path, Path, int, int], dict[str, Any]]


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def replies(count: int, size: int) -> Iterator[StoredReply]:
    dice = random.Random(0)
    words = [f"{dice.getrandbits(28):07x}" for _ in range(5000)]
    for number in range(count):
        text = " ".join(dice.choices(words, k=max(1, (size - 300) // 8)))
        yield StoredReply(
            key=key(number), base_key=key(-number - 1), attempt=0, purpose="profile", text=text, finish_reason="stop",
            prompt_tokens=1500, completion_tokens=300, cached_tokens=1200, seconds=2.5, model="some/model",
        )  # fmt: skip


def put(folder: Path, scratch: Path, count: int, size: int) -> dict[str, Any]:
    """Durable as they come, and how long one put takes."""
    made = list(replies(min(count, 20_000), size))
    with RequestStore(folder, scratch) as store:
        started = time.perf_counter()
        waits = []
        for reply in made:
            before = time.perf_counter()
            store.put(reply)
            waits.append(time.perf_counter() - before)
        with closing(sqlite3.connect(store.scratch / "replies.sqlite")) as reader:
            while reader.execute("SELECT max(id) FROM replies").fetchall()[0][0] < len(made):
                time.sleep(0.001)
        committed = time.perf_counter()
        store.flush()
        ended = time.perf_counter()
    waits.sort()
    return {
        "put: replies/s committed": len(made) / (committed - started),
        "put: replies/s committed, in segments": len(made) / (ended - started),
        "put: median us": waits[len(waits) // 2] * 1e6,
        "put: 99.9 % us": waits[int(len(waits) * 0.999)] * 1e6,
    }


def fill(folder: Path, scratch: Path, count: int, size: int) -> dict[str, Any]:
    """All replies, one after the other: memory must not grow with their number."""
    started = time.perf_counter()
    with RequestStore(folder, scratch) as store:
        for reply in replies(count, size):
            store.put(reply)
    return {"fill: replies/s with making them": count / (time.perf_counter() - started)}


def reopen(folder: Path, scratch: Path, count: int, size: int) -> dict[str, Any]:
    """On the same node."""
    started = time.perf_counter()
    with RequestStore(folder, scratch) as store:
        found = {"open again: s": time.perf_counter() - started}
        return found | _lookups(store, count)


def after_kill(folder: Path, scratch: Path, count: int, size: int) -> dict[str, Any]:
    """On the same node, where the last run did not close the store."""
    child = os.fork()
    if child == 0:
        RequestStore(folder, scratch)
        os._exit(0)
    os.waitpid(child, 0)
    started = time.perf_counter()
    with RequestStore(folder, scratch):
        return {"open after a kill: s": time.perf_counter() - started}


def another_node(folder: Path, scratch: Path, count: int, size: int) -> dict[str, Any]:
    started = time.perf_counter()
    with RequestStore(folder, scratch / "another"):
        return {"open on another node: s": time.perf_counter() - started}


def keys(folder: Path, scratch: Path, count: int, size: int) -> dict[str, Any]:
    """The key of a request as large as ours are."""
    picture = SentPicture("image 1f0c jpeg-1 1092x728", b"", 1092, 728)
    schema = {"properties": {f"field{n}": {"type": "string", "maxLength": 200} for n in range(60)}}
    request = Request(
        "profile", "1f0c", (Message("user", (picture, picture, "word " * 600)),), Sampling(0.2, 0.95, 1024, 0),
        "profile-1:12345678", {"image_id": "1f0c", "box": [1, 2, 3, 4]}, str, "region_profile", schema,
    )  # fmt: skip
    config = ServedConfig(model="some/model")
    started = time.process_time()
    for attempt in range(2000):
        request_key(request, config, attempt)
    return {"request_key: us": (time.process_time() - started) / 2000 * 1e6}


def _lookups(store: RequestStore, count: int) -> dict[str, Any]:
    dice = random.Random(1)
    found = {}
    for name, low in (("get: us, there", 0), ("get: us, not there", count)):
        wanted = [key(low + dice.randrange(count)) for _ in range(LOOKUPS)]
        started = time.perf_counter()
        hits = sum(store.get(each) is not None for each in wanted)
        found[name] = (time.perf_counter() - started) / LOOKUPS * 1e6
        assert hits == (LOOKUPS if low == 0 else 0)
    return found


STEPS: dict[str, Step] = {
    step.__name__: step for step in (keys, put, fill, reopen, after_kill, another_node)
}  # in this order


def _child(name: str, folder: Path, scratch: Path, count: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as empty, RequestStore(Path(empty), Path(empty)):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = STEPS[name](folder, scratch, count, size)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    if name not in ("keys", "put"):
        found[f"{name}: memory, MiB"] = grown
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=100_000)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--step", help=argparse.SUPPRESS, nargs=3, metavar=("NAME", "FOLDER", "SCRATCH"))
    options = parser.parse_args()
    if options.step:
        name, folder, scratch = options.step
        _child(name, Path(folder), Path(scratch), options.replies, options.bytes)
        return
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.scratch) as made:
        for name in STEPS:
            folder = Path(made) / ("put" if name == "put" else "set")
            step = ("--step", name, folder, Path(made) / "scratch")
            sizes = ("--replies", options.replies, "--bytes", options.bytes)
            command = [sys.executable, __file__, *map(str, step), *map(str, sizes)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            for what, value in json.loads(said).items():
                print(f"{what:40} {value:12,.2f}", flush=True)


if __name__ == "__main__":
    main()
