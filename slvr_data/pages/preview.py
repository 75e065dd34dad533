"""The preview: what a run would publish and reject, picture by picture, on one page to look through.

The page is complete without scripts. With them it can be filtered: the index that `_index` embeds holds
what the filters ask of each region; the text to search is read from the page itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot, isfinite

from slvr_data.pages.render import render
from slvr_data.schema import Query, Verdict

COLORS = 7
"""How many outline colours preview.html.j2 defines (Okabe and Ito's palette without black)."""

_PIN = 5.5
"""Least distance between the numbers on a picture, in percent of its width."""

_LONGEST_OPTION = 60

Point = tuple[float, float]
Malformed = tuple[str, int, str, str]
"""File, line, reason and evidence of a row that never became a region."""


@dataclass(frozen=True)
class PreviewRegion:
    """A region as the page shows it."""

    region_id: str
    label: str | None
    box: list[float]
    """[x1, y1, x2, y2] in pixels of the upright picture."""
    outline: list[list[Point]] | None
    """Polygon rings in the same pixels; None draws the box."""
    profile_text: str
    profile: dict[str, object]
    """`AttributeProfile.model_dump()`."""
    verdicts: list[Verdict]
    rejected: tuple[str, str, str, str] | None
    """Stage, check, reason and evidence; None for a region that is published."""
    refs: list[str]
    """Referring expressions."""
    crop: bytes | None
    """JPEG."""
    queries: Sequence[Query] = ()
    """All its questions, group after group."""
    refused: Sequence[tuple[str, str]] = ()
    """Reason and question of those that were turned away."""


@dataclass(frozen=True)
class PreviewPicture:
    """A picture and its regions; `width` and `height` are those of the picture, not of the thumbnail."""

    image_id: str
    width: int
    height: int
    split: str
    source: str
    license: str | None
    path: str
    jpeg: bytes
    """A thumbnail of any size with the picture's aspect ratio."""
    regions: list[PreviewRegion]


def render_preview(
    title: str,
    facts: Sequence[tuple[str, str]],
    pictures: Sequence[PreviewPicture],
    command: str,
    malformed: Sequence[Malformed],
) -> str:
    """One self-contained HTML page; write it as UTF-8.

    Raises:
        ValueError: a picture's width or height is not positive.
    """
    return render(
        "preview.html.j2",
        title=title,
        subtitle=_subtitle(pictures, malformed),
        facts=facts,
        command=command,
        configuration=None,
        pictures=[_picture(picture) for picture in pictures],
        malformed=malformed,
        options=_options(pictures),
        index=_index(pictures),
    )


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _subtitle(pictures: Sequence[PreviewPicture], malformed: Sequence[Malformed]) -> str:
    regions = [region for picture in pictures for region in picture.regions]
    rejected = sum(region.rejected is not None for region in regions)
    return ", ".join(
        [
            _plural(len(pictures), "picture"),
            _plural(len(regions), "region"),
            f"{rejected:,} of them rejected",
            _plural(len(malformed), "malformed row"),
        ]
    )


def _picture(picture: PreviewPicture) -> dict[str, object]:
    if picture.width <= 0 or picture.height <= 0:
        size = f"{picture.width} x {picture.height}"
        raise ValueError(f"the picture {picture.path!r} has the size {size}; both must be positive")
    numbers = {region.region_id: number for number, region in enumerate(picture.regions, 1)}
    places = _pin_places(picture)
    decimals = 0 if max(picture.width, picture.height) >= 400 else 1
    regions = [
        {
            "shown": region,
            "color": i % COLORS,
            "path": _path(_rings(region), decimals),
            "pin": places[i],
            "fields": [(name, _parts(value, numbers)) for name, value in _fields(region.profile)],
            "tally": _tally(region),
        }
        for i, region in enumerate(picture.regions)
    ]
    # Large outlines first, so that a small region inside a large one can be pointed at.
    order = sorted(range(len(regions)), key=lambda i: -_area(picture.regions[i].box))
    return {"shown": picture, "regions": regions, "order": order}


def _area(box: Sequence[float]) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return area if isfinite(area) else 0.0


def _rings(region: PreviewRegion) -> list[list[Point]]:
    """The rings to draw: the outline or the box; none where a coordinate is not a finite number."""
    x1, y1, x2, y2 = region.box
    rings = region.outline or [[(x1, y1), (x2, y1), (x2, y2), (x1, y2)]]
    drawable = all(isfinite(c) for ring in rings for point in ring for c in point)
    return [ring for ring in rings if ring] if drawable else []


def _path(rings: Sequence[Sequence[Point]], decimals: int) -> str:
    """SVG path data in rounded pixels, relative from the second point of a ring on, which is shorter."""
    scale = 10**decimals
    pieces = []
    for ring in rings:
        points = [(round(x * scale), round(y * scale)) for x, y in ring]
        pieces.append(f"M{points[0][0] / scale:g} {points[0][1] / scale:g}")
        steps = [
            f"{(bx - ax) / scale:g} {(by - ay) / scale:g}"
            for (ax, ay), (bx, by) in pairwise(points)
            if (ax, ay) != (bx, by)
        ]
        if steps:
            pieces.append("l" + " ".join(steps).replace(" -", "-"))
        pieces.append("z")
    return "".join(pieces)


def _pin_places(picture: PreviewPicture) -> list[Point | None]:
    """Where each region's number stands, in percent of width and height; None where nothing is drawn.

    The first extreme point of the outline that is clear of the numbers before it, or the clearest.
    """
    aspect = picture.height / picture.width
    taken: list[Point] = []
    places: list[Point | None] = []
    for region in picture.regions:
        best: Point | None = None
        room = -1.0
        for x, y in _extremes(_rings(region)):
            place = _clamp(100 * x / picture.width), _clamp(100 * y / picture.height)
            clear = min((hypot(place[0] - t[0], (place[1] - t[1]) * aspect) for t in taken), default=_PIN)
            if min(clear, _PIN) > room:
                best, room = place, min(clear, _PIN)
        places.append(best)
        taken += [best] if best else []
    return places


def _extremes(rings: Sequence[Sequence[Point]]) -> list[Point]:
    """The topmost, leftmost, rightmost and lowest points (of a box: its corners), then the middle."""
    points = [point for ring in rings for point in ring]
    if not points:
        return []
    top, bottom = min(points, key=lambda p: (p[1], p[0])), max(points, key=lambda p: (p[1], p[0]))
    left, right = min(points, key=lambda p: (p[0], -p[1])), max(points, key=lambda p: (p[0], -p[1]))
    return [top, left, right, bottom, ((left[0] + right[0]) / 2, (top[1] + bottom[1]) / 2)]


def _clamp(percent: float) -> float:
    return round(min(97.5, max(2.5, percent)), 1)


def _fields(profile: Mapping[str, object]) -> list[tuple[str, object]]:
    """The leaves of a profile with their names in words, in the order of the schema."""
    fields: list[tuple[str, object]] = []
    for name, value in profile.items():
        if isinstance(value, Mapping):
            fields += _fields(value)
        else:
            fields.append((name.replace("_", " "), value))
    return fields


def _parts(value: object, numbers: Mapping[str, int]) -> list[tuple[str, int | None]] | None:
    """A field as texts, each with the number of the region it points at; None for unknown."""
    if value is None:
        return None
    if not isinstance(value, list):
        return [(str(value), None)]
    parts: list[tuple[str, int | None]] = []
    for item in value:
        if isinstance(item, Mapping):
            parts.append((f"{item['kind']} {item['target']}", numbers.get(item["target_region_id"] or "")))
        else:
            parts.append((str(item), None))
    return parts or [("none", None)]


def _tally(region: PreviewRegion) -> str:
    counts: Counter[str] = Counter(verdict.verdict for verdict in region.verdicts)
    unknown = sum(value is None for _, value in _fields(region.profile))
    words = {"pass": "passed", "fail": "failed", "not applicable": "not applicable"}
    parts = [f"{unknown} unknown"] if unknown else []
    parts += [f"{counts[name]} {word}" for name, word in words.items() if counts[name]]
    return ", ".join(parts)


def _index(pictures: Sequence[PreviewPicture]) -> list[dict[str, object]]:
    """What the filters ask: per picture its sources, its split and of each region what it is filtered by."""
    return [
        {
            "source": picture.source.split("+"),
            "split": picture.split,
            "regions": [
                {"label": region.label, "verdict": _outcome(region), "unknown": _unknown(region)}
                for region in picture.regions
            ],
        }
        for picture in pictures
    ]


def _outcome(region: PreviewRegion) -> str:
    return region.rejected[2] if region.rejected else "published"


def _unknown(region: PreviewRegion) -> list[str]:
    label = [] if region.label else ["label"]
    return label + [name for name, value in _fields(region.profile) if value is None]


def _options(pictures: Sequence[PreviewPicture]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The choices of each filter: its name, its caption and pairs of value and text with a count."""
    regions = [region for picture in pictures for region in picture.regions]
    sources = Counter(source for picture in pictures for source in picture.source.split("+"))
    splits = Counter(picture.split for picture in pictures)
    labels = Counter(region.label for region in regions if region.label)
    outcomes = Counter(_outcome(region) for region in regions)
    published = outcomes.pop("published", 0)
    verdicts = [
        ("published", f"published ({published})"),
        ("rejected", f"rejected, any reason ({outcomes.total()})"),
        *_choices(outcomes),
    ]
    unknown = Counter(name for region in regions for name in _unknown(region))
    return [
        ("source", "Source", _choices(sources)),
        ("split", "Split", _choices(splits)),
        ("label", "Label", _choices(labels)),
        ("verdict", "Verdict", verdicts),
        ("unknown", "Unknown field", _choices(unknown)),
    ]


def _choices(counts: Counter[str]) -> list[tuple[str, str]]:
    """The most frequent first, equals in alphabetical order; a long text is cut, its value is not."""
    return [
        (value, f"{value if len(value) <= _LONGEST_OPTION else value[:_LONGEST_OPTION] + '…'} ({count})")
        for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
