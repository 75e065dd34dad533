"""`slvr-data attach`: give a set published by reference its pictures back, checked byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.opened import WORK
from slvr_data import images
from slvr_data.card import with_files
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors, remove_leftovers, sha256_of, write_atomic
from slvr_data.ids import image_id
from slvr_data.lock import Lock
from slvr_data.manifest import Manifest, load_manifest
from slvr_data.release import published_name, put_in_place, unnamed_files
from slvr_data.schema import ImageRow
from slvr_data.shards import DataFile, TableWriter, files_of
from slvr_data.sources.base import PictureMissingError
from slvr_data.sources.paths import read_below
from slvr_data.sources.scenes_source import is_scene, scene_at

_LOCK = ".attach"
"""Folder of the lock in a set without working files."""


@dataclass(frozen=True)
class _Root:
    folder: Path | None
    follow_links: bool
    quality: int


def attach(folder: Path, root: Path | None, follow_links: bool) -> tuple[int, list[tuple[str, str]]]:
    """Restore what can be restored; the number of pictures restored, and (path, problem) of the others.

    Every restored picture is equal, byte for byte, to what an embedding publication would have held.

    Raises:
        UsageError: the folder holds no set, or `root` is not a folder.
    """
    if root is not None and not root.is_dir():
        raise UsageError(f"--images {root} is not a folder")
    load_manifest(folder)
    with _alone(folder):
        remove_leftovers(folder)
        return _attach(folder, load_manifest(folder), root, follow_links)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The one writer of a set; where it has no working files, its lock is gone afterwards.

    Raises:
        UsageError: another process writes it.
    """
    if (folder / WORK).is_dir():
        with Lock(folder / WORK / "lock"):
            yield
        return
    path = folder / _LOCK / "lock"
    with _taken(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # somebody waits in it already
                path.parent.rmdir()


def _taken(path: Path) -> ExitStack:
    """A lock that is held until the block ends; whoever had it before may remove its file in the same moment."""
    while True:
        with disk_errors(f"locking {path.parent.parent}"):
            path.parent.mkdir(exist_ok=True)
        with ExitStack() as held, suppress(FileNotFoundError):
            if held.enter_context(Lock(path)).is_there:
                return held.pop_all()


def _attach(
    folder: Path, manifest: Manifest, root: Path | None, follow_links: bool
) -> tuple[int, list[tuple[str, str]]]:
    where = _Root(root, follow_links, _told(manifest, "data", "picture.quality"))
    limits = _limits(manifest)
    staging = folder / ".attach.tmp"
    problems: list[tuple[str, str]] = []
    restored = 0
    files: list[DataFile] = []
    try:
        for split in dict.fromkeys(file.split for file in files_of(manifest.files, "images")):
            writer = TableWriter(staging, "images", split, ImageRow, *limits)
            for row in _rows(folder, manifest, split):
                restored += _restore(row, where, problems)
                writer.add(row, len(row["image"]["bytes"]) if row["image"] else 0)
            files += writer.close(keep_empty=True)
        after = _updated(folder, staging, manifest, files, complete=not problems)
        if restored or after != manifest or _interrupted(folder, manifest):
            put_in_place(staging, folder, after)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return restored, problems


def _limits(manifest: Manifest) -> tuple[int, int]:
    return _told(manifest, "publish", "max_group_mb") << 20, _told(manifest, "publish", "max_file_mb") << 20


def _told(manifest: Manifest, section: str, name: str) -> int:
    """A number of the configuration that made the set. Raises UsageError."""
    settings = manifest.configuration.get(section)
    value = settings.get(name) if isinstance(settings, dict) else None
    if type(value) is not int or value < 1:
        raise UsageError(f"manifest.json does not tell {section}.{name}, a whole number: fetch the set again")
    return value


def _rows(folder: Path, manifest: Manifest, split: str) -> Iterator[dict[str, Any]]:
    for file in files_of(manifest.files, "images", split):
        for batch in pq.ParquetFile(folder / file.path).iter_batches(batch_size=16):
            yield from batch.to_pylist()


def _restore(row: dict[str, Any], root: _Root, problems: list[tuple[str, str]]) -> bool:
    """Fill a row's picture in; False where it is there already or cannot be had."""
    if row["image"] is not None:
        return False
    try:
        data = _published_bytes(row, root)
    except (PictureMissingError, images.PictureError) as error:
        problems.append((row["path"], str(error)))
        return False
    row["image"] = {"bytes": data, "path": published_name(row["path"], data)}
    return True


def _published_bytes(row: dict[str, Any], root: _Root) -> bytes:
    if is_scene(row["path"]):
        source = scene_at(row["path"]).ppm
    elif root.folder is None:
        raise PictureMissingError("no-root", "no --images ROOT is given")
    else:
        source = read_below(root.folder, row["path"], root.follow_links)
    if image_id(source) != row["image_id"]:
        raise PictureMissingError(
            "picture-different", f"the file is not the one that was annotated (sha256 {row['image_id']})"
        )
    if row["content_sha256"] == row["image_id"]:
        return source
    data = images.load(source, images.MAX_PIXELS, root.quality).data
    if image_id(data) != row["content_sha256"]:
        raise PictureMissingError(
            "encoder-different",
            "this machine's encoder gives other bytes than the published ones: install the Pillow version that the "
            "manifest names",
        )
    return data


def _updated(folder: Path, staging: Path, manifest: Manifest, files: list[DataFile], complete: bool) -> Manifest:
    """The manifest and the card after the exchange of the `images` files."""
    others = [file for file in manifest.files if file.config != "images" and file.path != "README.md"]
    text = with_files((folder / "README.md").read_text(encoding="utf-8"), [*files, *others]).encode()
    staging.mkdir(exist_ok=True)
    write_atomic(staging / "README.md", text)
    card = DataFile("README.md", image_id(text), len(text), 0, "card", "")
    publish = manifest.configuration["publish"] | ({"pictures": "embed"} if complete else {})
    return manifest.model_copy(
        update={"files": [*files, *others, card], "configuration": manifest.configuration | {"publish": publish}}
    )


def _interrupted(folder: Path, manifest: Manifest) -> bool:
    """Whether an exchange was stopped after its manifest: before its card, or before what it replaced was removed."""
    card = next(file for file in manifest.files if file.path == "README.md")
    return sha256_of(folder / "README.md") != card.sha256 or bool(unnamed_files(folder, manifest))
