"""Killed between the rows of a new source and the settings that name it, a set is what it was, and can be built on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.builds import coco, environment, jsonl, jsonl_rows, of_coco, of_jsonl, published, refused, run, shared, sound

KILLED = """
import os, signal, sys
target = sys.argv[1]

def look(event, arguments):
    if event == "os.rename" and target in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(look)
sys.argv = ["slvr-data", *sys.argv[2:]]
from slvr_data.console import data
data()
"""


def killed_before(target: str, *arguments: object) -> None:
    """A command that is killed just before it moves a file to a path with `target` in it."""
    line = [sys.executable, "-c", KILLED, target, *map(str, arguments)]
    done = subprocess.run(line, env=environment(), capture_output=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of photographs in `set`, rows of others to extend it with, and what comes of that in `both`."""

    def make(folder: Path) -> None:
        file = coco(folder, 4)
        rows = jsonl(folder, jsonl_rows(folder, 50, 2))
        run(*of_coco(file, "--workers", 1, "--out", folder / "set"))
        shutil.copytree(folder / "set", folder / "both")
        run(*of_jsonl(rows, "--workers", 1, "--out", folder / "both"))

    return shared(tmp_path_factory, "sources", make)


def sources_of(out: Path) -> list[str]:
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_bytes())
    return sorted(manifest["configuration"]["sources"])


@pytest.mark.parametrize("target", [".work/plan/jsonl/", ".work/settings.json"])
def test_a_source_counts_with_its_rows_or_not_at_all(base: Path, tmp_path: Path, target: str) -> None:
    out = tmp_path / "set"
    shutil.copytree(base / "set", out)
    extend = of_jsonl(base / "regions.jsonl", "--workers", 1, "--out", out)
    killed_before(target, *extend)
    run("publish", out)
    assert sources_of(out) == ["coco"] and published(out) == published(base / "set")
    run(*of_coco(base / "instances.json", "--workers", 1, "--out", out))
    assert sources_of(out) == ["coco"] and published(out) == published(base / "set")
    sound(out)
    run(*extend)
    assert sources_of(out) == ["coco", "jsonl"] and published(out) == published(base / "both")


def test_what_has_not_been_read_is_not_published(base: Path, tmp_path: Path) -> None:
    """A run that was stopped before any work was finished left settings; the next one, of another source, no rows."""
    out = tmp_path / "set"
    killed_before(".work/crop/", *of_coco(base / "instances.json", "--workers", 1, "--out", out))
    assert (out / ".work" / "settings.json").exists()
    killed_before(".work/plan/jsonl/", *of_jsonl(base / "regions.jsonl", "--workers", 1, "--out", out))
    assert "nothing has been read yet" in refused("publish", out)
    run(*of_coco(base / "instances.json", "--workers", 1, "--out", out))
    assert published(out) == published(base / "set")
