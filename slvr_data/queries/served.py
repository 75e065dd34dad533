"""Questions that a model writes: a request for each group, and the group that a reply tells.

Groups are those of the templates (`slvr_data.queries.generate`): the source's own question first, where there
is one, and the model asks on other facets. Where no words single a region out, or too few facets are known,
no call is made, and the group is left as it is: too small to be published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from PIL import Image

from slvr_data.annotators.base import Unfinished
from slvr_data.annotators.served.asking import Asks, ask_together, failure_of
from slvr_data.annotators.served.profiles import NAME, SHOWN, StoredCrop, provenance, sampling_of
from slvr_data.annotators.served.schemas import Schema, an_object, fitted, read_json, strict_schema
from slvr_data.annotators.served.sent import ENCODER, box_text, family, sent_crop, sent_picture
from slvr_data.annotators.served.told import quoted
from slvr_data.annotators.served.words import verbatim
from slvr_data.checks.queries.base import normal
from slvr_data.prompts import Prompt, Prompts
from slvr_data.queries.facets import Draft
from slvr_data.queries.generate import LEAST, MOST, WrittenGroup, begun_groups, generated
from slvr_data.queries.offers import Offer, offers
from slvr_data.queries.references import all_references
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import BadReplyError
from slvr_data.requests.messages import Answer, Message, Refusal, Request, SentPicture
from slvr_data.schema import FACETS, AttributeProfile, Provenance, Query

FIELDS = tuple(
    f"{name}.{below}" if below else name
    for name, info in AttributeProfile.model_fields.items()
    for below in getattr(info.annotation, "model_fields", {"": None})
)
"""Paths of all profile fields: what evidence may name."""
_WORDS = {"facet": FACETS, "evidence": FIELDS}
_ITEMS = {"choices": MOST, "evidence": 3}
_CHARACTERS = {"question": 200, "answer": 100, "choices": 100}
_NOT_ASKED = frozenset(Query.model_fields) - {"facet", "question", "answer", "choices", "evidence"}


@dataclass(frozen=True)
class AskedGroup:
    """A group as begun, and what a model may ask to fill it; no offers where no call is to be made."""

    written: WrittenGroup
    offers: tuple[Offer, ...]

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and most questions that are wanted."""
        there = len(self.written.group.queries)
        return max(1, LEAST - there), min(MOST - there, len(self.offers))


@dataclass(frozen=True)
class AskedRegion:
    """A region with its groups; the box in pixels of the upright picture."""

    bbox: list[float]
    profile: str
    """Its sentence form."""
    crop: SentPicture
    groups: Sequence[AskedGroup]


@dataclass(frozen=True)
class QuestionsTask:
    """All that is asked about one picture: made where it is decoded, sent from where the client is."""

    image_id: str
    width: int
    """Of the upright picture, in pixels."""
    height: int
    picture: SentPicture
    regions: Sequence[AskedRegion]
    """In the order of the picture's view."""
    crop_settings: str


def prepare(
    view: PictureView,
    pixels: Image.Image,
    crops: Mapping[str, StoredCrop],
    crop_settings: str,
    config: ServedConfig,
) -> QuestionsTask:
    """Encode a picture and its crops, and find out what may be asked about each region.

    Args:
        view: the published regions.
        pixels: the upright picture, mode RGB.
        crops: region id -> crop, for every region of `view`.
        crop_settings: how crops were cut and encoded.
        config: what pictures are scaled by.
    """
    regions = []
    for region in view.regions:
        row = region.row
        crop = crops[row.region_id]
        shown = sent_crop(crop.data, view.image_id, crop.box, crop_settings, config)
        begun = begun_groups(view, region, Provenance(annotator=NAME))
        groups = [AskedGroup(written, _offered(view, region, written)) for written in begun]
        regions.append(AskedRegion(row.bbox, row.profile_text, shown, groups))
    whole = sent_picture(pixels, view.image_id, config)
    return QuestionsTask(view.image_id, view.width, view.height, whole, regions, crop_settings)


def _offered(view: PictureView, region: RegionView, written: WrittenGroup) -> tuple[Offer, ...]:
    if not all_references(view, region):
        return ()
    there = written.group.queries
    found = offers(view, region, {query.facet for query in there})
    return tuple(found) if len(there) + len(found) >= LEAST else ()


class ServedQuestions:
    """See the module."""

    name = NAME

    def __init__(self, client: Asks, config: ServedConfig, prompts: Prompts) -> None:
        self.client, self.config, self.prompts = client, config, prompts

    async def write_groups(self, task: QuestionsTask) -> list[list[WrittenGroup] | Unfinished]:
        """The groups of each region, or why they are still open.

        A group whose replies were all bad stays as it was begun, with the reason among what it refused.

        Raises:
            ServerError: the server is plainly wrong.
        """
        asked = [(region, group) for region in task.regions for group in region.groups if group.offers]
        requests = [questions_request(task, *pair, self.config, self.prompts.questions) for pair in asked]
        answers = await ask_together(self.client, requests)
        by_group = {id(group): answer for (_, group), answer in zip(asked, answers, strict=True)}
        return [self._region(region, by_group) for region in task.regions]

    def _region(
        self, region: AskedRegion, answers: Mapping[int, Answer[Drafts] | Refusal | Unfinished]
    ) -> list[WrittenGroup] | Unfinished:
        found = []
        for group in region.groups:
            answer = answers.get(id(group))
            if isinstance(answer, Unfinished):
                return answer
            found.append(self._filled(group, answer))
        return found

    def _filled(self, group: AskedGroup, answer: Answer[Drafts] | Refusal | None) -> WrittenGroup:
        begun, refused = group.written.group, list(group.written.refused)
        queries = list(begun.queries)
        keys = []
        if isinstance(answer, Refusal):
            failure = failure_of(answer)
            refused.append(("", failure.reason, failure.evidence))
            keys.append(answer.key)
        elif answer is not None:
            queries += [generated(begun.group_id, draft) for draft in answer.value.drafts]
            refused += answer.value.refused
            keys.append(answer.key)
        wrote = provenance(self.config, self.prompts.questions, keys)
        return WrittenGroup(begun.model_copy(update={"queries": queries, "provenance": wrote}), refused)


@dataclass(frozen=True)
class Drafts:
    """What a reply asks, and what of it was refused: (question, reason, evidence)."""

    drafts: tuple[Draft, ...]
    refused: tuple[tuple[str, str, str], ...]


def questions_request(
    task: QuestionsTask, region: AskedRegion, group: AskedGroup, config: ServedConfig, prompt: Prompt
) -> Request[Drafts]:
    """Ask for the questions of a group."""
    convention = family(config.model, config.box_format)
    least, most = group.bounds
    system, user = prompt.filled(
        pictures=SHOWN["whole"],
        box=box_text(region.bbox, task.width, task.height, task.picture, convention),
        convention=convention.explained(task.picture),
        profile=region.profile,
        taken="\n".join(
            f"Asked already, on {query.facet}: {quoted(query.question)}" for query in group.written.group.queries
        ),
        facets="\n".join(f"- {offer.line}" for offer in group.offers),
        number=f"{least} to {most} questions" if least < most else f"{least} question{'s' if least > 1 else ''}",
    )
    return Request(
        purpose="questions",
        group=task.image_id,
        messages=(Message("system", (system,)), Message("user", (task.picture, region.crop, user))),
        sampling=sampling_of(config),
        prompt_version=prompt.version,
        context={
            "image_id": task.image_id,
            "bbox": [float(edge) for edge in region.bbox],
            "crop": task.crop_settings,
            "encoder": ENCODER,
        },
        accept=partial(read_questions, offered=group.offers, least=least, most=most),
        schema_name="region_questions",
        schema=questions_schema(least, most),
    )


@cache
def questions_schema(least: int, most: int) -> Schema:
    """The JSON schema of the reply "region_questions"."""
    question = strict_schema(Query, _WORDS, _ITEMS, _CHARACTERS, _NOT_ASKED)
    for name in ("choices", "evidence"):
        question["properties"][name]["minItems"] = 2 if name == "choices" else 1
    return an_object({"questions": {"type": "array", "items": question, "minItems": least, "maxItems": most}})


def read_questions(text: str, offered: Sequence[Offer], least: int, most: int) -> Drafts:
    """The questions that a reply asks on facets that were offered, the first on each.

    Raises:
        BadReplyError: "malformed", or "schema": it does not fit, or fewer than `least` questions can be used.
    """
    tree = fitted(read_json(text), questions_schema(least, most), _tidy)
    facets = {offer.facet for offer in offered}
    drafts: dict[str, Draft] = {}
    refused: list[tuple[str, str, str]] = []
    for asked in tree["questions"]:
        facet, question = asked["facet"], asked["question"]
        if facet not in facets:
            refused.append((question, "facet-not-offered", f"{facet} is none of {', '.join(sorted(facets))}"))
        elif facet in drafts:
            refused.append((question, "facet-repeated", f"{facet}: {drafts[facet].wordings[0]!r} is on it already"))
        elif (draft := _draft(asked)) is None:
            refused.append((question, "answer-not-in-choices", f"{asked['answer']!r} is none of {asked['choices']}"))
        else:
            drafts[facet] = draft
    if len(drafts) < least:
        told = "".join(f"; {reason}: {evidence}" for _, reason, evidence in refused)
        raise BadReplyError("schema", f"questions: {len(drafts)} of at least {least} can be used{told}")
    return Drafts(tuple(drafts.values()), tuple(refused))


def _draft(asked: Mapping[str, Any]) -> Draft | None:
    """A question as asked; None where its answer is none of its choices, or the only one."""
    choices, answer = asked["choices"], asked["answer"]
    if answer not in choices:
        answer = next((choice for choice in choices if normal(choice) == normal(answer)), answer)
    wrong = tuple(choice for choice in choices if choice != answer)
    if len(wrong) in (0, len(choices)):
        return None
    return Draft(asked["facet"], (asked["question"],), answer, wrong, tuple(asked["evidence"]))


def _tidy(path: str, text: str) -> str | None:
    word = verbatim(text)
    return word.lower() if word and path in ("questions.facet", "questions.evidence") else word
