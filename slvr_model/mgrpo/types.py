"""What the parts of M-GRPO hand to each other.

A *group* is a region with its k queries; each query has G rollouts. Rows of a group are query by query: row = i * G + g
for rollout g of query i, so that a tensor of rows is `.view(k, G, ...)`. Streams, should a rollout ever have several,
would be the innermost axis: row = (i * G + g) * S + s, `.view(k, G, S, ...)`, with draws keyed by s as well.

B = k * G rows of a group, T new positions, K visual slots, D width, E dimension of the semantic vector
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from slvr_data.errors import RunError
from slvr_model.data import Sample
from slvr_model.decoding import Decoded
from slvr_model.rows import Box, Row

FEWER_REGIONS = "the regions of a process (by more processes, which --resume takes)"
FEWER_ROWS = "training.micro_rows (which --resume takes), or the size of pictures in another run"
"""What to lower where memory runs out, with or without gradient."""


@dataclass(frozen=True, eq=False)
class Group:
    """A region and its queries: all of one picture and one box."""

    region_id: str
    image_id: str
    samples: tuple[Sample, ...]

    @property
    def box(self) -> Box:
        """[x1, y1, x2, y2] in pixels of the picture."""
        return self.samples[0].box


@dataclass(frozen=True, eq=False)
class Shown:
    """A group as it is asked at one step: which wording, with lettered choices or open."""

    group: Group
    asked: tuple[Row, ...]
    """k questions without replies (`Objective.asked`), all behind the same picture."""
    answers: tuple[str, ...]
    """What is right: the answer, or its letter."""
    lettered: tuple[bool, ...]


@dataclass(frozen=True)
class Costs:
    """What rollouts took, counted, not timed."""

    encoded: int = 0
    """Pictures that the vision tower ran on."""
    prefix_positions: int = 0
    """Positions of prompts that were computed."""
    latents: int = 0
    """Latents that were computed."""
    sampled: int = 0
    """Tokens that were sampled."""
    calls: int = 0
    """Calls of the language model."""


@dataclass(frozen=True, eq=False)
class Rollouts:
    """G replies to each query of a group."""

    shown: Shown
    number: int
    """G."""
    decoded: Decoded
    """B rows; `decoded.latents` holds the latents of each row (those of a query, repeated for its G rows)."""
    answers: tuple[str, ...]
    """B texts: the answer of each reply, cut out by the objective."""
    formed: tuple[bool, ...]
    """B: the reply is whole: it ended, and an answer could be cut out."""
    costs: Costs = field(default_factory=Costs)
    noise: float = 0.0
    """Deviation of what was added to latents; each row then has latents of its own."""
    latent_logprobs_BT: Tensor | None = None
    """With noise: log-density of each latent that was drawn, at its slot; 0 elsewhere."""

    @property
    def queries(self) -> int:
        """K."""
        return len(self.shown.asked)


class Generator(Protocol):
    """Where rollouts come from: the trained model in this process, or a server with the same weights."""

    def rollouts(self, shown: Shown, *, step: int) -> Rollouts:
        """G replies to each query. What is drawn depends on (seed, step, region, query, g) alone."""


class DivergedError(RunError):
    """What is computed is no number any more. `Update.learn` says what to do about it."""


class Evaluator(Protocol):
    """Held-out SV-QA during training. It is given from outside: this package never imports the benchmark."""

    def __call__(self, checkpoint: str, step: int) -> dict[str, float]:
        """Scores by name, e.g. accuracy and Both, of a checkpoint's folder."""
