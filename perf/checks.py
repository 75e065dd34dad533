"""How well the checks do: errors of the paper's nine classes caught, and sound records dropped.

    python perf/checks.py [--per-class 300] [--seed 1] [--json]
    python perf/checks.py --photographs instances.json --images PICTURES [--labels]

Errors are injected into the exact profiles of drawn pictures (level "full") and into the questions that
templates write about them. On photographs, whose profiles are measured and mostly right, only what is
dropped is counted, with the reasons; with --labels, what two judges saw is spoilt as the drawn truth is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from judges import LABELS, Labels, agreed, load_labels

from slvr_data import masks
from slvr_data.annotators.base import AnnotatedPicture, Profile
from slvr_data.annotators.measured import Measured as MeasuredAnnotator
from slvr_data.annotators.measured import MeasuredConfig
from slvr_data.checks import LOCAL_CHECKS, CheckedRegion
from slvr_data.images import load
from slvr_data.injector.base import CLASSES, ERROR_RATE, SHARES
from slvr_data.injector.measure import Measured, SoundPicture, measure_profiles, measure_queries
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.regions import PlanRow, read_unit
from slvr_data.schema import AttributeProfile, AttributeRow, Provenance, Region, SourceRef
from slvr_data.sources import SourceConfig, open_source, scenes

PER_PICTURE = 0.36
"""Errors of the rarest kind (a question on an action) that one drawn picture gives room for, at least."""
LEAST_SIDE = 32


def drawn(number: int, seed: int) -> list[SoundPicture]:
    """Drawn pictures with their exact profiles."""
    found = []
    for index in range(number):
        scene = scenes.scene("full", seed, index)
        rows = [
            AttributeRow(
                region_id=region.region_id,
                image_id=scene.image_id,
                bbox=region.box,
                mask=masks.encode(region.mask),
                label=region.label,
                profile=region.profile,
                profile_text="",
                provenance=Provenance(annotator="exact"),
                verdicts=[],
            )
            for region in scene.regions
        ]
        found.append(_picture(scene.image_id, scene.picture.size, rows, lambda s=scene: s.picture, complete=True))
    return found


def _picture(
    image_id: str, size: tuple[int, int], rows: list[AttributeRow], pixels: Callable[[], Any], *, complete: bool
) -> SoundPicture:
    labels = frozenset(row.label for row in rows if row.label)
    annotated = AnnotatedPicture(image_id, *size, rows, labels, pixels, complete=complete)
    return SoundPicture(annotated, PictureView(image_id, *size, [RegionView(row) for row in rows]))


def photographs(annotations: Path, images: Path, judgements: Labels | None = None) -> list[SoundPicture]:
    """Annotated photographs with measured profiles; boxes of both sides from 32 px on.

    With `judgements` (annotation id -> what two judges said), profiles say what both have seen, and only these count.
    """
    source = open_source(SourceConfig(kind="coco", name="coco", annotations=[annotations], images=images), 0, False)
    annotator = MeasuredAnnotator(MeasuredConfig())
    found = []
    for unit in source.units(None):
        if unit.path is None:
            continue
        rows, _ = read_unit(source, unit)
        upright = load(source.read_picture(unit.path), 1 << 30, 95)
        regions = [_region(row) for row in rows if row.box is not None and row.rejected is None]
        usable = [r for r in regions if min(r.bbox[2] - r.bbox[0], r.bbox[3] - r.bbox[1]) >= LEAST_SIDE]
        kept = {r.region_id for r in usable}
        partly = {r.label for r in regions if r.region_id not in kept}
        labels = frozenset(r.label for r in usable if r.label and r.label not in partly)
        size = (upright.width, upright.height)
        seen = AnnotatedPicture(
            usable[0].image_id if usable else "", *size, usable, labels, lambda u=upright: u.pixels,
            [r for r in regions if r.region_id not in kept],
        )  # fmt: skip
        answers = asyncio.run(annotator.annotate(seen, usable)) if usable else []
        views = [
            RegionView(AttributeRow(**vars(region), profile=_judged(answer.attributes, region, judgements or {}),
                                    profile_text="", provenance=answer.provenance, verdicts=[]))
            for region, answer in zip(usable, answers, strict=True) if isinstance(answer, Profile)
        ]  # fmt: skip
        judged = None
        if judgements is not None:
            judged = frozenset(r.region_id for r in usable if r.source_refs[0].id in judgements)
        found.append(SoundPicture(seen, PictureView(seen.image_id, *size, views), judged=judged))
    return found


def _judged(profile: AttributeProfile, region: Region, labels: Labels) -> AttributeProfile:
    """The measured profile, with what both judges have seen of its colours, axis, action and text."""
    record = labels.get(region.source_refs[0].id or "")
    if record is None:
        return profile
    made = profile.model_copy(deep=True)
    made.appearance.colors = agreed(record, "colors")
    made.spatial.orientation = agreed(record, "orientation")
    made.action = agreed(record, "action")
    made.visible_text = [] if agreed(record, "text") is False else None
    made.interaction = [] if agreed(record, "held_by") == "none" == agreed(record, "holds") else None
    return made


def _region(row: PlanRow) -> Region:
    assert row.region_id is not None and row.image_id is not None and row.box is not None
    return Region(
        region_id=row.region_id, image_id=row.image_id, bbox=row.box, mask=row.mask, label=row.label,
        iscrowd=row.iscrowd, source_refs=[SourceRef(source=row.source, file=row.file, line=row.line, id=row.id)],
    )  # fmt: skip


def milliseconds(pictures: list[SoundPicture]) -> dict[str, float]:
    """CPU per region of each local check, and of all together on fresh records ("all")."""
    spent = dict.fromkeys([check.__name__ for check in LOCAL_CHECKS], 0.0) | {"all": 0.0}
    number = sum(len(picture.view.regions) for picture in pictures)
    for picture in pictures:
        old = picture.annotated
        fresh = AnnotatedPicture(
            old.image_id, old.width, old.height, old.regions, old.complete_labels, old.open_pixels, old.unusable,
            old.complete,
        )  # fmt: skip
        _ = fresh.pixels
        for region in picture.view.regions:
            record = CheckedRegion(fresh, region.row, region.row.profile)
            for check in LOCAL_CHECKS:
                started = time.perf_counter()
                check(record)
                spent[check.__name__] += time.perf_counter() - started
    spent["all"] = sum(spent.values())
    return {name: 1000 * seconds / max(1, number) for name, seconds in spent.items()}


def as_tree(found: Measured) -> dict[str, Any]:
    """For `--json`."""
    classes = {
        error: {
            "caught": found.of_class(error).hits,
            "injected": found.of_class(error).number,
            "interval": found.of_class(error).interval,
            "kinds": {kind: [share.hits, share.number] for kind, share in found.caught[error].items()},
        }
        for error in CLASSES
    }
    return {
        "classes": classes,
        "weighted": found.weighted,
        "dropped": [found.dropped.hits, found.dropped.number, found.dropped.interval[1]],
        "beside": [found.beside.hits, found.beside.number],
        "reasons": {f"{check}: {reason}": number for (check, reason), number in found.reasons.items()},
    }


def table(title: str, found: Measured) -> str:
    """In Markdown."""
    lines = [
        f"| {title}: class | share | injected | caught | 95 % interval | by kind |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for error in CLASSES:
        whole = found.of_class(error)
        low, high = whole.interval
        kinds = ", ".join(f"{kind} {share.value:.0%}" for kind, share in found.caught[error].items())
        cells = (error, f"{SHARES[error]:.1%}", whole.number, f"{whole.value:.1%}", f"{low:.1%} to {high:.1%}", kinds)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines.append(f"| all, weighted as in the paper | 100 % | | {found.weighted:.1%} | | |")
    return "\n".join([*lines, "", dropped(title, found)])


def dropped(title: str, found: Measured) -> str:
    """A line on sound records."""
    rate, high = found.dropped.value, found.dropped.interval[1]
    text = f"Sound {title} dropped: {found.dropped.hits} of {found.dropped.number} ({rate:.2%}, at most {high:.2%})"
    if found.beside.number:
        beside = found.beside.value
        text += (
            f"; beside a wrong one, {beside:.2f} more for each that is wrong: "
            f"{ERROR_RATE * beside:.2%} at the paper's error rate"
        )
    reasons = ", ".join(f"{check} {reason} {number}" for (check, reason), number in found.reasons.most_common())
    return f"{text}. Reasons: {reasons or 'none'}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--photographs", type=Path, help="an instances file of COCO's form")
    parser.add_argument("--images", type=Path, help="root of its pictures")
    parser.add_argument("--labels", action="store_true", help="spoil the hand-made labels of these photographs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.photographs:
        labels = load_labels(LABELS) if options.labels else None
        pictures = photographs(options.photographs, options.images, labels)
        options.per_class = options.per_class if options.labels else 0
    else:
        pictures = drawn(round(options.per_class / PER_PICTURE), options.seed)
    found = {
        "profiles": measure_profiles(pictures, options.per_class, options.seed),
        "questions": measure_queries(pictures, options.per_class, options.seed),
    }
    spent = milliseconds(pictures)
    if options.json:
        print(json.dumps({title: as_tree(one) for title, one in found.items()} | {"milliseconds": spent}, indent=1))
        return
    for title, one in found.items():
        print(table(title, one) if options.per_class else dropped(title, one), end="\n\n")
    print("CPU per region, ms: " + ", ".join(f"{name} {value:.3f}" for name, value in spent.items()))


if __name__ == "__main__":
    main()
