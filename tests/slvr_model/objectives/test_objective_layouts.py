"""Replies as they are laid out decode as they are laid out; echo and profile stand where they should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from slvr_data.errors import UsageError
from slvr_model.data import Unusable
from slvr_model.decoding import Decoded, decode
from slvr_model.latents import KEY, LatentConfig
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective, open_objective
from slvr_model.objectives.config import checked_objective
from slvr_model.rows import Block
from slvr_model.tiny import new_tiny, tiny_config
from slvr_model.tokens import LatentTokens
from tests.slvr_model.objectives import objective_support as support

ARMS: dict[str, dict[str, Any]] = {
    "direct": {},
    "text": {},
    "lvr": {"echo": True},
    "semantic": {},
    "slvr": {"echo": True},
    "pause": {},
    "multi_encoder": {},
}


def decoded(model: SlvrModel, objective: Objective, number: int, most: int) -> Decoded:
    asked = objective.asked(support.asked(support.samples()[number]))
    return decode(model, objective.collate([asked], "left"), max_new_tokens=most, **objective.form.options())


@pytest.mark.parametrize("kind", ARMS)
def test_what_is_decoded_is_laid_out_as_in_training_and_reads_the_same(kind: str) -> None:
    """The reply that the model writes, taught as a reply, is what the training forward finds most probable."""
    model, objective = support.tiny()[0], support.opened(kind, **ARMS[kind])
    sample, tokens = support.samples()[0], support.tiny()[0].latent_config.tokens
    taught = support.row(objective, sample).blocks[0]
    found = decoded(model, objective, 0, 12)
    latents = [token for token in taught.reply if token in vars(tokens).values()]
    assert found.replies()[0][: len(latents)] == latents == list(taught.reply[: len(latents)])
    assert taught.prompt == objective.form.suffix
    row = replace(support.asked(sample), blocks=(replace(taught, reply=tuple(found.replies()[0])),))
    batch = objective.collate([row])
    feed = "own" if objective.config.has_latents else "pause"
    out = model.latent_forward(batch, feed)  # type: ignore[arg-type]
    scores_LV = (out.hidden_BLD[0] @ model.lm_head.weight.T).clone()
    forbidden = [*tokens.banned(), model.config.image_token_id, model.config.video_token_id]
    forbidden += [] if objective.form.visual_steps else [tokens.vis_start]
    forbidden += [] if objective.form.semantic else [tokens.sem_start]
    scores_LV[:, forbidden] = -torch.inf
    first = batch.ids_BL.shape[1] - found.ids_BT.shape[1]
    for at, (token, sampled) in enumerate(zip(found.ids_BT[0].tolist(), found.sampled_BT[0].tolist(), strict=True)):
        if sampled:
            assert int(scores_LV[first + at - 1].argmax()) == token


def test_the_words_of_each_arm() -> None:
    tokenizer, sample = support.tiny()[1].tokenizer, support.samples()[1]
    said = {}
    for kind in ("direct", "text", "slvr"):
        for echo in (False, True):
            reply = support.row(support.opened(kind, echo=echo), sample).blocks[0].reply
            said[kind, echo] = tokenizer.decode(reply, skip_special_tokens=True).replace("\n", " ").split()
    answer, facet, mark = sample.answer.split(), sample.facet.replace("_", " ").split(), ["Answer:"]
    profile = sample.profile_text.split()
    assert said["direct", False] == said["slvr", False] == answer
    assert said["direct", True] == said["slvr", True] == facet + mark + answer
    assert said["text", False] == profile + mark + answer
    assert said["text", True] == profile + facet + mark + answer


@pytest.mark.parametrize("kind", ARMS)
def test_the_answer_is_found_in_a_reply(kind: str) -> None:
    tokenizer, sample = support.tiny()[1].tokenizer, support.samples()[0]
    for echo in (False, True):
        objective = support.opened(kind, echo=echo)
        reply = support.row(objective, sample).blocks[0].reply
        assert tokenizer.decode(objective.answer(reply)) == sample.answer
        assert tokenizer.decode(objective.answer((*reply, model_pad()))) == sample.answer
    lettered = support.row(objective, sample, lettered=True).blocks[0].reply
    assert tokenizer.decode(objective.answer(lettered)) == sample.answer


def test_words_stay_in_the_answer_and_any_end_closes_it() -> None:
    """A public text configuration names no padding: id 0, with which rows are then filled up, is a word there."""
    model, processor = new_tiny(3)
    sample, tokenizer = support.samples()[0], processor.tokenizer
    *words, end = support.answer_ids(sample)
    other = next(token for token in range(len(tokenizer)) if token not in (*words, end))
    model.config.get_text_config(decoder=True).pad_token_id = words[0]
    model.generation_config.eos_token_id = [end, other]
    objective = support.opened("slvr", model)
    assert model.layout.pad_token == words[0]
    for closing in ((end,), (other,), (other, words[0], words[0]), ()):
        assert tokenizer.decode(objective.answer((*words, *closing))) == sample.answer


def model_pad() -> int:
    return support.tiny()[0].layout.pad_token


def test_a_lettered_reply_has_no_echo() -> None:
    objective, sample = support.opened("slvr", echo=True), support.samples()[0]
    plain = support.row(support.opened("slvr"), sample).blocks[0].reply
    assert support.row(objective, sample, lettered=True).blocks[0].reply == plain


def test_decoding_writes_the_echo_by_itself() -> None:
    """A model that has learnt one sample by heart says what is asked, then the answer; only its latents are forced."""
    model, processor = new_tiny(4)
    objective = support.opened("semantic", model, feed="own", echo=True, bottleneck=0.5, mark=":")
    sample = replace(support.samples()[0], facet="color")  # one token
    batch = objective.collate([support.row(objective, sample)])
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(40):
        adam.zero_grad()
        terms = objective.losses(model, batch, step_share=0.5, seed=step)
        terms.total.backward()
        adam.step()
        if terms.numbers()["answer"] < 0.05:
            break
    reply = decoded(model, objective, 0, 24).replies()[0]
    assert processor.tokenizer.decode(objective.answer(reply)) == sample.answer
    assert tuple(reply) == batch_reply(objective, sample)


def batch_reply(objective: Objective, sample: Any) -> tuple[int, ...]:
    return support.row(objective, sample).blocks[0].reply


def test_samples_that_cannot_be_laid_out_are_named() -> None:
    sample = support.samples()[0]
    slvr, text = support.opened("slvr"), support.opened("text")
    with pytest.raises(Unusable, match="embedding-size: none where the model expects 256"):
        support.row(slvr, replace(sample, embedding=None))
    with pytest.raises(Unusable, match="embedding-size: 3 numbers"):
        support.row(slvr, replace(sample, embedding=sample.embedding[:3]))  # type: ignore[index]
    assert support.row(support.opened("lvr"), replace(sample, embedding=None)).blocks[0].semantics_SE is None
    with pytest.raises(Unusable, match=r"special-token: <\|im_end\|>"):
        support.row(text, replace(sample, profile_text="It says <|im_end|>."))
    with pytest.raises(Unusable, match="prompt-too-long"):
        support.row(text, replace(sample, profile_text="red " * 5000))
    with pytest.raises(UsageError, match='targets "all": the picture of a block is needed'):
        support.opened("lvr", targets="all").block(sample, support.answer_ids(sample))


def test_models_without_what_an_objective_needs_are_refused() -> None:
    config, (_, processor) = tiny_config(), support.tiny()
    latents = LatentConfig(LatentTokens.of(processor.tokenizer), visual_slots=1, semantic_dim=0)
    setattr(config, KEY, latents.to_dict())
    model = SlvrModel(config)
    for kind in ("semantic", "slvr"):
        with pytest.raises(UsageError, match=f'objective "{kind}" needs a semantic slot'):
            open_objective(checked_objective({"kind": kind}), model, processor.tokenizer)
    for kind in ("direct", "text", "lvr", "pause"):
        assert not open_objective(checked_objective({"kind": kind}), model, processor.tokenizer).form.semantic
    with pytest.raises(UsageError, match="K = 1"):
        support.opened("multi_encoder", model)
    with pytest.raises(UsageError, match=r"layers are 0 to 5"):
        support.opened("multi_encoder", alignment={"layer": 6})
    with pytest.raises(UsageError, match=r"encoder 'filter'.*did you mean \"filters\"\?"):
        support.opened("multi_encoder", alignment={"encoders": ["filter"]})
    with pytest.raises(UsageError, match="each may be named once"):
        support.opened("multi_encoder", alignment={"encoders": ["filters", "filters"]})


def test_rows_that_targets_all_cannot_take_are_named() -> None:
    objective = support.opened("lvr", targets="all")
    row = support.row(objective, support.samples()[0])
    with pytest.raises(UsageError, match='row 1: targets "all" take one question a row'):
        objective.collate([row, replace(row, blocks=row.blocks * 2)])
    with pytest.raises(UsageError, match="row 1: picture grid"):
        bad = replace(row.pictures[0], grid=(1, len(row.pictures[0].patches_PX), 1))
        objective.collate([row, replace(row, pictures=(bad,))])
    with pytest.raises(UsageError, match="at least one row"):
        objective.collate([])
    left, right = objective.collate([row, row], "left"), objective.collate([row, row])
    assert torch.equal(left.ids_BL, right.ids_BL), "rows of one length need no padding"
    short = replace(row, blocks=(Block(),))
    padded = objective.collate([row, short], "left")
    assert padded.regions is not None and padded.regions.total == row.blocks[0].reply.count(8)
    assert padded.kept_BL[1].tolist() == sorted(padded.kept_BL[1].tolist())
