"""How the stub's model writes questions on offered facets, and answers questions by what is known of a region."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from slvr_data import geometry
from slvr_data.colors import COLORS
from slvr_data.injector import Surroundings
from slvr_data.injector.profiles import MATERIALS, SHAPES
from slvr_data.queries import distractors
from slvr_data.queries.facets import DEPTHS, ORIENTATIONS, WRITERS
from slvr_data.schema import AttributeProfile
from slvr_data.text import joined

MOST = 4
_OFFER = re.compile(r'^- (\w+) \(([^)]*)\): (.*); the answer is "(.*)"$', re.MULTILINE)
_PHRASE = re.compile(r'"([^"]*)"')
OWN = {
    "color": "What is the color of {ref}?", "size": "How large in the picture, would you say: {ref}?",
    "position": "In which part of the picture can one see {ref}?", "shape": "What is the shape of {ref}?",
    "orientation": "What is the orientation of {ref} in the picture?", "material": "What is the pattern of {ref}?",
    "depth": "Which layer of the overlapping things shows {ref}?", "action": "What is the pose of {ref}?",
    "entity": "Which of these can be seen {ref}?", "relation": "Where would one place {ref}, seen from {other}?",
    "interaction": "To which of these does {ref} stand so: {other}?", "count": "How many {ref} can be seen?",
    "visible_text": "Which text can be read on {ref}?",
}  # fmt: skip
"""Where no template knows the region by the words that are given."""
FACETS = {
    "color": r"^(what|which)( is| are)?( the| two)? colou?rs?\b", "shape": r"\bshape of\b",
    "size": r"^how (large|big)\b|^how much of the picture|^compared with the whole picture",
    "orientation": r"\b(direction|orientation|longer axis|oriented)\b",
    "relation": r"\bseen from\b|\bin relation to\b|^on which side of|^compared with",
    "count": r"^how many|^what is the number of",
    "position": r"^in which part|^where in the picture|^which part of the picture|^where can .* be found",
    "entity": r"^(which of these|what can be seen|one of these).* of the picture( show|:|\?)",
    "depth": r"\bdepth\b|\boverlap", "material": r"\b(pattern|surface)\b",
    "visible_text": r"\b(written|text|letters)\b", "action": r"\b(doing|pose|shown)\b",
    "interaction": r"\b(holding|inside of|touching|stand so)\b",
}  # fmt: skip

HELD = {
    "held by": r"what is holding", "around": r"what is inside of", "holding": r"holding\?", "inside": r"inside of\?",
    "touching": r"touching\?",
}  # fmt: skip
"""Kind of interaction -> how the templates ask for it."""


def facet_of(question: str) -> str | None:
    """The facet of a question in the words of the templates or of `OWN`."""
    return next((facet for facet, pattern in FACETS.items() if re.search(pattern, question, re.IGNORECASE)), None)


def answers(profile: Mapping[str, Any], facet: str, question: str) -> list[str]:
    """What a profile's tree says to a question on a facet, the likeliest first."""
    look, place = profile["appearance"], profile["spatial"]
    if facet in ("relation", "interaction"):
        links = place["relations"] if facet == "relation" else profile["interaction"]
        return _by_links(links or [], facet, question)
    said = {
        "color": joined(look["colors"]), "depth": DEPTHS.get(place["depth"] or ""), "action": profile["action"],
        "entity": look["entity"], "shape": look["shape"], "material": look["material"], "size": look["size"],
        "position": place["position"], "orientation": place["orientation"],
        "count": profile["peers"]["same_label_count"], "visible_text": (profile["visible_text"] or [None])[0],
    }[facet]  # fmt: skip
    return [] if said is None else [str(said)]


def _by_links(links: Sequence[Mapping[str, Any]], facet: str, question: str) -> list[str]:
    asked = question.lower()
    if facet == "relation":
        about = re.split(r"seen from|in relation to|on which side of|compared with", asked)[-1]
        meant = [link for link in links if link["target"].lower() in about]
        return [f"{link['kind']} {it}" for link in meant for it in ("it", "them")]
    kind = next((kind for kind, pattern in HELD.items() if re.search(pattern, asked)), None)
    said = asked.rstrip("?").split("stand so: ")[1:]
    return [link["target"].lower() for link in links if link["kind"] == kind or link["kind"] in said]


def write(text: str, around: Surroundings) -> list[dict[str, Any]]:
    """Questions on the facets that the prompt offers, with the answers that it gives."""
    found = []
    for facet, evidence, about, answer in _OFFER.findall(text)[:MOST]:
        phrases = _PHRASE.findall(about)
        question, wrong = _worded(facet, phrases, answer, around)
        if wrong:
            choices = distractors.spread([answer, *wrong[:3]], around.region.row.region_id + facet)
            made = {"facet": facet, "question": question, "answer": answer, "choices": choices}
            found.append(made | {"evidence": evidence.split(", ")})
    return found


def _worded(facet: str, phrases: Sequence[str], answer: str, around: Surroundings) -> tuple[str, list[str]]:
    """A question and its wrong choices: the template's where it has the same answer and words."""
    draft = WRITERS[facet](around.picture, around.region) if facet in WRITERS else None
    if draft is not None and draft.answer == answer and all(p in _lower(draft.wordings[0]) for p in phrases[:2]):
        return draft.wordings[0], list(draft.wrong)
    other = phrases[1] if len(phrases) > 1 else ""
    question = OWN[facet].format(ref=phrases[0] if phrases else "it", other=other)
    return question, [word for word in _others(facet, answer, around) if word != answer]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _others(facet: str, answer: str, around: Surroundings) -> list[str]:
    """Values of the same kind."""
    seed, elsewhere = around.region.row.region_id, [o.row.profile for o in around.others]
    if facet == "color":
        return distractors.colors(answer.split(" and "), [p.appearance.colors or [] for p in elsewhere])
    if facet == "relation":
        it = answer.rpartition(" ")[2]
        return [f"{kind} {it}" for kind in geometry.RELATIONS]
    if facet == "count":
        return distractors.numbers(int(answer), seed)
    if facet == "visible_text":
        return distractors.texts(answer, [t for p in elsewhere for t in p.visible_text or []], seed)
    if facet in ("entity", "interaction"):
        return distractors.spread(around.vocabulary, seed)
    words: dict[str, Sequence[str]] = {
        "size": geometry.SIZES, "position": geometry.POSITIONS, "orientation": ORIENTATIONS, "material": MATERIALS,
        "shape": SHAPES, "depth": tuple(DEPTHS.values()), "action": distractors.ACTIONS,
    }  # fmt: skip
    return distractors.spread(words[facet], seed)


def read_description(text: str) -> dict[str, Any]:
    """The tree of the profile that a text in the canonical sentence form (`slvr_data.text`) tells."""
    tree = AttributeProfile().model_dump()
    look, place = tree["appearance"], tree["spatial"]
    head = re.match(r"\s*An? (.*?)(?: at the ([a-z ]+) of the picture)?\.(?: |$)", text)
    if head:
        place["position"] = head[2]
        words = head[1].split()
        look["size"] = words.pop(0) if words[0] in geometry.SIZES else None
        named = []
        while words and words[0].strip(",") in (*COLORS, "and"):
            named.append(words.pop(0).strip(","))
        look["colors"] = [word for word in named if word != "and"] or None
        look["material"] = words.pop(0) if len(words) > 1 and words[0] in MATERIALS else None
        look["entity"] = " ".join(words)
    titles = "Shape|Action|Interaction|Orientation|Depth|Relations|Visible text"
    said = dict(re.findall(rf"({titles}): (.*?)\.(?= |$)", text))
    look["shape"], tree["action"] = said.get("Shape"), said.get("Action")
    place["orientation"], place["depth"] = said.get("Orientation"), said.get("Depth")
    place["relations"], tree["interaction"] = _links(said.get("Relations")), _links(said.get("Interaction"))
    tree["visible_text"] = re.findall(r'"([^"]*)"', said.get("Visible text", "")) or None
    count = re.search(r"One of (\d+) of its kind", text)
    tree["peers"]["same_label_count"] = int(count[1]) if count else 1 if "The only one of its kind" in text else None
    return tree


def _links(text: str | None) -> list[dict[str, str]] | None:
    found = re.findall(r"(?:^|, )(.*?) (?:the|another) (.*?)(?=,|$)", text or "")
    return [{"kind": kind, "target": target} for kind, target in found] or None
