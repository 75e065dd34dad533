"""A published SLV-Set -> samples: one question about one region each, with its picture, box and targets.

What cannot be used is counted by reason and named; more of it than the error budget ends the run.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from slvr_data.errors import RunError, UsageError
from slvr_data.images import PictureError
from slvr_data.manifest import Manifest, load_manifest
from slvr_data.pictures import Pictures
from slvr_data.reader import rows_of
from slvr_data.remote.addresses import shown
from slvr_data.shards import files_of
from slvr_model.prompts import LETTERS

NAMED = 5
"""Records that are named per reason."""
FIRST = 100
"""Samples seen before the error budget is asked for: one bad record in three is no sign yet."""
DEVIATIONS = 3
"""Standard deviations above the error budget that end a reading before its end: chance alone seldom goes so far."""
LONGEST_QUESTION = 2000
"""Characters; SLV-Set's own questions have at most a few hundred."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A question about a region."""

    query_id: str
    group_id: str
    region_id: str
    image_id: str
    picture: Image.Image
    """RGB, upright."""
    box: tuple[float, float, float, float]
    """[x1, y1, x2, y2] in pixels of the picture."""
    facet: str
    question: str
    wordings: tuple[str, ...]
    """The question and its paraphrases."""
    choices: tuple[str, ...]
    """Empty for an open question."""
    answer: str
    profile_text: str
    embedding: npt.NDArray[np.float32] | None
    """Of the profile, [dimension]; None where embeddings are not asked for."""


class Unusable(Exception):  # noqa: N818
    """A record that cannot become a sample: a stable reason, and the value and the cure in words."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(f"{reason}: {evidence}")
        self.reason, self.evidence = reason, evidence


@dataclass
class Accounts:
    """How many records were seen and used, and what became of the rest."""

    budget: float = 0.01
    """Largest share of records that may be unusable."""
    seen: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    """Reason -> number."""
    named: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Reason -> the first records, each with its evidence."""

    @property
    def used(self) -> int:
        """Records that became samples."""
        return self.seen - self.unusable.total()

    def count(self, record: str, fault: Unusable, records: int = 1) -> None:
        """Note an unusable record, or several that are unusable together.

        Raises:
            RunError: the budget is exceeded.
        """
        self.unusable[fault.reason] += records
        if len(self.named[fault.reason]) < NAMED:
            self.named[fault.reason].append(f"{record} ({fault.evidence})")
        self._check_early()

    def add(self, other: Accounts) -> None:
        """Count what another has counted.

        Raises:
            RunError: the budget is exceeded.
        """
        self.seen += other.seen
        self.unusable.update(other.unusable)
        for reason, named in other.named.items():
            self.named[reason] += named[: NAMED - len(self.named[reason])]
        if other.unusable:
            self._check_early()

    def check(self) -> None:
        """Hold the budget against all that was seen.

        Raises:
            RunError: it is exceeded.
        """
        self._hold(self.budget * self.seen)

    def _check_early(self) -> None:
        """While more is to come: only what is more than the budget beyond chance."""
        expected = self.budget * max(self.seen, FIRST)
        self._hold(expected + DEVIATIONS * math.sqrt(expected))

    def _hold(self, most: float) -> None:
        if self.unusable.total() > most:
            raise RunError(
                f"{self.unusable.total()} of {self.seen} records cannot be used, more than the error budget of "
                f"{self.budget:.1%} (raise error_budget, or mend the set): {self.report()}"
            )

    def report(self) -> str:
        """One line: each reason with its number and its first records."""
        return "; ".join(f"{n} x {reason}, e.g. {self.named[reason][0]}" for reason, n in self.unusable.most_common())


class SlvSamples:
    """The samples of one split of a published set, in the set's order. Iterating again begins anew.

    Args:
        folder: the set, with questions (`slvr-data build-multiquery`).
        split: "train", "validation" or "test".
        embeddings: give each sample the embedding of its profile (`slvr-data embed`).
        dimension: what the model expects of an embedding; None takes any.
        budget: largest share of records that may be unusable.

    Raises:
        UsageError: there is no such set or split, or it has no questions or no embeddings.
    """

    def __init__(
        self,
        folder: Path,
        split: str = "train",
        *,
        embeddings: bool = False,
        dimension: int | None = None,
        budget: float = 0.01,
    ) -> None:
        self.folder, self.split = folder, split
        self.manifest: Manifest = load_manifest(folder)
        wanted = {"multiquery": "slvr-data build-multiquery"}
        if embeddings:
            wanted["embeddings"] = "slvr-data embed"
        for config, cure in wanted.items():
            if not files_of(self.manifest.files, config, split):
                raise UsageError(
                    f"{shown(folder)} has no {config} of split {split!r}: {cure} makes them; or give another split"
                )
        self.embeddings, self.dimension = embeddings, dimension
        self.accounts = Accounts(budget)
        self.pictures = Pictures(folder)

    @property
    def embedding_model(self) -> dict[str, Any]:
        """The model of the set's embeddings, as its manifest tells it (`embeddings.EmbeddingModel`); empty: none."""
        return self.manifest.configuration.get("embeddings") or {}

    def __iter__(self) -> Iterator[Sample]:
        """Each usable query of each group.

        Raises:
            RunError: more records than the budget allows cannot be used.
        """
        self.accounts = Accounts(self.accounts.budget)
        for image_id, groups in self._by_picture():
            shown: Image.Image | Unusable | None = None
            for group, region, embedding in groups:
                for query in group["queries"]:
                    shown = self._picture(image_id) if shown is None else shown
                    self.accounts.seen += 1
                    try:
                        yield self._sample(shown, group, region, query, embedding)
                    except Unusable as fault:
                        self.accounts.count(f"query {query['query_id']} of region {group['region_id']}", fault)
        self.accounts.check()

    def _by_picture(self) -> Iterator[tuple[str, list[tuple[dict[str, Any], dict[str, Any] | None, Any]]]]:
        """Pictures with their groups, each with its region's row and embedding. All tables lie in picture order."""
        regions = _Ahead(self.folder, self.manifest, "attributes", self.split)
        vectors = _Ahead(self.folder, self.manifest, "embeddings", self.split) if self.embeddings else None
        groups = _Ahead(self.folder, self.manifest, "multiquery", self.split)
        while (image_id := groups.picture) is not None:
            rows = {row["region_id"]: row for row in regions.of(image_id)}
            known = {row["region_id"]: row["embedding"] for row in vectors.of(image_id)} if vectors else {}
            yield (
                image_id,
                [(group, rows.get(group["region_id"]), known.get(group["region_id"])) for group in groups.of(image_id)],
            )

    def _picture(self, image_id: str) -> Image.Image | Unusable:
        try:
            return self.pictures[image_id]
        except (KeyError, ValueError, PictureError, OSError) as error:
            return Unusable("picture-unreadable", str(error))

    def _sample(
        self,
        picture: Image.Image | Unusable,
        group: dict[str, Any],
        region: dict[str, Any] | None,
        query: dict[str, Any],
        embedding: Sequence[float] | None,
    ) -> Sample:
        if isinstance(picture, Unusable):
            raise picture
        if region is None:
            raise Unusable("region-missing", "the set has no attribute row for it: validate the set")
        box = checked_box(region["bbox"], picture.size)
        choices = tuple(query["choices"])
        check_question(query["question"], query["answer"], choices)
        return Sample(
            query_id=query["query_id"],
            group_id=group["group_id"],
            region_id=group["region_id"],
            image_id=group["image_id"],
            picture=picture,
            box=box,
            facet=query["facet"],
            question=query["question"],
            wordings=(query["question"], *query["paraphrases"]),
            choices=choices,
            answer=query["answer"],
            profile_text=region["profile_text"],
            embedding=checked_embedding(embedding, self.dimension) if self.embeddings else None,
        )


class _Ahead:
    """A table in picture order, taken picture by picture."""

    def __init__(self, folder: Path, manifest: Manifest, config: str, split: str) -> None:
        self._rows = rows_of(folder, manifest, config, split)
        self._next = next(self._rows, None)

    @property
    def picture(self) -> str | None:
        """The id of the next picture."""
        return None if self._next is None else str(self._next["image_id"])

    def of(self, image_id: str) -> list[dict[str, Any]]:
        """The rows of a picture; those of pictures before it are passed over."""
        found = []
        while self._next is not None and self._next["image_id"] <= image_id:
            if self._next["image_id"] == image_id:
                found.append(self._next)
            self._next = next(self._rows, None)
        return found


def checked_box(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box [x1, y1, x2, y2] that lies inside of a picture of `size` (width, height), all in pixels.

    Raises:
        Unusable: it does not, or it is empty.
    """
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2):
        raise Unusable("box-empty", f"box {list(box)}: x1 < x2 and y1 < y2 are needed")
    outside = x1 < -0.5 or y1 < -0.5 or x2 > size[0] + 0.5 or y2 > size[1] + 0.5
    if outside or x1 >= size[0] or y1 >= size[1]:
        raise Unusable("box-outside", f"box {list(box)} in a picture of {size[0]}x{size[1]}: build the set anew")
    return x1, y1, x2, y2


def check_question(question: str, answer: str, choices: Sequence[str]) -> None:
    """Whether a question can be put and answered.

    Raises:
        Unusable: it is empty or too long, has no answer, or its answer is none of its choices.
    """
    if not question.strip() or len(question) > LONGEST_QUESTION:
        raise Unusable("question-length", f"{len(question)} characters; 1 to {LONGEST_QUESTION} are taken")
    if not answer.strip():
        raise Unusable("answer-empty", "an answer of no words cannot be learnt")
    if choices and answer not in choices:
        raise Unusable("answer-not-in-choices", f"{answer!r} is none of {list(choices)}")
    if len(choices) > len(LETTERS):
        raise Unusable("choices-too-many", f"{len(choices)} choices, letters for {len(LETTERS)}")


def checked_embedding(embedding: Sequence[float] | None, dimension: int | None) -> npt.NDArray[np.float32]:
    """The embedding of a region as numbers, [dimension].

    Raises:
        Unusable: it is missing, of another dimension than the model's, or not finite.
    """
    if embedding is None:
        raise Unusable("embedding-missing", "its region has none: run slvr-data embed again")
    vector = np.asarray(embedding, np.float32)
    if dimension is not None and vector.shape != (dimension,):
        raise Unusable("embedding-size", f"{len(vector)} numbers where the model expects {dimension}")
    if not np.isfinite(vector).all():
        raise Unusable("embedding-not-finite", "it holds a number that is none: run slvr-data embed again")
    return vector
