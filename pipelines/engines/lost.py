"""Pictures that end every worker which takes them: found one by one, named, and left unfinished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slvr_data.errors import RunError

OnLost = Callable[[Any, "WorkerLostError"], None]
"""Told of a shard of one picture, and of what became of its workers."""
_MOST_NAMED = 3


class WorkerLostError(RunError):
    """A call has ended every worker that took it."""


def parts_of(arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The inputs of a call on a shard, one for each of its pictures; none where it has one alone, or is no shard."""
    task = arguments[0]
    pictures = getattr(task, "pictures", [])
    return [(type(task)([picture]), *arguments[1:]) for picture in pictures] if len(pictures) > 1 else []


def named(method: str, arguments: tuple[Any, ...]) -> str:
    """What a call is about, in words: its shard with the pictures in it, or what it reads."""
    task = arguments[0]
    if method == "describe_avoided":
        where = "" if task.group is None else f", row group {task.group + 1}"
        return f"reading {_some(list(task.files))}{where} in {task.root}, which --avoid names,"
    if hasattr(task, "pictures"):
        return f"shard {task.name} ({_some([picture_name(picture) for picture in task.pictures])})"
    if method == "read":
        return f"reading {_some([unit.path for unit, _ in arguments[1] if unit.path]) or 'rows'} of source {task}"
    return f"a call of {method}"


def items_of(arguments: tuple[Any, ...]) -> list[str]:
    """What a call is about, one by one: its pictures or files, by the same names in every run."""
    task = arguments[0]
    if isinstance(task, str):  # a source, of which it reads units
        return [f"{task}:{unit.path}" for unit, _ in arguments[1] if unit.path]
    if pictures := getattr(task, "pictures", ()):
        return [picture_name(picture) for picture in pictures]
    return [f"{task.root}/{file}" for file in task.files]


def picture_name(picture: Any) -> str:
    """The first of its files, or its id where the task does not know its files."""
    planned = picture.planned
    if planned is None:
        return str(picture.image_id)
    source, path = planned.files[0]
    return f"{source}:{path}"


def region_count(picture: Any) -> int:
    """Regions of a picture of a shard that are still to be finished."""
    planned = picture.planned if hasattr(picture, "prepare") else None
    if planned is None:
        return len(picture.regions)
    return sum(region.rejected is None and region.region.region_id not in picture.dropped for region in planned.regions)


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
