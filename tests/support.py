"""What tests share: pictures and annotation files to build from, the real command, and what it published."""

from __future__ import annotations

import ctypes
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from pipelines.cli import main
from tests import builds, forks

COMMAND = Path(sys.executable).parent / "slvr-data"
TIMEOUT_SECONDS = 600
PROGRESS = re.compile(r"(reading|working|comparing|asking|publishing): \d")

Box = Sequence[float]


# Pictures


def picture(width: int = 100, height: int = 80, seed: int = 0, block: Box | None = None) -> Image.Image:
    """A grey picture, different for every seed, with a red block at `block` ([x1, y1, x2, y2))."""
    image = Image.new("RGB", (width, height), (90 + seed % 40, 90 + seed // 40 % 40, 100))
    if block is not None:
        x1, y1, x2, y2 = (int(c) for c in block)
        ImageDraw.Draw(image).rectangle([x1, y1, x2 - 1, y2 - 1], fill=(230, 20, 30))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as a file of that kind."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    """The picture in a file's bytes, decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def noise(width: int = 40, height: int = 24, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A smooth coloured picture, another one for each seed."""
    grain = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def exif(orientation: int) -> Image.Exif:
    """EXIF data with an orientation and a place on earth."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 1.5)})
    return tags


def write_pictures(root: Path, files: dict[str, bytes]) -> Path:
    """Files below `root`, folders made as needed; `root`."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


# Annotation files


def write_jsonl(file: Path, rows: Iterable[dict[str, Any] | bytes]) -> Path:
    """One line per row; bytes are written as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return file


def write_coco(file: Path, images: list[Any], annotations: list[Any], **others: Any) -> Path:
    """An instances file with the categories 1 "cat" and 2 "dog", unless told otherwise."""
    tree = {"images": images, "annotations": annotations, "categories": CATEGORIES} | others
    file.write_text(json.dumps(tree))
    return file


CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


# The command


def slvr_data(
    *arguments: object, code: int | None = 0, before: Callable[[], None] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `slvr-data`, a fork where that will do, demand its exit code, and that no traceback is shown.

    `before` is called in the new process of the real command before it starts.
    """
    words, env = [str(argument) for argument in arguments], builds.environment(**environment)
    if before is None and forks.suits(env):
        found = forks.run(str(COMMAND), words, env, None, TIMEOUT_SECONDS)
    else:
        line = [COMMAND, *words]
        found = subprocess.run(
            line, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, env=env, preexec_fn=before, check=False
        )
    shown = f"$ slvr-data {' '.join(map(str, arguments))}\nexit code {found.returncode}\n{found.stdout}{found.stderr}"
    assert "Traceback" not in found.stderr, shown
    assert code is None or found.returncode == code, shown
    return found


def build(
    kind: str, out: Path, *arguments: object, code: int | None = 0, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """`slvr-data build-attributes` with one worker, in one process."""
    return slvr_data("build-attributes", kind, "--out", out, "--workers", 1, *arguments, code=code, before=before)


def refused_here(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What `slvr-data` says in this process to what it will not do (exit code 2): saves a process start."""
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["slvr-data", *map(str, arguments)])
        main()
    error = capfd.readouterr().err
    assert ended.value.code == 2, error
    return said(error)


def refusal(found: subprocess.CompletedProcess[str]) -> str:
    """What a command that would not work said; see `said`."""
    return said(found.stderr)


def said(stderr: str) -> str:
    """One line of ours behind lines of progress, or the usage error of the command line."""
    lines = [line for line in stderr.splitlines() if line and not PROGRESS.match(line)]
    if lines[0].startswith("Usage: "):
        return lines[-1]
    assert len(lines) == 1 and lines[0].startswith("slvr-data: "), stderr
    return lines[0].removeprefix("slvr-data: ")


def heed_permissions() -> None:
    """Take from a root user what lets it read files that are closed to it (call it in the new process)."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


# What was published


@dataclass
class Published:
    """A published set, read from its files."""

    folder: Path
    log: str = ""
    _tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def rows(self, config: str) -> list[dict[str, Any]]:
        """All rows of a config, in order."""
        if config not in self._tables:
            names = [f["path"] for f in self.manifest["files"] if f["config"] == config]
            self._tables[config] = [row for name in names for row in pq.read_table(self.folder / name).to_pylist()]
        return self._tables[config]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """As parsed JSON."""
        tree: dict[str, Any] = json.loads((self.folder / "manifest.json").read_bytes())
        return tree

    @property
    def accounts(self) -> dict[str, int]:
        """Of the manifest."""
        return dict(self.manifest["accounts"])

    @cached_property
    def rejections(self) -> list[dict[str, Any]]:
        """What `slvr-data rejections --json` lists."""
        return [json.loads(line) for line in slvr_data("rejections", self.folder, "--json").stdout.splitlines()]

    def rejected(self, line: int, file: str | None = None) -> dict[str, Any] | None:
        """The rejection of one line (of `file`), or None."""
        found = [r for r in self.rejections if r["line"] == line and file in (None, r["file"])]
        assert len(found) <= 1, found
        return found[0] if found else None

    def region(self, line: int, file: str | None = None) -> dict[str, Any] | None:
        """The published region that came from one line (of `file`), or None."""
        found = [
            row
            for row in self.rows("attributes")
            if any(ref["line"] == line and file in (None, ref["file"]) for ref in row["source_refs"])
        ]
        assert len(found) <= 1, found
        return found[0] if found else None

    def image(self, region: dict[str, Any]) -> dict[str, Any]:
        """The row of a region's picture."""
        (row,) = (row for row in self.rows("images") if row["image_id"] == region["image_id"])
        return row

    def check(self, rows: int) -> None:
        """The accounts balance over so many rows, every rejection is listed, and `validate` finds nothing."""
        a = self.accounts
        assert a["rows"] == rows
        assert a["rows"] == a["malformed"] + a["merged"] + a["regions"], a
        assert a["regions"] == a["published"] + a["rejected"], a
        assert a["published"] == len(self.rows("attributes"))
        assert a["malformed"] + a["rejected"] == len(self.rejections)
        slvr_data("validate", self.folder)

    def bytes(self) -> dict[str, bytes]:
        """Every published file but `run.json`, which may differ between equal runs."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and ".work" not in path.parts and path.name != "run.json"
        }
