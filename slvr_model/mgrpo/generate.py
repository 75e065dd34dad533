"""Rollouts from the model in this process, with nothing computed twice.

A picture is encoded once; what the queries of a region share is computed once, and its keys and values are taken for
each query; a query's latents are computed once, and its keys and values are taken for each of its G rollouts. From
there on rows are sampled, each from draws of its own: what a rollout says depends on (seed, step, region, query, g)
alone, not on what is computed beside it (which may change the last bit of a probability, as in any batch). With noise
in the latents, rollouts part before them.

Q queries of all regions, B = Q * G rows, T new positions, D width
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from slvr_data.errors import UsageError
from slvr_model.decoding import Decoded
from slvr_model.decoding_loop import Loop
from slvr_model.memory import memory
from slvr_model.mgrpo.asking import Asking
from slvr_model.mgrpo.noise import Noise
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.replies import taken
from slvr_model.mgrpo.sharing import Begun, Behind, beginnings
from slvr_model.mgrpo.types import FEWER_REGIONS, Costs, Rollouts, Shown
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective
from slvr_model.rules import draws, rules_of

if TYPE_CHECKING:
    from slvr_model.mgrpo.settings.sampling import SamplingConfig


def row_seeds(seed: int, step: int, shown: Shown, number: int) -> list[int]:
    """A seed for each of the k * G rows of a group, from (seed, step, region, query, g)."""
    region = shown.group.region_id
    keys = (
        f"{seed}\n{step}\n{region}\n{sample.query_id}\n{g}" for sample in shown.group.samples for g in range(number)
    )
    return [int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) for key in keys]


class InProcess:
    """A `Generator`: the model that is trained.

    Args:
        model: in any mode; while it writes, it is in eval mode.
        objective: how replies are laid out.
        tokenizer: of the model.
        config: G, temperature, top-p, longest reply, noise.
        seed: of the run.
        pictures: as they are encoded for everything else; unless told, each call encodes its own.
    """

    def __init__(
        self,
        model: SlvrModel,
        objective: Objective,
        tokenizer: PreTrainedTokenizerBase,
        config: SamplingConfig,
        seed: int,
        pictures: Pictures | None = None,
    ) -> None:
        self.model, self.objective, self.tokenizer = model, objective, tokenizer
        self.config, self.seed, self.pictures = config, seed, pictures
        form = objective.form
        self.opening = len(model.latent_config.tokens.reply(form.visual_steps, form.semantic))
        """Positions that a reply is made to begin with."""
        if config.max_new_tokens <= self.opening:
            raise UsageError(
                f"sampling.max_new_tokens {config.max_new_tokens}: a reply opens with {self.opening} positions of "
                "latents; leave room for an answer"
            )
        if config.latent_noise and not self.opening:
            raise UsageError(
                f"sampling.latent_noise {config.latent_noise}, but replies of {objective.name!r} have no latents: set 0"
            )

    def rollouts(self, shown: Shown, *, step: int) -> Rollouts:
        """G replies to each query. What is drawn depends on (seed, step, region, query, g) alone.

        Raises:
            UsageError: the queries are not about one picture, or too long.
        """
        return self.many([shown], step=step)[0]

    @memory("rolling out", f"{FEWER_REGIONS}, or in another run sampling.rollouts, or pictures' size")
    @torch.no_grad()
    def many(self, shown: Sequence[Shown], *, step: int) -> list[Rollouts]:
        """Rollouts of several groups, computed together. What they cost together is told of the first."""
        asking = [self._asking(one) for one in shown]
        seeds = [seed for one in shown for seed in row_seeds(self.seed, step, one, self.config.rollouts)]
        with _evaluating(self.model):
            run = self._written(asking, seeds)
        return self._told(shown, asking, run)

    def _asking(self, shown: Shown) -> Asking:
        asking = Asking.of(shown.asked, self.model.layout)
        if len(shown.asked) != len(shown.group.samples):
            raise UsageError(f"{len(shown.asked)} questions for {len(shown.group.samples)} queries of a group")
        limit, most = self.model.layout.limit, self.config.max_new_tokens
        if asking.longest + most > limit:
            raise UsageError(
                f"a query of {asking.longest} positions (region {shown.group.region_id}) and {most} new ones exceed "
                f"the limit of {limit}: lower sampling.max_new_tokens or model.max_pixels"
            )
        return asking

    def _written(self, asking: Sequence[Asking], seeds: Sequence[int]) -> _Run:
        model, config, form = self.model, self.config, self.objective.form
        first = beginnings(asking, model.layout).to(model.text.embed_tokens.weight.device)
        pictures = self.pictures or Pictures(model)
        before = pictures.encoded
        begun = Begun.of(model, first, pictures.of(asking))
        regions = [region for region, one in enumerate(asking) for _ in one.endings]
        endings = [ending for one in asking for ending in one.endings]
        behind = Behind.of(first, asking, regions, endings, "left", model.layout.pad_token)
        cache = begun.past(model, behind.region_Q)
        hidden_QD = behind.run(model, behind.embedded(model), cache)[:, -1]
        own, most = model.latent_config, config.max_new_tokens
        opens = self.opening > 0
        rules = rules_of(own, len(endings), form.visual_steps, form.semantic, False, opens, config.temperature)
        loop = Loop(model, behind.whole, rules, most, draws(seeds, len(seeds), most), config.top_p)
        loop.begin(cache, behind.whole.ids_BL.shape[1] + most)
        noise = Noise(config.latent_noise, seeds) if config.latent_noise else None
        calls, parting = _Calls(model), 0 if noise else self.opening
        decoded = loop.run(cache, hidden_QD, noise, calls, (parting, config.rollouts))
        return _Run(decoded, noise, pictures.encoded - before, 2 + calls.number)

    def _told(self, shown: Sequence[Shown], asking: Sequence[Asking], run: _Run) -> list[Rollouts]:
        """The rollouts of each group."""
        number, found, at = self.config.rollouts, [], 0
        tokens, noise = self.model.latent_config.tokens, self.config.latent_noise
        logp_BT = None if run.noise is None else run.noise.logprobs(run.decoded.latent_BT)
        for place, (one, parts) in enumerate(zip(shown, asking, strict=True)):
            rows = slice(at, at + number * len(parts.endings))
            at = rows.stop
            decoded = taken(run.decoded, rows, tokens)
            again = 0 if noise else (number - 1) * len(parts.endings) * self._latents
            costs = Costs(
                0 if place else run.encoded,
                len(parts.beginning.prefix) + sum(map(len, parts.endings)),
                int(decoded.latent_BT.sum()) - again,
                int(decoded.sampled_BT.sum()),
                0 if place else run.calls,
            )
            lettered = [letter for letter in one.lettered for _ in range(number)]
            answers, formed = answers_of(self.objective, self.tokenizer, decoded, lettered)
            drawn_BT = None if logp_BT is None else logp_BT[rows, : decoded.ids_BT.shape[1]]
            found.append(Rollouts(one, number, decoded, answers, formed, costs, noise, drawn_BT))
        return found

    @property
    def _latents(self) -> int:
        form = self.objective.form
        return form.visual_steps + form.semantic


def answers_of(
    objective: Objective, tokenizer: PreTrainedTokenizerBase, decoded: Decoded, lettered: Sequence[bool]
) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """The answer of each reply, and whether it is well formed: it ended, and it closes with an answer, behind its mark
    where replies of the objective have one (those with a letter as answer have no echo).

    Args:
        lettered: of each row.
    """
    answers, formed, config = [], [], objective.config
    mark = tuple(tokenizer(config.mark, add_special_tokens=False).input_ids)
    for reply, finished, letter in zip(decoded.replies(), decoded.finished_B.tolist(), lettered, strict=True):
        ids = objective.answer(reply)
        answers.append(str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip())
        closing = (*(mark if config.kind == "text" or (config.echo and not letter) else ()), *ids)
        formed.append(finished and bool(answers[-1]) and tuple(reply[:-1])[-len(closing) :] == closing)
    return tuple(answers), tuple(formed)


@dataclass(frozen=True, eq=False)
class _Run:
    """What was written for all groups, and what it took."""

    decoded: Decoded
    noise: Noise | None
    encoded: int
    calls: int


class _Calls:
    """Steps of the language model, counted."""

    def __init__(self, model: SlvrModel) -> None:
        self.model, self.number = model, 0

    def __call__(self, *arguments: Any) -> Tensor:
        self.number += 1
        return self.model.run(*arguments)


@contextmanager
def _evaluating(model: SlvrModel) -> Iterator[None]:
    """The model in eval mode for a while."""
    training = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(training)
