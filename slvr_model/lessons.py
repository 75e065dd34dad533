"""Drawn scenes as lessons: pictures with profiles and questions, made from a seed and kept on disk.

A lesson is a picture with all of its things; the questions are those that `slvr_data.queries` writes for
exact profiles, with their paraphrases. Lessons are cut into shards of `SHARD` scenes. A shard depends on
(level, seed, number) alone, so a missing one is simply made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from slvr_data.errors import RunError
from slvr_data.queries.generate import write_groups
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import AttributeProfile, AttributeRow, Provenance
from slvr_data.sources.scenes import Scene, scene
from slvr_data.text import profile_text

SHARD = 500
"""Scenes per file."""


@dataclass(frozen=True)
class Question:
    """A question in all its wordings."""

    facet: str
    wordings: tuple[str, ...]
    """The question and its paraphrases."""
    answer: str
    choices: tuple[str, ...]
    """Empty for an open question."""


@dataclass(frozen=True)
class Thing:
    """A region of a lesson."""

    box: tuple[float, float, float, float]
    """[x1, y1, x2, y2] in pixels."""
    reference: str | None
    """Words that single it out."""
    text: str
    """Its profile as sentences."""
    profile: AttributeProfile
    questions: tuple[Question, ...]


@dataclass(frozen=True, eq=False)
class Lesson:
    """A picture and what can be asked about it."""

    picture: npt.NDArray[np.uint8]
    """[height, width, 3]."""
    things: tuple[Thing, ...]


def lesson_of(drawn: Scene) -> Lesson:
    """The lesson of a drawn scene."""
    width, height = drawn.picture.size
    rows = [
        AttributeRow(
            region_id=region.region_id,
            image_id=drawn.image_id,
            bbox=region.box,
            label=region.label,
            profile=region.profile,
            profile_text=profile_text(region.profile),
            provenance=Provenance(annotator="exact"),
            verdicts=[],
        )
        for region in drawn.regions
    ]
    view = PictureView(drawn.image_id, width, height, [RegionView(row) for row in rows])
    return Lesson(np.asarray(drawn.picture), tuple(_thing(view, region) for region in view.regions))


def _thing(view: PictureView, region: RegionView) -> Thing:
    row = region.row
    groups = [written.group for written in write_groups(view, region)]
    questions = tuple(
        Question(query.facet, (query.question, *query.paraphrases), query.answer, tuple(query.choices))
        for group in groups
        for query in group.queries
    )
    x1, y1, x2, y2 = row.bbox
    return Thing((x1, y1, x2, y2), groups[0].reference, row.profile_text, row.profile, questions)


def lessons(level: str, seed: int, count: int, start: int = 0) -> Iterator[Lesson]:
    """The lessons of the scenes `start` to `start + count` of a world, drawn on the way."""
    for index in range(start, start + count):
        yield lesson_of(scene(level, seed, index))


def kept_lessons(folder: Path, level: str, seed: int, count: int, workers: int = 1) -> tuple[list[Lesson], str]:
    """The first `count` lessons of a world, read from `folder` where they are there, and their hash.

    The hash is the sha256 over pictures and questions of all lessons.

    Raises:
        RunError: a file of `folder` is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"{level}-{seed}-{number:05d}.npz" for number in range(-(-count // SHARD))]
    missing = [number for number, file in enumerate(names) if not file.exists()]
    make = partial(_make_shard, folder, level, seed)
    if len(missing) > 1 and workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(make, missing))
    else:
        for number in missing:
            make(number)
    digest, found = hashlib.sha256(), list[Lesson]()
    for file in names:
        try:
            with np.load(file) as stored:
                text, pixels, sizes = bytes(stored["things"]), stored["pixels"], stored["sizes"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise RunError(f"{file} cannot be read ({error}): remove it, and it is drawn again") from None
        digest.update(text)
        digest.update(pixels.tobytes())
        found += _read_shard(text, pixels, sizes)
    return found[:count], digest.hexdigest()


def _make_shard(folder: Path, level: str, seed: int, number: int) -> None:
    made = list(lessons(level, seed, SHARD, number * SHARD))
    text = json.dumps([[_thing_json(thing) for thing in lesson.things] for lesson in made], ensure_ascii=False)
    target = folder / f"{level}-{seed}-{number:05d}.npz"
    temporary = target.with_name(f".{target.name}.tmp.npz")
    np.savez(
        temporary,
        things=np.frombuffer(text.encode(), np.uint8),
        pixels=np.concatenate([lesson.picture.ravel() for lesson in made]),
        sizes=np.array([lesson.picture.shape[:2] for lesson in made], np.int32),
    )
    temporary.replace(target)


def _read_shard(text: bytes, pixels: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int32]) -> Iterator[Lesson]:
    at = 0
    for things, (height, width) in zip(json.loads(text), sizes.tolist(), strict=True):
        size = height * width * 3
        picture = pixels[at : at + size].reshape(height, width, 3)
        at += size
        yield Lesson(picture, tuple(_thing_from(thing) for thing in things))


def _thing_json(thing: Thing) -> dict[str, Any]:
    questions = [[q.facet, q.wordings, q.answer, q.choices] for q in thing.questions]
    return {
        "box": thing.box,
        "reference": thing.reference,
        "text": thing.text,
        "profile": thing.profile.model_dump(),
        "questions": questions,
    }


def _thing_from(kept: dict[str, Any]) -> Thing:
    questions = tuple(_question(*parts) for parts in kept["questions"])
    x1, y1, x2, y2 = kept["box"]
    profile = AttributeProfile.model_validate(kept["profile"])
    return Thing((x1, y1, x2, y2), kept["reference"], kept["text"], profile, questions)


def _question(facet: str, wordings: Sequence[str], answer: str, choices: Sequence[str]) -> Question:
    return Question(facet, tuple(wordings), answer, tuple(choices))
