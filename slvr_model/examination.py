"""Examinations by free-running decoding: with latents or without, open or with lettered choices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from PIL import Image

from slvr_model.batches import collate
from slvr_model.decoding import decode
from slvr_model.lessons import Lesson, Question
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Picture, Row
from slvr_model.teaching import Scores, Teacher
from slvr_model.tiny import StillProcessor, answer_of

LONGEST_ANSWER = 8
"""Tokens, the end included; no answer of easy scenes has more than five, some signs of full ones have more."""


def examine_decoded(
    model: SlvrModel,
    teacher: Teacher,
    processor: StillProcessor,
    lessons: Sequence[Lesson],
    *,
    lettered: bool,
    latents: bool,
    at_once: int = 96,
) -> Scores:
    """Facet -> (right, asked) over every question in its first wording; a reply is right where it is the answer.

    Args:
        model: in eval mode.
        teacher: how pictures and questions become ids.
        processor: of the model; it scales pictures that are too small or too large.
        lessons: pictures of any size.
        lettered: ask with the published choices instead of openly.
        latents: the reply opens with the model's own latents; otherwise it writes none.
        at_once: questions per batch.
    """
    asked = [
        (row, question) for lesson in lessons for row, question in rows_to_ask(teacher, processor, lesson, lettered)
    ]
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    opening = model.latent_config.visual_slots + 5 if latents else 0
    for begin in range(0, len(asked), at_once):
        part = asked[begin : begin + at_once]
        decoded = decode(
            model,
            collate([row for row, _ in part], model.layout, side="left"),
            max_new_tokens=opening + LONGEST_ANSWER,
            opening=latents,
            visual_steps=None if latents else 0,
            semantic=latents,
        )
        for (_, question), ids in zip(part, decoded.replies(), strict=True):
            wanted = teacher.reply_of(question, question.choices if lettered else ())
            found[question.facet][0] += answer_of(processor.tokenizer, ids) == wanted
            found[question.facet][1] += 1
    return {facet: (right, number) for facet, (right, number) in sorted(found.items())}


def rows_to_ask(
    teacher: Teacher, processor: StillProcessor, lesson: Lesson, lettered: bool
) -> list[tuple[Row, Question]]:
    """Every question of a lesson as a row to decode."""
    height, width, _ = lesson.picture.shape
    shown = processor.image_processor(images=[Image.fromarray(lesson.picture)], return_tensors="pt")
    t, h, w = shown["image_grid_thw"][0].tolist()
    picture = Picture(shown["pixel_values"], (t, h, w), (width, height))
    found = []
    for thing in lesson.things:
        for question in thing.questions:
            plain = teacher.asked(question, question.wordings[0], question.choices if lettered else ())
            found.append((Row(teacher.shown, (Block(plain.prompt),), (picture,)), question))
    return found
