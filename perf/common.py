"""What the speed scripts share: a job of many photographs made from a few, and CPU time of whole commands."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

COMMAND = str(Path(sys.executable).parent / "slvr-data")


@dataclass(frozen=True)
class Cost:
    """Of one command with all its processes."""

    cpu: float
    wall: float


def run(*arguments: object) -> Cost:
    """Run `slvr-data` to its end, quietly; its CPU seconds (children included) and wall seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [COMMAND, *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def measured(arguments: Sequence[str]) -> tuple[Cost, int]:
    """Run `slvr-data` to its end; its cost, and the most memory in bytes that its processes had together."""
    started = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.DEVNULL, env=environment) as process:
        memory = Memory(process.pid)
        memory.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    peak = memory.stop()
    if process.returncode:
        raise SystemExit(f"slvr-data {' '.join(arguments)} ended with exit code {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - started), peak


class Memory(threading.Thread):
    """Samples the resident memory of a process and its children until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._over = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._over.wait(0.1):
            total = 0
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                return
            for process in processes:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)

    def stop(self) -> int:
        self._over.set()
        self.join()
        return self.peak


def machine() -> str:
    """A line about the machine, for the record."""
    return f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} processors"


def many_photographs(root: Path, annotations: Path, regions: int, out: Path) -> Path:
    """Copies of annotated photographs until there are `regions` regions; the new COCO file.

    Each copy is cropped by other margins and encoded anew, its boxes and polygons moved along, so that
    no two pictures share an image_id. Copies of crowds (run lengths) are left out.
    """
    data = json.loads(annotations.read_text())
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in data["annotations"]:
        if not annotation["iscrowd"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    (out / "pictures").mkdir(parents=True)
    made: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": data["categories"]}
    copy = 0
    while len(made["annotations"]) < regions:
        for image in data["images"]:
            if image["id"] in by_image:
                _copy(root, image, by_image[image["id"]], copy, out, made)
        copy += 1
    file = out / "instances.json"
    file.write_text(json.dumps(made))
    return file


def _copy(
    root: Path,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    copy: int,
    out: Path,
    made: dict[str, list[Any]],
) -> None:
    left, top = copy % 7, copy // 7 % 7
    with Image.open(root / image["file_name"]) as opened:
        cut = opened.convert("RGB").crop((left, top, opened.width, opened.height))
    number = len(made["images"]) + 1
    name = f"{number:07d}.jpg"
    cut.save(out / "pictures" / name, quality=90 - copy % 5)
    made["images"].append({"id": number, "file_name": name, "width": cut.width, "height": cut.height})
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        right, bottom = x + width - left, y + height - top
        x, y = max(0.0, x - left), max(0.0, y - top)
        if right - x < 1 or bottom - y < 1:
            continue
        polygons = [
            [max(0.0, c - (left if i % 2 == 0 else top)) for i, c in enumerate(polygon)]
            for polygon in annotation["segmentation"]
        ]
        made["annotations"].append(
            {
                "id": len(made["annotations"]) + 1,
                "image_id": number,
                "category_id": annotation["category_id"],
                "iscrowd": 0,
                "bbox": [x, y, right - x, bottom - y],
                "area": annotation["area"],
                "segmentation": polygons,
            }
        )
