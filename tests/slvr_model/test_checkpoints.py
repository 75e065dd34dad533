"""Checkpoints: written and read whole, made from the public class, and read in the released layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from slvr_data.errors import RunError, UsageError
from slvr_model.batches import collate
from slvr_model.decoding import decode, score
from slvr_model.latents import KEY, LatentConfig
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Row
from slvr_model.tokens import ABSENT, STRINGS, LatentTokens
from tests.slvr_model.support import (
    END,
    SLOTS,
    TOKENS,
    VOCABULARY,
    WIDTH,
    asked_rows,
    config,
    layout,
    left,
    model,
    picture,
    prefix,
    public,
    shared_model,
    taught,
    words,
)

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    shared_model().save_pretrained(folder)
    return folder


def changed(saved: Path, folder: Path, change: Callable[[Tensors], None]) -> Path:
    """A copy of a checkpoint with other tensors."""
    tensors = load_file(saved / "model.safetensors")
    change(tensors)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text((saved / "config.json").read_text())
    return folder


def configured(saved: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a checkpoint with another configuration."""
    copy = changed(saved, folder, lambda tensors: None)
    data = json.loads((saved / "config.json").read_text())
    change(data)
    (copy / "config.json").write_text(json.dumps(data))
    return copy


@pytest.mark.parametrize("tied", [False, True])
def test_written_and_read_again_all_is_the_same(tmp_path: Path, tied: bool) -> None:
    of = model(config(tied=tied, learned_end=True))
    of.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert not list(tmp_path.glob("*.bin"))
    again = SlvrModel.from_pretrained(tmp_path)
    assert again.latent_config == of.latent_config and not again.training
    ours, theirs = of.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (again.lm_head.weight is again.text.embed_tokens.weight) == tied


def test_the_public_class_reads_our_checkpoint(saved: Path) -> None:
    plain = Qwen2_5_VLForConditionalGeneration.from_pretrained(saved)
    assert torch.equal(plain.lm_head.weight, shared_model().lm_head.weight)


def test_a_missing_tensor_is_named(saved: Path, tmp_path: Path) -> None:
    for name in (
        "latents.visual_in.weight",
        "latents.visual_std_D",
        "model.layers.1.mlp.up_proj.weight",
    ):
        with pytest.raises(RunError, match=rf"lacks tensors: \S*{name.split('model.')[-1]}; it is damaged"):
            SlvrModel.from_pretrained(changed(saved, tmp_path / "less", lambda tensors, n=name: tensors.pop(n)))  # type: ignore[misc]


def test_an_extra_tensor_is_named(saved: Path, tmp_path: Path) -> None:
    def more(tensors: Tensors) -> None:
        tensors["latents.third.weight"] = torch.zeros(2)

    with pytest.raises(RunError, match=r"has unknown tensors: latents\.third\.weight"):
        SlvrModel.from_pretrained(changed(saved, tmp_path, more))


def test_a_tensor_of_another_shape_is_named(saved: Path, tmp_path: Path) -> None:
    def wider(tensors: Tensors) -> None:
        tensors["latents.semantic_out.weight"] = torch.zeros(8, WIDTH)

    with pytest.raises(RunError, match=r"latents\.semantic_out\.weight"):
        SlvrModel.from_pretrained(changed(saved, tmp_path, wider))


def test_a_broken_or_missing_file_is_said(saved: Path, tmp_path: Path) -> None:
    copy = changed(saved, tmp_path / "broken", lambda tensors: None)
    (copy / "model.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match="broken cannot be read: "):
        SlvrModel.from_pretrained(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(RunError, match="broken cannot be read: "):
        SlvrModel.from_pretrained(copy)
    with pytest.raises(UsageError, match="nowhere is no checkpoint"):
        SlvrModel.from_pretrained(tmp_path / "nowhere")


def test_another_architecture_is_refused(saved: Path, tmp_path: Path) -> None:
    copy = configured(saved, tmp_path, lambda data: data.update(model_type="llama"))
    with pytest.raises(UsageError, match='of architecture "llama"; only "qwen2_5_vl"'):
        SlvrModel.from_pretrained(copy)


def test_a_plain_checkpoint_is_refused_with_the_cure(saved: Path, tmp_path: Path) -> None:
    copy = configured(saved, tmp_path, lambda data: data.pop(KEY))
    with pytest.raises(UsageError, match=r"no SLVR checkpoint.*from_public"):
        SlvrModel.from_pretrained(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"visual_slot": 4}, 'unknown key "visual_slot" .*did you mean "visual_slots"'),
        ({"semantics_dim": 4}, 'unknown key "semantics_dim" .*did you mean "semantic_dim"'),
        ({"visual_slots": 0}, "visual_slots 0"),
        ({"tokens": {**vars(TOKENS), "visstart": 3}}, 'did you mean "vis_start"'),
        ({"tokens": {"vis_start": 3}}, "names no vis_slot"),
        ({"tokens": {**vars(TOKENS), "sem_slot": ABSENT}}, "needs semantic tokens"),
    ],
)
def test_bad_configurations(saved: Path, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    copy = configured(saved, tmp_path, lambda data: data[KEY].update(change))
    with pytest.raises(UsageError, match=says):
        SlvrModel.from_pretrained(copy)


def tokenizer(size: int) -> PreTrainedTokenizerFast:
    core = Tokenizer(WordLevel({f"w{n}": n for n in range(size)}, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="w0")


@pytest.mark.parametrize("known", [VOCABULARY - 20, VOCABULARY])
@pytest.mark.parametrize("tied", [False, True])
def test_from_the_public_class(tmp_path: Path, known: int, tied: bool) -> None:
    """Spare rows of the vocabulary are used; where there are none it grows."""
    source = public(model(config(tied=tied)))
    delattr(source.config, KEY)
    source.save_pretrained(tmp_path)
    mine = tokenizer(known)
    of = SlvrModel.from_public(tmp_path, mine, visual_slots=2, semantic_dim=8)
    tokens = LatentTokens.of(mine)
    assert of.latent_config == LatentConfig(tokens, 2, 8)
    table = of.lm_head.weight
    assert len(table) == max(VOCABULARY, known + len(STRINGS)) == of.config.text_config.vocab_size
    assert all(bool(weights.isfinite().all()) for weights in of.state_dict().values())
    rest = [n for n in range(len(table)) if n not in vars(tokens).values()]
    assert torch.equal(
        table[[n for n in rest if n < VOCABULARY]], source.lm_head.weight[[n for n in rest if n < VOCABULARY]]
    )
    torch.testing.assert_close(table[tokens.vis_slot], table[rest].mean(0))
    assert torch.equal(of.latents.visual_in.weight, torch.eye(WIDTH))
    of.save_pretrained(tmp_path / "ours")
    again = SlvrModel.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(a, b) for a, b in zip(of.state_dict().values(), again.state_dict().values(), strict=True))
    block = Block(words(2, 0), (*tokens.reply(2), END), ((0, 0, 9, 9),), (), torch.ones(1, 8))
    out = again.latent_forward(collate([Row(prefix(), (block,), (picture(),))], again.layout), "own")
    assert bool(out.hidden_BLD.isfinite().all())


def test_the_public_checkpoint_must_be_whole_too(tmp_path: Path) -> None:
    source = public(model())
    delattr(source.config, KEY)
    source.save_pretrained(tmp_path / "public")
    copy = changed(tmp_path / "public", tmp_path / "less", lambda tensors: tensors.pop("visual.merger.mlp.0.bias"))  # type: ignore[arg-type, return-value]
    with pytest.raises(RunError, match=r"visual\.merger\.mlp\.0\.bias"):
        SlvrModel.from_public(copy, tokenizer(50))


def released(folder: Path, code: str, drop: tuple[str, ...] = ()) -> Qwen2_5_VLForConditionalGeneration:
    """A tiny checkpoint as the released LVR or SLVR code writes it."""
    source = public(model())
    made: Qwen2_5_VLConfig = source.config
    delattr(made, KEY)
    ids = {"start_id": 2, "id": 6, "end_id": 3, "latent_end_id": 7}
    if code == "slvr":
        ids |= {"text_start_id": 8, "text_id": 9, "text_end_id": 10}
    for name, number in ids.items():
        if name not in drop:
            setattr(made, f"{code}_{name}", number)
    source.save_pretrained(folder)
    if code == "slvr":
        dice = torch.Generator().manual_seed(5)

        def projector(tensors: Tensors) -> None:
            tensors["text_embedding_projector.weight"] = torch.randn(WIDTH, 24, generator=dice) / 5

        changed(folder, folder, projector)
    return source


def test_the_released_layout(tmp_path: Path) -> None:
    """A latent is the last state, and so is the input it becomes; a semantic target is W e."""
    source = released(tmp_path, "slvr")
    of = SlvrModel.from_released(tmp_path, target_dim=24)
    assert of.latent_config.tokens == LatentTokens(2, 6, 3, 8, 9, 10)
    assert of.latent_config.semantic_dim == WIDTH and not of.latent_config.unit_semantic
    embedding = torch.randn(1, 24)
    slots = of.latent_config.visual_slots
    block = Block(words(3, 0), (*of.latent_config.tokens.reply(slots), *words(2, 1)), ((0, 0, 30, 30),), (), embedding)
    batch = collate([Row(prefix(), (block,), (picture(),))], of.layout)
    out = of.latent_forward(batch, "teacher")
    tensors = load_file(tmp_path / "model.safetensors")
    assert out.target.semantic_SE is not None
    torch.testing.assert_close(out.target.semantic_SE, embedding @ tensors["text_embedding_projector.weight"].T)
    before = (batch.ids_BL == 6).nonzero()[:, 1] - 1
    torch.testing.assert_close(out.visual_TD, out.hidden_BLD[0, before])
    by_hand = source.model.language_model(
        inputs_embeds=fed_by_hand(of, batch), position_ids=batch.positions_3BL, use_cache=False
    ).last_hidden_state
    torch.testing.assert_close(out.hidden_BLD, by_hand, atol=1e-5, rtol=0)
    of.save_pretrained(tmp_path / "ours")
    again = SlvrModel.from_pretrained(tmp_path / "ours")
    assert torch.equal(again.latent_forward(batch, "own").hidden_BLD, of.latent_forward(batch, "own").hidden_BLD)


@torch.no_grad()
def fed_by_hand(of: SlvrModel, batch: Any) -> Tensor:
    """Slots filled with pooled visual tokens as they are, and with W e."""
    visual = of.encode(batch)
    inputs = of.embed(batch, visual).clone()
    inputs[0, batch.ids_BL[0] == 6] = batch.regions.pool(visual)
    inputs[0, batch.ids_BL[0] == 9] = batch.semantics_SE @ of.text_embedding_projector.weight.T
    return inputs


def test_the_released_layout_decodes(tmp_path: Path) -> None:
    released(tmp_path, "slvr")
    of = SlvrModel.from_released(tmp_path, target_dim=24)
    rows = asked_rows()
    batch = collate(rows, of.layout, "left")
    found = decode(of, batch, max_new_tokens=16, opening=True)
    assert [reply[:12] for reply in found.replies()] == [[2, *[6] * 8, 3, 8, 9]] * 3
    torch.testing.assert_close(score(of, batch, found), found.logprobs_BT, atol=1e-4, rtol=0)


def test_released_lvr_has_no_semantic_slot(tmp_path: Path) -> None:
    released(tmp_path, "lvr")
    of = SlvrModel.from_released(tmp_path)
    assert of.latent_config.tokens == LatentTokens(2, 6, 3, ABSENT, ABSENT, ABSENT)
    found = decode(of, collate(asked_rows(), of.layout, "left"), max_new_tokens=12, opening=True)
    assert [reply[:10] for reply in found.replies()] == [[2, *[6] * 8, 3]] * 3
    assert found.latents.semantic_SE is None


@torch.no_grad()
def test_released_lvr_feeds_its_last_state_back_eight_times(tmp_path: Path) -> None:
    """Its decoding by hand: behind the start, eight inputs are the last state as it is; then the end, then text."""
    released(tmp_path, "lvr")
    of = SlvrModel.from_released(tmp_path)
    batch = collate(asked_rows((5,)), of.layout, "left")
    found = decode(of, batch, max_new_tokens=14, opening=True)
    inputs, ids = of.embed(batch, of.encode(batch)), list[int]()
    latents, first = list[Tensor](), batch.next_position()
    for at in range(14):
        later = (first + torch.arange(at)).expand(3, 1, -1)
        positions = torch.cat([batch.positions_3BL, later], 2)
        last = of.text(inputs_embeds=inputs, position_ids=positions, use_cache=False).last_hidden_state[:, -1:]
        if 1 <= at <= 8:
            latents.append(last[0, 0])
            inputs, token = torch.cat([inputs, last], 1), 6
        else:
            logits = of.lm_head(last)[0, 0]
            logits[[3, 4, 5, 6]] = -torch.inf  # the span's end and slot, picture and video: never sampled
            token = 2 if at == 0 else 3 if at == 9 else int(logits.argmax())
            inputs = torch.cat([inputs, of.text.embed_tokens(torch.tensor([[token]]))], 1)
        ids.append(token)
    assert found.replies()[0] == ids[: len(found.replies()[0])]
    assert found.latents.visual_TD is not None
    torch.testing.assert_close(found.latents.visual_TD[:8], torch.stack(latents), atol=1e-4, rtol=0)


def test_released_tensors_of_switched_off_options_are_left_aside_and_others_are_not(tmp_path: Path) -> None:
    released(tmp_path, "slvr")

    def spare(tensors: Tensors) -> None:
        tensors["slvr_latent_end_emb"] = torch.full((WIDTH,), torch.nan)
        tensors["slvr_head.net.0.weight"] = torch.zeros(3)

    changed(tmp_path, tmp_path, spare)
    of = SlvrModel.from_released(tmp_path, target_dim=24)
    assert all(bool(weights.isfinite().all()) for weights in of.state_dict().values())
    changed(tmp_path, tmp_path, lambda tensors: tensors.update({"other_head.weight": torch.zeros(3)}))
    with pytest.raises(RunError, match=r"unknown tensors: other_head\.weight;"):
        SlvrModel.from_released(tmp_path, target_dim=24)


def test_the_released_layout_is_read_when_asked_only(tmp_path: Path) -> None:
    released(tmp_path / "slvr", "slvr")
    with pytest.raises(UsageError, match="from_released"):
        SlvrModel.from_pretrained(tmp_path / "slvr")
    released(tmp_path / "less", "slvr", drop=("start_id",))
    with pytest.raises(UsageError, match="none of slvr_start_id"):
        SlvrModel.from_released(tmp_path / "less", target_dim=24)
    with pytest.raises(RunError, match="text_embedding_projector"):
        SlvrModel.from_released(tmp_path / "slvr")  # its projector takes 24 numbers, not 4096


def test_a_batch_of_another_layout_shows(tmp_path: Path) -> None:
    """What is made for K slots does not pass for a model of another K."""
    with pytest.raises(UsageError, match=f"exactly {SLOTS + 1} slots"):
        collate([Row(prefix(), (taught(0),), (picture(),))], model(config(slots=SLOTS + 1)).layout)
    assert left(asked_rows()).ids_BL.shape[0] == 3 and layout().latents.visual_slots == SLOTS
