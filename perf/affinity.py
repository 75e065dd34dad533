"""How much of their prompts real vLLM servers find in their caches, with and without affinity.

    make vllm
    python perf/affinity.py [--pictures 24] [--regions 6] [--blocks 96]

Two servers with a tiny model run on the CPU (`tests/servers/real.py`), each with a key-value cache of `--blocks` blocks
of 128 tokens. The annotator's real requests go to them through the client, in three arrangements: with affinity (calls
on one picture close together, to one server), without it (each call to the next server), and without it in a random
order. Each arrangement has pictures of its own, so that nothing is left over from the one before. What was found is
the servers' own count: tokens of prompts in the prefix cache, and pictures in the cache of prepared ones. Beyond the
system prompt, which all calls share, there is a picture of about 1,000 tokens to be found, by all calls on it but the
first; a crop is never found, so that at best (R - 1) of 2 R pictures are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import machine
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from slvr_data.annotators.served.profiles import SentPictureTask, SentRegion, profile_request
from slvr_data.prompts import load_prompts
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Request, SentPicture
from slvr_data.schema import Region
from tests.servers.real import MODEL, RunningVllm, running_vllm

WIDTH, HEIGHT, CROP = 1092, 728, 224
"""Of the pictures (1,014 tokens) and of the crops (64 tokens), in pixels."""
REPLY_TOKENS = 16
SLOTS = 8
"""Calls that a server works on at a time."""


@dataclass(frozen=True)
class Found:
    """What the servers counted over one arrangement."""

    calls: int
    seconds: float
    prompt: float
    cached: float
    pictures: float
    """Pictures and crops that were sent."""
    prepared: float
    """Those that needed no preparation."""


def noise(width: int, height: int, seed: int, kind: str) -> SentPicture:
    """A picture like no other."""
    grain = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return SentPicture(f"{kind} {seed}", out.getvalue(), width, height)


def requests(config: ServedConfig, first: int, pictures: int, regions: int) -> list[Request[Any]]:
    """Profile requests in the order of a build: picture by picture. Their short replies are taken as they come."""
    prompt = load_prompts(None).profile
    found: list[Request[Any]] = []
    for number in range(first, first + pictures):
        image_id = f"{number:064x}"
        sent = [
            SentRegion(
                Region(region_id=f"{number:028x}{n:04x}", image_id=image_id, bbox=[40.0 * n, 20, 40.0 * n + 300, 320]),
                noise(CROP, CROP, 1_000 * number + n, "crop"),
                None,
            )
            for n in range(regions)
        ]
        whole = noise(WIDTH, HEIGHT, number, "picture")
        task = SentPictureTask(image_id, WIDTH, HEIGHT, whole, sent, [], "none")
        for region in sent:
            made = profile_request(task, region, config, prompt)
            found.append(Request(**{**vars(made), "accept": str, "schema": None, "schema_name": None}))
    return found


async def ask(config: ServedConfig, asked: Sequence[Request[Any]], folder: Path) -> None:
    """All of them, as many at a time as a build has open."""
    room = asyncio.Semaphore(4 * SLOTS)
    with Ledger(folder / "ledger.json") as ledger:
        async with Client(config, None, ledger, print) as client:

            async def one(request: Request[Any]) -> None:
                async with room:
                    await client.ask(request)

            await asyncio.gather(*map(one, asked))


def measured(servers: Sequence[RunningVllm], config: ServedConfig, asked: Sequence[Request[Any]]) -> Found:
    """Ask, and see how far the servers' counters have moved."""

    def counts() -> list[float]:
        names = ("prompt_tokens_total", "prompt_tokens_cached_total", "mm_cache_queries_total", "mm_cache_hits_total")
        return [sum(server.count(name) for server in servers) for name in names]

    before, started = counts(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(ask(config, asked, Path(folder)))
    seconds = time.perf_counter() - started
    return Found(len(asked), seconds, *(now - then for now, then in zip(counts(), before, strict=True)))


ARRANGEMENTS = (("affinity", True, False), ("no affinity", False, False), ("no affinity, random order", False, True))
"""Name, whether the client keeps a picture's calls together, whether calls come in a random order."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--regions", type=int, default=6)
    parser.add_argument("--blocks", type=int, default=96)
    told = parser.parse_args()
    sized = ("--num-gpu-blocks-override", told.blocks, "--max-num-seqs", SLOTS, "--mm-processor-cache-gb", 0.1)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_vllm(*map(str, sized), key=None)) for _ in range(2)]
        print(f"{machine()}\npython perf/affinity.py {' '.join(sys.argv[1:])}")
        print(
            f"{told.pictures} pictures x {told.regions} regions, 2 servers of {told.blocks} blocks and {SLOTS} slots\n"
        )
        print(f"{'arrangement':<28}{'prompt tokens':>16}{'found':>12}{'pictures':>12}{'found':>12}{'calls/s':>12}")
        for number, (name, affinity, shuffled) in enumerate(ARRANGEMENTS):
            config = ServedConfig(
                base_urls=[server.base_url for server in servers], model=MODEL, affinity=affinity,
                max_tokens=REPLY_TOKENS, attempts=1,
            )  # fmt: skip
            asked = requests(config, 1 + number * told.pictures, told.pictures, told.regions)
            if shuffled:
                random.Random(0).shuffle(asked)
            found = measured(servers, config, asked)
            print(
                f"{name:<28}{found.prompt:>16,.0f}{found.cached / found.prompt:>12.1%}{found.pictures:>12,.0f}"
                f"{found.prepared / found.pictures:>12.1%}{found.calls / found.seconds:>12.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
