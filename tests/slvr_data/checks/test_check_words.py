"""Entity, count, vague words, ambiguous links, contact."""

from __future__ import annotations

import pytest

from slvr_data.checks.ambiguous import check_ambiguous
from slvr_data.checks.contact import check_contact
from slvr_data.checks.count import check_count
from slvr_data.checks.entity import check_entity, head
from slvr_data.checks.vague import check_vague
from tests.checked import link, profile, record, region, verdict

BOX = (50, 50, 100, 100)


@pytest.mark.parametrize(
    ("label", "entity", "wanted"),
    [
        ("dog", "dog", "pass"), ("dog", "Dogs", "pass"), ("dining table", "wooden table", "pass"),
        ("traffic_light", "traffic light", "pass"), ("couch", "sofa", "pass"), ("person", "a woman", "pass"),
        ("cell phone", "smartphone", "pass"), ("tv", "computer monitor", "pass"), ("knife", "knives", "pass"),
        ("person", "man with a dog", "pass"), ("bus", "buses", "pass"), ("hot dog", "hot-dog", "pass"),
        ("dog", "cat", "entity-of-another-kind"), ("person", "bench", "entity-of-another-kind"),
        ("banana", "sports car", "entity-of-another-kind"), ("widget", "gizmo", "entity-of-another-kind"),
        ("dog", "labradoodle", None), ("widget", "sprocket", None), (None, "dog", None), ("dog", None, None),
    ],
)  # fmt: skip
def test_entity(label: str | None, entity: str | None, wanted: str | None) -> None:
    others = [region("b", BOX, "gizmo")]
    assert verdict(check_entity, record(region("a", BOX, label), profile(entity=entity), others)) == wanted


@pytest.mark.parametrize(
    ("phrase", "noun"),
    [("glass", "glass"), ("boxes", "box"), ("cherries", "cherry"), ("benches", "bench"), ("scissors", "scissors"),
     ("group of people", "group"), ("", "")],
)  # fmt: skip
def test_head(phrase: str, noun: str) -> None:
    assert head(phrase) == noun


def test_count() -> None:
    others = [region("b", (0, 0, 9, 9)), region("c", (0, 0, 9, 9), "dog")]

    def judged(number: int | None, labels: tuple[str, ...] = ("cup",), crowd: bool = False) -> str | None:
        more = [region("d", (0, 0, 99, 99), iscrowd=True)] if crowd else []
        checked = record(region("a", BOX), profile(count=number), [*others, *more], complete_labels=labels)
        return verdict(check_count, checked)

    assert judged(2) == "pass"
    assert judged(1) == judged(3) == "count-disagrees"
    assert judged(None) is None and judged(3, ()) is None and judged(3, crowd=True) is None


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"entity": "cup"}, "pass"),
        ({"entity": "Thing"}, "entity-vague"),
        ({"entity": "the object"}, "entity-vague"),
        ({"entity": "unknown"}, "word-empty"),
        ({"shape": "n/a"}, "word-empty"),
        ({"colors": ["various"]}, "word-empty"),
        ({"material": "none", "action": "none"}, "pass"),
        ({"interaction": [link("holding", "something")]}, "target-vague"),
        ({"size": "small", "position": "top", "orientation": "vertical"}, "nothing-known"),
        ({"position": "top", "colors": ["red"]}, "pass"),
    ],
)
def test_vague_words(claims: dict[str, object], wanted: str) -> None:
    assert verdict(check_vague, record(region("a", BOX), profile(**claims))) == wanted


def test_a_word_that_a_source_uses_is_not_vague() -> None:
    assert verdict(check_vague, record(region("a", BOX, "Object"), profile(entity="object"))) == "pass"
    others = [region("b", BOX, "item")]
    claims = profile(relations=[link("above", "item", "b")])
    assert verdict(check_vague, record(region("a", BOX), claims, others)) == "pass"


def test_without_a_label_a_place_may_be_all_that_can_be_known() -> None:
    place = profile(size="small", position="top", orientation="vertical")
    assert verdict(check_vague, record(region("a", BOX, None), place)) == "pass"


def test_a_link_by_name_alone_needs_a_name_that_one_thing_bears() -> None:
    mine, two = region("a", BOX), [region("b", BOX, "dog"), region("c", BOX, "dog")]
    by_name = profile(relations=[link("above", "Dog")])
    assert verdict(check_ambiguous, record(mine, by_name, two)) == "link-ambiguous"
    assert verdict(check_ambiguous, record(mine, by_name, two[:1])) == "pass"
    assert verdict(check_ambiguous, record(mine, profile(relations=[link("above", "dog", "b")]), two)) is None
    assert verdict(check_ambiguous, record(mine, profile(), two)) is None


def test_things_in_contact_stand_together() -> None:
    mine = region("a", (50, 50, 70, 110))
    near, far = region("b", (68, 60, 80, 80)), region("c", (150, 60, 160, 80))

    def judged(kind: str, target: str | None) -> str | None:
        claims = profile(interaction=[link(kind, "cup", target)])
        return verdict(check_contact, record(mine, claims, [near, far]))

    assert judged("holding", "b") == "pass"
    assert judged("holding", "c") == judged("is held by", "c") == "interaction-apart"
    assert judged("around", "c") == "interaction-apart" and judged("walking around", "c") is None
    assert judged("looking at", "c") is None and judged("holding", None) is None
