"""Speed of the request layer against the stub server (`tests/servers/stub.py`): 16 slots of 50 ms, 320 calls/s.

    python perf/request_layer.py [--seconds 15] [--replies 100000] [--only rate|resume] [--blind]

"rate": the served annotator asks for profiles as a build does (shards of pictures taken in while the client has
room), with pictures encoded beforehand, about 40 KB a call. Then the server's slots fall to 8 without a word. What
was answered and what waited is the stub's own count; CPU is that of this process, per answered call: key, body,
call, validation, store. With --blind the stub tells no metrics.

"resume": a store with so many committed replies is opened by a new process, on the same node and on another one
(segments alone). The next call comes at once where finished shards are skipped, and at the latest after all
replies have been taken from the store once more.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import machine
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from slvr_data.annotators.base import Profile
from slvr_data.annotators.served.profiles import (
    SentPictureTask,
    SentRegion,
    Served,
    profile_request,
)
from slvr_data.prompts import load_prompts
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.keys import request_key
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import SentPicture
from slvr_data.requests.store import RequestStore, StoredReply
from slvr_data.schema import Region
from tests.servers.running import RunningStub, running_stub

MODEL = "Qwen2.5-VL-stub"
SLOTS, SERVICE_MS = 16, 50
PICTURES, REGIONS, SHARD = 200, 4, 16
"""Different pictures; regions of each; pictures taken in together."""
WARM_SECONDS = 10.0
LABELS = ("cup", "dog", "tree", "kite")
REPLY = json.dumps({
    "appearance": {"entity": "cup", "colors": ["red"], "shape": "round", "material": "solid", "size": "small"},
    "action": "standing", "interaction": [{"kind": "touching", "target": "tree"}],
    "spatial": {
        "position": "left", "orientation": "vertical", "depth": "front",
        "relations": [{"kind": "left of", "target": "tree"}, {"kind": "above", "target": "dog"}],
    },
    "visible_text": [],
})  # fmt: skip


def picture(number: int, side: int, kind: str) -> SentPicture:
    """A noisy JPEG, its data URL made."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=75)
    sent = SentPicture(f"{kind} {number:064x}", out.getvalue(), side, side)
    _ = sent.url
    return sent


def tasks(side: int = 168, crop_side: int = 84, first: int = 0) -> Iterator[SentPictureTask]:
    """Pictures without end, of a few encoded ones: each has another id, so that each call is a new one."""
    wholes = [picture(n, side, "image") for n in range(PICTURES)]
    crops = [picture(n, crop_side, "crop") for n in range(PICTURES)]
    for number in itertools.count(first):
        image_id = f"{number:064x}"
        regions = [
            SentRegion(
                Region(region_id=f"{number:028x}{n:04x}", image_id=image_id, bbox=[10 + n, 20, 90, 120], label=label),
                crops[(number + n) % PICTURES], 1,
            )
            for n, label in enumerate(LABELS[:REGIONS])
        ]  # fmt: skip
        yield SentPictureTask(image_id, side, side, wholes[number % PICTURES], regions, [], "padding 0.15")


@dataclass
class Counted:
    """What this process has done so far."""

    profiles: int = 0
    others: int = 0


async def ask_on(client: Client, served: Served, counted: Counted, over: asyncio.Event) -> None:
    """Take shards in while the client has room, until it is over."""
    endless = tasks()

    async def one(task: SentPictureTask) -> None:
        for found in await served.annotate(task):
            counted.profiles += isinstance(found, Profile)
            counted.others += not isinstance(found, Profile)

    running: set[asyncio.Task[None]] = set()
    while not over.is_set():
        while client.room > 0 and not over.is_set():
            running |= {asyncio.create_task(one(next(endless))) for _ in range(SHARD)}
            await asyncio.sleep(0)
        if running:
            done, running = await asyncio.wait(running, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Window:
    """Some seconds of steady asking."""

    slots: int
    rate: float
    waiting: float
    cpu_ms: float

    @property
    def line(self) -> str:
        most = self.slots * 1000 / SERVICE_MS
        return (
            f"{self.slots:5} {self.rate:11.1f} {100 * self.rate / most:9.1f} % {self.waiting / self.slots:16.2f} "
            f"{self.cpu_ms:22.2f}"
        )


async def measured(stub: RunningStub, slots: int, seconds: float) -> Window:
    """Look at the stub's own counts from now on."""
    await asyncio.to_thread(stub.control, reset=True)
    started, used = time.perf_counter(), cpu()
    await asyncio.sleep(seconds)
    log, elapsed = await asyncio.to_thread(stub.log), time.perf_counter() - started
    used = cpu() - used
    return Window(slots, log["answered"] / elapsed, log["waiting"]["mean"], 1000 * used / max(1, log["answered"]))


async def rate(stub: RunningStub, folder: Path, seconds: float) -> tuple[list[Window], float | None, float, Counted]:
    """(Steady windows at 16 and 8 slots, seconds until the rate was 90 %, KB of a call, counts)."""
    config = ServedConfig(base_urls=[stub.base_url], model=MODEL)
    counted, over = Counted(), asyncio.Event()
    with Ledger(folder / "ledger.json") as ledger, RequestStore(folder / "requests", folder / "scratch") as store:
        async with Client(config, store, ledger, say) as client:
            await client.check()
            await asyncio.to_thread(stub.control, reset=True)
            asking = asyncio.create_task(ask_on(client, Served(client, config, load_prompts()), counted, over))
            await asyncio.sleep(WARM_SECONDS)
            log = await asyncio.to_thread(stub.log)
            windows = [await measured(stub, SLOTS, seconds)]
            await asyncio.to_thread(stub.control, slots=SLOTS // 2)
            await asyncio.sleep(WARM_SECONDS)
            windows.append(await measured(stub, SLOTS // 2, seconds))
            over.set()
            await asking
    return windows, reached(log), log["received_bytes"] / max(1, log["calls"]) / 1000, counted


def reached(log: dict[str, Any]) -> float | None:
    """Seconds from the first call until a second had 90 % of what the slots can do; None where none had."""
    counts, width = log["answered_per_bucket"], log["bucket_seconds"]
    per_second = round(1 / width)
    first = next((n for n, count in enumerate(counts) if count), 0)
    for start in range(first, len(counts) - per_second):
        if sum(counts[start : start + per_second]) >= 0.9 * SLOTS * 1000 / SERVICE_MS:
            return float((start - first) * width)
    return None


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# A resumed run


def fill(folder: Path, scratch: Path, replies: int) -> None:
    """Commit replies to the first so many requests."""
    config, prompt = ServedConfig(model=MODEL), load_prompts().profile
    with RequestStore(folder, scratch, say) as store:
        for key, base in itertools.islice(_keys(config, prompt), replies):
            store.put(StoredReply(key, base, 0, "profile", text=REPLY, finish_reason="stop", model=MODEL))


def _keys(config: ServedConfig, prompt: Any) -> Iterator[tuple[str, str]]:
    for task in tasks(28, 28):
        for region in task.regions:
            request = profile_request(task, region, config, prompt)
            yield request_key(request, config, 0), request_key(request, config, None)


async def resume(url: str, folder: Path, scratch: Path, replies: int, replay: bool) -> dict[str, float]:
    """Seconds until the store is open, and until the first reply that was not there has come."""
    config = ServedConfig(base_urls=[url], model=MODEL)
    last = -(-replies // REGIONS)
    pictures = itertools.islice(tasks(28, 28, first=0 if replay else last), last + 1 if replay else 1)
    shard = list(itertools.islice(pictures, SHARD))
    started, used = time.perf_counter(), cpu()
    with Ledger(scratch.with_suffix(".ledger")) as ledger, RequestStore(folder, scratch, say) as store:
        opened = time.perf_counter() - started
        async with Client(config, store, ledger, say) as client:
            served = Served(client, config, load_prompts())
            while shard:
                await asyncio.gather(*map(served.annotate, shard))
                shard = list(itertools.islice(pictures, SHARD))
        found, took = ledger.summary()["this_run"]["total"], time.perf_counter() - started
    return {"opened": opened, "called": took, "cpu": cpu() - used, "reused": found["reused"], "calls": found["calls"]}


def in_new_process(*arguments: object) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout)) if done.stdout else {}


def report_resume(replies: int) -> None:
    print(f"\nresumed over {replies:,} committed replies: seconds until")
    print(f"{'':44} {'store open':>10} {'next reply':>10} {'CPU s':>7} {'replayed':>9} {'calls':>6}")
    with tempfile.TemporaryDirectory() as name, running_stub(model=MODEL, invent=True, service_ms=1) as stub:
        base = Path(name)
        in_new_process("--fill", base / "requests", "--scratch", base / "scratch", "--replies", replies)
        for number, (title, replay) in enumerate(
            (("finished shards skipped", False), ("all of it asked for again", True)), start=1
        ):
            elsewhere = base / f"copy{number}"
            shutil.copytree(base / "requests", elsewhere)
            for where, folder, scratch in (
                ("on another node", elsewhere, base / f"scratch{number}"),
                ("on the same node", base / "requests", base / "scratch"),
            ):
                arguments = ["--folder", folder, "--scratch", scratch, "--replies", replies]
                found = in_new_process("--resume", stub.base_url, *arguments, *(["--replay"] if replay else []))
                words = f"{found['opened']:10.2f} {found['called']:10.2f} {found['cpu']:7.2f} {found['reused']:9.0f}"
                print(f"{title + ', ' + where:44} {words} {found['calls']:6.0f}", flush=True)
            replies += REGIONS  # the picture that was new is not new any more


def report_rate(seconds: float, blind: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, running_stub(
        model=MODEL, slots=SLOTS, service_ms=SERVICE_MS, invent=True, no_metrics=blind
    ) as stub:  # fmt: skip
        windows, after, size, counted = asyncio.run(rate(stub, Path(folder), seconds))
    at = "never" if after is None else f"after {after:.1f} s"
    print(f"{size:.1f} KB a call; 90 % of {SLOTS * 1000 // SERVICE_MS} calls/s reached {at}; "
          f"{counted.profiles} profiles, {counted.others} failures")  # fmt: skip
    print(
        f"{'slots':>5} {'answered/s':>11} {'of possible':>11} {'waiting per slot':>16} {'client CPU ms per call':>22}"
    )
    for window in windows:
        print(window.line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="of each steady window")
    parser.add_argument("--replies", type=int, default=100_000)
    parser.add_argument("--only", choices=["rate", "resume"])
    parser.add_argument("--blind", action="store_true", help="the server tells no metrics")
    for name in ("--fill", "--folder", "--scratch"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--resume", help=argparse.SUPPRESS)
    parser.add_argument("--replay", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill(options.fill, options.scratch, options.replies)
    elif options.resume:
        found = resume(options.resume, options.folder, options.scratch, options.replies, options.replay)
        print(json.dumps(asyncio.run(found)))
    else:
        print(machine(), flush=True)
        if options.only != "resume":
            report_rate(options.seconds, options.blind)
        if options.only != "rate":
            report_resume(options.replies)


if __name__ == "__main__":
    main()
