"""Groups of the drawn scenes, a tiny model that often ends its replies and opens spans, and counted calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from slvr_model.batches import Batch
from slvr_model.data import Sample
from slvr_model.mgrpo.generate import InProcess
from slvr_model.mgrpo.settings.sampling import SamplingConfig
from slvr_model.mgrpo.types import Group, Shown
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective
from slvr_model.tiny import new_tiny
from tests.slvr_model.objectives.objective_support import asked, opened, samples, tiny

KINDS = ("slvr", "lvr", "semantic", "direct", "text", "pause")
LATENT = KINDS[:3]
SEED, STEP = 7, 3


def new_talkative(starts: float = 4.7) -> SlvrModel:
    """Often says the end and latent start tokens, so that sampled replies hold all there is.

    Args:
        starts: logit of the latter; -5: they are never said.
    """
    model, processor = new_tiny(3)
    dice = torch.Generator().manual_seed(5)
    model.latents.set_statistics(torch.randn(64, model.text.config.hidden_size, generator=dice) * 0.5 + 0.2)
    objective, tokens = opened("direct", model), model.latent_config.tokens
    pairs = (processor.tokenizer.eos_token_id, 5.6), (tokens.vis_start, starts), (tokens.sem_start, starts)
    with torch.no_grad():  # states of a new model are much alike: a word in their direction is said everywhere
        states_BLD = model.latent_forward(objective.collate([asked(samples()[2])]), "pause").hidden_BLD
        usual_D = states_BLD[0, -1] / states_BLD[0, -1].square().sum()
        for token, logit in pairs:
            model.lm_head.weight[token] = logit * usual_D
    return model.eval()


@cache
def talkative() -> SlvrModel:
    """Shared by tests that only read it."""
    return new_talkative()


@cache
def quiet() -> SlvrModel:
    """Has latents where replies open, and nowhere else."""
    return new_talkative(-5.0)


def shown(objective: Objective, *places: int, region: str = "r2") -> Shown:
    """Questions about one picture (samples 2 and 3 of the drawn scenes), asked anew as other queries of one region."""
    held: list[Sample] = []
    for number, place in enumerate(places or (2, 3)):
        held.append(replace(samples()[place], query_id=f"q{place}-{number}", region_id=region))
    rows = tuple(objective.asked(asked(sample)) for sample in held)
    group = Group(region, held[0].image_id, tuple(held))
    return Shown(group, rows, tuple(sample.answer for sample in held), (False,) * len(held))


def sampling(**settings: Any) -> SamplingConfig:
    return SamplingConfig(**{"rollouts": 3, "temperature": 1.3, "max_new_tokens": 16, **settings})


def generator(kind: str, model: SlvrModel | None = None, *, seed: int = SEED, **settings: Any) -> InProcess:
    """Of the talkative model."""
    model = model or talkative()
    return InProcess(model, opened(kind, model), tiny()[1].tokenizer, sampling(**settings), seed)


def unshared(of: InProcess, one: Shown) -> Batch:
    """All rows of a group as one batch in which nothing is shared."""
    rows = [row for row in one.asked for _ in range(of.config.rollouts)]
    return of.objective.collate(rows, "left")


@contextmanager
def calls(model: SlvrModel) -> Iterator[list[tuple[int, int]]]:
    """(rows, positions) of every call of the language model."""
    found: list[tuple[int, int]] = []

    def note(_: Any, __: Any, given: dict[str, Tensor]) -> None:
        found.append(tuple(given["inputs_embeds"].shape[:2]))

    handle = model.text.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()
