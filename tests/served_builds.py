"""Builds by a served model: a stub that knows the scenes, and the command that asks it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.builds import run, shared
from tests.servers.running import RunningStub, running_stub

MODEL = "stub-vl"
KEY = "sk-never-to-be-seen-1f9c27"
SCENES = 40
ATTEMPTS = ("--set", "served.attempts=12")
"""Of commands here: of hundreds of calls, some one meets a fault four times in a row now and then."""


@contextmanager
def scenes_stub(scenes: int = SCENES, **options: Any) -> Iterator[RunningStub]:
    """A stub that knows the first scenes, drawn and ready; it wants `KEY`. Faults spare the looks that begin a run."""
    plain: dict[str, Any] = {"scenes": f"easy:{scenes}", "service_ms": 20, "api_key": KEY, "sound_looks": True}
    with running_stub(**plain | options) as stub:
        stub.wait_drawn()
        yield stub


def build(stub: RunningStub | str, out: Path, *more: object, scenes: int = SCENES, workers: int = 2) -> list[object]:
    """Arguments of `build-attributes` over the scenes."""
    url = stub if isinstance(stub, str) else stub.base_url
    where = ["--annotator", "served", "--base-url", url, "--model", MODEL, "--api-key-env", "STUB_KEY", *ATTEMPTS]
    return ["build-attributes", "scenes", "--limit", scenes, *where, "--workers", workers, "--out", out, *more]


def ask(stub: RunningStub, out: Path, *more: object) -> list[object]:
    """Arguments of `build-multiquery` over a set."""
    where = ["--annotator", "served", "--base-url", stub.base_url, "--model", MODEL, "--api-key-env", "STUB_KEY"]
    return ["build-multiquery", out, *where, *ATTEMPTS, "--workers", 2, *more]


def clean_sets(tmp_path_factory: Any, scenes: int = SCENES, attempts: int | None = None) -> Path:
    """A folder with the set of the first scenes, built without any fault (`profiles`), and asked about too (`set`).

    `attempts` at a call, where they are not `ATTEMPTS`. Not to be changed.
    """
    more = () if attempts is None else ("--set", f"served.attempts={attempts}")

    def make(folder: Path) -> None:
        with scenes_stub(scenes, service_ms=1) as stub:
            run(*build(stub, folder / "profiles", *more, scenes=scenes), STUB_KEY=KEY)
            assert answered(stub, "region_profile") == accounts(folder / "profiles")["regions"]
            shutil.copytree(folder / "profiles", folder / "set")
            run(*ask(stub, folder / "set", *more), STUB_KEY=KEY)

    return shared(tmp_path_factory, f"served-{scenes}-{attempts or 'default'}", make)


def calls(stub: RunningStub) -> list[dict[str, Any]]:
    """Every call that the stub has ended, in order: body, name, status, fault, began, at."""
    lines = stub.log_file.read_text().splitlines()
    return [json.loads(line) for line in lines]


def answered(stub: RunningStub, *names: str) -> int:
    """Calls for profiles and questions that had a sound reply."""
    wanted = names or ("region_profile", "region_questions")
    return sum(c["name"] in wanted and c["status"] == 200 and c["fault"] in (None, "slow") for c in calls(stub))


def accounts(out: Path) -> dict[str, int]:
    """Of the manifest."""
    found: dict[str, int] = json.loads((out / "manifest.json").read_bytes())["accounts"]
    return found


def profiled(out: Path) -> dict[str, str]:
    """picture key -> shard of the stage `attributes`; a picture stands in one shard alone."""
    found: dict[str, str] = {}
    for path in sorted((out / ".work/attributes").glob("[0-9a-f]*/pictures.parquet")):
        for key in pq.read_table(path)["picture_key"].to_pylist():
            assert key not in found, f"{key} is in {found[key]} and {path.parent.name}"
            found[key] = path.parent.name
    return found
