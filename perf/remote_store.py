"""What a set at an address costs: calls, bytes and processor time of a build, of a resume, and of reading there.

    python perf/remote_store.py --pictures 300 --latency 20

The store is the S3 server of the tests on this machine; `--latency` adds so many milliseconds to each call, as one
that is further away would. Processor time is that of the client's process and its workers, not of the server.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the server is part of the tests

from pipelines.build import build_attributes
from pipelines.config import load_config
from pipelines.remote import writing
from slvr_data.manifest import load_manifest
from slvr_data.pictures import Pictures
from slvr_data.reader import published_pictures
from tests.servers.s3 import RunningS3, running_s3

ADDRESS = Path("s3://bucket/set")


def cpu() -> float:
    """Seconds of this process and of its children that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


@contextmanager
def told(what: str, s3: RunningS3) -> Iterator[None]:
    """A line of the table."""
    s3.control(reset=True)
    started, used = time.monotonic(), cpu()
    yield
    wall, used = time.monotonic() - started, cpu() - used
    calls = s3.control()
    counts = f"{calls.get('PUT', 0):6d} {calls.get('GET', 0) + calls.get('HEAD', 0):6d} {calls.get('POST', 0):6d}"
    print(f"{what:<34} {wall:8.1f} {used:8.2f} {counts} {calls.get('bytes in', 0) / 2**20:9.1f}", flush=True)


def build(out: Path, scratch: Path, pictures: int) -> None:
    """The scenes' attributes, in one process."""
    told_config = {"out": out, "workers": 1, "shard_size": 16, "sources": [{"kind": "scenes", "count": pictures}]}
    config = load_config(None, told_config, [])
    with writing(config.out, scratch) as folder:
        build_attributes(config.model_copy(update={"out": folder}))


def read(folder: Path) -> None:
    """All rows and all pictures, in order."""
    pictures = Pictures(folder)
    for picture in published_pictures(folder, load_manifest(folder)):
        pictures.encoded(picture.image["image_id"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds that each call takes longer")
    told_options = parser.parse_args()
    with running_s3() as s3, tempfile.TemporaryDirectory() as held:
        os.environ.update(s3.environment)
        folder = Path(held)
        print(f"{'':<34} {'wall s':>8} {'CPU s':>8} {'PUT':>6} {'GET':>6} {'POST':>6} {'MiB sent':>9}")
        build(folder / "first", folder, 4)  # imports
        with told("local build", s3):
            build(folder / "local", folder, told_options.pictures)
        s3.control(latency=told_options.latency)
        with told("build at the address", s3):
            build(ADDRESS, folder / "scratch-1", told_options.pictures)
        with told("again, the same scratch", s3):
            build(ADDRESS, folder / "scratch-1", told_options.pictures)
        with told("again, an empty scratch", s3):
            build(ADDRESS, folder / "scratch-2", told_options.pictures)
        with told("read all, local", s3):
            read(folder / "local")
        with told("read all from the address", s3):
            read(ADDRESS)


if __name__ == "__main__":
    main()
