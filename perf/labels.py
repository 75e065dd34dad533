"""Hand-made labels of photographed regions: how two judges agree, and how often `measured` agrees with them.

    python perf/labels.py --photographs instances.json --images PICTURES

`perf/labels/coco_train2017.jsonl` holds what two people saw, independently, of 132 regions of COCO photographs
(non-crowd boxes of both sides from 32 px on, drawn at random); the pictures are not part of the project.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from checks import photographs
from judges import LABELS, Labels, agreed, load_labels, said

from slvr_data.stats import cohen_kappa, wilson

FIELDS = ("colors", "first color", "orientation", "action", "held_by", "text", "occluded")


def agreement(labels: Labels) -> str:
    """A table in Markdown."""
    lines = ["| field | regions | agree | kappa | 95 % interval |", "| --- | ---: | ---: | ---: | --- |"]
    for field in FIELDS:
        first = [said(record["first"], field) for record in labels.values()]
        second = [said(record["second"], field) for record in labels.values()]
        same = sum(a == b for a, b in zip(first, second, strict=True))
        kappa = cohen_kappa(first, second)
        interval = f"{kappa.low:.2f} to {kappa.high:.2f}"
        lines.append(f"| {field} | {len(first)} | {same / len(first):.1%} | {kappa.kappa:.2f} | {interval} |")
    return "\n".join(lines)


def against(labels: Labels, annotations: Path, images: Path) -> str:
    """How the measured profiles stand to what both judges said."""
    counts: dict[str, list[int]] = {"colors": [0, 0, 0], "orientation": [0, 0, 0]}
    wrong: list[str] = []
    for picture in photographs(annotations, images):
        for region in picture.view.regions:
            record = labels.get(region.row.source_refs[0].id or "")
            if record is None:
                continue
            profile = region.row.profile
            claims = {"colors": profile.appearance.colors, "orientation": profile.spatial.orientation}
            for field, claim in claims.items():
                truth = agreed(record, field)
                if claim is None or truth is None:
                    continue
                right = bool(set(claim) & set(truth)) if field == "colors" else claim == truth
                counts[field][0] += 1
                counts[field][1] += right
                if not right:
                    wrong.append(f"{record['label']} {record['annotation_id']}: {field} {claim}, judges {truth}")
    lines = ["| field | claimed and labelled | right | 95 % interval |", "| --- | ---: | ---: | --- |"]
    for field, (number, right, _) in counts.items():
        low, high = wilson(right, number)
        lines.append(f"| {field} | {number} | {right / max(1, number):.1%} | {low:.1%} to {high:.1%} |")
    return "\n".join([*lines, "", *wrong])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="an instances file of COCO's form")
    parser.add_argument("--images", type=Path, required=True, help="root of its pictures")
    options = parser.parse_args()
    labels = load_labels(LABELS)
    print(agreement(labels), end="\n\n")
    print(against(labels, options.photographs, options.images))


if __name__ == "__main__":
    main()
