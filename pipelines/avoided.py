"""`slvr-data avoided`: which pictures were kept out, beside what they were found to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.matches import LIST, in_words
from pipelines.settings import load_settings
from pipelines.stages.avoid import COMPARED, compared_with
from pipelines.store import RowCache, StageStore
from slvr_data.commandline import plain
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.manifest import NAME, load_manifest
from slvr_data.pages.avoided import Box, Pair, Side, render_avoided

PAGE = "avoided.html"
MOST_PAIRS = 500
"""On the page; the list has all."""


def avoided_lines(folder: Path) -> list[dict[str, Any]]:
    """The list that the last publication left in the working folder.

    Raises:
        UsageError: the set avoids nothing, or has not been published since it does, or since that has changed.
    """
    work = folder / ".work"
    settings = load_settings(work) if work.is_dir() else None
    if settings is None or settings.avoid is None:
        raise UsageError(f"{folder} avoids nothing: slvr-data build-attributes ... --avoid DIR (in its working folder)")
    path = work / LIST
    published = load_manifest(folder).configuration.get("avoid") if (folder / NAME).exists() else None
    if not path.exists() or published is None:
        raise UsageError(f"{folder} has not been published since it avoids pictures: run its build again")
    if published["index"] != settings.avoid.index:
        raise UsageError(f"{folder} has not been published since what it avoids has changed: run its build again")
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}): slvr-data publish writes it anew") from None


def print_avoided(folder: Path) -> None:
    """A line per picture, and per avoided picture that cannot be read."""
    for line in avoided_lines(folder):
        if hole := line.get("unreadable"):
            print(plain(f"NOT SEARCHED FOR: {hole['given']}: {hole['name']}  {hole['problem']}"))
            continue
        place = "kept out" if line["kept_out"] else f"in {line['split']}"
        print(plain(f"{place}: {_path(line)}  {_words(line)}"))


def write_page(folder: Path, output: Path | None) -> Path:
    """Write the page with pairs side by side; its path."""
    lines = avoided_lines(folder)
    work = folder / ".work"
    target = output or work / PAGE
    if not target.parent.is_dir():
        raise UsageError(f"--html {target}: there is no folder {target.parent}")
    settings = load_settings(work)
    assert settings is not None and settings.avoid is not None
    found = [line for line in lines if "unreadable" not in line]
    holes = [(h["given"], h["name"], h["problem"]) for h in (line.get("unreadable") for line in lines) if h]
    facts = [("avoided: " + known.name, f"{known.pictures:,} pictures") for known in settings.avoid.given]
    facts += [("cannot be read", f"{len(holes):,}"), ("method", settings.avoid.method)]
    pairs = _pairs(work, settings.avoid.index, found[:MOST_PAIRS])
    name = folder.resolve().name
    text = render_avoided(name, facts, pairs, holes, len(found) - len(pairs), f"slvr-data avoided {name}")
    write_atomic(target, text.encode())
    return target


def _pairs(work: Path, index: str, lines: list[dict[str, Any]]) -> list[Pair]:
    store = StageStore(work, COMPARED)
    wanted = {line["image_id"] for line in lines}
    shards = {
        image_id: shard
        for shard in compared_with(store, index)
        for image_id in store.load(shard, "looks", ["image_id"])["image_id"].to_pylist()
        if image_id in wanted
    }
    if missing := wanted - shards.keys():
        raise UsageError(f"what was found of {len(missing)} listed pictures is not there any more: run the build again")
    cache = RowCache(store, "looks", "image_id")
    return [_pair(line, cache.rows(shards[line["image_id"]], line["image_id"])[0]) for line in lines]


def _pair(line: dict[str, Any], row: dict[str, Any]) -> Pair:
    avoided = line["avoided"]
    return Pair(
        words=_words(line),
        kept_out=line["kept_out"],
        split=line["split"],
        ours=Side(_path(line), line["image_id"][:12], row["preview"], _box(line["box"])),
        avoided=Side(
            avoided["name"],
            avoided["given"],
            row["avoided_preview"],
            _box(line["avoided_box"]),
            mirrored=line["mirrored"],
        ),
    )


def _box(numbers: list[float]) -> Box:
    x1, y1, x2, y2 = numbers
    return x1, y1, x2, y2


def _path(line: dict[str, Any]) -> str:
    return str(line["files"][0]["path"])


def _words(line: dict[str, Any]) -> str:
    return in_words(line | {"given": line["avoided"]["given"], "name": line["avoided"]["name"]})
