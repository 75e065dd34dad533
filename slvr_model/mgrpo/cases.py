"""Cases: what was asked, what each rollout answered and what it earned, kept as Parquet to be looked at.

A row is a rollout; `load_dataset("parquet", ...)`, DuckDB and pandas read it. A file has the steps of a range that its
name tells, and is whole or not there. Files depend on the run alone: a run that was cut off and resumed leaves the same
bytes as one that was not, for the steps that it repeats replace those from before.

k queries, G rollouts, B = k * G rows of a group, T positions
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from pydantic import BaseModel, ConfigDict

from slvr_data.arrow import arrow_schema, table
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors, write_atomic
from slvr_data.images import encode_jpeg, encode_png
from slvr_data.schema import Picture
from slvr_data.shards import read_parquet

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from slvr_model.data import Sample
    from slvr_model.mgrpo.types import Rollouts

FOLDER = "cases"
"""Of a run's folder."""
SIDE, SHARP, QUALITY = 384, 256, 85
"""Pixels of a kept picture's longer side; up to which it is kept as it is, losslessly; JPEG quality above."""
_NAME = re.compile(r"(\d{8})-(\d{8})\.(\d{4})\.parquet")
_LEFT = re.compile(r"\.\d+-\d+\.(\d+)\.parquet\.\d+\.tmp")


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Earned(_Row):
    """The value of a reward's term."""

    term: str
    value: float | None
    """Not weighted; None where it could not be told."""


class Case(_Row):
    """A rollout."""

    step: int
    region_id: str
    image_id: str
    query_id: str
    facet: str
    question: str
    """In the wording that was shown."""
    choices: list[str]
    """Where they were shown, each behind its letter; else none."""
    right: str
    """The right answer, or its letter."""
    rollout: int
    """g, from 0."""
    answer: str
    """Cut out of the reply."""
    reply: str | None
    """All that was sampled, with special tokens."""
    formed: bool
    """The reply ended, and an answer could be cut out."""
    tokens: int
    """That were sampled."""
    logprob: float | None
    """Mean log-probability of the sampled tokens, when they were sampled."""
    rewards: list[Earned]
    reward: float | None
    """All terms together."""
    advantage: float | None
    """None where the rollout was left out."""
    box: list[float]
    """[x1, y1, x2, y2] of the region, in pixels of the picture."""
    width: int
    """Of the picture, in pixels."""
    height: int
    picture: Picture | None
    """Scaled down; in the first row of a file that has this picture."""


@dataclass(frozen=True, order=True)
class _File:
    first: int
    last: int
    rank: int
    path: Path

    @classmethod
    def all_of(cls, folder: Path) -> list[_File]:
        found = [(_NAME.fullmatch(path.name), path) for path in folder.glob("*.parquet")]
        return sorted(cls(int(name[1]), int(name[2]), int(name[3]), path) for name, path in found if name)


class Cases:
    """Writes the cases of one process.

    Args:
        folder: where files lie, `FOLDER` of the run; it is made when the first is written.
        tokenizer: of the model, to keep replies and wordings as they were written.
        steps: of a file.
        rank: this process; each has files of its own.
        ranks: all of them.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        steps: int = 20,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.folder, self.tokenizer, self.steps, self.rank, self.ranks = folder, tokenizer, steps, rank, ranks
        self._rows: list[dict[str, Any]] = []
        self._pictures: set[str] = set()
        self._step: int | None = None
        self._changed = False

    def add(
        self,
        step: int,
        rollouts: Rollouts,
        rewards: Mapping[str, Tensor],
        advantages: Tensor,
        reward: Tensor | None = None,
    ) -> None:
        """Keep the rollouts of a group; what an earlier run left of this step and later ones goes.

        Args:
            step: of the run, never less than that of the call before.
            rollouts: k queries, G replies each.
            rewards: [k, G] by term; what is no number is kept as unknown.
            advantages: [k, G].
            reward: [k, G], all terms together.

        Raises:
            RunError: the disk is full.
        """
        if self._step is None:
            self._resume(step)
        elif step < self._step:
            raise ValueError(f"cases of step {step} after those of step {self._step}")
        elif step // self.steps != self._step // self.steps:
            self.flush()
            self._rows, self._pictures = [], set()
        self._step, self._changed = step, True
        for row in _rows(step, rollouts, rewards, advantages, reward, self.tokenizer):
            if row["image_id"] not in self._pictures:
                self._pictures.add(row["image_id"])
                row["picture"] = _kept(rollouts.shown.group.samples[0].picture)
            self._rows.append(row)

    def flush(self) -> None:
        """Write what was added; with a checkpoint, so that both tell of the same steps.

        Raises:
            RunError: the disk is full.
        """
        if not self._changed or self._step is None:
            return
        first = self._step // self.steps * self.steps
        path = self.folder / f"{first:08d}-{first + self.steps - 1:08d}.{self.rank:04d}.parquet"
        with disk_errors(f"making {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _parquet(table(Case, self._rows)))
        self._changed = False

    def _resume(self, step: int) -> None:
        """Take up this process's unfinished file; what lies behind goes, also that of processes no more there."""
        if not self.folder.is_dir():
            return
        for leftover in self.folder.glob(".*.tmp"):
            written = _LEFT.fullmatch(leftover.name)
            if written and int(written[1]) % self.ranks == self.rank:  # another process may be writing its own just now
                leftover.unlink()
        for file in _File.all_of(self.folder):
            if file.last < step or file.rank % self.ranks != self.rank:
                continue
            rows = read_parquet(file.path)
            kept = rows.filter(pc.less(rows["step"], step))
            if file.rank == self.rank and file.first == step // self.steps * self.steps:
                self._rows = kept.to_pylist()
                self._pictures = {row["image_id"] for row in self._rows}
            with disk_errors(f"changing {file.path}"):
                if kept.num_rows == 0:
                    file.path.unlink()
                elif kept.num_rows < rows.num_rows:
                    write_atomic(file.path, _parquet(kept))


def read_cases(
    folder: Path, columns: Sequence[str] | None = None, steps: tuple[int, int] | None = None
) -> Iterator[pa.Table]:
    """The cases of all processes, file by file, in the order of steps.

    Args:
        folder: a run's, or that of its cases.
        columns: unless told, all.
        steps: first and last step, both included.

    Raises:
        UsageError: there are no cases, or a file is damaged.
    """
    inner = folder / FOLDER
    files = _File.all_of(inner if inner.is_dir() else folder)
    if not files:
        raise UsageError(
            f"{folder} has no cases: give the folder of a run of slvr-train mgrpo with cases.every above 0"
        )
    wanted = None if columns is None else sorted({"step", *columns})
    for file in files:
        if steps and (file.last < steps[0] or file.first > steps[1]):
            continue
        try:
            rows = read_parquet(file.path, wanted)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{file.path} cannot be read ({error}): delete it, the other steps are whole") from None
        if steps:
            rows = rows.filter(pc.and_(pc.greater_equal(rows["step"], steps[0]), pc.less_equal(rows["step"], steps[1])))
        yield rows


def _rows(
    step: int,
    rollouts: Rollouts,
    rewards: Mapping[str, Tensor],
    advantages: Tensor,
    reward: Tensor | None,
    tokenizer: PreTrainedTokenizerBase | None,
) -> Iterator[dict[str, Any]]:
    """A row for each rollout, in order, without the picture."""
    shown, decoded = rollouts.shown, rollouts.decoded
    group, (width, height) = shown.group, shown.group.samples[0].picture.size
    terms = {name: _numbers(values) for name, values in rewards.items()}
    earned, gained = _numbers(reward), _numbers(advantages)
    counts = decoded.sampled_BT.sum(1).tolist()
    logprobs = (decoded.logprobs_BT * decoded.sampled_BT).sum(1).tolist()
    replies = [ids[sampled].tolist() for ids, sampled in zip(decoded.ids_BT, decoded.sampled_BT, strict=True)]
    for i, sample in enumerate(group.samples):
        question = _wording(sample, shown.asked[i], tokenizer)
        for g in range(rollouts.number):
            at = i * rollouts.number + g
            yield {
                "step": step, "region_id": group.region_id, "image_id": group.image_id, "query_id": sample.query_id,
                "facet": sample.facet, "question": question,
                "choices": list(sample.choices) if shown.lettered[i] else [], "right": shown.answers[i],
                "rollout": g, "answer": rollouts.answers[at],
                "reply": None if tokenizer is None else str(tokenizer.decode(replies[at])),
                "formed": rollouts.formed[at], "tokens": counts[at],
                "logprob": logprobs[at] / counts[at] if counts[at] else None,
                "rewards": [{"term": name, "value": values[at]} for name, values in terms.items()],
                "reward": earned[at] if earned else None, "advantage": gained[at],
                "box": [float(edge) for edge in group.box], "width": width, "height": height, "picture": None,
            }  # fmt: skip


def _numbers(values: Tensor | None) -> list[float | None]:
    """[k, G] row by row; None for what is no finite number."""
    if values is None:
        return []
    return [number if math.isfinite(number) else None for number in values.detach().double().flatten().tolist()]


def _wording(sample: Sample, asked: Any, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """The one of a question's wordings that stands in the prompt; the question, where none is found there."""
    if tokenizer is None:
        return sample.question
    ids = [*asked.prefix, *(token for block in asked.blocks for token in block.prompt)]
    told = str(tokenizer.decode(ids))
    return max((words for words in sample.wordings if words in told), key=len, default=sample.question)


def _kept(picture: Image.Image) -> dict[str, Any]:
    """A picture as it is kept."""
    if max(picture.size) <= SHARP:
        return {"bytes": encode_png(picture), "path": None}
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    return {"bytes": encode_jpeg(small, QUALITY), "path": None}


def _parquet(rows: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(rows.cast(arrow_schema(Case)), out, compression="zstd")
    return out.getvalue()
