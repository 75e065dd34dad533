"""What tests of runs share: items over drawn pictures, a folder of them, and models of a few lines."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from benchmark.asks import Asks, Plan
from benchmark.folder import Bench, write_bench
from benchmark.models.base import Detail, ModelOptions, open_model
from benchmark.prompts import DEFAULT_PROTOCOL, protocol_of
from benchmark.records import Ask, Item, ItemQuery, Reply
from tests.support import encoded

COLORS = ("red", "green", "blue", "yellow")
PLACES = ("left", "right", "top", "bottom")
SIZE = (96, 64)
OPTIONS = ModelOptions(max_new_tokens=6, batch_size=5)


def query(item_id: str, facet: str, choices: Sequence[str], right: int, **changed: Any) -> ItemQuery:
    """A query with an answer."""
    plain: dict[str, Any] = {
        "query_id": f"{facet}-{item_id}",
        "facet": facet,
        "template": f"the {facet} of it",
        "question": f"What is the {facet} of the thing?",
        "answer": choices[right],
        "choices": tuple(choices),
        "answer_index": right,
        "chance": 1 / len(choices),
        "paraphrases": (f"Tell the {facet} of the thing.",),
    }
    return ItemQuery(**plain | changed)


def item(number: int, picture: int | None = None, **changed: Any) -> Item:
    """Item `number` with queries of colour and position, on the picture of that number or of another."""
    item_id, shown = f"item-{number:05d}", number if picture is None else picture
    left = 8 + shown % 5
    plain: dict[str, Any] = {
        "item_id": item_id,
        "image_id": f"image-{shown:05d}",
        "region_id": f"region-{number:05d}",
        "bbox": (left, 20.0, left + 24.0, 44.0),
        "label": f"thing {shown % 3}",
        "width": SIZE[0],
        "height": SIZE[1],
        "queries": (
            query(item_id, "color", COLORS, number % 4),
            query(item_id, "position", PLACES, number // 4 % 4),
        ),
    }
    return Item(**plain | changed)


def drawn(one: Item) -> Image.Image:
    """A grey picture with a box in the colour that is asked for; no two are the same."""
    picture = Image.new("RGB", (one.width, one.height), (90, 90, 100))
    draw = ImageDraw.Draw(picture)
    shade = hashlib.sha256(one.image_id.encode()).digest()
    draw.rectangle([70, 4, 90, 16], fill=(shade[0], shade[1], shade[2]))
    if one.bbox is not None:
        x1, y1, x2, y2 = (int(edge) for edge in one.bbox)
        draw.rectangle([x1, y1, x2 - 1, y2 - 1], fill=one.queries[0].answer if one.queries[0].facet == "color" else 0)
    return picture


@dataclass
class Shelf:
    """A benchmark folder's items and pictures, in memory."""

    items: list[Item]
    name: str = "shelf"
    revision: str = "0" * 64
    training: Any = None
    pictures: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.items:
            if one.image_id not in self.pictures:
                self.pictures[one.image_id] = encoded(drawn(one))

    def picture(self, image_id: str) -> bytes:
        """Its encoded picture."""
        return self.pictures[image_id]


def shelf(number: int = 6, **changed: Any) -> Any:
    """`number` items, each with a picture of its own."""
    return Shelf([item(n) for n in range(number)], **changed)


def folder(out: Path, number: int = 6) -> Bench:
    """The same in a folder."""
    made = shelf(number)
    return write_bench(out, "shelf", made.items, made.picture, {})


def plan(*families: Any, protocol: str = DEFAULT_PROTOCOL, **changed: Any) -> Plan:
    """A plan with the default protocol."""
    return Plan(protocol_of(protocol), tuple(families), **changed)


def asks_of(bench: Any, *families: Any, **changed: Any) -> list[Ask]:
    """All asks of a plan."""
    return list(Asks(bench, plan(*families, **changed)).asks())


def letter(ask: Ask, choice: str | None = None) -> str:
    """The letter of a choice, or of the right one."""
    return "ABCDEFGHIJ"[ask.choices.index(ask.query.answer if choice is None else choice)]


@dataclass
class Stub:
    """A model that says what it is told to, after a while."""

    say: Callable[[Ask], str | Reply] = letter
    seconds: float = 0.0
    name: str = "stub"
    seen: list[str] = field(default_factory=list)

    def details(self) -> dict[str, Detail]:
        """Nothing."""
        return {}

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        """One after the other."""
        for ask in asks:
            self.seen.append(ask.ask_id)
            if self.seconds:
                time.sleep(self.seconds)
            said = self.say(ask)
            yield ask, said if isinstance(said, Reply) else Reply(said, "stop", None, 10, 1, self.seconds)


def opened(spec: str, **changed: Any) -> Any:
    """A model with `OPTIONS`, or others."""
    return open_model(spec, replace(OPTIONS, **changed))


def answered(model: Any, asks: list[Ask]) -> dict[str, Reply]:
    """Replies by ask, without the time they took."""
    found = {ask.ask_id: replace(reply, seconds=None) for ask, reply in model.replies(iter(asks))}
    assert len(found) == len(asks)
    return found
