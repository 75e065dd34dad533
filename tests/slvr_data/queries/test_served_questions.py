"""What a model may ask about a region, and the group that its reply becomes."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any, TypeVar

import pytest
from PIL import Image

from slvr_data.annotators.base import Unfinished
from slvr_data.annotators.served.profiles import StoredCrop
from slvr_data.checks.queries.vague import check_vague
from slvr_data.prompts import load_prompts
from slvr_data.queries.generate import WrittenGroup, write_groups
from slvr_data.queries.offers import Offer, offers
from slvr_data.queries.served import (
    FIELDS,
    ServedQuestions,
    prepare,
    questions_request,
    questions_schema,
    read_questions,
)
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import BadReplyError, UnfinishedError
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Answer, Refusal, Request, SentPicture
from slvr_data.schema import FACETS, QuestionAnswer
from tests.checked import asked, group, link, query, seen

T = TypeVar("T")
CUP: dict[str, Any] = {
    "entity": "cup", "colors": ["red"], "shape": "round", "material": "glass", "position": "center", "count": 1,
    "relations": [link("right of", "plate", "plate")],
}  # fmt: skip
CONFIG = ServedConfig(model="m", model_revision="r1")


def view(*regions: RegionView) -> PictureView:
    return PictureView("p", 200, 200, regions)


def table(**cup: Any) -> PictureView:
    """A red glass cup right of a plate; an unnamed thing that nothing singles out."""
    mine = seen("cup", [80, 70, 130, 130], "cup", **CUP | cup)
    return view(mine, seen("plate", [10, 80, 60, 120], "plate", count=1), seen("odd", [150, 10, 180, 40], None))


def offered(picture: PictureView, *taken: str) -> dict[str, Offer]:
    return {offer.facet: offer for offer in offers(picture, picture.regions[0], taken)}


def asking(facet: str = "color", answer: str = "red", choices: tuple[str, ...] = ("blue", "red"), **more: Any) -> Any:
    evidence = {"color": ["appearance.colors"], "material": ["appearance.material"]}.get(facet, ["action"])
    question = f"What is the {facet} of the cup?"
    return {"facet": facet, "question": question, "answer": answer, "choices": choices, "evidence": evidence} | more


def reply(*asked: Any) -> str:
    return json.dumps({"questions": list(asked)})


TWO = (asking(), asking("material", "glass", ("wood", "glass", "paper")))
OFFERS = list(offered(table()).values())


# What is offered


def test_only_what_is_known_and_plain_is_offered() -> None:
    found = offered(table())
    assert set(found) == {"color", "shape", "material", "position", "relation", "entity", "count"} < set(FACETS)
    assert found["color"].line == 'color (appearance.colors): ask about "the cup"; the answer is "red"'
    assert found["relation"].about == 'ask where "the cup" is, seen from "the plate"'
    assert found["relation"].answer == "right of it"


def test_taken_facets_are_left_out_and_make_room() -> None:
    full = table(size="medium", depth="none", action="falling", orientation="vertical", visible_text=["TEA"])
    found, less = offered(full), offered(full, *list(offered(full))[:2])
    assert len(found) == len(less) == 8
    assert list(less)[:6] == list(found)[2:] and not set(list(found)[:2]) & set(less)


def test_answers_stand_in_no_name() -> None:
    """A reference that tells the facet, or a label that tells the value."""
    cups = [seen("a", [20, 20, 40, 40], "glass cup", count=2, colors=["red"], material="glass"),
            seen("b", [22, 60, 42, 80], "glass cup", count=2, colors=["blue"], material="glass")]  # fmt: skip
    found = offered(view(*cups))
    assert "material" not in found
    assert all(offer.answer not in offer.about for offer in found.values())
    assert '"the red glass cup"' not in found["color"].about


def test_interactions_and_texts() -> None:
    links = [link("wearing", "Hat", None), link("holding", "cup", None)]
    found = offered(view(seen("man", [20, 20, 80, 180], "man", count=1, interaction=links, visible_text=["TAXI"])))
    assert found["interaction"].line.endswith('"the man" has this interaction with: "wearing"; the answer is "hat"')
    assert found["visible_text"].answer == "TAXI"
    twice = [link("holding", "cup", None), link("holding", "fork", None)]
    assert "interaction" not in offered(view(seen("man", [20, 20, 80, 180], "man", count=1, interaction=twice)))


def test_what_evidence_may_name() -> None:
    assert {"appearance.colors", "spatial.relations", "action", "visible_text", "peers.same_label_count"} < set(FIELDS)
    assert len(FIELDS) == 13


# What a reply becomes


def read(text: str, least: int = 2, most: int = 4) -> Any:
    return read_questions(text, OFFERS, least, most)


def test_questions_are_read() -> None:
    found = read(reply(asking(question="What  color is\nthe cup?", answer="Red", choices=("blue", "red")), TWO[1]))
    assert [(d.facet, d.wordings, d.answer, d.wrong) for d in found.drafts] == [
        ("color", ("What color is the cup?",), "red", ("blue",)),
        ("material", ("What is the material of the cup?",), "glass", ("wood", "paper")),
    ]
    assert found.drafts[0].evidence == ("appearance.colors",) and found.refused == ()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (asking(question="And its color?"), "facet-repeated"),
        (asking("action", "sitting", ("sitting", "lying")), "facet-not-offered"),
        (asking("shape", "round", ("oval", "square")), "answer-not-in-choices"),
        (asking("shape", "round", ("round", "round")), "answer-not-in-choices"),
    ],
)
def test_one_bad_question_costs_itself(bad: Any, reason: str) -> None:
    found = read(reply(*TWO, bad))
    assert [draft.facet for draft in found.drafts] == ["color", "material"]
    assert [(question, why) for question, why, _ in found.refused] == [(bad["question"], reason)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (reply(), "questions: \\[\\], wanted 2 to 4 items"),
        (reply(TWO[0], TWO[0]), "1 of at least 2 can be used$"),
        (reply(TWO[0], asking(question="Red?")), "1 of at least 2 can be used; facet-repeated: color"),
        (reply(TWO[0], asking("smell")), 'questions.facet: "smell", wanted one of entity'),
        (reply(TWO[0], asking(evidence=["mood"])), 'questions.evidence: "mood"'),
        (reply(TWO[0], asking(choices=("a", "b", "c", "d", "e"))), "wanted 2 to 4 items"),
        (reply(TWO[0], asking(question="x" * 201)), "at most 200 characters"),
    ],
)
def test_a_reply_that_is_not_enough_is_asked_again(text: str, says: str) -> None:
    with pytest.raises(BadReplyError, match=says) as caught:
        read(text)
    assert caught.value.failure == "schema"


def test_the_schema_follows_what_is_missing() -> None:
    assert questions_schema(1, 3)["properties"]["questions"]["minItems"] == 1
    assert set(questions_schema(2, 4)["properties"]["questions"]["items"]["properties"]) == {
        "facet", "question", "answer", "choices", "evidence",
    }  # fmt: skip


# Groups


class Model:
    """Says the same to every request, and keeps what it was asked."""

    def __init__(self, says: str | Refusal | Exception) -> None:
        self.says, self.asked = says, []  # type: ignore[var-annotated]

    async def ask(self, request: Request[T]) -> Answer[T] | Refusal:
        self.asked.append(request)
        if isinstance(self.says, Exception):
            raise self.says
        if isinstance(self.says, Refusal):
            return self.says
        return Answer(request.accept(self.says), request_key(request, CONFIG, None), 0, False)


def task_of(picture: PictureView) -> Any:
    pixels = Image.new("RGB", (200, 200), "white")
    out = io.BytesIO()
    pixels.crop((0, 0, 40, 40)).save(out, "JPEG")
    crops = {r.row.region_id: StoredCrop(out.getvalue(), [0, 0, 40, 40]) for r in picture.regions}
    return prepare(picture, pixels, crops, "side 1024", CONFIG)


def written(picture: PictureView, model: Model) -> list[list[WrittenGroup] | Unfinished]:
    return asyncio.run(ServedQuestions(model, CONFIG, load_prompts()).write_groups(task_of(picture)))


def only(found: list[list[WrittenGroup] | Unfinished], number: int = 0) -> WrittenGroup:
    groups = found[number]
    assert isinstance(groups, list) and len(groups) == 1
    return groups[0]


def test_a_group_is_that_of_the_templates_with_the_models_questions() -> None:
    model = Model(reply(*TWO))
    group = only(written(table(), model)).group
    theirs = write_groups(table(), table().regions[0])[0].group
    assert (group.group_id, group.region_id, group.reference) == (theirs.group_id, "cup", "the cup")
    assert [q.facet for q in group.queries] == ["color", "material"]
    for one in group.queries:
        assert one.origin == "generated" and one.choices[one.answer_index or 0] == one.answer
        assert one.chance == 1 / len(one.choices)
    who = group.provenance
    assert (who.annotator, who.model, who.revision) == ("served", "m", "r1")
    assert who.prompt_version == load_prompts().questions.version
    assert who.request_keys == [request_key(model.asked[0], CONFIG, None)]


def test_the_order_of_choices_is_seeded_not_the_models() -> None:
    one, two = (only(written(table(), Model(reply(*pair)))).group for pair in (
        TWO, (asking(choices=("red", "blue")), asking("material", "glass", ("glass", "paper", "wood"))),
    ))  # fmt: skip
    assert [q.choices for q in one.queries] == [q.choices for q in two.queries]


def test_no_call_where_nothing_singles_the_region_out() -> None:
    model = Model(reply(*TWO))
    found = written(table(), model)
    unnamed = only(found, 2).group
    assert unnamed.reference is None and unnamed.queries == [] and unnamed.provenance.request_keys == []
    assert all("odd" not in request.context.values() for request in model.asked)
    assert len(model.asked) == sum(bool(group.offers) for region in task_of(table()).regions for group in region.groups)


def test_the_sources_question_comes_first_and_its_facet_is_taken() -> None:
    question = QuestionAnswer(question="What color is the cup?", answer="red")
    picture = table()
    picture.regions[0].row.original_questions.append(question)
    model = Model(reply(TWO[1]))
    group = only(written(picture, model)).group
    assert [(q.facet, q.origin) for q in group.queries] == [("color", "source"), ("material", "generated")]
    text = model.asked[0].messages[1].parts[-1]
    assert 'Asked already, on color: "What color is the cup?"' in text and "- color" not in text
    assert "Write 1 to 3 questions." in text


def test_two_original_questions_make_two_groups() -> None:
    picture = table()
    for words in ("What color is the cup?", "Is the cup on the plate?"):
        picture.regions[0].row.original_questions.append(QuestionAnswer(question=words, answer="no"))
    found = written(picture, Model(reply(TWO[1])))[0]
    assert isinstance(found, list) and len({g.group.group_id for g in found}) == 2
    assert [[q.origin for q in g.group.queries] for g in found] == [["source", "generated"]] * 2


def test_bad_replies_leave_the_group_as_it_was() -> None:
    found = only(written(table(), Model(Refusal("k", "length", "cut at 1024 tokens", '{"questions'))))
    assert found.group.queries == []
    assert found.refused == [("", "reply-length", 'cut at 1024 tokens; the last reply: {"questions')]


def test_what_is_unfinished_is_open_and_nothing_else() -> None:
    found = written(table(), Model(UnfinishedError("the server is gone")))
    assert found[0] == Unfinished("the server is gone")
    assert only(found, 2).group.queries == []


def test_the_request_shows_picture_crop_box_profile_and_offers() -> None:
    task = task_of(table())
    region = task.regions[0]
    request = questions_request(task, region, region.groups[0], CONFIG, load_prompts().questions)
    whole, crop, text = request.messages[1].parts
    assert isinstance(whole, SentPicture) and whole is task.picture and crop is region.crop and isinstance(text, str)
    assert "[400, 350, 650, 650]" in text and '- color (appearance.colors): ask about "the cup"' in text
    assert request.schema_name == "region_questions" and request.group == "p"
    json.dumps(dict(request.context))


def test_asking_for_a_shape_is_not_vague() -> None:
    cup = seen("cup", [80, 80, 120, 120], "cup", shape="round")
    for question, verdict in (
        ("What is the shape of the cup?", "pass"),
        ("What color is the shape?", "reference-vague"),
    ):
        checked = group([cup], query("shape", question, "round", ["round", "square"], "appearance.shape"))
        assert asked(check_vague, checked) == verdict
