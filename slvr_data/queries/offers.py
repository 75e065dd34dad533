"""What a model may ask about a region: facets that are known and plain, with the words and the answer to use.

The model writes the question and the wrong choices. That the region can be named without saying the answer,
and that one word decides it, is made sure here: it is what the local checks demand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slvr_data.queries.distractors import spread
from slvr_data.queries.english import plural
from slvr_data.queries.facets import WRITERS, Draft, placed_by
from slvr_data.queries.references import reference_for
from slvr_data.queries.view import PictureView, RegionView

MOST = 8
"""Facets offered for one region, drawn by its id: so not all regions are asked for the same."""


@dataclass(frozen=True)
class Offer:
    """A facet, the fields that decide it, its answer, and what is to be asked, in words."""

    facet: str
    evidence: tuple[str, ...]
    answer: str
    about: str

    @property
    def line(self) -> str:
        """For the prompt."""
        return f'{self.facet} ({", ".join(self.evidence)}): {self.about}; the answer is "{self.answer}"'


def offers(picture: PictureView, region: RegionView, taken: Iterable[str]) -> list[Offer]:
    """The facets that a model may ask about, in an order drawn by the region's id; `taken` ones are left out."""
    gone = set(taken)
    order = spread((facet for facet in _OFFERED if facet not in gone), region.row.region_id)
    found = (_OFFERED[facet](picture, region) for facet in order)
    return [offer for offer in found if offer is not None][:MOST]


def _named(picture: PictureView, region: RegionView, facet: str, about: str = "") -> str | None:
    """'ask about "the left cup"', in words that do not speak of the facet; None where there are none."""
    reference = reference_for(picture, region, facet)
    return None if reference is None else f'{about or "ask about"} "{reference.phrase}"'


def _by_template(facet: str) -> Callable[[PictureView, RegionView], Offer | None]:
    """Offered where the template for the facet finds it plain, with the answer that it finds."""

    def offer(picture: PictureView, region: RegionView) -> Offer | None:
        draft = WRITERS[facet](picture, region)
        about = _named(picture, region, facet)
        return None if draft is None or about is None else _of(draft, about)

    return offer


def _of(draft: Draft, about: str) -> Offer:
    return Offer(draft.facet, draft.evidence, draft.answer, about)


def _entity(picture: PictureView, region: RegionView) -> Offer | None:
    draft, place = WRITERS["entity"](picture, region), region.row.profile.spatial.position
    return None if draft is None else _of(draft, f'ask what can be seen "at the {place} of the picture"')


def _relation(picture: PictureView, region: RegionView) -> Offer | None:
    draft, found = WRITERS["relation"](picture, region), placed_by(picture, region)
    about = _named(picture, region, "relation", "ask where")
    if draft is None or found is None or about is None:
        return None
    return _of(draft, f'{about} is, seen from "{found[2]}"')


def _count(picture: PictureView, region: RegionView) -> Offer | None:
    draft = WRITERS["count"](picture, region)
    return None if draft is None else _of(draft, f'ask how many "{plural(region.label or "")}" the picture shows')


def _word(facet: str, field: str, read: Callable[[RegionView], str | None]) -> Callable[..., Offer | None]:
    """Offered where a field of one word is known and the region's name does not say it."""

    def offer(picture: PictureView, region: RegionView) -> Offer | None:
        value, about = read(region), _named(picture, region, facet)
        if value in (None, "none") or value is None or about is None or _says(about, value):
            return None
        return Offer(facet, (field,), value, about)

    return offer


def _says(about: str, value: str) -> bool:
    words = set(re.findall(r"\w+", about.lower()))
    return any(word in words for word in re.findall(r"\w+", value.lower()))


def _interaction(picture: PictureView, region: RegionView) -> Offer | None:
    """By the first link whose kind no other link has."""
    links = region.row.profile.interaction or []
    kinds = [link.kind for link in links]
    about = _named(picture, region, "interaction", "ask what")
    for link in links:
        if about is None or kinds.count(link.kind) > 1 or _says(about, link.target):
            continue
        words = f'{about} has this interaction with: "{link.kind}"'
        return Offer("interaction", ("interaction",), link.target.lower(), words)
    return None


def _visible_text(picture: PictureView, region: RegionView) -> Offer | None:
    texts, about = region.row.profile.visible_text, _named(picture, region, "visible_text")
    if not texts or len(texts) != 1 or about is None:
        return None
    return Offer("visible_text", ("visible_text",), texts[0], about)


_OFFERED: dict[str, Callable[[PictureView, RegionView], Offer | None]] = {
    **{facet: _by_template(facet) for facet in ("color", "size", "position", "orientation", "depth")},
    "shape": _word("shape", "appearance.shape", lambda region: region.row.profile.appearance.shape),
    "material": _word("material", "appearance.material", lambda region: region.row.profile.appearance.material),
    "action": _word("action", "action", lambda region: region.row.profile.action),
    "entity": _entity, "relation": _relation, "count": _count, "interaction": _interaction,
    "visible_text": _visible_text,
}  # fmt: skip
