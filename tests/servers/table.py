"""What the stub knows of pictures: the sha256 of a drawn picture as it is sent -> everything that is true of it.

Scenes are drawn in processes of their own and kept in an SQLite file below the temporary folder, which later
stubs find again. A crop is known from the first call that has it beside its full picture and its box.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from slvr_data import images
from slvr_data.annotators.served import sent
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import AttributeProfile, AttributeRow, Provenance
from slvr_data.sources import scenes
from slvr_data.text import profile_text

PIECE = 32
"""Scenes per transaction of a drawing process."""
MOST_REMEMBERED = 4096
"""Pictures."""
MAX_PIXELS = 1_003_520
"""As `ServedConfig` has it."""
Box = Sequence[float]


@dataclass(frozen=True)
class World:
    """Which scenes, and how they are sent."""

    level: str
    limit: int
    seed: int
    model: str
    max_pixels: int

    @staticmethod
    def parse(text: str, seed: int, model: str, max_pixels: int = MAX_PIXELS) -> World:
        """Of "full:200"."""
        level, _, limit = text.partition(":")
        return World(level, int(limit), seed, model, max_pixels)

    @property
    def file(self) -> Path:
        """Where what is known of it is kept, for everyone on this machine."""
        family = sent.family(self.model)
        parts = (self.level, self.seed, code_hash(), family.grid, family.least_pixels, self.max_pixels)
        name = "-".join(map(str, parts)) + ".sqlite"
        folder = Path(tempfile.gettempdir()) / f"slvr-stub-scenes-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        return folder / name


@cache
def code_hash() -> str:
    """Of the code that draws, encodes and describes: another version of it makes other pictures."""
    files = [Path(sent.__file__), Path(images.__file__), Path(__file__), *Path(scenes.__file__).parent.glob("*.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()[:12]


@dataclass(frozen=True)
class Known:
    """A picture that the stub knows."""

    image_id: str
    width: int
    height: int
    rows: list[dict[str, Any]]
    """region_id, label, box and profile of each region."""

    @cached_property
    def view(self) -> PictureView:
        """As question writers see it when all of it is published."""
        return PictureView(self.image_id, self.width, self.height, [RegionView(self._row(row)) for row in self.rows])

    def _row(self, row: dict[str, Any]) -> AttributeRow:
        profile = AttributeProfile.model_validate(row["profile"])
        return AttributeRow(
            region_id=row["region_id"], image_id=self.image_id, bbox=row["box"], label=row["label"], profile=profile,
            profile_text=profile_text(profile), provenance=Provenance(annotator="exact"), verdicts=[],
        )  # fmt: skip

    def region_at(self, box: Box, size: tuple[int, int], units: str | None) -> int | None:
        """The region that a box means best, told in pixels of the sent picture `size` or in thousandths."""
        scales = {"pixels": size, "thousandths": (1000, 1000)}
        best, found = 0.0, None
        for name, (across, down) in scales.items():
            if units not in (None, name):
                continue
            fx, fy = self.width / across, self.height / down
            meant = [box[0] * fx, box[1] * fy, box[2] * fx, box[3] * fy]
            for number, row in enumerate(self.rows):
                overlap = iou(meant, row["box"])
                if overlap > best:
                    best, found = overlap, number
        return found


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0.0
    common = across * down
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


class Table:
    """Look-ups; draws what is missing in `processes` processes."""

    def __init__(self, world: World | None, processes: int = 1) -> None:
        self._drawing: list[subprocess.Popen[bytes]] = []
        self._base: sqlite3.Connection | None = None
        self._world = world
        self._remembered: dict[str, Known] = {}
        if world is not None:
            self._base = connect(world.file)
            if self._missing():
                self._drawing = [_draw_in_process(world, n, processes) for n in range(processes)]

    def _missing(self) -> int:
        assert self._base is not None and self._world is not None
        query = "select count(*) from scenes where number < ?"
        return self._world.limit - int(self._base.execute(query, (self._world.limit,)).fetchone()[0])

    @property
    def drawing(self) -> bool:
        """Whether some scenes are still to come; raises where drawing has failed."""
        self._drawing = [process for process in self._drawing if process.poll() != 0]
        if any(process.poll() is not None for process in self._drawing):
            raise RuntimeError("drawing the scenes failed: see the stub's standard error")
        return bool(self._drawing)

    def known(self, sha: str) -> Known | None:
        """The full picture with this hash; None where it is of no scene, or not drawn yet."""
        if sha in self._remembered or self._base is None or self._world is None:
            return self._remembered.get(sha)
        found = self._base.execute("select body from scenes where sha = ? and number < ?", (sha, self._world.limit))
        row = found.fetchone()
        if row is None:
            return None
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[sha] = Known(**json.loads(row[0]))
        return self._remembered[sha]

    def learn_crop(self, sha: str, picture: str, region: int) -> None:
        """This crop shows that region of that picture."""
        if self._base is not None:
            self._base.execute("insert or ignore into crops values (?, ?, ?)", (sha, picture, region))

    def crop(self, sha: str) -> tuple[str, int] | None:
        """The picture's hash and the region that a crop shows."""
        if self._base is None:
            return None
        row = self._base.execute("select picture, region from crops where sha = ?", (sha,)).fetchone()
        return (row[0], row[1]) if row else None

    def close(self) -> None:
        """End the drawing processes."""
        for process in self._drawing:
            process.kill()
            process.wait()


def connect(file: Path) -> sqlite3.Connection:
    """The file, made where it is not there; its loss would cost nothing but time."""
    base = sqlite3.connect(file, isolation_level=None, timeout=60)
    base.executescript(
        "pragma journal_mode=wal; pragma synchronous=off;"
        "create table if not exists scenes (number integer primary key, sha text, body text);"
        "create index if not exists by_sha on scenes (sha);"
        "create table if not exists crops (sha text primary key, picture text, region integer);"
    )
    return base


def _draw_in_process(world: World, part: int, parts: int) -> subprocess.Popen[bytes]:
    arguments = ["-m", "tests.servers.table", world.level, str(world.limit), str(world.seed), world.model,
                 str(world.max_pixels), str(part), str(parts)]  # fmt: skip
    return subprocess.Popen([sys.executable, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"})


def draw(world: World, part: int, parts: int) -> None:
    """Draw the scenes that are not in the file: every `parts`-th piece of them."""
    base = connect(world.file)
    there = {row[0] for row in base.execute("select number from scenes")}
    config = SimpleNamespace(model=world.model, box_format="auto", max_pixels=world.max_pixels)
    missing = [number for number in range(world.limit) if number not in there]
    for start in range(part * PIECE, len(missing), parts * PIECE):
        rows = []
        for number in missing[start : start + PIECE]:
            scene = scenes.scene(world.level, world.seed, number)
            picture = sent.sent_picture(scene.picture, scene.image_id, config)
            rows.append((number, hashlib.sha256(picture.data).hexdigest(), json.dumps(_body(scene))))
        with base:
            base.execute("begin immediate")
            base.executemany("insert or replace into scenes values (?, ?, ?)", rows)


def _body(scene: scenes.Scene) -> dict[str, Any]:
    rows = [
        {"region_id": r.region_id, "label": r.label, "box": r.box, "profile": r.profile.model_dump()}
        for r in scene.regions
    ]
    return {"image_id": scene.image_id, "width": scene.picture.width, "height": scene.picture.height, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=draw.__doc__)
    for name in ("level", "limit", "seed", "model", "max_pixels", "part", "parts"):
        parser.add_argument(name)
    o = parser.parse_args()
    with contextlib.suppress(AttributeError):
        os.nice(5)
    world = World(o.level, int(o.limit), int(o.seed), o.model, int(o.max_pixels))
    draw(world, int(o.part), int(o.parts))


if __name__ == "__main__":
    main()
