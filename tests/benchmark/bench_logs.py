"""Runs for tests of what reads them: real logs on disk, of models whose replies follow from a hash; and pictures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageDraw

from benchmark.records import CANNOT_SEE, Header, Item, ItemQuery, LogLine
from benchmark.runlog import open_log

FACETS = ("color", "shape", "size", "position")
CHOICES = {
    "color": ("red", "blue", "green", "grey"),
    "shape": ("cup", "ball", "box", "star"),
    "size": ("small", "medium", "large"),
    "position": ("top left", "center", "bottom right"),
}
HOSTILE = '<script>document.title="taken"</script><img src=x onerror=alert(1)>&"\'</article>'
Say = Callable[[Item, ItemQuery, str], str | None]
"""What a model says: the choice that it names, other words for no answer, None for no reply."""


def unit(*parts: object) -> float:
    """A number in [0, 1) that follows from the parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def item(number: int, pictures: int, label: str = "cup") -> Item:
    """An item with two to four queries."""
    queries = []
    for place in range(2 + number % 3):
        facet = FACETS[(number + place) % 4]
        choices = CHOICES[facet]
        index = int(unit(number, facet) * len(choices))
        queries.append(
            ItemQuery(
                query_id=f"q{number}-{place}", facet=facet, template=f"what {facet}",
                question=f"What {facet} is thing {number}?", answer=choices[index], choices=choices,
                answer_index=index, chance=1 / len(choices), paraphrases=(f"Thing {number} has which {facet}?",),
            )
        )  # fmt: skip
    box = (20.0 + number % 7, 30.0, 60.0, 80.0)
    return Item(
        item_id=f"item{number}", image_id=f"image{number % pictures}", region_id=f"r{number}", bbox=box, label=label,
        width=160, height=120, queries=tuple(queries),
    )  # fmt: skip


def items(number: int = 60, pictures: int = 30, label: str = "cup") -> list[Item]:
    return [item(i, pictures, label) for i in range(number)]


def able(skill: float, name: str = "m") -> Say:
    """A model that is right with probability `skill`, each region being easy or hard; it does not look."""

    def say(item: Item, query: ItemQuery, variant: str) -> str | None:
        luck = 0.6 * unit(name, item.item_id) + 0.4 * unit(name, item.item_id, query.query_id)
        if unit(name, "none", query.query_id) < 0.03:
            return "I would rather talk about the weather."
        if variant == "masked" and unit(name, "look", query.query_id) < skill:
            return CANNOT_SEE
        if luck < skill:
            return query.answer
        return next(choice for choice in query.choices if choice != query.answer)

    return say


def lines(
    all_items: list[Item], say: Say, variants: tuple[str, ...] = ("plain",), seeds: tuple[int, ...] = (0,)
) -> Iterator[LogLine]:
    """A line for every query in every variant and seed."""
    for own in all_items:
        for variant in variants:
            for position, query in enumerate(own.queries):
                for seed in seeds:
                    yield line(own, position, variant, seed, say(own, query, variant))


def line(own: Item, position: int, variant: str, seed: int, said: str | None) -> LogLine:
    query = own.queries[position]
    family = variant in ("intact", "masked")
    choices = (*query.choices, CANNOT_SEE) if family else query.choices
    expected = None if variant == "masked" else query.answer
    named = said if said in choices else None
    return LogLine(
        ask_id=f"{own.item_id}/{query.query_id}/{variant}/{seed}", item_id=own.item_id, image_id=own.image_id,
        query_id=query.query_id, position=position, facet=query.facet, variant=variant, seed=seed,
        question=query.paraphrases[0] if variant == "paraphrase-1" else query.question, choices=choices,
        expected=expected, reply=said, reply_length=len(said or ""),
        outcome="failed" if said is None else "answer" if named else "unparsed", answer=named,
        correct=named is not None and named == (expected or CANNOT_SEE), chance=1 / len(choices), finish="stop",
        error="the server died" if said is None else None, prompt_tokens=40, reply_tokens=3, seconds=0.05,
    )  # fmt: skip


def header(model: str, number: int, asks: int, **other: object) -> Header:
    fields: dict[str, object] = {
        "model": model, "model_details": {"weights": hashlib.sha256(model.encode()).hexdigest(), "dtype": "float32"},
        "data": "scenes", "data_revision": "d" * 64, "items": number, "asks": asks, "form": "lettered",
        "protocol": "bare-1", "prompt_sha256": "a" * 64, "extraction": "1", "variants": [], "seeds": [0],
        "max_pixels": None, "max_new_tokens": 64, "sampling": {},
    }  # fmt: skip
    return Header.model_validate(fields | other)


def write_run(
    folder: Path, model: str, say: Say, all_items: list[Item] | None = None,
    variants: tuple[str, ...] = ("plain",), missing: int = 0, **other: object,
) -> Path:  # fmt: skip
    """A run's folder; its last `missing` lines are not there."""
    all_items = items() if all_items is None else all_items
    seeds = other.get("seeds", [0])
    assert isinstance(seeds, list)
    found = list(lines(all_items, say, variants, tuple(seeds)))
    with open_log(folder, header(model, len(all_items), len(found), **other)) as log:
        for own in found[: len(found) - missing]:
            log.write(own)
    return folder


def picture(image_id: str) -> bytes:
    """The picture of an item: 160 x 120, another one for each id."""
    image = Image.new("RGB", (160, 120), (int(200 * unit(image_id)), 90, 120))
    ImageDraw.Draw(image).ellipse((20, 30, 60, 80), fill=(240, int(255 * unit(image_id, 2)), 40))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
