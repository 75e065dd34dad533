"""`slvr-train mgrpo --dry-run`: what a configuration takes on each GPU, by formula; no weights and no data are read.

What lies there always (weights, gradients, optimiser) is `efficiency.estimate`'s, and so is act(t, L), what a forward
pass over t positions in rows of L keeps for the backward pass. Beside them, with n layers, D width, h key heads of size
d, b bytes of a number, w of a weight; P positions of a beginning with its picture, E of a question with its reply, O of
the beginning with all questions and their latents; B rows of R regions at a time, c latents of a reply:

    reference   w T                                      a copy of all T parameters; none under LoRA, which is taken off
    fsdp2       the optimiser by the number of GPUs      weights and gradients are whole while they are used
    replies     act(R P + B E, P + E) + 2 n b D B (P + E)       each row keeps the keys and values of its beginning too
    own feed    act(R O, O) + 2 n b D R O (1 + c)               and so does each of the 1 + c calls that latents take
    rollouts    2 n h d b (P + E) times all rows                the cache; and 12 bytes for each word that may be drawn

Replies and own feed are held together; losses on latents have an own feed of theirs, at another time, with the gradient
of the replies put aside meanwhile; so has rolling out, without that.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

from slvr_model.decoding import SCORED
from slvr_model.efficiency import activations
from slvr_model.efficiency.activations import BYTES, Step
from slvr_model.efficiency.estimate import GIB, Estimate, Setup, estimate
from slvr_model.efficiency.stored import stored
from slvr_model.latents import LatentConfig
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.sft.arguments import world
from slvr_model.sft.dry import GPUS, VISUAL, latents_of, shape_of, together

QUERIES = 3
"""Questions of a region where `data.most` does not tell: an assumption, an SLV-Set has 2 to 4."""
AROUND, QUESTION = 32, 64
"""Positions that stand before what a question alone says, the picture apart; and of the question: assumptions."""
MARKS = 5
"""Tokens around the latents of a reply."""


def told(config: MgrpoConfig, init: str) -> str:
    """The estimate as a table, with what was assumed.

    Raises:
        UsageError: `init` is no checkpoint.
    """
    shape, name = shape_of(config.model.opened(init))
    return _Plan(config, shape, name).text()


class _Plan:
    """The numbers of a step on one GPU."""

    def __init__(self, config: MgrpoConfig, shape: Any, name: str) -> None:
        self.config, self.shape, self.name = config, shape, name
        self.language = shape.get_text_config(decoder=True)
        vision, training, sampling = shape.vision_config, config.training, config.sampling
        side = vision.patch_size * vision.spatial_merge_size
        self.visual = config.model.max_pixels // side**2 if config.model.max_pixels else VISUAL
        self.shared = config.sharding.kind != "none"
        self.gpus = world()[1] if world()[1] > 1 or not self.shared else GPUS
        self.latents = latents_of(config.objective.kind, LatentConfig.of(shape))
        self.own = training.feed == "own" and not sampling.latent_noise and self.latents > 0
        self.queries = config.data.most or max(QUERIES, config.data.fewest)
        self.groups = ceil(training.regions / self.gpus)
        self.rows = self.groups * self.queries * sampling.rollouts
        self.beginning, self.ending = self.visual + AROUND, QUESTION + sampling.max_new_tokens
        self.opening = self.beginning + self.queries * (QUESTION + self.latents + MARKS)
        rank = training.lora.rank if training.lora else 0
        self.step = Step(1, self.opening, config.model.dtype, training.bf16, rank, training.checkpointing)
        self.at_once = min(training.micro_rows, self.rows)
        self.regions = ceil(self.at_once / (self.queries * sampling.rollouts))

    def text(self) -> str:
        """The table."""
        found = self.fixed()
        copied = self.config.needs_reference and self.config.training.lora is None
        reference = self.step.weight * found.parameters.total if copied else 0
        rollouts, scoring = self.rolling(), self.scoring(found.gradients // (self.gpus if self.shared else 1))
        always = found.weights + found.gradients + found.optimiser + found.copies + reference
        lines = [
            ("", self.name),
            ("parameters, millions", f"{found.parameters.total / 1e6:,.0f}"),
            ("  trained", f"{found.parameters.trained(found.setup) / 1e6:,.0f}"),
            *((f"{part}, GiB", _gib(getattr(found, part))) for part in ("weights", "gradients", "optimiser", "copies")),
            ("reference, GiB", _gib(reference)),
            ("rollouts, GiB", _gib(rollouts)),
            ("scoring, GiB", _gib(scoring)),
            ("peak, GiB", _gib(always + max(rollouts, scoring))),
            *stored(found, self.config.saving.keep, together(self.gpus), BYTES["float32"]),  # stage 1's checkpoints are
            *self.work(),
        ]
        gpus, new = "1 GPU" if self.gpus == 1 else f"{self.gpus} GPUs", self.config.sampling.max_new_tokens
        return "\n".join(f"{name:34}{value:>12}" for name, value in lines) + (
            f"\nassumed: {gpus}, {self.queries} questions a region, {self.visual} visual tokens, {AROUND} + {QUESTION} "
            f"positions of a question, replies of {new}; left out: what CUDA itself holds"
        )

    def fixed(self) -> Estimate:
        """What is there whatever is computed."""
        lora = self.config.training.lora
        vocabulary = lora is None or lora.vocabulary
        setup = Setup(self.step, self.visual, vocabulary=vocabulary, gpus=self.gpus)
        found = estimate(self.shape, setup, self.name)
        if not self.shared:
            return found
        part = found.gradients // self.gpus  # of weights, beside the whole that is gathered
        return replace(found, weights=found.weights + part, optimiser=found.optimiser // self.gpus)

    def rolling(self) -> int:
        """Bytes of the cache of all rows, and of what one position of each is drawn from."""
        text = self.language
        size = text.num_key_value_heads * text.hidden_size // text.num_attention_heads
        held = 2 * text.num_hidden_layers * size * self.step.computing * (self.beginning + self.ending)
        return self.rows * (int(held) + 12 * int(text.vocab_size))

    def scoring(self, aside: int) -> int:
        """Bytes that scoring with gradient takes at most: of replies, or of losses on latents beside what is put
        aside.
        """
        words = 12 * min(SCORED, self.at_once * self.config.sampling.max_new_tokens) * self.language.vocab_size
        most = words + self._replies() + (self._latents_of(self.regions) if self.own else 0)
        if self.config.latents.active:
            together = max(1, self.config.training.micro_rows // self.queries)
            most = max(most, self._latents_of(min(self.groups, together)) + aside)
        step = replace(self.step, rows=self.regions)
        shown = activations.pictures(self.shape.vision_config, step, self.visual, encoder=False, merger=False)
        return int(most) + shown

    def _replies(self) -> int:
        if self.step.checkpointing:  # no cache: a region is one row
            length = self.beginning + ceil(self.at_once / self.regions) * self.ending
            return activations.language(self.language, replace(self.step, rows=self.regions, length=length))
        positions, length = self._positions(), self.beginning + self.ending
        return self._kept(positions, length) + self._keys(self.at_once * length)

    def _positions(self) -> int:
        return self.regions * self.beginning + self.at_once * self.ending

    def _latents_of(self, regions: int) -> int:
        """Latents computed again with gradient; under checkpointing they are not."""
        return self._kept(regions * self.opening, self.opening) + self._keys(
            regions * self.opening * (1 + self.latents)
        )

    def _kept(self, positions: int, length: int) -> int:
        step = replace(self.step, rows=ceil(positions / length), length=length)
        return activations.language(self.language, step)

    def _keys(self, positions: int) -> int:
        return activations.keys(self.language, replace(self.step, rows=1, length=positions))

    def work(self) -> list[tuple[str, str]]:
        """What a lot computes on one GPU, in positions of the language model."""
        config, new = self.config, self.config.sampling.max_new_tokens
        of_query = config.sampling.rollouts if config.sampling.latent_noise else 1
        written = self.groups * self.queries * of_query * self.latents + self.rows * (new - self.latents)
        parts, steps = ceil(self.rows / self.at_once), config.training.iterations
        again = steps * self.regions * self.opening if self.own else 0
        behind = (steps + bool(config.loss.beta)) * (1 if self.step.checkpointing else 2)
        scored = (steps + bool(config.loss.beta)) * self._positions() + again
        return [
            ("regions per lot and GPU", f"{self.groups:,}"),
            ("rollouts per lot and GPU", f"{self.rows:,}"),
            ("positions of prompts", f"{self.groups * (self.beginning + self.queries * QUESTION):,}"),
            ("positions written, at most", f"{written:,}"),
            ("positions scored, at most", f"{parts * scored:,}"),
            ("  in calls of the language model", f"{parts * (behind + steps * (1 + self.latents) * self.own):,}"),
        ]


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}"
