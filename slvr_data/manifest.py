"""The manifest of a publication: what it holds, byte for byte, and the configuration that made it."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from slvr_data.errors import UsageError
from slvr_data.remote.addresses import shown
from slvr_data.remote.reading import read_bytes
from slvr_data.schema import SCHEMA_VERSION
from slvr_data.shards import DataFile

NAME = "manifest.json"
FORMAT = "slv-set"


class Manifest(BaseModel):
    """`manifest.json`. Nothing in it differs between two equal runs."""

    model_config = ConfigDict(extra="forbid")

    format: str
    schema_version: int
    versions: dict[str, str]
    """Of the packages that decide bytes."""
    configuration: dict[str, Any]
    accounts: dict[str, int]
    """rows = malformed + merged + regions; regions = published + rejected (+ unfinished, as `regions_unfinished`)."""
    files: list[DataFile]
    """Every file of the publication but this one."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        tree = self.model_dump() | {"files": [asdict(file) for file in self.files]}
        return (json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages whose output is part of a publication."""
    names = ("slvr", "numpy", "pillow", "pyarrow", "pycocotools")
    return {"python": ".".join(platform.python_version_tuple()[:2])} | {name: version(name) for name in names}


def load_manifest(folder: Path) -> Manifest:
    """The manifest of the set in `folder`.

    Raises:
        UsageError: there is none, it is not readable, or it is of a newer version than this reader.
    """
    path = folder / NAME
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise UsageError(
            f"{shown(folder)} holds no published set: {NAME} is missing (slvr-data build-attributes makes one)"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    return read_manifest(data, shown(path))


def read_manifest(data: bytes, path: str) -> Manifest:
    """The manifest in a file's bytes; `path` names the file in errors.

    Raises:
        UsageError: it is not readable, or of a newer version than this reader.
    """
    try:
        tree = json.loads(data)
    except ValueError as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise UsageError(f"{path} is not the manifest of an SLV-Set")
    if tree.get("schema_version") not in (SCHEMA_VERSION, SCHEMA_VERSION - 1):
        raise UsageError(
            f"{path} has schema version {tree.get('schema_version')}, this reader knows {SCHEMA_VERSION}: upgrade slvr"
        )
    try:
        return Manifest.model_validate(tree)
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from None
