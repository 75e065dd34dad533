"""The request for a region's profile, and what becomes of its answer."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from slvr_data import masks
from slvr_data.annotators.base import AnnotatedPicture, Failure, Profile, Unfinished
from slvr_data.annotators.served.profiles import (
    SHOWN,
    SentPictureTask,
    Served,
    StoredCrop,
    context_text,
    prepare,
    profile_request,
)
from slvr_data.annotators.served.replies import profile_schema
from slvr_data.images import encode_jpeg
from slvr_data.prompts import load_prompts
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Answer, Refusal, Request, SentPicture
from slvr_data.schema import QuestionAnswer, Region

T = TypeVar("T")
CONFIG = ServedConfig(model="Qwen2.5-VL-7B", model_revision="abc", temperature=0.5, max_tokens=300, seed=7)
PROMPT = load_prompts().profile


def region(name: str, box: Sequence[float], label: str | None = "cup", **given: Any) -> Region:
    return Region(region_id=name, image_id="p", bbox=[float(c) for c in box], label=label, **given)


CUP = region("cup", [56, 28, 112, 84], mask=masks.encode(np.ones((280, 560), np.uint8)))
REGIONS = [CUP, region("other", [200, 28, 256, 84]), region("plate", [300, 100, 400, 150], "plate")]


def task(regions: Sequence[Region] = REGIONS, asked: int = 2, **given: Any) -> SentPictureTask:
    pixels = Image.new("RGB", (560, 280), "gray")
    picture = AnnotatedPicture("p", 560, 280, regions, frozenset({"cup"}), lambda: pixels, **given)
    crop = StoredCrop(encode_jpeg(pixels.crop((0, 0, 300, 250)), 90), [0, 0, 300, 250])
    crops = {one.region_id: crop for one in regions[:asked]}
    return prepare(picture, regions[:asked], crops, "padding 0.15", CONFIG)


def request(made: SentPictureTask, number: int = 0, **given: Any) -> Request[Any]:
    return profile_request(made, made.regions[number], CONFIG, PROMPT, **given)


def user(made: Request[Any]) -> tuple[Any, ...]:
    return made.messages[1].parts


def test_pictures_come_first_and_the_whole_one_is_the_same_object() -> None:
    made = task()
    one, two = request(made, 0), request(made, 1)
    assert [message.role for message in one.messages] == ["system", "user"]
    whole, crop, text = user(one)
    assert whole is made.picture is user(two)[0] and crop is made.regions[0].crop
    assert isinstance(text, str) and "[56, 28, 112, 84]" in text and "560 wide and 280 high" in text
    assert one.messages[0] == two.messages[0], "what all calls share comes before what differs"
    assert one.group == "p" and one.schema_name == "region_profile" and one.schema == profile_schema()
    assert (one.sampling.temperature, one.sampling.max_tokens, one.sampling.seed) == (0.5, 300, 7)


def test_the_task_travels_between_processes_without_masks() -> None:
    made = task()
    assert all(sent.region.mask is None for sent in made.regions) and CUP.mask is not None
    again = pickle.loads(pickle.dumps(made))
    assert request_key(request(again), CONFIG, None) == request_key(request(made), CONFIG, None)


def test_what_the_key_holds() -> None:
    made = task()
    keys = {request_key(request(made, number), CONFIG, None) for number in (0, 1)}
    keys.add(request_key(request(made, seed=8), CONFIG, None))
    keys.add(request_key(request(made, look="crop"), CONFIG, None))
    keys.add(request_key(request(task(REGIONS[:2])), CONFIG, None))
    assert len(keys) == 5
    json.dumps(dict(request(made).context))


def test_a_second_look_may_see_the_crop_alone() -> None:
    made = task()
    second = request(made, purpose="second_look", schema_name="second_look", seed=9, look="crop")
    crop, text = user(second)
    assert crop is made.regions[0].crop and SHOWN["crop"] in text and "[56, 28, 112, 84]" in text
    assert (second.purpose, second.schema_name, second.sampling.seed) == ("second_look", "second_look", 9)


def test_what_the_source_says_is_told() -> None:
    told = region(
        "a", [0, 0, 9, 9], 'A "big"\ncup', references=["the left cup", "my cup", "a third"],
        original_questions=[QuestionAnswer(question="What color is it?", answer="turquoise")],
    )  # fmt: skip
    text = context_text(told, task().things)
    assert "The source of the picture calls it \"A 'big' cup\"." in text
    assert 'Somebody referred to it as "the left cup" and as "my cup".' in text
    assert 'The source asks about it: "What color is it?"' in text and "turquoise" not in text
    assert "Other things annotated on the picture: cup, plate." in text
    assert context_text(region("a", [0, 0, 9, 9], None), []) == ""
    assert len(context_text(region("a", [0, 0, 9, 9], "x" * 9000), [])) < 300
    assert "group of such things" in context_text(region("a", [0, 0, 9, 9], iscrowd=True), [])


def test_counts_come_from_the_annotation() -> None:
    assert [sent.count for sent in task().regions] == [2, 2]
    assert [sent.count for sent in task(asked=3).regions] == [2, 2, None], "plates may be missing"
    crowd = [*REGIONS[:2], region("many", [0, 0, 50, 50], iscrowd=True)]
    assert [sent.count for sent in task(crowd, 3).regions] == [None] * 3


def test_things_that_cannot_be_cropped_can_be_meant() -> None:
    made = task(unusable=[region("tiny", [5, 5, 8, 8], "fly"), region("mob", [0, 0, 9, 9], "ant", iscrowd=True)])
    assert [thing.region_id for thing in made.things] == ["cup", "other", "plate", "tiny"]


REPLY = {
    "appearance": {"entity": "cup", "colors": ["red"], "shape": None, "material": None, "size": "small"},
    "action": None, "interaction": [],
    "spatial": {"position": None, "orientation": None, "depth": None,
                "relations": [{"kind": "left of", "target": "cup"}]},
    "visible_text": [],
}  # fmt: skip


class Model:
    """Answers the first region and does something else about the second."""

    def __init__(self, second: Refusal | Exception | None) -> None:
        self.second, self.calls = second, 0

    async def ask(self, request: Request[T]) -> Answer[T] | Refusal:
        self.calls += 1
        if self.calls > 1 and isinstance(self.second, Exception):
            raise self.second
        if self.calls > 1 and self.second is not None:
            return self.second
        return Answer(request.accept(json.dumps(REPLY)), request_key(request, CONFIG, None), 3, False)


def annotate(second: Refusal | Exception | None) -> list[Profile | Failure | Unfinished]:
    return asyncio.run(Served(Model(second), CONFIG, load_prompts()).annotate(task()))


def test_profiles_and_their_provenance() -> None:
    first, second = annotate(None)
    assert isinstance(first, Profile) and isinstance(second, Profile)
    (relation,) = first.attributes.spatial.relations or []
    assert relation.target_region_id == "other" and first.attributes.peers.same_label_count == 2
    (back,) = second.attributes.spatial.relations or []
    assert back.target_region_id == "cup", "a region is no target of its own"
    who = first.provenance
    assert (who.annotator, who.model, who.revision, who.prompt_version) == (
        "served", "Qwen2.5-VL-7B", "abc", PROMPT.version,
    )  # fmt: skip
    assert json.loads(who.sampling or "") == {"temperature": 0.5, "top_p": 0.95, "max_tokens": 300, "seed": 7}
    assert who.request_keys == [request_key(request(task()), CONFIG, None)], "whichever attempt it was"


def test_a_refused_and_an_unfinished_region_cost_the_other_nothing() -> None:
    first, second = annotate(Refusal("k", "schema", "action is missing", "{}"))
    assert isinstance(first, Profile) and second == Failure("reply-schema", "action is missing; the last reply: {}")
    first, second = annotate(UnfinishedError("no server is left"))
    assert isinstance(first, Profile) and second == Unfinished("no server is left")


def test_the_box_follows_the_family() -> None:
    made = task()
    told = profile_request(made, made.regions[0], CONFIG.model_copy(update={"model": "Qwen3-VL-8B"}), PROMPT)
    assert "[100, 100, 200, 300]" in user(told)[-1] and isinstance(user(told)[0], SentPicture)
