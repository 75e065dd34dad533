"""A reply about a region: what its schema allows, and what profile it becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slvr_data.annotators.served.replies import Neighbour, profile_schema, read_profile
from slvr_data.annotators.served.schemas import read_json, strict_schema
from slvr_data.annotators.served.words import basic_color
from slvr_data.colors import COLORS
from slvr_data.queries.served import questions_schema
from slvr_data.requests.failures import BadReplyError
from slvr_data.schema import AttributeProfile, Picture

BOX = [80.0, 80.0, 120.0, 120.0]
UNKNOWN: dict[str, Any] = {
    "appearance": {"entity": None, "colors": None, "shape": None, "material": None, "size": None},
    "action": None,
    "interaction": None,
    "spatial": {"position": None, "orientation": None, "depth": None, "relations": None},
    "visible_text": None,
}


def reply(**given: Any) -> str:
    """A reply that knows some fields, e.g. reply(colors=["red"])."""
    tree = json.loads(json.dumps(UNKNOWN))
    for name, value in given.items():
        part = next((tree[p] for p in ("appearance", "spatial") if name in tree[p]), tree)
        part[name] = value
    return json.dumps(tree)


def read(text: str, *others: Neighbour, count: int | None = None) -> AttributeProfile:
    return read_profile(text, BOX, others, count)


def near(name: str, label: str, x: float, y: float, side: float = 20) -> Neighbour:
    """A thing whose centre lies at (x, y)."""
    return Neighbour(name, label, [x - side / 2, y - side / 2, x + side / 2, y + side / 2])


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, sub in schema.get("properties", {}).items():
        yield from nodes(sub, f"{path}.{name}")
    for sub in schema.get("anyOf", []):
        yield from nodes(sub, path)
    if "items" in schema:
        yield from nodes(schema["items"], path)


# What may be answered


@pytest.mark.parametrize("schema", [profile_schema(), questions_schema(2, 4)])
def test_everything_is_bounded(schema: dict[str, Any]) -> None:
    """A string or list without a bound lets a model write until it is cut off."""
    seen = set()
    for path, node in nodes(schema):
        assert not {"$ref", "$defs", "default", "format", "pattern"} & set(node), path
        seen.add(kind := node.get("type"))
        if kind == "string":
            assert "enum" in node or 0 < node["maxLength"] <= 200, path
        elif kind == "array":
            assert 0 < node["maxItems"] <= 8, path
        elif kind == "object":
            assert node["additionalProperties"] is False and node["required"] == list(node["properties"]), path
        else:
            assert kind == "null" or set(node) == {"anyOf"}, path
    assert {"object", "array", "string"} <= seen


def test_everything_but_a_link_may_be_unknown() -> None:
    for path, node in nodes(profile_schema()):
        if node.get("type") == "object" and not path.endswith(("interaction", "relations")):
            for name, sub in node["properties"].items():
                assert sub.get("type") == "object" or {"type": "null"} in sub["anyOf"], f"{path}.{name}"


def test_it_is_the_record_without_what_is_not_asked() -> None:
    """Every field of the profile is in the schema or named here: a new field of the record cannot be forgotten."""
    asked = {path.lstrip(".") for path, node in nodes(profile_schema()) if node.get("type") != "object"}
    whole = json.dumps(AttributeProfile.model_json_schema())
    assert {path.split(".")[-1] for path in asked} | {"appearance", "spatial", "peers", "same_label_count"} | {
        "target_region_id"
    } == {name for path, node in _record(json.loads(whole)) for name in node.get("properties", {})}


def _record(whole: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from {"": whole, **whole["$defs"]}.items()


def test_a_field_without_a_bound_is_an_error() -> None:
    with pytest.raises(KeyError, match="path"):
        strict_schema(Picture, {}, {}, {"bytes": 3}, frozenset())


# What an answer means


def test_nothing_known() -> None:
    assert read(reply()) == AttributeProfile()
    assert read(reply(), count=3).peers.same_label_count == 3


def test_words_are_normalised() -> None:
    profile = read(
        reply(
            entity="A Coffee  Mug.", colors=["Grey", "navy blue", "gray", "dark green"], shape="N/A",
            material="unknown", size=" Large ", action="Not visible", position="TOP LEFT", depth="None",
            visible_text=["  STOP ", "", "STOP", "a  b"],
        ).replace(', "dark green"', "")
    )  # fmt: skip
    look = profile.appearance
    assert look.entity == "coffee mug" and look.colors == ["gray", "blue"] and look.size == "large"
    assert look.shape is None and look.material is None and profile.action is None
    assert profile.spatial.position == "top left" and profile.spatial.depth == "none"
    assert profile.visible_text == ["STOP", "a b"]


def test_known_to_be_absent_stays() -> None:
    profile = read(reply(action="none", visible_text=[], interaction=[], relations=[], material="None", entity="none"))
    assert profile.action == "none" and profile.visible_text == [] and profile.interaction == []
    assert profile.spatial.relations == [] and profile.appearance.material == "none"
    assert profile.appearance.entity is None, "something is there"
    assert read(reply(colors=[])).appearance.colors is None, "everything has a colour"


@pytest.mark.parametrize("text", ["unknown", "n/a", "", " Unclear. ", "?", "null"])
def test_words_that_say_nothing_are_unknown(text: str) -> None:
    known = {"entity": text, "size": text, "orientation": text, "visible_text": text, "relations": text}
    assert read(reply(**known)) == AttributeProfile()


@pytest.mark.parametrize(
    ("said", "term"),
    [("Red", "red"), ("grey", "gray"), ("light blue", "blue"), ("dark-gray", "gray"), ("very dark green", "green"),
     ("navy", "blue"), ("magenta", "pink"), ("light red", "light red"), ("dark orange", "dark orange"),
     ("turquoise", "turquoise"), ("beige", "beige")],
)  # fmt: skip
def test_colors(said: str, term: str) -> None:
    """What lies between two terms, or could be another with that shade, is not decided."""
    assert basic_color(said) == term
    if term in COLORS:
        assert read(reply(colors=[said])).appearance.colors == [term]
    else:
        with pytest.raises(BadReplyError, match=r'appearance\.colors: ".*", wanted one of black') as caught:
            read(reply(colors=[said]))
        assert caught.value.failure == "schema"


# Links


def test_one_thing_of_the_name_is_meant() -> None:
    plate = near("p", "Dinner_Plate", 20, 100)
    links = read(reply(relations=[{"kind": "Right of", "target": "the dinner plate"}]), plate).spatial.relations
    assert links is not None and [link.model_dump() for link in links] == [
        {"kind": "right of", "target": "Dinner_Plate", "target_region_id": "p"}
    ]


def test_of_several_the_nearest_for_which_it_is_plainly_true() -> None:
    things = [near("far", "cup", 20, 100), near("near", "cup", 50, 100), near("other side", "cup", 140, 100)]
    links = read(reply(relations=[{"kind": "right of", "target": "cup"}]), *things).spatial.relations
    assert links is not None and [link.target_region_id for link in links] == ["near"]


def test_of_several_none_plainly_true_keeps_the_words() -> None:
    things = [near("a", "Cup", 140, 100), near("b", "Cup", 160, 100)]
    links = read(reply(relations=[{"kind": "above", "target": "cup"}]), *things).spatial.relations
    assert links is not None and [(link.target, link.target_region_id) for link in links] == [("Cup", None)]


def test_what_nobody_annotated_keeps_its_words() -> None:
    links = read(reply(relations=[{"kind": "below", "target": "Lamp"}]), near("a", "cup", 1, 1)).spatial.relations
    assert links is not None and [(link.target, link.target_region_id) for link in links] == [("lamp", None)]


def test_contact_is_with_what_can_be_touched() -> None:
    things = [near("away", "person", 190, 20), near("here", "person", 100, 130, 60)]
    links = read(reply(interaction=[{"kind": "held by", "target": "person"}] * 2), *things).interaction
    assert links is not None and [link.target_region_id for link in links] == ["here"]
    away = [near("away", "person", 190, 20), near("too", "person", 10, 190)]
    links = read(reply(interaction=[{"kind": "held by", "target": "person"}]), *away).interaction
    assert links is not None and [link.target_region_id for link in links] == [None]


# What cannot be used


@pytest.mark.parametrize(
    "text",
    ["", "no", '{"action": ', reply() + "}", "```json\n" + reply(), reply() + "\n" + reply(), "[" * 100_000, "NaN",
     '{"a": 1' + "0" * 5000 + "}", f"Sure!\n```json\n{reply()}\n```", '"\\ud800"'],
)  # fmt: skip
def test_malformed(text: str) -> None:
    with pytest.raises(BadReplyError) as caught:
        read(text)
    assert caught.value.failure == "malformed" and caught.value.evidence


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "\n ```JSON\n{}\n```\n"])
def test_one_fenced_block_is_what_servers_without_a_grammar_write(fence: str) -> None:
    assert read(fence.replace("{}", reply(entity="cup"))).appearance.entity == "cup"
    assert read_json(" \n[1] ") == [1]


def test_what_was_not_asked_for_is_passed_over() -> None:
    tree = json.loads(reply(entity="cup", weight="1 kg"))
    tree["appearance"]["confidence"] = [0.9]
    assert read(json.dumps(tree)) == read(reply(entity="cup"))


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_json("\ufeff[1]") == read_json(" \ufeff```json\n[1]\n```") == [1]


@pytest.mark.parametrize("thoughts", ["<think>\nA cup.\n</think>\n\n{}", "A cup.\n</think>{}", "<think>A cup"])
def test_thoughts_in_a_reply_tell_what_the_server_lacks(thoughts: str) -> None:
    with pytest.raises(BadReplyError, match="--reasoning-parser") as caught:
        read(thoughts.replace("{}", reply()))
    assert caught.value.failure == "malformed"
    assert read(reply(entity="</think>")).appearance.entity == "</think>"


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("[]", "the reply: [], wanted an object"),
        (reply(size="huge"), 'appearance.size: "huge", wanted one of small, medium, large'),
        (reply(position=3), "spatial.position: 3, wanted a string"),
        (reply(visible_text="STOP"), 'visible_text: "STOP", wanted a list'),
        (reply(entity="x" * 61), f'appearance.entity: "{"x" * 61}", wanted at most 60 characters'),
        (reply(visible_text=["a"] * 9), "wanted 0 to 8 items"),
        (reply(relations=[{"kind": "near", "target": "cup"}]), 'spatial.relations.kind: "near", wanted one of left of'),
        (reply(relations=[{"kind": "above", "target": "unknown"}]), 'relations.target: "unknown", wanted words'),
        (reply(relations=[{"kind": "above"}]), "spatial.relations.target is missing"),
        (reply().replace('"action": null, ', ""), "action is missing"),
        (reply(entity="a\x00b"), 'appearance.entity: "a\\u0000b", wanted printable characters'),
        (reply(entity=["cup"] * 99), "..., wanted a string"),
    ],
)
def test_unfit(text: str, evidence: str) -> None:
    with pytest.raises(BadReplyError) as caught:
        read(text)
    assert caught.value.failure == "schema" and evidence in caught.value.evidence
    assert len(caught.value.evidence) < 250


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(["kind", "target", "x"]), inner),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*UNKNOWN["appearance"], *UNKNOWN["spatial"], "action", "visible_text"]), VALUES)
)
def test_anything_is_read_or_refused(known: dict[str, Any]) -> None:
    """Never another error; and what is read reads the same again."""
    try:
        profile = read(reply(**known), near("a", "cup", 1, 1))
    except BadReplyError as error:
        assert error.failure in ("schema", "malformed")
    else:
        assert AttributeProfile.model_validate_json(profile.model_dump_json()) == profile
