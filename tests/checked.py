"""Records for tests of checks: a small world of boxes on a picture, and questions about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from slvr_data import masks
from slvr_data.annotators.base import AnnotatedPicture
from slvr_data.checks import CheckedRegion, LocalCheck
from slvr_data.checks.queries import CheckedGroup, QueryCheck
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import AttributeProfile, AttributeRow, Link, Provenance, Query, QueryGroup, Region

SIDE = 200
IMAGE = "p"


def region(name: str, box: Sequence[float], label: str | None = "cup", **given: Any) -> Region:
    """A region of the picture; its id is its name."""
    return Region(region_id=name, image_id=IMAGE, bbox=[float(c) for c in box], label=label, **given)


def profile(**given: Any) -> AttributeProfile:
    """A profile with some fields known: those of `appearance` and `spatial` by their own names."""
    tree: dict[str, Any] = {"appearance": {}, "spatial": {}, "peers": {}}
    for name, value in given.items():
        if name in ("entity", "colors", "shape", "material", "size"):
            tree["appearance"][name] = value
        elif name in ("position", "orientation", "depth", "relations"):
            tree["spatial"][name] = value
        elif name == "count":
            tree["peers"]["same_label_count"] = value
        else:
            tree[name] = value
    return AttributeProfile.model_validate(tree)


def link(kind: str, target: str, region_id: str | None = None) -> Link:
    """A link as a profile has it."""
    return Link(kind=kind, target=target, target_region_id=region_id)


def record(
    mine: Region,
    what: AttributeProfile,
    others: Sequence[Region] = (),
    pixels: np.ndarray[Any, Any] | None = None,
    complete: bool = False,
    complete_labels: Sequence[str] = (),
) -> CheckedRegion:
    """A region with its profile on a picture of 200 x 200 px (or of the pixels' size), grey unless told."""
    array = np.full((SIDE, SIDE, 3), 128, np.uint8) if pixels is None else pixels
    picture = AnnotatedPicture(
        IMAGE, array.shape[1], array.shape[0], [mine, *others], frozenset(complete_labels),
        lambda: Image.fromarray(array), complete=complete,
    )  # fmt: skip
    return CheckedRegion(picture, mine, what)


def masked(name: str, mask: np.ndarray[Any, Any], label: str | None = "cup") -> Region:
    """A region whose box bounds its mask [H, W]."""
    box = masks.bounds(mask)
    assert box is not None
    return region(name, box, label, mask=masks.encode(mask))


def verdict(check: LocalCheck, checked: CheckedRegion) -> str | None:
    """The reason of a failure; "pass" or None for not applicable."""
    found = check(checked)
    assert (found.reason is None) == (found.verdict != "fail") and (found.evidence is None) == (found.reason is None)
    return {"pass": "pass", "not applicable": None, "fail": found.reason}[found.verdict]


def seen(name: str, box: Sequence[float], label: str | None = "cup", **given: Any) -> RegionView:
    """A published region; `given` goes into its profile, or into the region."""
    own = {key: given.pop(key) for key in ("iscrowd", "references") if key in given}
    return RegionView(
        AttributeRow(
            region_id=name, image_id=IMAGE, bbox=[float(c) for c in box], label=label, profile=profile(**given),
            profile_text="", provenance=Provenance(annotator="test"), verdicts=[], **own,
        )
    )  # fmt: skip


def query(facet: str, question: str, answer: str, choices: Sequence[str], evidence: str = "", **given: Any) -> Query:
    """A generated question."""
    values: dict[str, Any] = {
        "query_id": f"{facet}:{question}", "facet": facet, "question": question, "answer": answer,
        "choices": list(choices), "answer_index": list(choices).index(answer) if answer in choices else None,
        "chance": 1 / len(choices) if choices else None, "paraphrases": [], "evidence": [evidence] if evidence else [],
        "origin": "generated",
    }  # fmt: skip
    return Query(**values | given)


def group(views: Sequence[RegionView], *queries: Query, about: int = 0, complete: bool = False) -> CheckedGroup:
    """Questions about one of the regions of a picture of 200 x 200 px."""
    mine = views[about]
    rows = QueryGroup(
        group_id="g", region_id=mine.row.region_id, image_id=IMAGE, reference=None, queries=list(queries),
        provenance=Provenance(annotator="test"),
    )  # fmt: skip
    return CheckedGroup(PictureView(IMAGE, SIDE, SIDE, views), mine, rows, complete)


def asked(check: QueryCheck, checked: CheckedGroup, which: int = 0) -> str | None:
    """As `verdict`, of one of the group's questions."""
    found = check(checked, checked.group.queries[which])
    return {"pass": "pass", "not applicable": None, "fail": found.reason}[found.verdict]
