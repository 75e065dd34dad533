"""The `served` annotator: a request for each region of a picture, a profile from each reply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from slvr_data.annotators.base import AnnotatedPicture, Failure, Profile, Unfinished
from slvr_data.annotators.served.asking import Asks, ask_together, failure_of
from slvr_data.annotators.served.replies import Neighbour, profile_schema, read_profile
from slvr_data.annotators.served.sent import ENCODER, box_text, family, sent_crop, sent_picture
from slvr_data.annotators.served.told import quoted, shortened, told_of
from slvr_data.prompts import Prompt, Prompts
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.messages import Answer, Message, Refusal, Request, Sampling, SentPicture
from slvr_data.schema import AttributeProfile, Provenance, Region

NAME = "served"
_MOST_NAMES = 30
"""Kinds of other things that a model is told of."""
Look = Literal["whole", "crop"]
"""Whether the model sees the whole picture and the crop, or the crop alone."""
SHOWN: dict[Look, str] = {
    "whole": "The first picture is the whole picture, the second is the crop.",
    "crop": "Only the crop is shown. The box is told in the whole picture, which you cannot see.",
}


@dataclass(frozen=True)
class StoredCrop:
    """A crop as the stage `crop` has kept it; `box` in pixels of the upright picture, [x1, y1, x2, y2)."""

    data: bytes
    box: Sequence[int]


@dataclass(frozen=True)
class SentRegion:
    """A region that is asked about, its crop as sent, and how many things carry its label."""

    region: Region
    """Without its mask: a model is not told of it."""
    crop: SentPicture
    count: int | None


@dataclass(frozen=True)
class SentPictureTask:
    """All that is asked about one picture: made where it is decoded, sent from where the client is."""

    image_id: str
    width: int
    """Of the upright picture, in pixels."""
    height: int
    picture: SentPicture
    regions: Sequence[SentRegion]
    things: Sequence[Neighbour]
    """Everything with a label that is annotated on the picture, crowds apart."""
    crop_settings: str


def prepare(
    picture: AnnotatedPicture,
    regions: Sequence[Region],
    crops: Mapping[str, StoredCrop],
    crop_settings: str,
    config: ServedConfig,
) -> SentPictureTask:
    """Encode a picture and its crops, and gather what is told about each of `regions`.

    Args:
        picture: the picture with all its regions.
        regions: those to ask about.
        crops: region id -> crop.
        crop_settings: how crops were cut and encoded, e.g. "padding 0.15 side 1024 quality 90".
        config: what pictures are scaled by.
    """
    sent = []
    for region in regions:
        crop = crops[region.region_id]
        shown = sent_crop(crop.data, picture.image_id, crop.box, crop_settings, config)
        count = None if region.iscrowd else picture.label_counts.get(region.label or "")
        sent.append(SentRegion(region.model_copy(update={"mask": None}), shown, count))
    things = [
        Neighbour(thing.region_id, thing.label, thing.bbox)
        for thing in (*picture.regions, *picture.unusable)
        if thing.label is not None and not thing.iscrowd
    ]
    whole = sent_picture(picture.pixels, picture.image_id, config)
    return SentPictureTask(picture.image_id, picture.width, picture.height, whole, sent, things, crop_settings)


class Served:
    """See the module."""

    name = NAME

    def __init__(self, client: Asks, config: ServedConfig, prompts: Prompts) -> None:
        self.client, self.config, self.prompts = client, config, prompts

    async def annotate(self, task: SentPictureTask) -> list[Profile | Failure | Unfinished]:
        """A profile, the reason for none, or why it is still open, for each region of the task.

        Raises:
            ServerError: the server is plainly wrong.
        """
        requests = [profile_request(task, region, self.config, self.prompts.profile) for region in task.regions]
        return [self._result(answer) for answer in await ask_together(self.client, requests)]

    def _result(self, answer: Answer[AttributeProfile] | Refusal | Unfinished) -> Profile | Failure | Unfinished:
        if isinstance(answer, Unfinished):
            return answer
        if isinstance(answer, Refusal):
            return failure_of(answer)
        return Profile(answer.value, provenance(self.config, self.prompts.profile, [answer.key]))


def profile_request(
    task: SentPictureTask,
    sent: SentRegion,
    config: ServedConfig,
    prompt: Prompt,
    purpose: str = "profile",
    schema_name: str = "region_profile",
    seed: int | None = None,
    look: Look = "whole",
) -> Request[AttributeProfile]:
    """Ask for a region's profile; a second look has another purpose, name and seed, and may see the crop alone."""
    region = sent.region
    convention = family(config.model, config.box_format)
    others = [thing for thing in task.things if thing.region_id != region.region_id]
    system, user = prompt.filled(
        pictures=SHOWN[look],
        box=box_text(region.bbox, task.width, task.height, task.picture, convention),
        convention=convention.explained(task.picture),
        context=context_text(region, others),
    )
    pictures = (task.picture, sent.crop) if look == "whole" else (sent.crop,)
    return Request(
        purpose=purpose,
        group=task.image_id,
        messages=(Message("system", (system,)), Message("user", (*pictures, user))),
        sampling=sampling_of(config, seed),
        prompt_version=prompt.version,
        context={
            "image_id": task.image_id,
            "bbox": [float(edge) for edge in region.bbox],
            "crop": task.crop_settings,
            "encoder": ENCODER,
        },
        accept=partial(read_profile, bbox=region.bbox, others=others, count=sent.count),
        schema_name=schema_name,
        schema=profile_schema(),
    )


def context_text(region: Region, others: Sequence[Neighbour]) -> str:
    """What the source says of a region, and what else is annotated: a line each, none for what is not known."""
    lines = []
    if region.label:
        lines.append(f"The source of the picture calls it {quoted(region.label)}.")
    if region.iscrowd:
        lines.append("The box is drawn around a group of such things: describe what they have in common.")
    references, questions = told_of(region)
    if references:
        lines.append(f"Somebody referred to it as {' and as '.join(references)}.")
    lines += [f"The source asks about it: {question}" for question in questions]
    names = sorted({shortened(other.label) for other in others})[:_MOST_NAMES]
    if names:
        lines.append(f"Other things annotated on the picture: {', '.join(names)}. Name them so where you mean them.")
    return "\n".join(lines)


def sampling_of(config: ServedConfig, seed: int | None = None) -> Sampling:
    """As configured, or with another seed."""
    return Sampling(config.temperature, config.top_p, config.max_tokens, config.seed if seed is None else seed)


def provenance(config: ServedConfig, prompt: Prompt, keys: Sequence[str]) -> Provenance:
    """Who wrote it: the same, whichever attempt succeeded."""
    sampling = {name: getattr(config, name) for name in ("temperature", "top_p", "max_tokens", "seed")}
    return Provenance(
        annotator=NAME,
        model=config.model,
        revision=config.model_revision,
        prompt_version=prompt.version,
        sampling=json.dumps(sampling),
        request_keys=list(keys),
    )
