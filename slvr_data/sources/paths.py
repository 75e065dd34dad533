"""Opening pictures below a root, and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from slvr_data.remote.addresses import address_of
from slvr_data.remote.reading import read_bytes
from slvr_data.sources.base import PictureMissingError

MAX_FILE_BYTES = 1 << 28
"""A larger file is not a picture that anybody annotates (256 MiB)."""


def checked_path(root: Path, relative: str, follow_links: bool) -> Path:
    """The file that `relative` names below `root`, refused lexically where it could lie elsewhere.

    Raises:
        PictureMissingError: it is absolute, climbs out, is an address, or passes through a symbolic link.
    """
    if "://" in relative:
        raise PictureMissingError(
            "path-address", f"{relative!r} is an address: download the pictures and give --images"
        )
    if "\0" in relative or not relative.strip() or not _is_text(relative):
        raise PictureMissingError("path-invalid", f"{relative!r} is not a file name")
    parts = PurePosixPath(relative).parts
    windows = PureWindowsPath(relative)
    if PurePosixPath(relative).is_absolute() or windows.drive or windows.root:
        raise PictureMissingError("path-absolute", f"{relative!r} is absolute: write it relative to the picture root")
    if ".." in parts or ".." in windows.parts:
        raise PictureMissingError("path-climbs", f"{relative!r} climbs out of the picture root: write it without '..'")
    path = root.joinpath(*parts)
    if not follow_links:
        _refuse_links(root, parts, relative)
    return path


def _is_text(name: str) -> bool:
    """Whether a name can be published; the escapes of undecodable bytes (lone surrogates) cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_links(root: Path, parts: tuple[str, ...], relative: str) -> None:
    here = str(root)
    for part in parts:
        here = os.path.join(here, part)  # noqa: PTH118 - a hot path: pathlib costs ten times as much
        if os.path.islink(here):  # noqa: PTH114
            raise PictureMissingError(
                "path-link", f"{relative!r} passes through a symbolic link: allow it with --follow-links"
            )


def read_below(root: Path, relative: str, follow_links: bool) -> bytes:
    """The bytes of a regular file below `root`.

    Raises:
        PictureMissingError: the path is refused, nothing is there, or it cannot be read.
    """
    path = checked_path(root, relative, follow_links)
    if address_of(path) is not None:
        return _read_there(path, relative)
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise PictureMissingError("picture-missing", f"{relative!r} is not a regular file")
        if info.st_size > MAX_FILE_BYTES:
            raise PictureMissingError(
                "file-too-large", f"{relative!r} has {info.st_size} bytes, at most {MAX_FILE_BYTES} are read"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureMissingError(
            "picture-missing", f"{relative!r} is not below the picture root: check --images"
        ) from None
    except OSError as error:
        raise PictureMissingError("picture-unreachable", f"{relative!r} cannot be read: {error.strerror}") from None


def _read_there(path: Path, relative: str) -> bytes:
    """The bytes of a picture below a root at an address; a store that does not answer is an error of the run."""
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise PictureMissingError(
            "picture-missing", f"{relative!r} is not below the picture root: check --images"
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise PictureMissingError(
            "file-too-large", f"{relative!r} has {len(data)} bytes, at most {MAX_FILE_BYTES} are read"
        )
    return data
