"""A disk that is full (here: a limit on the size of files): one clear line, and the run goes on when there is room."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import Published, build, encoded, said, slvr_data, write_jsonl, write_pictures

PICTURES = 4
LIMITS = {
    0: ".work/lock",
    300: ".work/files.tsv",
    3000: ".work/plan/jsonl/",
    10_000: ".work/crop/",
    30_000: ".work/publish/data/images/",
}
"""The largest file that can be written, in bytes, and what cannot be written then."""


def at_most(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def noise(seed: int) -> bytes:
    """A picture of some 36 KB."""
    pixels = np.random.default_rng(seed).integers(0, 255, (100, 120, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and rows, and in `clean` what comes of them where there is room."""
    folder = tmp_path_factory.mktemp("disk")
    write_pictures(folder / "pictures", {f"{n}.png": noise(n) for n in range(PICTURES)})
    rows = [{"image": f"{n % PICTURES}.png", "bbox": [10, 10, 60 + n, 50], "label": "x"} for n in range(8)]
    write_jsonl(folder / "rows.jsonl", [*rows, b"{"])
    build("jsonl", folder / "clean", *options(folder))
    return folder


def options(folder: Path) -> tuple[object, ...]:
    return "--images", folder / "pictures", "--annotations", folder / "rows.jsonl"


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")] + list(folder.glob(".work/publish/*"))


def test_the_run_ends_in_one_line_and_goes_on_when_there_is_room(laid_out: Path) -> None:
    """The same folder under one limit after the other, each of which lets the run come further."""
    out = laid_out / "set"
    for size, file in LIMITS.items():
        line = said(build("jsonl", out, *options(laid_out), code=1, before=at_most(size)).stderr)
        assert line.startswith("the disk is full (or a file size limit is reached) while writing "), size
        assert str(out / file) in line, size
        assert line.endswith("free space and run the same command again, nothing finished is lost"), size
        assert not (out / "manifest.json").exists(), size
    build("jsonl", out, *options(laid_out))
    found = Published(out)
    found.check(rows=9)
    assert found.bytes() == Published(laid_out / "clean").bytes()
    assert not leftovers(out)


def test_a_worker_that_finds_the_disk_full_ends_the_run(laid_out: Path, tmp_path: Path) -> None:
    arguments = ("build-attributes", "jsonl", "--out", tmp_path / "set", "--workers", 2, *options(laid_out))
    line = said(slvr_data(*arguments, code=1, before=at_most(10_000)).stderr)
    assert str(tmp_path / "set" / ".work" / "crop") in line
    slvr_data(*arguments)
    assert Published(tmp_path / "set").bytes() == Published(laid_out / "clean").bytes()
    assert not leftovers(tmp_path / "set")


def test_what_was_published_before_stays_whole(laid_out: Path, tmp_path: Path) -> None:
    """A set that cannot be extended is still the set that it was."""
    out = tmp_path / "set"
    build("jsonl", out, *options(laid_out), "--limit", 1)
    before = Published(out).bytes()
    build("jsonl", out, *options(laid_out), code=1, before=at_most(60_000))
    assert Published(out).bytes() == before
    slvr_data("validate", out)
    build("jsonl", out, *options(laid_out))
    assert Published(out).bytes() == Published(laid_out / "clean").bytes()
    assert not leftovers(out)
