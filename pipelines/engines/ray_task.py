"""What runs in a worker of a Ray cluster: one call of a `Worker`, which stays for the next calls of the same run."""

from __future__ import annotations

import hashlib
import pickle
import platform
import socket
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pipelines
import slvr_data
from pipelines.config import BuildConfig
from pipelines.worker import Worker
from slvr_data.avoid.features import method
from slvr_data.commandline import spare_pandas
from slvr_data.errors import RunError

_DECIDING = ("slvr", "pillow", "numpy", "pyarrow", "pycocotools", "pydantic")
"""Packages that bytes may depend on."""
_OURS = (slvr_data, pipelines)
_SOURCES = {".py", ".txt", ".j2"}
"""Code, prompts, templates."""
_held: tuple[bytes, Worker] | None = None


@dataclass(frozen=True)
class Told:
    """What every worker of a run is told, once."""

    config: BuildConfig
    work: Path
    token: str
    """A file of the working folder that this run has made: who sees it shares the folder."""
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Of everything that must be equal on all machines for equal bytes."""
    found = {"Python": platform.python_version().rpartition(".")[0]}
    for package in _DECIDING:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    found["slvr's files"] = sources()
    try:  # OpenCV comes as one of four packages
        found["OpenCV"] = method()
    except ImportError:
        found["OpenCV"] = "missing"
    return found


@cache
def sources() -> str:
    """A hash of our own files: two checkouts may have one version."""
    digest = hashlib.sha256()
    for package in _OURS:
        root = Path(str(package.__file__)).parent
        for path in sorted(path for path in root.rglob("*") if path.suffix in _SOURCES):
            data = path.read_bytes()
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:12]


def call(told: bytes, method: str, arguments: tuple[Any, ...]) -> Any:
    """`Worker.method(*arguments)`; `told` is a pickled `Told`.

    Raises:
        RunError: this machine does not see the working folder, or has other versions; or the worker raised it.
    """
    global _held
    if _held is None or _held[0] != told:
        _held = told, _worker(pickle.loads(told))
    return getattr(_held[1], method)(*arguments)


def _worker(told: Told) -> Worker:
    here = socket.gethostname()
    if not (told.work / told.token).is_file():
        raise RunError(
            f"the worker on {here} does not see {told.work}: with --engine ray, the set (at a URL: its --scratch), the "
            "pictures and the annotations must lie on a disk that all machines mount at the same place"
        )
    ours = versions()
    other = [
        f"{name} {ours[name]} instead of {wanted}" for name, wanted in told.versions.items() if ours[name] != wanted
    ]
    if other:
        raise RunError(
            f"the worker on {here} has {', '.join(other)}: install the same versions on all machines, or bytes differ"
        )
    spare_pandas()
    return Worker(told.config, told.work)
