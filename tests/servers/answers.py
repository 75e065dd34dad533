"""What the stub's model says: the truth about pictures that it knows, by the name of the reply's schema."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from slvr_data.injector import Surroundings
from slvr_data.schema import AttributeProfile, Query
from tests.servers import questions
from tests.servers.asked import Asked
from tests.servers.errors import VOCABULARY, Errors, described
from tests.servers.fitting import MISSING, fit
from tests.servers.table import Known, Table

KNOWING = ("region_profile", "second_look", "region_questions", "answer")
"""Names of schemas whose replies are made from what is known of the picture."""

COLORS = {
    "red": (220, 30, 30), "green": (30, 150, 50), "blue": (30, 60, 220), "yellow": (240, 220, 40),
    "orange": (240, 140, 30), "purple": (130, 40, 160), "pink": (250, 150, 190), "brown": (120, 75, 40),
    "black": (15, 15, 15), "white": (245, 245, 245), "gray": (128, 128, 128),
}  # fmt: skip
"""What they look like."""


@dataclass
class Reply:
    """The text, and the errors that are in it on purpose."""

    text: str
    errors: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Model:
    """Answers calls.

    `units` is the box convention that it understands (None: both). With `invents`, pictures that it does not know
    get made-up profiles in place of empty ones.
    """

    table: Table
    errors: Errors = field(default_factory=Errors)
    units: str | None = None
    invents: bool = False

    def answer(self, asked: Asked) -> Reply:
        """A reply that fits the schema asked for."""
        dice = Random(f"{asked.seed}:{asked.name}:{asked.text}:{[p.sha for p in asked.pictures]}")
        if asked.schema is None:
            return Reply(_small_talk(asked, dice))
        if asked.name in ("region_profile", "second_look"):
            return self._profile(asked, dice)
        if asked.name == "region_questions":
            return self._questions(asked, dice)
        if asked.name == "answer":
            return self._choice(asked, dice)
        return Reply(_json(fit(asked.schema, _seen_value(asked), dice)))

    def seen(self, asked: Asked) -> tuple[Known, int | None] | None:
        """The picture that a call shows, and its region: by the box, or by the crop where there is no full picture."""
        for picture in asked.pictures:
            known = self.table.known(picture.sha)
            if known is None:
                continue
            box = asked.box
            region = known.region_at(box, (picture.width, picture.height), self.units) if box else None
            if region is not None:
                for crop in asked.pictures[1:]:
                    self.table.learn_crop(crop.sha, picture.sha, region)
            return known, region
        for picture in asked.pictures:
            shown = self.table.crop(picture.sha)
            known = self.table.known(shown[0]) if shown else None
            if shown and known:
                return known, shown[1]
        return None

    def _around(self, asked: Asked) -> Surroundings | None:
        seen = self.seen(asked)
        if seen is None or seen[1] is None:
            return None
        view = seen[0].view
        return Surroundings(view, view.regions[seen[1]], VOCABULARY)

    def _profile(self, asked: Asked, dice: Random) -> Reply:
        around = self._around(asked)
        if around is None:
            return Reply(_json(fit(asked.schema or {}, MISSING if self.invents else None, dice)))
        row = around.region.row
        wrong = self.errors.profile(around, _look(asked))
        tree = _flat(wrong.record if wrong else row.profile)
        made = [described(wrong, row.region_id, asked.name or "", asked.seed)] if wrong else []
        return Reply(_json(fit(asked.schema or {}, tree, dice)), made)

    def _questions(self, asked: Asked, dice: Random) -> Reply:
        around = self._around(asked)
        if around is None:
            return Reply(_json(fit(asked.schema or {}, MISSING, dice)))
        region_id = around.region.row.region_id
        made, queries = [], []
        for draft in questions.write(asked.text, around):
            wrong = self.errors.query(_as_query(draft, region_id), around, _look(asked))
            if wrong:
                made.append(described(wrong, region_id, asked.name or "", asked.seed))
                draft |= {name: getattr(wrong.record, name) for name in ("question", "answer", "choices")}
            queries.append(draft)
        return Reply(_json(fit(asked.schema or {}, {"questions": queries}, dice)), made)

    def _choice(self, asked: Asked, dice: Random) -> Reply:
        offered = offered_choices(asked)
        undecided = _allows_null(asked.schema)
        picked = next((answer for answer in self._known_answers(asked) if answer in offered), None)
        if picked is not None and asked.pictures and len(offered) > 1 and dice.random() < self.errors.answers:
            picked = dice.choice([choice for choice in sorted(offered) if choice != picked])
        if picked is None and offered and not undecided:
            told = [choice for choice in sorted(offered) if _stands(choice, _question(asked))]
            picked = told[0] if len(told) == 1 else dice.choice(sorted(offered))
        value = None if picked is None else offered[picked]
        return Reply(_json(fit(asked.schema or {}, _Everywhere(value), dice)))

    def _known_answers(self, asked: Asked) -> list[str]:
        """What the picture, or else a description in the text, says to the question."""
        question = _question(asked)
        facet = questions.facet_of(question)
        if facet is None:
            return []
        if asked.pictures:
            around = self._around(asked)
            return questions.answers(self._as_seen(asked, around).model_dump(), facet, question) if around else []
        description = re.search(r"^Description[^:]*: (.*)$", asked.text, re.MULTILINE)
        return questions.answers(questions.read_description(description[1]), facet, question) if description else []

    def _as_seen(self, asked: Asked, around: Surroundings) -> AttributeProfile:
        """The region's profile in this look, which may be wrong as in any other look."""
        wrong = self.errors.profile(around, _look(asked))
        return wrong.record if wrong else around.region.row.profile


def _question(asked: Asked) -> str:
    """The line that asks."""
    marked = re.search(r"^Question: (.*)$", asked.text, re.MULTILINE)
    return marked[1] if marked else next((line for line in asked.text.splitlines() if line.endswith("?")), "")


def _allows_null(schema: Any) -> bool:
    """Whether null may be chosen."""
    return '"type": "null"' in json.dumps(schema) or "null," in json.dumps(schema)


def _as_query(draft: Mapping[str, Any], region_id: str) -> Query:
    """For the injector."""
    rest = {"answer_index": draft["choices"].index(draft["answer"]), "chance": None, "paraphrases": []}
    return Query(query_id=f"{region_id}:{draft['facet']}", origin="generated", **draft, **rest)


def offered_choices(asked: Asked) -> dict[str, Any]:
    """Choice -> the value that stands for it in the schema: itself, its letter or its number."""
    values = _enum(asked.schema)
    lines = re.findall(r"^\s*\(?([A-Z]|\d+)[.):]\s*(.+?)\s*$", asked.text, re.MULTILINE)
    marks = dict(lines)
    if values and all(str(value) in marks for value in values):
        return {marks[str(value)]: value for value in values}
    if values:
        return {str(value): value for value in values}
    return {text: (int(mark) if mark.isdigit() else mark) for mark, text in lines}


def _enum(schema: Any) -> list[Any]:
    """The first list of allowed values in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("enum"), list):
            return list(schema["enum"])
        schema = list(schema.values())
    if isinstance(schema, list):
        return next((found for part in schema if (found := _enum(part))), [])
    return []


def _stands(words: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None


def _look(asked: Asked) -> str:
    """What makes one look another: the seed, the purpose, and whether the whole picture was shown."""
    return f"{asked.seed}:{asked.name}:{len(asked.pictures)}"


def _flat(profile: AttributeProfile) -> dict[str, Any]:
    """A profile's fields under their own names, beside its tree."""
    tree = profile.model_dump()
    return {**tree["appearance"], **tree["spatial"], **tree["peers"], **tree}


def _seen_value(asked: Asked) -> Any:
    """For a schema of no known name: the picture's main colour where colours are asked for, dice otherwise."""
    values = _enum(asked.schema)
    if asked.pictures and {"red", "blue"} & set(values):
        mean = asked.pictures[0].mean_color
        named = [value for value in values if value in COLORS]
        return _Everywhere(min(named, key=lambda name: math.dist(COLORS[name], mean)))
    return MISSING


class _Everywhere(dict[str, Any]):
    """Gives every property the same value."""

    def __init__(self, value: Any) -> None:
        super().__init__(value=value)

    def get(self, name: str, default: Any = None) -> Any:
        return self["value"]


def _small_talk(asked: Asked, dice: Random) -> str:
    """Plain text that depends on the pictures."""
    marks = "".join(p.sha[:4] for p in asked.pictures)
    seen = f"{len(asked.pictures)} pictures {marks}" if asked.pictures else "no picture"
    digest = hashlib.sha256(asked.text.encode()).hexdigest()[:6]
    return f"I was shown {seen} and asked {digest}: {dice.choice(VOCABULARY)}."


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
