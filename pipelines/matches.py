"""What was found of avoided pictures, as the publication needs it: kept out of train, listed, counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.avoid import unreadable_rows
from pipelines.avoid_settings import AvoidSettings
from pipelines.outcome import Outcome, Reason
from pipelines.plan import PlannedPicture
from pipelines.stages.avoid import COMPARED, compared_with, uncompared
from pipelines.store import StageStore
from slvr_data.errors import RunError, UsageError
from slvr_data.files import write_atomic
from slvr_data.spilled import IdSet

LIST = "avoided.jsonl"
"""In the working folder: a line per picture that is avoided, then a line per avoided picture that cannot be read."""
_LIGHT = ["image_id", "how", "mirrored", "inliers", "agreement", "box", "given", "name", "sha256", "avoided_box"]


class Matches:
    """Pictures of the set that are avoided ones."""

    def __init__(self, work: Path, settings: AvoidSettings) -> None:
        """Raises UsageError where the set has not been compared with what it is to avoid."""
        if not settings.index:
            raise UsageError(
                "the build was stopped before all pictures were compared with what is avoided: run the same "
                "slvr-data build-attributes again"
            )
        self._settings, self._work = settings, work
        self._compared = IdSet()
        self._found: dict[str, dict[str, Any]] = {}
        store = StageStore(work, COMPARED)
        for shard in compared_with(store, settings.index):
            table = store.load(shard, "looks", _LIGHT)
            self._compared.update(table["image_id"].to_pylist())
            self._found |= {row["image_id"]: row for row in table.to_pylist() if row["how"] is not None}
        self._lost = uncompared(store, settings.index)
        self._lines: list[dict[str, Any]] = []

    def applied(self, picture: PlannedPicture, outcome: Outcome) -> Outcome:
        """The outcome of a picture in its final split: one of train that is avoided is not published.

        One that ended every worker which compared it stays unfinished, whatever its split.

        Raises:
            RunError: the picture has not been compared.
        """
        if not outcome.kept:
            return outcome
        if picture.image_id not in self._compared:
            if picture.image_id in self._lost:
                open_ = [*outcome.unfinished, *(kept.planned for kept in outcome.kept)]
                return Outcome(gone=outcome.gone, unfinished=sorted(open_, key=lambda item: item.region.region_id))
            raise RunError(
                f"picture {picture.files[0][1]} has not been compared with what is avoided yet: run the same "
                "slvr-data build-attributes again (of a build in parts, all parts with the same --avoid)"
            )
        row = self._found.get(picture.image_id)
        if row is None:
            return outcome
        self._lines.append({"split": picture.split, "kept_out": picture.split == "train"} | _line(picture, row))
        if picture.split != "train":
            return outcome
        reason = Reason("publish", "avoid", "in-avoided", f"picture {picture.files[0][1]}: {in_words(row)}")
        gone = [*outcome.gone, *((kept.planned, reason) for kept in outcome.kept)]
        return Outcome(gone=sorted(gone, key=lambda item: item[0].region.region_id), unfinished=outcome.unfinished)

    def accounts(self) -> dict[str, int]:
        """Pictures kept out of train, and avoided ones that other splits hold."""
        out = sum(line["kept_out"] for line in self._lines)
        return {"pictures_kept_out": out, "pictures_avoided_elsewhere": len(self._lines) - out}

    def write(self) -> None:
        """Write the list."""
        holes = [{"unreadable": row} for row in unreadable_rows(self._settings, self._work)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [*self._lines, *holes])
        write_atomic(self._work / LIST, text.encode("utf-8", "backslashreplace"))


def _line(picture: PlannedPicture, row: dict[str, Any]) -> dict[str, Any]:
    avoided = {"given": row["given"], "name": row["name"], "sha256": row["sha256"]}
    found = {name: row[name] for name in ("how", "mirrored", "inliers", "agreement", "box")}
    files = [{"source": source, "path": path} for source, path in picture.files]
    return (
        {"image_id": picture.image_id, "files": files, "avoided": avoided} | found | {"avoided_box": row["avoided_box"]}
    )


def in_words(row: dict[str, Any]) -> str:
    """How a match was found, for people."""
    x1, y1, x2, y2 = row["avoided_box"]
    name = f"{row['name']} of {row['given']}"
    if row["how"] == "same-file":
        return f"it is {name}, byte for byte"
    share = f"{100 * (x2 - x1) * (y2 - y1):.0f} % of {name}" + (", mirrored" if row["mirrored"] else "")
    features = f"{row['inliers']} features agree, " if row["inliers"] else ""
    return f"it shows {share} ({features}pixels agree to {row['agreement']:.2f})"
