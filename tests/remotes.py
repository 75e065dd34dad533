"""Small sets built at addresses, in this process, and what is published there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.asking_config import load_asking
from pipelines.build import Summary, build_attributes
from pipelines.config import load_config
from pipelines.multiquery import build_multiquery
from pipelines.remote import writing
from slvr_data.remote import holding, reading
from slvr_data.remote.place import Place
from tests.servers.s3 import RunningS3, running_s3


@contextmanager
def s3_found() -> Iterator[RunningS3]:
    """A server that this process finds, as a command would: by its environment.

    A process remembers what it opened; here it forgets, since the next server has another port.
    """
    with running_s3() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.setattr(holding, "_SETTLE_SECONDS", 0.0)
        _forget()
        yield server
        _forget()


def _forget() -> None:
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    reading._place.cache_clear()


def build(out: str | Path, scratch: Path, count: int = 12, **more: Any) -> Summary:
    """`build-attributes scenes:easy` of so many pictures, a few in a shard."""
    source = {"kind": "scenes", "name": "scenes-easy", "count": count}
    told = {"out": Path(out), "workers": 1, "shard_size": 3, "sources": [source]} | more
    config = load_config(None, told, [])
    with writing(config.out, scratch) as folder:
        return build_attributes(config.model_copy(update={"out": folder}))


def ask(out: str | Path, scratch: Path) -> Summary:
    """`build-multiquery`."""
    with writing(Path(out), scratch) as folder:
        return build_multiquery(folder, load_asking({"workers": 1, "shard_size": 3}, None, []))


def published_at(place: Place) -> dict[str, str]:
    """Every object of the set outside `.work` and `run.json`, with its sha256."""
    names = [name for name in place.names() if not name.startswith(".work/") and name != "run.json"]
    return {name: hashlib.sha256(place.read(name)).hexdigest() for name in sorted(names)}
