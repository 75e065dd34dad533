"""From a source's unit to regions: the row, its picture's bytes, and the box between them.

This is where a box is found to fit its picture or not, where EXIF orientation is applied to boxes and
masks, and where `region_id` is born.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from slvr_data import images, masks
from slvr_data.ids import image_id, region_id
from slvr_data.schema import Mask, QuestionAnswer
from slvr_data.sources.base import (
    Malformed,
    ParsedRow,
    PictureMissingError,
    RawRow,
    Source,
    Unit,
    cut_record,
    record_text,
)

OVERSHOOT_PX = 2.0
OVERSHOOT_SHARE = 0.01
"""A box may stand out of its picture by 2 px or 1 % of the side, whichever is more; it is then clipped."""

MAX_COORDINATE = 1e12
"""No picture reaches further; beyond it, arithmetic on boxes is not exact to 0.01 px."""
_OWN_FORM = ("jsonl", "parquet")
"""Kinds of sources in our own form: boxes are of the upright picture, and their form can be configured."""
_SPLITS = {
    "train": "train", "validation": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testA": "test", "testB": "test",
}  # fmt: skip
_STRICTNESS = {None: 0, "train": 1, "validation": 2, "test": 3}


@dataclass
class PictureFile:
    """What the header of a source file tells. Sizes are those of the stored picture, before orientation."""

    image_id: str
    size: tuple[int, int] | None
    orientation: int
    problem: Malformed | None


@dataclass
class PlanRow:
    """One row of a source, read: a region (`region_id` is set) or a malformed row (`malformed` is)."""

    source: str
    file: str
    line: int
    id: str | None = None
    path: str | None = None
    image_id: str | None = None
    region_id: str | None = None
    box: list[float] | None = None
    label: str | None = None
    mask: Mask | None = None
    iscrowd: bool = False
    exhaustive: bool = False
    complete: bool = False
    """As in `ParsedRow`."""
    license: str | None = None
    split: str | None = None
    references: list[str] = field(default_factory=list)
    questions: list[QuestionAnswer] = field(default_factory=list)
    malformed: Malformed | None = None
    rejected: Malformed | None = None
    """The region exists, but can not be used."""
    record: str | None = None
    """The row's text, kept for malformed rows."""


def inspect(data: bytes) -> PictureFile:
    """Identity, size and orientation of a source file, from its bytes and header."""
    identifier = image_id(data)
    try:
        probe = images.probe(data)
    except images.PictureError as error:
        return PictureFile(identifier, None, 1, Malformed(error.reason, str(error)))
    return PictureFile(identifier, (probe.width, probe.height), probe.orientation, None)


def read_unit(source: Source, unit: Unit, known: PictureFile | None = None) -> tuple[list[PlanRow], PictureFile | None]:
    """Every row of a unit, and what its picture's file tells; `known` spares reading the file."""
    name = source.config.name
    picture, missing = known, None
    if unit.path is not None and picture is None:
        try:
            picture = inspect(source.read_picture(unit.path))
        except PictureMissingError as error:
            missing = Malformed(error.reason, error.evidence)
    rows = []
    for raw, parsed in source.parse(unit):
        row = PlanRow(source=name, file=unit.file, line=raw.line, path=unit.path)
        _fill(row, source, raw, missing or parsed, picture)
        rows.append(row)
    return rows, picture


def _fill(
    row: PlanRow, source: Source, raw: RawRow, parsed: ParsedRow | Malformed, picture: PictureFile | None
) -> None:
    fault = parsed if isinstance(parsed, Malformed) else _text_fault(parsed)
    if fault is None and isinstance(parsed, ParsedRow) and picture is not None:
        try:
            _locate(row, source, parsed, picture)
        except _UnfitError as unfit:
            fault = unfit.fault
        except (ArithmeticError, ValueError, TypeError) as error:  # one odd row costs itself, never the run
            fault = Malformed("row-unreadable", f"the row cannot be read ({error}): look at its values")
    if fault is not None:
        record = cut_record(record_text(raw.payload))
        row.malformed, row.record = fault, record.encode("utf-8", "backslashreplace").decode()
        row.path = None if row.path is None else row.path.encode("utf-8", "backslashreplace").decode()
        row.image_id = picture.image_id if picture else None


def _text_fault(parsed: ParsedRow) -> Malformed | None:
    texts = [parsed.label, parsed.id, parsed.license, *parsed.references]
    texts += [part for question in parsed.questions for part in (question.question, question.answer)]
    for text in texts:
        if text is not None and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return Malformed("text-invalid", f"{text!a} holds half a character (a lone surrogate)")
    return None


class _UnfitError(Exception):
    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.fault = Malformed(reason, evidence)


def _locate(row: PlanRow, source: Source, parsed: ParsedRow, picture: PictureFile) -> None:
    """Fill `row` with the region that `parsed` tells of, in the coordinates of the upright picture."""
    label = parsed.label.strip() if parsed.label is not None else None
    row.image_id, row.id, row.label = picture.image_id, parsed.id, label or None
    row.iscrowd, row.exhaustive, row.complete = parsed.iscrowd, source.exhaustive, parsed.complete
    row.license = parsed.license or source.config.license
    row.split = _stricter(_split(parsed.split), _split(source.config.split))
    row.references = [text.strip() for text in parsed.references if text.strip()]
    row.questions = parsed.questions
    box = _finite(parsed.box, source)
    if picture.size is None:
        row.box, row.rejected = box, picture.problem
    else:
        row.rejected = _place(row, source, parsed, box, picture.size, picture.orientation)
    assert row.box is not None
    row.region_id = region_id(picture.image_id, row.box, row.label)


def _split(name: str | None) -> str | None:
    if name is not None and name not in _SPLITS:
        raise _UnfitError("split-unknown", f"split {name!r} is unknown; known are {', '.join(_SPLITS)}")
    return _SPLITS[name] if name else None


def _stricter(one: str | None, other: str | None) -> str | None:
    """Of a row's own split and that of its source, the one that keeps a picture out of train."""
    return max(one, other, key=lambda split: _STRICTNESS[split])


def _finite(box: list[float], source: Source) -> list[float]:
    if not all(abs(c) <= MAX_COORDINATE for c in box):  # false for NaN too
        raise _UnfitError("bbox-not-finite", f"bbox {box} holds a value that is not a finite number of pixels")
    if not source.normalized and box != [0, 0, 0, 0] and all(0 <= c <= 1 for c in box):
        other = ", or set the source's bbox_format to normalized" if source.config.kind in _OWN_FORM else ""
        raise _UnfitError("bbox-normalized", f"bbox {box} looks normalised: multiply by width and height{other}")
    if source.normalized and any(c < -0.01 or c > 1.01 for c in box):
        raise _UnfitError(
            "bbox-not-normalized", f"bbox {box} is not within 0 and 1: set the source's bbox_format to xyxy"
        )
    return box


def _place(
    row: PlanRow, source: Source, parsed: ParsedRow, box: list[float], stored: tuple[int, int], orientation: int
) -> Malformed | None:
    """Set the row's box and mask; the reason why the region cannot be used, if there is one."""
    upright = stored if orientation < 5 else (stored[1], stored[0])
    declared = (parsed.width, parsed.height) if parsed.width is not None and parsed.height is not None else None
    frame, fault = _frame(source, declared, stored, upright, orientation)
    fault = fault or _one_side(parsed, frame)
    width, height = frame
    if source.normalized:
        box = [box[0] * width, box[1] * height, box[2] * width, box[3] * height]
    _ordered(box, width, height)
    row.box = box
    if fault is None:
        fault = _inside(box, width, height)
    if fault is not None:
        return fault
    box = [min(max(c, 0.0), float(side)) for c, side in zip(box, (width, height, width, height), strict=True)]
    try:
        row.mask = masks.parse(parsed.segmentation, width, height)
    except ValueError as error:
        raise _UnfitError("mask-invalid", f"{error}: mend the segmentation or leave it out") from None
    if orientation > 1 and _frame_is_stored(source, declared, stored, upright):
        box = masks.upright_box(box, orientation, *stored)
        row.mask = masks.upright(row.mask, orientation) if row.mask else None
    row.box = [round(c, 2) + 0.0 for c in box]
    return None


def _frame_is_stored(
    source: Source, declared: tuple[int, int] | None, stored: tuple[int, int], upright: tuple[int, int]
) -> bool:
    """Whether boxes are drawn on the stored picture and not on the upright one.

    As the source is configured; otherwise by the declared size, which tells where the sides change places.
    """
    if source.config.coordinates != "auto":
        return source.config.coordinates == "stored"
    return declared is not None and declared == stored != upright


def _frame(
    source: Source,
    declared: tuple[int, int] | None,
    stored: tuple[int, int],
    upright: tuple[int, int],
    orientation: int,
) -> tuple[tuple[int, int], Malformed | None]:
    """The size of the picture that boxes are drawn on, and why that cannot be told, if it cannot."""
    frame = stored if _frame_is_stored(source, declared, stored, upright) else upright
    if declared is not None and declared not in (stored, upright):
        return frame, Malformed(
            "size-mismatch",
            f"declared {declared[0]}x{declared[1]}, the file has {upright[0]}x{upright[1]}: "
            "boxes of another size cannot be trusted; correct width and height, or the picture",
        )
    told = source.config.coordinates != "auto" or source.config.kind in _OWN_FORM
    if orientation > 1 and not told and (declared is None or stored == upright):
        return frame, Malformed(
            "orientation-ambiguous",
            f"the file is turned by EXIF orientation {orientation} and its size does not tell which picture the "
            "box is drawn on: set the source's coordinates to upright or stored",
        )
    return frame, None


def _one_side(parsed: ParsedRow, frame: tuple[int, int]) -> Malformed | None:
    """Where only one side is declared: whether it is that of the picture that boxes are drawn on."""
    for name, said, side in (("width", parsed.width, frame[0]), ("height", parsed.height, frame[1])):
        if said not in (None, side) and None in (parsed.width, parsed.height):
            return Malformed(
                "size-mismatch", f"declared {name} {said}, the file has {side}: declare both sides, rightly, or none"
            )
    return None


def _ordered(box: list[float], width: int, height: int) -> None:
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        if x2 > 0 and y2 > 0 and x1 >= 0 and y1 >= 0 and x1 + x2 <= width + 1 and y1 + y2 <= height + 1:
            raise _UnfitError(
                "bbox-xywh",
                f"bbox {box} runs backwards as [x1, y1, x2, y2] but fits the picture as [x, y, width, height]: "
                "check all boxes of the file, and set the source's bbox_format to xywh",
            )
        raise _UnfitError("bbox-inverted", f"bbox {box} is not [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    if x2 - x1 <= 0 or y2 - y1 <= 0:
        raise _UnfitError("bbox-empty", f"bbox {box} covers no area")


def _inside(box: list[float], width: int, height: int) -> Malformed | None:
    x1, y1, x2, y2 = box
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        return Malformed("bbox-outside", f"bbox {box} lies outside the picture of {width}x{height}")
    spare_x, spare_y = max(OVERSHOOT_PX, OVERSHOOT_SHARE * width), max(OVERSHOOT_PX, OVERSHOOT_SHARE * height)
    if x1 < -spare_x or y1 < -spare_y or x2 > width + spare_x or y2 > height + spare_y:
        return Malformed(
            "bbox-beyond", f"bbox {box} stands out of the picture of {width}x{height}: is it of another size or form?"
        )
    return None
