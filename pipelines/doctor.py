"""`slvr-data doctor`: is this server good for annotation? Asked before money is spent.

Every probe asks about pictures of the embedded world, so nothing is needed but the server. What a probe cannot
tell (a tiny or untrained model answers at random) is said to be so; a fault is what would spoil a build.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw

from pipelines.config import CropConfig
from pipelines.serve import GRAMMAR
from pipelines.stages.served import crop_settings
from slvr_data import images
from slvr_data.annotators.base import AnnotatedPicture
from slvr_data.annotators.served.profiles import StoredCrop, prepare, profile_request, sampling_of
from slvr_data.annotators.served.sent import Convention, box_text, family, sent_picture
from slvr_data.checks.model.choices import SCHEMA_NAME, answer_schema, reader_of
from slvr_data.geometry import padded
from slvr_data.prompts import Prompts, choices_text, load_prompts
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import ServerError, UnfinishedError
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Answer, Message, Refusal, Request
from slvr_data.schema import AttributeProfile, Region
from slvr_data.sources import scenes

SCENES = 12
"""Pictures of the probe of replies and speed."""
LOOKS = 4
"""Boxes that are asked about in each convention."""
SPACES = 100
"""White space in a row that no reply needs."""
PATIENCE = 120.0
"""Seconds for one call."""
CURE = f"start vLLM with --structured-outputs-config '{json.dumps(GRAMMAR)}' (`slvr-data serve` writes the line)"

Outcome = Answer[AttributeProfile] | Refusal | str


@dataclass(frozen=True)
class Finding:
    """What one probe found."""

    probe: str
    verdict: Literal["ok", "warning", "fault"]
    text: str


def examine(config: ServedConfig, say: Callable[[str], None]) -> list[Finding]:
    """All probes; the first fault of the server itself ends them.

    Raises:
        UsageError: the configuration names no server or model, or prompts that are not sound.
    """
    return asyncio.run(_examine(config, say))


async def _examine(config: ServedConfig, say: Callable[[str], None]) -> list[Finding]:
    prompts = load_prompts(config.prompts)
    told = {"attempts": 1, "transport_retries": 2, "timeout": min(config.timeout, PATIENCE)}
    once = config.model_copy(update=told)
    convention = family(config.model, config.box_format)
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.json") as ledger:
        async with Client(once, None, ledger, say) as client:
            try:
                await client.check()
            except (ServerError, UnfinishedError) as error:
                return [Finding("server", "fault", str(error))]
            found = [Finding("server", "ok", f"answers, knows {config.model} and sees pictures")]
            try:
                found += await _replies(client, once, prompts)
                found.append(await _boxes(client, once, prompts, convention))
            except UnfinishedError as error:
                found.append(Finding("server", "fault", f"stopped answering: {error}"))
        return found


async def _replies(client: Client, config: ServedConfig, prompts: Prompts) -> list[Finding]:
    """Profiles of drawn regions: do replies fit the schema, do they end, and how fast do they come?"""
    requests = drawn_requests(config, prompts)
    started = time.monotonic()
    outcomes = await asyncio.gather(*(_outcome(client, request) for request in requests))
    seconds = time.monotonic() - started
    steered = "steered by the server's /metrics" if client.steered else "no /metrics: steered by errors (AIMD)"
    replied = sum(not isinstance(outcome, str) for outcome in outcomes)
    speed = f"{replied / seconds:.1f} replies per second over {len(requests)} calls; {steered}"
    return [_schema(outcomes), _whitespace(outcomes), Finding("speed", "ok", speed)]


async def _outcome(client: Client, request: Request[AttributeProfile]) -> Outcome:
    try:
        return await client.ask(request)
    except UnfinishedError as error:
        if client.stopped is not None:
            raise
        return str(error)


def drawn_requests(config: ServedConfig, prompts: Prompts) -> list[Request[AttributeProfile]]:
    """A profile request for every region of some scenes."""
    crop = CropConfig()
    requests = []
    for index in range(SCENES):
        scene = scenes.scene("full", 1, index)
        regions = [
            Region(region_id=drawn.region_id, image_id=scene.image_id, bbox=drawn.box, label=drawn.label)
            for drawn in scene.regions
        ]
        width, height = scene.picture.size
        picture = AnnotatedPicture(
            scene.image_id, width, height, regions, frozenset(), partial(_same, scene.picture), complete=True
        )
        crops = {}
        for region in regions:
            box = padded(region.bbox, crop.padding, width, height)
            shown = images.crop(scene.picture, box, crop.max_side)
            crops[region.region_id] = StoredCrop(images.encode_jpeg(shown, crop.quality), box)
        task = prepare(picture, regions, crops, crop_settings(crop), config)
        requests += [profile_request(task, region, config, prompts.profile) for region in task.regions]
    return requests


def _same(picture: Image.Image) -> Image.Image:
    return picture


def _schema(outcomes: Sequence[Outcome]) -> Finding:
    failures = Counter(outcome.failure for outcome in outcomes if isinstance(outcome, Refusal))
    good = sum(isinstance(outcome, Answer) for outcome in outcomes)
    lost = sum(isinstance(outcome, str) for outcome in outcomes)
    said = f"{good} of {len(outcomes)} replies were accepted at the first attempt"
    if failures or lost:
        counts = [f"{failure} {count}" for failure, count in sorted(failures.items())]
        said += f" ({', '.join(counts + ([f'without a reply {lost}'] if lost else []))})"
    example = next((outcome for outcome in outcomes if isinstance(outcome, Refusal)), None)
    if example is not None:
        said += f"; for example {example.evidence[:200]}"
    if not good:
        return Finding("schema", "fault", f"{said}: does the server honour response_format json_schema?")
    return Finding("schema", "ok" if good >= 0.9 * len(outcomes) else "warning", said)


def _whitespace(outcomes: Sequence[Outcome]) -> Finding:
    """A grammar that allows any white space lets a model fill its reply with it, up to the limit."""
    cut = [outcome for outcome in outcomes if isinstance(outcome, Refusal) and outcome.failure == "length"]
    blank = sum(re.search(rf"\s{{{SPACES},}}", outcome.reply) is not None for outcome in cut)
    if blank:
        return Finding("white space", "warning", f"{blank} replies ran to the limit with white space: {CURE}")
    if cut:
        return Finding(
            "white space", "warning", f"{len(cut)} replies were cut at the limit, with words: see max_tokens"
        )
    return Finding("white space", "ok", "no reply ran to its limit")


async def _boxes(client: Client, config: ServedConfig, prompts: Prompts, convention: Convention) -> Finding:
    """Which numbers does the model understand? The colour at a box, told in one convention and in the other."""
    formats: tuple[Literal["pixels", "thousandths"], ...] = ("pixels", "thousandths")
    right = dict.fromkeys(formats, 0)
    for name in formats:
        asked = [_box_request(config, prompts, family(config.model, name), number) for number in range(LOOKS)]
        answers = await asyncio.gather(*(client.ask(request) for request, _ in asked))
        for (_, truth), answer in zip(asked, answers, strict=True):
            right[name] += isinstance(answer, Answer) and answer.value == truth
    told = convention.box_format
    other = formats[1 - formats.index(told)]
    counts = f"{right[told]} of {LOOKS} right in {told}, {right[other]} in {other}"
    if right[told] >= LOOKS - 1:
        return Finding("boxes", "ok", f"{convention.sentence}; {counts}")
    if right[other] >= LOOKS - 1:
        text = f"{convention.sentence}, but the model seems to read {other} ({counts}): try --box-format {other}"
        return Finding("boxes", "warning", text)
    return Finding("boxes", "warning", f"{convention.sentence}; the model's answers do not tell ({counts})")


_PATCHES = ("red", "blue", "green", "yellow", "purple", "orange", "white", "black")
_ASKED = (3, 6, 7, 2)
"""Patches that are asked about, all of them where the two conventions lead to different ones."""


def _box_request(
    config: ServedConfig, prompts: Prompts, convention: Convention, number: int
) -> tuple[Request[str | None], str]:
    """A question about one of eight patches, and its answer.

    The picture is 560 x 280: read in the other convention, each of these boxes lies on another patch or outside.
    """
    width, height = 560, 280
    picture = Image.new("RGB", (width, height), "gray")
    draw = ImageDraw.Draw(picture)
    cells = [(140 * (i % 4), 140 * (i // 4), 140 * (i % 4) + 140, 140 * (i // 4) + 140) for i in range(8)]
    for color, cell in zip(_PATCHES, cells, strict=True):
        draw.rectangle((cell[0] + 20, cell[1] + 20, cell[2] - 20, cell[3] - 20), color)
    truth = _PATCHES[_ASKED[number]]
    sent = sent_picture(picture, "doctor", config)
    box = [float(edge) for edge in cells[_ASKED[number]]]
    others = [color for color in _PATCHES if color != truth][number : number + 3]
    offered = [*others[:number], truth, *others[number:]]
    system, user = prompts.answer.filled(
        pictures="The picture is the whole picture; there is no crop.",
        box=box_text(box, width, height, sent, convention),
        convention=convention.explained(sent),
        question="What color is the square in the box?",
        choices=choices_text(offered),
    )
    request = Request(
        purpose="doctor",
        group="doctor",
        messages=(Message("system", (system,)), Message("user", (sent, user))),
        sampling=sampling_of(config),
        prompt_version=prompts.answer.version,
        context={"convention": convention.box_format, "number": number},
        accept=reader_of(offered, undecided=False),
        schema_name=SCHEMA_NAME,
        schema=answer_schema(len(offered), undecided=False),
    )
    return request, truth
