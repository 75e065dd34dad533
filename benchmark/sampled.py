"""The sample browser's content: picked items with their pictures, queries and what every run said to them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.opened import Run
from benchmark.pages.view import Sample, ShownAsk, ShownPicture, ShownQuery, ShownReply
from benchmark.records import CANNOT_SEE, Item, LogLine
from benchmark.samples import MAX_BYTES, classes_of, cut, first_seed, picked, small_picture
from benchmark.wording import plural
from slvr_data.images import PictureError

OTHER_WORDS = 400
"""Characters of a reply that are shown in other variants."""
Lines = Mapping[tuple[str, str, str], LogLine]
"""(Item, query, variant) -> line."""


@dataclass
class Browser:
    """What the page shows of samples."""

    samples: list[Sample] = field(default_factory=list)
    pictures: list[ShownPicture] = field(default_factory=list)
    counts: list[tuple[int, Mapping[str, int]]] = field(default_factory=list)
    """Run, class -> items in the whole run."""
    note: str = ""
    facets: list[str] = field(default_factory=list)


def browser(
    runs: Sequence[Run], items: Mapping[str, Item], picture_of: Callable[[str], bytes] | None, most: int
) -> Browser:
    """Samples of at most `most` items and `MAX_BYTES` bytes.

    `items` and `picture_of` are those of the benchmark folder. Without it the samples have no pictures and no boxes,
    which the note says.
    """
    found = Browser()
    classes = [classes_of(run) for run in runs]
    found.counts = [(place, Counter(own.values())) for place, own in enumerate(classes)]
    chosen = picked(classes, most)
    lines = [_indexed(run, set(chosen.items)) for run in runs]
    places: dict[str, int | None] = {}
    used = 0
    for item_id in chosen.items:
        queries = _queries(item_id, lines)
        crop, size = None, 0
        item = items.get(item_id)
        if item is not None and picture_of is not None:
            crop, size = _embed(item, picture_of, places, found.pictures)
        used += size + sum(_weight(query) for query in queries)
        if used > MAX_BYTES:
            break
        found.samples.append(_sample(item_id, item, places, crop, [own.get(item_id, "") for own in classes], queries))
    found.facets = sorted({query.facet for sample in found.samples for query in sample.queries})
    found.note = _note(len(found.samples), chosen.of, picture_of is not None, runs)
    return found


def _sample(
    item_id: str,
    item: Item | None,
    places: Mapping[str, int | None],
    crop: bytes | None,
    classes: Sequence[str],
    queries: Sequence[ShownQuery],
) -> Sample:
    place = places.get(item.image_id) if item is not None else None
    label, box = (item.label or "", item.bbox) if item is not None else ("", None)
    return Sample(item_id, label, place, box, crop, classes, queries)


def _note(shown: int, of: int, pictures: bool, runs: Sequence[Run]) -> str:
    parts = [f"{plural(shown, 'region')} of {of:,}"]
    if shown < of:
        parts.append("dealt in turn from every combination of classes, so rare ones are here whatever their share")
    note = "; ".join(parts) + "."
    if any(len(run.header.seeds) > 1 for run in runs):
        note += " Replies and classes are those of the first seed."
    if not pictures:
        note += " The pictures are not in here: name the benchmark folder with --data."
    return note


def _indexed(run: Run, wanted: set[str]) -> Lines:
    seed = first_seed(run)
    return {
        (line.item_id, line.query_id, line.variant): line
        for line in run.lines
        if line.seed == seed and line.item_id in wanted
    }


def _queries(item_id: str, lines: Sequence[Lines]) -> list[ShownQuery]:
    """The queries of an item in their order, with what every run said."""
    asks: dict[tuple[int, str], dict[str, dict[int, LogLine]]] = defaultdict(lambda: defaultdict(dict))
    for run, own in enumerate(lines):
        for (found, query_id, variant), line in own.items():
            if found == item_id:
                asks[line.position, query_id][variant][run] = line
    return [_query(variants) for _, variants in sorted(asks.items())]


def _query(variants: Mapping[str, Mapping[int, LogLine]]) -> ShownQuery:
    by_run = variants.get("plain") or next(iter(variants.values()))
    line = next(iter(by_run.values()))
    others = [
        _other(name.replace("-", " "), own) for name, own in variants.items() if name != "plain" and own is not by_run
    ]
    return ShownQuery(line.facet, line.question, line.choices, _expected(line), _replies(by_run), others)


def _other(name: str, by_run: Mapping[int, LogLine]) -> ShownAsk:
    line = next(iter(by_run.values()))
    return ShownAsk(name, line.question, line.choices, _expected(line), _replies(by_run, OTHER_WORDS))


def _expected(line: LogLine) -> str:
    return CANNOT_SEE if line.expected is None else line.expected


def _replies(by_run: Mapping[int, LogLine], most: int | None = None) -> list[ShownReply]:
    shown = []
    for run, line in sorted(by_run.items()):
        text, left = cut(line.reply) if most is None else cut(line.reply, most)
        left += max(0, line.reply_length - len(line.reply or ""))
        error = "" if line.reply is not None else line.error or "none came"
        shown.append(ShownReply(run, line.outcome, line.correct, line.answer or "", text, left, error))
    return shown


def _weight(query: ShownQuery) -> int:
    """Bytes of a query on the page, about: each reply stands in some markup."""
    asks = [query.replies, *(ask.replies for ask in query.others)]
    texts = sum(len(reply.text.encode(errors="replace")) + len(reply.error) + 300 for own in asks for reply in own)
    return texts + sum(len(choice) + 60 for choice in query.choices) * len(asks)


def _embed(
    item: Item, picture_of: Callable[[str], bytes], places: dict[str, int | None], pictures: list[ShownPicture]
) -> tuple[bytes | None, int]:
    """(Crop, bytes added) of an item whose picture is put among `pictures` where it is not yet.

    A picture that cannot be read costs that picture: the item is shown without.
    """
    try:
        whole, crop = small_picture(picture_of(item.image_id), item.bbox, (item.width, item.height))
    except (PictureError, KeyError):
        places.setdefault(item.image_id, None)
        return None, 0
    added = len(crop or b"")
    if item.image_id not in places:
        places[item.image_id] = len(pictures)
        pictures.append(ShownPicture(item.width, item.height, whole))
        added += len(whole)
    return crop, added
