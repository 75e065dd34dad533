"""The manifest of a publication: what it holds, byte for byte, and the configuration that made it."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from slvr_data.errors import UsageError
from slvr_data.remote.addresses import shown
from slvr_data.remote.reading import read_bytes
from slvr_data.schema import SCHEMA_VERSION, SPLITS
from slvr_data.shards import DataFile

NAME = "manifest.json"
FORMAT = "slv-set"
CARD = "README.md"
_CONFIGS = ("images", "attributes", "multiquery", "embeddings", "crops", "rejections", "card")
_OURS = re.compile(r"data/[a-z]+/[a-z]+-[0-9]{5}-[0-9a-f]{12}\.parquet|assets/samples(-[0-9a-f]{12})?\.jpg")
"""Older versions published `assets/samples.jpg`."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
        UsageError: it is not readable, of a newer version than this reader, or names a file that no publication has:
            what it names is fetched and replaced below the set's folder.
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
        manifest = Manifest.model_validate(tree)
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from None
    for file in manifest.files:
        if wrong := _wrong(file):
            raise UsageError(f"{path} is damaged or forged: it names the file {file.path[:200]!r} with {wrong}")
    return manifest


def is_ours(path: str) -> bool:
    """Whether a path relative to the set's folder is of the form of a publication's own files, the card apart."""
    return _OURS.fullmatch(path) is not None


def _wrong(file: DataFile) -> str | None:
    """What of an entry no publication says, in words."""
    if file.path != CARD and not is_ours(file.path):
        return "a path that no publication has"
    if file.config not in _CONFIGS or file.split not in (*SPLITS, "all", ""):
        return f"the config {file.config[:40]!r} and the split {file.split[:40]!r}"
    if file.bytes < 0 or file.rows < 0 or not _SHA256.fullmatch(file.sha256):
        return f"{file.bytes} bytes, {file.rows} rows and the sha256 {file.sha256[:64]!r}"
    return None
