"""Which names are addresses of other places, and how they may be shown: never with a credential in them.

Commands and configurations hold locations as `Path`, and pathlib makes one slash of two: `s3://bucket/set` is held as
`s3:/bucket/set`, and read here as what it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from slvr_data.errors import UsageError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/{1,3}(.*)", re.DOTALL)
_LOCAL = ("file", "local")
_NAMED = ("abfs", "abfss", "sftp", "ssh")
"""Protocols whose addresses name a container or a user before the "@"; with a ":" it is a password still."""
_USER = re.compile("".join(rf"(?<!\b{name}:)" for name in _NAMED) + r"//[^/@\s]+@|//[^/@\s:]*:[^/@\s]*@")
_TOKEN = re.compile(
    r"(?i)((?<![\w-])(?:[\w-]*?(?:signature|credential|token|secret|passw(?:or)?d|pwd|"
    r"(?:access|account|api|secret|shared|storage|signing|subscription|private|encryption)[_-]?key(?:[_-]?id)?)|sig)"
    r"[\"']?\s*[=:]\s*[\"']?|(?<![\w-])key=[\"']?)[^&\s,;'\")]+"
)
_HEADER = re.compile(r"(?i)((?<![\w-])(?:[\w-]*authorization[\"']?\s*[=:]\s*[\"']?(?:\w+\s+)?|bearer\s+))[^\s,;'\")]+")
"""In a header, a scheme stands before what is secret."""
_COPIES: dict[str, str] = {}
"""The copies that this process works in, and the addresses (without secrets) of their sets."""
_QUERY = re.compile(r"(://[^\s?]*)\?[^\s]*")


def address_of(path: str | Path) -> str | None:
    """The address that a location is, as fsspec takes it; None for a path on this machine, also as `file://`.

    Raises:
        UsageError: it holds a credential; those belong into the environment or into fsspec's configuration.
    """
    found = _ADDRESS.fullmatch(str(path))
    if found is None or found[1] in _LOCAL:
        return None
    address = f"{found[1]}://{found[2].rstrip('/')}"
    user, at, _ = found[2].split("/")[0].rpartition("@")
    if "?" in found[2] or (at and (found[1] not in _NAMED or ":" in user)):
        raise UsageError(
            f"{redacted(address)} holds a user, a password or a token: take it out, and give credentials by the "
            "store's environment variables (AWS_ACCESS_KEY_ID, AWS_PROFILE, ...) or fsspec's configuration"
        )
    if not found[2].strip("/"):
        raise UsageError(f"{address} names no folder: write {found[1]}://BUCKET/FOLDER")
    return address


def rooted(base: Path, name: str) -> str:
    """A location that a file names, relative to the file's folder; an address stays what it is."""
    return name if _ADDRESS.fullmatch(name) else str(base / name)


def local_path(path: Path) -> Path:
    """A path on this machine, without `file://` before it."""
    found = _ADDRESS.fullmatch(str(path))
    if found is None or found[1] not in _LOCAL:
        return path
    return Path("/" + unquote(found[2].lstrip("/")))


def local_output(path: Path, option: str) -> Path:
    """Where a command writes what cannot be written to an address. Raises UsageError where it is one."""
    if address_of(path) is not None:
        raise UsageError(f"{option} {shown(path)} is an address: name a place on this machine, and copy it from there")
    return local_path(path)


@contextmanager
def copy_of(copy: Path, address: str) -> Iterator[None]:
    """Meanwhile, `told` names the set by its address, not by its copy on this machine."""
    _COPIES[str(copy)] = address
    try:
        yield
    finally:
        _COPIES.pop(str(copy), None)


def told(text: str) -> str:
    """A text for people, with the addresses of sets in place of the folders of their copies."""
    for copy, address in _COPIES.items():
        text = text.replace(copy, address)
    return text


def shown(path: str | Path) -> str:
    """A location as it is told to people: an address with both its slashes, without anything secret."""
    found = _ADDRESS.fullmatch(str(path))
    if found is None or found[1] in _LOCAL:
        return str(local_path(Path(path)))
    return redacted(f"{found[1]}://{found[2]}")


def redacted(text: str) -> str:
    """A text without users, passwords, queries of addresses, and values of what is named like a credential."""
    without = _QUERY.sub(r"\1?***", _USER.sub("//***@", text))
    return _HEADER.sub(r"\1***", _TOKEN.sub(r"\1***", without))
