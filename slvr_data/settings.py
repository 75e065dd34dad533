"""Configuration files and `--set key=value`: YAML into trees, before a typed object checks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from slvr_data.errors import UsageError


def read_tree(file: Path) -> dict[str, Any]:
    """The settings of a YAML file, unchecked.

    Raises:
        UsageError: it is not there, cannot be read, or holds no settings.
    """
    if not file.is_file():
        raise UsageError(f"--config {file} is not a file")
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {file}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--config {file}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(tree, dict):
        raise UsageError(f"--config {file}: holds no settings (key: value)")
    return tree


def split_assignment(assignment: str, example: str) -> tuple[list[str], Any]:
    """`a.b=value` as its path and its value, which is read as YAML.

    Raises:
        UsageError: it is no assignment; `example` is one that is.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {assignment}: write key=value, for example --set {example}")
    try:
        return key.split("."), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return key.split("."), text


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dictionary with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def first_fault(error: ValidationError, where: str) -> str:
    """The first value that does not fit: where, which, and why."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    value = "" if isinstance(fault.get("input"), dict | BaseModel) else f" = {fault.get('input')!r}"
    return f"{where}: {key}{value}: {message}" if key else f"{where}: {message}"
