"""What the stub's model says: the truth about scenes, errors at set rates, answers to questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import pytest

from slvr_data.annotators.base import AnnotatedPicture
from slvr_data.annotators.served import profiles, sent
from slvr_data.annotators.served.profiles import SentPictureTask, StoredCrop
from slvr_data.checks.model.readers import Reader, shown
from slvr_data.geometry import padded
from slvr_data.images import encode_jpeg
from slvr_data.injector import CLASSES
from slvr_data.prompts import load_prompts
from slvr_data.queries import served
from slvr_data.queries.generate import generated
from slvr_data.queries.served import QuestionsTask, questions_request
from slvr_data.queries.view import PictureView
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.messages import Answer, Refusal, Request
from slvr_data.requests.wire import chat_body
from slvr_data.schema import AttributeProfile, QueryGroup, Region
from slvr_data.sources import scenes
from tests.servers.calls import MODEL, ask, plain, post
from tests.servers.fitting import MISSING, fit
from tests.servers.running import RunningStub, running_stub
from tests.servers.table import Known, World, iou

T = TypeVar("T")
PROFILE = AttributeProfile.model_json_schema()
CONFIG, PROMPTS = ServedConfig(model=MODEL), load_prompts()


@pytest.fixture(scope="module")
def knowing() -> Iterator[RunningStub]:
    """A stub that knows 40 scenes."""
    with running_stub(model=MODEL, scenes="full:40", service_ms=1) as stub:
        stub.wait_drawn()
        yield stub


def told(scene: scenes.Scene, region: scenes.SceneRegion, model: str = MODEL) -> tuple[bytes, str]:
    """The picture as it is sent and a sentence with the region's box."""
    picture = sent.sent_picture(scene.picture, scene.image_id, ServedConfig(model=model))
    box = sent.box_text(region.box, *scene.picture.size, picture, sent.family(model))
    return picture.data, f"Describe what is in the box {box} of the picture."


def test_a_profile_is_the_truth_about_the_box(knowing: RunningStub) -> None:
    for number in range(5):
        scene = scenes.scene("full", 0, number)
        for region in scene.regions:
            got = ask(knowing, *told(scene, region), schema=PROFILE, name="region_profile")
            assert without_ids(got) == without_ids(region.profile.model_dump())


def test_boxes_in_thousandths_are_understood(knowing: RunningStub) -> None:
    scene = scenes.scene("full", 0, 7)
    for region in scene.regions:
        got = ask(knowing, *told(scene, region, "internvl"), schema=PROFILE, name="second_look")
        assert got["appearance"] == region.profile.appearance.model_dump()


def test_a_crop_is_known_once_it_was_seen_beside_its_picture(knowing: RunningStub) -> None:
    scene = scenes.scene("full", 0, 9)
    region, crop = scene.regions[0], plain("purple", (90, 90))
    picture, text = told(scene, region)
    ask(knowing, picture, crop, text, schema=PROFILE, name="region_profile")
    got = ask(knowing, crop, "Describe this.", schema=PROFILE, name="second_look")
    assert got["appearance"] == region.profile.appearance.model_dump()


def test_of_an_unknown_picture_nothing_is_known(knowing: RunningStub) -> None:
    got = ask(knowing, plain("red"), "the box [1, 2, 30, 40]", schema=PROFILE, name="region_profile")
    assert AttributeProfile.model_validate(got) == AttributeProfile()


def test_a_profile_is_cut_to_its_schema(knowing: RunningStub) -> None:
    scene = scenes.scene("full", 0, 3)
    schema = {
        "type": "object",
        "properties": {
            "entity": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
            "relations": {"type": "array", "maxItems": 1, "items": {"$ref": "#/$defs/link"}},
            "size": {"enum": ["small", "medium", "large", None]},
        },
        "$defs": {"link": {"type": "object", "properties": {"kind": {"type": "string"}}}},
    }
    got = ask(knowing, *told(scene, scene.regions[0]), schema=schema, name="region_profile")
    truth = scene.regions[0].profile
    assert got["entity"] == (truth.appearance.entity or "")[:3] and got["size"] == truth.appearance.size
    assert [set(link) for link in got["relations"]] == [{"kind"}]


@dataclass(frozen=True)
class Sent:
    """A scene as the served annotator sends it."""

    scene: scenes.Scene
    task: SentPictureTask
    questions: QuestionsTask
    view: PictureView


def as_sent(number: int) -> Sent:
    """Scene `number` of level "full" with everything that is asked about it."""
    scene = scenes.scene("full", 0, number)
    config = ServedConfig(model=MODEL)
    regions = [Region(region_id=r.region_id, image_id=scene.image_id, bbox=r.box, label=r.label) for r in scene.regions]
    crops = {}
    for region in regions:
        box = padded(region.bbox, 0.15, *scene.picture.size)
        crops[region.region_id] = StoredCrop(encode_jpeg(scene.picture.crop(box), 90), box)
    labels = frozenset(r.label for r in scene.regions)
    picture = AnnotatedPicture(scene.image_id, *scene.picture.size, regions, labels, lambda: scene.picture)
    task = profiles.prepare(picture, regions, crops, "padding 0.15", config)
    rows = [{"region_id": r.region_id, "label": r.label, "box": r.box, "profile": r.profile} for r in scene.regions]
    view = Known(scene.image_id, *scene.picture.size, rows).view
    return Sent(scene, task, served.prepare(view, scene.picture, crops, "padding 0.15", config), view)


def answered(stub: RunningStub, request: Request[T]) -> T:
    """The reply as the program that asks takes it."""
    status, tree, _ = post(f"{stub.base_url}/chat/completions", chat_body(request, MODEL, request.sampling))
    assert status == 200, tree
    return request.accept(tree["choices"][0]["message"]["content"])


def test_profiles_asked_for_by_the_annotator_are_the_truth(knowing: RunningStub) -> None:
    for number in range(8):
        sent_scene = as_sent(number)
        for region, truth in zip(sent_scene.task.regions, sent_scene.scene.regions, strict=True):
            looks: tuple[profiles.Look, ...] = ("whole", "crop")
            for look in looks:
                request = profiles.profile_request(
                    sent_scene.task, region, CONFIG, PROMPTS.profile, schema_name="second_look", look=look
                )
                got = without_ids(answered(knowing, request).model_dump())
                exact = without_ids(truth.profile.model_dump())
                nearest = exact["spatial"]["relations"][:4]
                exact["spatial"]["relations"] = [li for n, li in enumerate(nearest) if li not in nearest[:n]]
                assert got == exact, look


def test_questions_are_written_as_offered_and_answered_by_picture_by_profile_and_blindly(
    knowing: RunningStub,
) -> None:
    found = {name: Counter[str]() for name in ("answer", "from_profile", "blind")}
    for number in range(12):
        sent_scene = as_sent(number)
        for place, region in enumerate(sent_scene.questions.regions):
            for group in region.groups:
                if not group.offers:
                    continue
                request = questions_request(sent_scene.questions, region, group, CONFIG, PROMPTS.questions)
                drafts = answered(knowing, request)
                assert not drafts.refused and len(drafts.drafts) == min(4, len(group.offers))
                row = sent_scene.view.regions[place].row
                for query in (generated("group", draft) for draft in drafts.drafts):
                    readers = (
                        reader("answer", **shown(sent_scene.questions, region, CONFIG)),
                        reader("from_profile", values={"profile": row.profile_text}, undecided=True),
                        reader("blind"),
                    )
                    for asked in readers:
                        said = answered(knowing, asked.request(query, 0))
                        outcome = "none" if said is None else "right" if said == query.answer else "wrong"
                        found[asked.purpose][f"{outcome} {query.facet}"] += 1
    total = found["answer"].total()
    assert total > 150
    assert not [outcome for outcome in found["answer"] if not outcome.startswith("right")], found["answer"]
    of_profile = Counter(outcome.split()[0] for outcome in found["from_profile"].elements())
    assert of_profile["right"] > 0.9 * total and of_profile["wrong"] < 0.02 * total, found["from_profile"]
    blind = Counter(outcome.split()[0] for outcome in found["blind"].elements())
    assert blind["none"] == 0 and 0.15 * total < blind["right"] < 0.45 * total, "a guess is right by chance"


def reader(name: str, **shown: Any) -> Reader:
    """One of the readers of the model checks."""
    return Reader(_Nobody(), CONFIG, name, getattr(PROMPTS, name), 0.5, "group", **shown)


class _Nobody:
    """Is never asked: the request alone is wanted."""

    async def ask(self, request: Request[T]) -> Answer[T] | Refusal:
        raise AssertionError("nobody is asked here")


def test_a_blind_reader_says_what_the_question_tells(knowing: RunningStub) -> None:
    schema = {"type": "object", "properties": {"choice": {"enum": ["A", "B", "C"]}}}
    text = "Question: What is the color of the green cup?\nA. red\nB. blue\nC. green"
    assert {ask(knowing, text, schema=schema, name="answer", seed=n)["choice"] for n in range(5)} == {"C"}


def test_errors_come_at_their_rate_and_repeat_at_theirs() -> None:
    with running_stub(model=MODEL, scenes="full:40", service_ms=0, errors=0.5, repeat=0.5) as stub:
        stub.wait_drawn()
        looks: list[set[str]] = []
        for seed in (0, 1):
            stub.control(reset=True)
            for number in range(40):
                scene = scenes.scene("full", 0, number)
                for region in scene.regions:
                    ask(stub, *told(scene, region), schema=PROFILE, name="region_profile", seed=seed)
            listed = stub.log(errors=True)["error_list"]
            assert {e["error"] for e in listed} <= set(CLASSES)
            looks.append({e["region_id"] + e["error"] + e["kind"] for e in listed})
        regions = sum(len(scenes.scene("full", 0, n).regions) for n in range(40))
        first, second = looks
        assert abs(len(first) / regions - 0.5) < 0.12 and abs(len(second) / regions - 0.5) < 0.12
        both = len({e[:32] for e in first} & {e[:32] for e in second})
        assert abs(both / regions - (0.25 + 0.75 / 9)) < 0.1, "a quarter always, the rest as chance has it"
        scene = scenes.scene("full", 0, 0)
        stub.control(errors={"rate": 0.0})
        for region in scene.regions:
            got = ask(stub, *told(scene, region), schema=PROFILE, name="region_profile")
            assert without_ids(got) == without_ids(region.profile.model_dump())


def without_ids(tree: Any) -> Any:
    """A profile without the ids of other regions."""
    if isinstance(tree, dict):
        return {k: without_ids(v) for k, v in tree.items() if k != "target_region_id"}
    return [without_ids(part) for part in tree] if isinstance(tree, list) else tree


def test_values_are_fitted_to_schemas() -> None:
    group = QueryGroup.model_json_schema()
    for seed in range(20):
        made = fit(group, MISSING, Random(seed))
        made["queries"] = [q | {"origin": "source"} for q in made["queries"]]
        QueryGroup.model_validate(made)
    assert fit({"type": "integer", "minimum": 3, "maximum": 5}, 9, Random(0)) == 5
    assert fit({"type": ["string", "null"]}, None, Random(0)) is None
    assert len(fit({"type": "array", "minItems": 2, "items": {"type": "string"}}, None, Random(0))) == 2


def test_a_world_is_parsed_and_kept_by_what_decides_its_pictures() -> None:
    world = World.parse("full:200", 0, "Qwen2.5-VL")
    assert (world.level, world.limit) == ("full", 200)
    assert world.file == World.parse("full:10", 0, "Qwen2.5-VL-72B").file != World.parse("full:10", 0, "Qwen3-VL").file
    assert iou([0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(1 / 3)
