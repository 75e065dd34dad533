"""Items -> asks: which are made is known before any picture is opened, and each is made when its turn comes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from PIL import Image

from benchmark.interventions.donors import Donor, Donors
from benchmark.interventions.names import DONATED, FAMILY, Intervention
from benchmark.prompts import Protocol
from benchmark.records import CANNOT_SEE, Ask, Form, Item, ItemQuery
from benchmark.shards import Shard
from benchmark.transforms import TRANSFORMS, Pool
from benchmark.transforms.base import encoded
from slvr_data.errors import RunError, UsageError
from slvr_data.images import PictureError, decoded

if TYPE_CHECKING:
    from benchmark.folder import Bench
    from benchmark.interventions.profiles import Profiles

Family = Literal["circular", "paraphrase", "evidence"]
FAMILIES: tuple[Family, ...] = get_args(Family)
"""What may be asked beside each query in its one order: every other rotation of its choices, its other wordings, and
its picture transformed."""
PLAIN = "plain"
_SLASH = re.compile(r"/|%(?=2[F5])")


class Slot(NamedTuple):
    """An ask without its picture."""

    ask_id: str
    item: Item
    query: ItemQuery
    variant: str
    seed: int
    question: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What is asked of a benchmark folder."""

    protocol: Protocol
    families: tuple[Family, ...] = ()
    seeds: int = 1
    """Each ask so often, with seeds 0, 1, ..."""
    limit: int | None = None
    """So many items; they are drawn by a hash of their ids, so that a larger limit adds to a smaller one."""
    form: Form = "lettered"
    changes: tuple[Intervention, ...] = ()
    """What is done to the latents of a model that has any."""
    profiles: Profiles | None = None
    """Of the items' regions: what their semantic targets are made of."""
    shard: Shard | None = None
    """Only the items of this part of the run."""

    def __post_init__(self) -> None:
        if self.seeds < 1 or (self.limit is not None and self.limit < 1):
            raise UsageError(f"--seeds {self.seeds} and --limit {self.limit} must be 1 at least")
        if self.form == "open" and "circular" in self.families:
            raise UsageError("--variants circular turns lettered choices, and --form open shows none: leave one out")


def families_of(text: str) -> tuple[Family, ...]:
    """The families of a list such as "circular,evidence", in the order of `FAMILIES`.

    Raises:
        UsageError: one is unknown.
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(names - set(FAMILIES))
    if unknown:
        raise UsageError(f"--variants {text}: {unknown[0]!r} is none of {', '.join(FAMILIES)}")
    return tuple(family for family in FAMILIES if family in names)


def expected_of(item: Item, query: ItemQuery, variant: str) -> str | None:
    """The right answer in a variant; None where it is "cannot be seen"."""
    transform = TRANSFORMS.get(variant)
    return query.answer if transform is None or transform.expected(item, query) != "cannot" else None


def chance_of(query: ItemQuery, choices: Collection[str]) -> float | None:
    """Share of right answers that guessing among the choices shown gives; None for an open question."""
    if not choices:
        return None
    return query.chance if query.chance is not None and len(choices) == len(query.choices) else 1 / len(choices)


class Asks:
    """The asks of a plan: `len`, `counts` and `slots` are cheap, iterating opens pictures.

    They come item by item, so that what is about one picture stands together.
    """

    def __init__(self, bench: Bench, plan: Plan) -> None:
        """Raises UsageError where a query has more choices than letters, or two asks one id."""
        self.bench, self.plan = bench, plan
        self.whole = limited(bench.items, plan.limit)
        """The items of all shards: what is drawn of a run - donors, the queries whose latents are surveyed - is drawn
        of these or of the whole folder, and so is the same in every shard."""
        self.items = [item for item in self.whole if plan.shard is None or plan.shard.has(item.item_id)]
        self._pool = Pool(bench.items, lru_cache(8)(self._decoded))
        self._changes = {change.variant: change for change in plan.changes}
        self._donors = Donors(bench.items if DONATED & {change.name for change in plan.changes} else ())
        ids: set[str] = set()
        for slot in self.slots():
            if slot.ask_id in ids:
                raise UsageError(
                    f"two asks have the id {slot.ask_id!r}: ids of items, and of an item's queries, must differ"
                )
            ids.add(slot.ask_id)
        self.length = len(ids)
        self.whole_length = self.length if plan.shard is None else sum(1 for _ in self._slots(self.whole))
        """Number of asks of all shards."""

    def __len__(self) -> int:
        """Number of asks."""
        return self.length

    def counts(self) -> dict[str, int]:
        """Asks by family ("plain" too), for the person who is about to pay for them."""
        found = Counter(family_of(slot.variant) for slot in self.slots())
        return {family: found[family] for family in (PLAIN, *FAMILIES, FAMILY) if found[family]}

    def left_out(self) -> dict[str, int]:
        """Evidence transform -> queries of which it is not asked, because its outcome cannot be told there; and change
        of the latents -> queries that have no such latents: no other region, no box, no profile.
        """
        names = [*(TRANSFORMS if "evidence" in self.plan.families else ()), *self._changes]
        if not names:
            return {}
        queries = sum(len(item.queries) for item in self.items)
        made = Counter(slot.variant for slot in self.slots() if slot.seed == 0)
        return {name: queries - made[name] for name in names if made[name] < queries}

    def slots(self) -> Iterator[Slot]:
        """All asks without their pictures."""
        return self._slots(self.items)

    def _slots(self, items: Iterable[Item]) -> Iterator[Slot]:
        for item in items:
            for variant in self._variants(item):
                for query in item.queries:
                    put = self._put(item, query, variant)
                    if put is None:
                        continue
                    for seed in range(self.plan.seeds):
                        yield Slot(ask_id_of(item, query, variant, seed), item, query, variant, seed, *put)

    def asks(self, done: Collection[str] = ()) -> Iterator[Ask]:
        """All asks but those whose ids are `done`.

        Raises:
            RunError: a picture of the folder cannot be read.
        """
        last: tuple[tuple[str, str], bytes] | None = None
        for slot in self.slots():
            if slot.ask_id in done:
                continue
            shown = (slot.item.item_id if slot.variant in TRANSFORMS else slot.item.image_id, slot.variant)
            if last is None or last[0] != shown:
                last = (shown, self._picture(slot.item, slot.variant))
            yield self.ask(slot, last[1])

    def ask(self, slot: Slot, picture: bytes) -> Ask:
        """A slot with its picture and its prompt."""
        prompt = self.plan.protocol.prompt(slot.question, slot.choices, slot.variant in TRANSFORMS)
        donor = self._donor(slot.item, slot.query, slot.variant)
        return Ask(*slot, prompt, picture, None if donor is None else self._plain(*donor))

    def plain(self, most: int) -> Iterator[Ask]:
        """Every query of at most `most` items as it is asked plainly, once; the items are drawn by hash, of all shards.

        Raises:
            RunError: a picture of the folder cannot be read.
        """
        for item in limited(self.whole, most):
            for query in item.queries:
                yield self._plain(item, query)

    def _plain(self, item: Item, query: ItemQuery) -> Ask:
        put = self._put(item, query, PLAIN)
        assert put is not None
        return self.ask(
            Slot(ask_id_of(item, query, PLAIN, 0), item, query, PLAIN, 0, *put), self._encoded(item.image_id)
        )

    def _donor(self, item: Item, query: ItemQuery, variant: str) -> Donor | None:
        """The query whose latents a variant takes; None where it takes those of none, or there is none."""
        change = self._changes.get(variant)
        if change is None or change.name not in DONATED:
            return None
        return self._donors.of(item, query, "picture" if change.name == "picture" else "region")

    def _changeable(self, item: Item, query: ItemQuery, change: Intervention) -> bool:
        """Whether there are latents to put in the place of a query's own."""
        if change.name in DONATED:
            return self._donor(item, query, change.variant) is not None
        if change.name != "targets":
            return True
        told = self.plan.profiles is not None and item.region_id in self.plan.profiles
        return (item.bbox is not None or change.part == "semantic") and (told or change.part == "visual")

    def _variants(self, item: Item) -> Iterator[str]:
        """Names of variants that some query of the item may have."""
        yield PLAIN
        if "circular" in self.plan.families:
            yield from (f"rotation-{n}" for n in range(1, max(len(query.choices) for query in item.queries)))
        if "paraphrase" in self.plan.families:
            yield from (f"paraphrase-{n}" for n in range(1, 1 + max(len(query.paraphrases) for query in item.queries)))
        if "evidence" in self.plan.families:
            yield from TRANSFORMS
        yield from self._changes

    def _put(self, item: Item, query: ItemQuery, variant: str) -> tuple[str, tuple[str, ...]] | None:
        """The question and choices of a query in a variant; None where it has no such variant."""
        choices = query.choices if self.plan.form == "lettered" else ()
        kind, _, number = variant.partition("-")
        if variant in self._changes:
            return (query.question, choices) if self._changeable(item, query, self._changes[variant]) else None
        if variant in TRANSFORMS:
            if TRANSFORMS[variant].expected(item, query) is None:
                return None
            if variant == "swapped" and not self._pool.has_other(item):
                return None
            return query.question, (*choices, CANNOT_SEE) if choices else ()
        if kind == "rotation":
            turn = int(number)
            return (query.question, (*choices[turn:], *choices[:turn])) if turn < len(choices) else None
        if kind == "paraphrase":
            place = int(number) - 1
            return (query.paraphrases[place], choices) if place < len(query.paraphrases) else None
        return query.question, choices

    def _picture(self, item: Item, variant: str) -> bytes:
        """The encoded picture of a variant; where nothing is changed, as the folder holds it."""
        if variant not in TRANSFORMS or variant == "intact":
            return self._encoded(item.image_id)
        own = self._pool.picture(item.image_id)
        return encoded(TRANSFORMS[variant].apply(item, own, self._pool))

    def _encoded(self, image_id: str) -> bytes:
        try:
            return self.bench.picture(image_id)
        except (KeyError, OSError, ValueError) as error:
            raise RunError(f"picture {image_id} of {self.bench.name} cannot be read ({error}): build it anew") from None

    def _decoded(self, image_id: str) -> Image.Image:
        try:
            return decoded(self._encoded(image_id))
        except PictureError as error:
            raise RunError(f"picture {image_id} of {self.bench.name} is damaged ({error}): build it anew") from None


def ask_id_of(item: Item, query: ItemQuery, variant: str, seed: int) -> str:
    """The id of an ask; no two have the same.

    "/" in the query's id is written "%2F", and "%2F" and "%25" there "%252F" and "%2525". So the last three "/" part
    the four, and an item's id may hold "/" as it stands.
    """
    return f"{item.item_id}/{_SLASH.sub(_escaped, query.query_id)}/{variant}/{seed}"


def _escaped(found: re.Match[str]) -> str:
    return "%2F" if found[0] == "/" else "%25"


def family_of(variant: str) -> str:
    """The family of a variant, or "plain"."""
    if variant in TRANSFORMS:
        return "evidence"
    kind = variant.partition("-")[0]
    return {"rotation": "circular"}.get(kind, kind)


def limited(items: Collection[Item], limit: int | None) -> list[Item]:
    """`limit` items, drawn by a hash of their ids; in their own order, those of a picture together."""
    kept = list(items)
    if limit is not None and limit < len(kept):
        ranked = sorted(kept, key=lambda item: hashlib.sha256(item.item_id.encode()).digest())
        chosen = {item.item_id for item in ranked[:limit]}
        kept = [item for item in kept if item.item_id in chosen]
    first: dict[str, int] = {}
    for item in kept:
        first.setdefault(item.image_id, len(first))
    return sorted(kept, key=lambda item: first[item.image_id])
