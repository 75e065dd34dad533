"""What two judges said of the regions of `perf/labels/coco_train2017.jsonl`, and where they agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LABELS = Path(__file__).parent / "labels" / "coco_train2017.jsonl"
Labels = dict[str, dict[str, Any]]


def load_labels(file: Path) -> Labels:
    """Annotation id -> {label, first, second}."""
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {str(record["annotation_id"]): record for record in records}


def said(judge: dict[str, Any], field: str) -> str:
    """What a judge said of a field, in a form to compare: colours without order, phrases as does anything or not."""
    if field == "first color":
        return (judge["colors"] or ["cannot tell"])[0]
    value = judge[field]
    if value is None:
        return "cannot tell"
    if field == "colors":
        return " ".join(sorted(value))
    if field in ("action", "held_by", "holds"):
        return "none" if value == "none" else "something"
    return str(value)


def agreed(record: dict[str, Any], field: str) -> Any:
    """What both judges said of a field; None where they differ or one cannot tell."""
    same = said(record["first"], field) == said(record["second"], field) != "cannot tell"
    return record["first"][field] if same else None
