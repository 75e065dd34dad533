"""Pictures, builds and what they published: real files, real processes."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw

from tests import forks

T = TypeVar("T")
BIN = Path(sys.executable).parent
COMMAND = str(BIN / "slvr-data")
LABELS = ("dog", "tree", "kite", "cup")
LICENSES = ("CC BY 2.0", "CC BY-NC 2.0")
_COLORS = ("red", "green", "blue", "orange", "purple", "white", "black", "yellow")


def photograph(
    seed: int, size: tuple[int, int] = (160, 120), regions: int = 4
) -> tuple[bytes, list[list[list[float]]]]:
    """A JPEG that compresses like a photograph, and the polygons of the things on it."""
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = Image.fromarray(rng.integers(40, 215, (height // 8, width // 8, 3), dtype=np.uint8))
    base = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    grain = rng.normal(0, 9, (height, width, 1))
    image = Image.fromarray(np.clip(base + grain, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    polygons: list[list[list[float]]] = []
    columns = max(2, -(-regions // 2))
    for index in range(regions):
        left, top = (index % columns) * width / columns, (index // columns) * height / 2
        w, h = width / columns * rng.uniform(0.5, 0.9), height / 2 * rng.uniform(0.5, 0.9)
        points = [left + 2, top + 2, left + w, top + 4, left + w - 3, top + h, left + 4, top + h - 2]
        polygon = [round(float(p), 2) for p in points]
        draw.polygon(polygon, fill=_COLORS[int(rng.integers(len(_COLORS)))])
        polygons.append([polygon])
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue(), polygons


def box_of(polygon: Sequence[float]) -> list[float]:
    """[x1, y1, x2, y2] around a polygon."""
    return [min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])]


def coco(
    root: Path, count: int, name: str = "instances.json", first: int = 0, size: tuple[int, int] = (160, 120),
    regions: int = 4,
) -> Path:  # fmt: skip
    """`count` photographs below `root`/pictures with an instances file beside them; its path."""
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(first, first + count):
        data, polygons = photograph(index, size, regions)
        file = f"{index:05d}.jpg"
        (root / "pictures" / file).write_bytes(data)
        image = {"id": index, "file_name": file, "width": size[0], "height": size[1], "license": 1 + index % 2}
        images.append(image)
        for number, polygon in enumerate(polygons):
            x1, y1, x2, y2 = box_of(polygon[0])
            annotation = {"id": 1000 * index + number, "image_id": index, "category_id": 1 + number % len(LABELS)}
            annotation |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": polygon, "iscrowd": 0, "area": 1}
            annotations.append(annotation)
    tree = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": n, "name": label} for n, label in enumerate(LABELS, 1)],
        "licenses": [{"id": n, "name": name} for n, name in enumerate(LICENSES, 1)],
    }
    path = root / name
    path.write_text(json.dumps(tree))
    return path


def jsonl(root: Path, rows: list[dict[str, Any]], name: str = "regions.jsonl") -> Path:
    """A `jsonl` source's file."""
    path = root / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def jsonl_rows(root: Path, first: int, count: int, regions: int = 3) -> list[dict[str, Any]]:
    """Rows over `count` fresh photographs below `root`/pictures."""
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(first, first + count):
        data, polygons = photograph(index, regions=regions)
        (root / "pictures" / f"own-{index}.jpg").write_bytes(data)
        for number, polygon in enumerate(polygons):
            row = {"image": f"own-{index}.jpg", "bbox": box_of(polygon[0]), "label": LABELS[number % len(LABELS)]}
            rows.append(row | {"mask": polygon, "references": [f"the {LABELS[number % len(LABELS)]} number {number}"]})
    return rows


def of_coco(file: Path, *more: object) -> list[object]:
    """Arguments that build from an instances file of `coco`."""
    return ["build-attributes", "coco", "--annotations", file, "--images", file.parent / "pictures", *more]


def of_jsonl(file: Path, *more: object) -> list[object]:
    """Arguments that build from a file of `jsonl`."""
    return ["build-attributes", "jsonl", "--annotations", file, "--images", file.parent / "pictures", *more]


def environment(**more: str) -> dict[str, str]:
    """That of a child process: one thread per process, no caches outside the test."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "0"} | more


def run(
    *arguments: object, code: int | None = 0, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """`slvr-data` with `arguments`, to its end, a fork where that will do; `code` is the exit code it must have."""
    words, env = [str(argument) for argument in arguments], environment(**more)
    if forks.suits(env):
        done = forks.run(COMMAND, words, env, cwd, 600)
    else:
        done = subprocess.run([COMMAND, *words], capture_output=True, text=True, cwd=cwd, env=env, timeout=600)
    assert "Traceback" not in done.stderr, done.stderr
    assert code is None or done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def refused(*arguments: object, code: int = 2, **more: str) -> str:
    """The one line with which `slvr-data` refuses `arguments`."""
    done = run(*arguments, code=code, **more)
    lines = [line for line in done.stderr.splitlines() if line.startswith("slvr-data: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def start(*arguments: object, **more: str) -> subprocess.Popen[str]:
    """`slvr-data` with `arguments`, running in a process group of its own."""
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(**more),
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a started command, its whole group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)


def wait_for(what: Callable[[], Any], seconds: float = 300, pause: float = 0.002) -> Any:
    """The first true answer of `what`; asking takes a tenth of this processor at most, which others want too."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        worked = time.thread_time()
        answer = what()
        if answer:
            return answer
        time.sleep(max(pause, 9 * (time.thread_time() - worked)))
    raise AssertionError(f"not so within {seconds} s")


def in_time(seconds: float, work: Callable[[], T], tries: int = 3) -> T:
    """What `work` gives, which has to come within so many seconds of a machine that has time for it."""
    taken = []
    for _ in range(tries):
        started = time.monotonic()
        found = work()
        taken.append(time.monotonic() - started)
        if taken[-1] < seconds or taken[-1] < seconds * held_up():
            return found
    raise AssertionError(f"not within {seconds} s, but after {taken}")


def held_up() -> float:
    """How many times longer everything takes now because others want the processor too."""
    started, worked = time.monotonic(), time.thread_time()
    while time.thread_time() < worked + 0.3:
        pass
    return (time.monotonic() - started) / 0.3


def shards(out: Path, stage: str = "crop") -> dict[str, int]:
    """The finished shards of a stage, and when each appeared."""
    folder = out / ".work" / stage
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.startswith("."):
            found[path.name] = path.stat().st_mtime_ns
    return found


def published(out: Path) -> dict[str, str]:
    """Every file of the set outside `.work` and `run.json`, with its sha256."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] not in (".work", "run.json")
    }


def rows(out: Path, config: str) -> list[dict[str, Any]]:
    """All rows of a config, each with its `split`, in the order of the manifest."""
    manifest = json.loads((out / "manifest.json").read_bytes())
    found = []
    for file in manifest["files"]:
        if file["config"] == config:
            found += [row | {"split": file["split"]} for row in pq.read_table(out / file["path"]).to_pylist()]
    return found


def counts(out: Path) -> dict[str, int]:
    """What the last run did."""
    found: dict[str, int] = json.loads((out / "run.json").read_bytes())["counts"]
    return found


def sound(out: Path) -> None:
    """The set passes its own validation."""
    assert "\nsound" in run("validate", out).stdout


def shared(tmp_path_factory: Any, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that one of the test processes fills once for all of them; read-only by agreement.

    Where `make` fails, it fails for all of them.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder, done, failed = (base / f"shared-{name}{suffix}" for suffix in ("", ".done", ".failed"))
    with (base / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not failed.exists(), f"{folder} could not be made, as another test has found: {failed.read_text()}"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                make(folder)
            except Exception as error:
                failed.write_text(f"{type(error).__name__}: {error}")
                raise
            done.touch()
    return folder


def mixed(root: Path, pictures: int = 40) -> dict[str, dict[str, Any]]:
    """Three sources below `root`, with everything that can happen to a row; by name, as a configuration has them.

    `own` repeats a picture and a region of `coco`, gives another of its pictures a region that only it has,
    and holds malformed lines, boxes that are too small, and a picture of its source's own test split.
    """
    file = coco(root, pictures)
    tree = json.loads(file.read_text())
    tree["annotations"][5]["iscrowd"] = 1
    tree["annotations"][9]["category_id"] = 77
    tree["annotations"][11]["bbox"] = [500, 500, 20, 20]
    file.write_text(json.dumps(tree))
    rows = jsonl_rows(root, 500, 6)
    _, polygons = photograph(3)
    rows.append({"image": "00003.jpg", "bbox": box_of(polygons[0][0]), "label": LABELS[0], "references": ["it"]})
    rows.append({"image": "00007.jpg", "bbox": [10, 10, 60, 70], "label": "lamp"})
    rows.append({"image": "own-500.jpg", "bbox": [10, 10, 14, 70], "label": "line"})
    rows.append({"image": "own-501.jpg", "bbox": [10, 10, 70], "label": "broken"})
    rows += [row | {"split": "test"} for row in rows if row["image"] == "own-502.jpg"]
    lines = jsonl(root, rows)
    lines.write_text(lines.read_text() + "{no json\n")
    pictures_folder = str(root / "pictures")
    return {
        "coco": {"kind": "coco", "annotations": [str(file)], "images": pictures_folder},
        "own": {"kind": "jsonl", "name": "own", "annotations": [str(lines)], "images": pictures_folder,
                "license": "CC0", "exhaustive": True},
        "scenes": {"kind": "scenes", "name": "drawn", "level": "full", "count": 3},
    }  # fmt: skip


def config(path: Path, sources: Sequence[dict[str, Any]], **settings: Any) -> Path:
    """A configuration file."""
    path.write_text(yaml.safe_dump({"sources": list(sources)} | settings, sort_keys=False))
    return path


def mixed_set(root: Path) -> None:
    """Three sources with a configuration file, and the set that one worker makes of them (`set`)."""
    file = config(root / "config.yaml", list(mixed(root).values()))
    run("build-attributes", "--config", file, "--workers", 1, "--out", root / "set")


def photograph_set(root: Path) -> None:
    """Photographs of a usual size with eight regions each, and the set of them (`set`)."""
    file = coco(root, 16, size=(640, 480), regions=8)
    run(*of_coco(file, "--workers", 1, "--out", root / "set"))
