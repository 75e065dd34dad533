"""Where a run starts, what of it is trained, and adapters: put on, trained, merged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slvr_data.errors import UsageError
from slvr_model.batches import collate
from slvr_model.latents import KEY
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.rows import Row
from slvr_model.sft.config import LoraConfig, ModelConfig, SftConfig
from slvr_model.sft.learner import Learner
from slvr_model.sft.start import add_lora, checkpoint_layers, freeze, measure, open_start, plain_state, prepare
from slvr_model.sft.weights import load_learner, save_learner
from slvr_model.tiny import new_plain, new_tiny, tiny_processor
from tests.slvr_model.support import asked_rows, layout, model, picture, prefix, taught


def public(folder: Path) -> Path:
    """A public Qwen2.5-VL with its processor."""
    new_plain(0).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def test_a_public_model_is_given_latents_as_configured(tmp_path: Path) -> None:
    start = str(public(tmp_path))
    config = ModelConfig(start=start, visual_slots=3, max_pixels=6000, attention="eager")
    made, processor = open_start(config, 48, 0)
    assert (made.latent_config.visual_slots, made.latent_config.semantic_dim) == (3, 48)
    assert processor.image_processor.size["longest_edge"] == 6000
    assert made.config._attn_implementation == "eager"
    again, _ = open_start(config, 48, 0)
    assert all(torch.equal(one, other) for one, other in zip(made.parameters(), again.parameters(), strict=True))
    assert open_start(config.model_copy(update={"semantic_dim": 0}), 48, 0)[0].latent_config.semantic_dim == 0


def test_what_is_no_start_is_said() -> None:
    for start, says in (
        ("new:big", "the untrained ones are new:tiny and new:public"),
        ("slvr:huge", "does not ship"),
        ("/nowhere/at/all", "is no checkpoint"),
    ):
        with pytest.raises(UsageError, match=says):
            open_start(ModelConfig(start=start), None, 0)
    with pytest.raises(UsageError, match=r"model\.min_pixels must not be above model\.max_pixels"):
        open_start(ModelConfig(start="new:tiny", min_pixels=9000, max_pixels=5000), None, 0)


@pytest.mark.parametrize(("vision", "merger"), [(False, False), (False, True), (True, False)])
def test_vision_and_merger_stand_still_unless_told(vision: bool, merger: bool) -> None:
    made = model()
    freeze(made, ModelConfig(train_vision=vision, train_merger=merger))
    for name, parameter in made.named_parameters():
        inside = merger if ".merger." in name else vision
        assert parameter.requires_grad == (inside if ".visual." in name else True), name


def test_what_is_trained_is_float32_beside_weights_in_bfloat16(tmp_path: Path) -> None:
    """A step of 1e-5 moves each of them, which in bfloat16 would be lost in most."""
    pytest.importorskip("peft")
    config = ModelConfig(start=str(public(tmp_path)), dtype="bfloat16")
    made, _ = open_start(config, 48, 0)
    prepare(made, config, LoraConfig(rank=4, vocabulary=False), 0)
    trained = {name: one for name, one in made.named_parameters() if one.requires_grad}
    still = {name: one for name, one in made.named_parameters() if not one.requires_grad}
    assert {one.dtype for one in trained.values()} == {torch.float32} == {one.dtype for one in made.latents.buffers()}
    assert {one.dtype for one in still.values()} == {torch.bfloat16} and len(still) > len(trained)
    fresh = SlvrModel(made.config)
    for name, frequencies in fresh.named_buffers():  # rotary ones: rounded, far positions would turn by radians
        if "inv_freq" in name:
            assert torch.equal(made.get_buffer(name), frequencies), name
    before = {name: one.detach().clone() for name, one in trained.items()}
    for one in trained.values():
        one.grad = torch.ones_like(one)
    torch.optim.AdamW(trained.values(), lr=1e-5, weight_decay=0).step()
    assert all((one != before[name]).all() for name, one in trained.items())


def test_statistics_are_those_of_the_regions_slots() -> None:
    made, rows = model(), [Row(prefix(seed=n), (taught(n),), (picture(seed=n),)) for n in range(11)]
    taken = measure(made, rows)
    pooled = []
    for row in rows:
        batch = collate([row], layout(made))
        visual = made.encode(batch)
        assert visual is not None and batch.regions is not None
        pooled.append(batch.regions.pool(visual))
    tokens = torch.cat(pooled)
    assert taken == len(tokens) == 33
    assert torch.allclose(made.latents.visual_mean_D, tokens.mean(0), atol=1e-5)
    assert torch.allclose(made.latents.visual_std_D, tokens.std(0), atol=1e-5)
    with pytest.raises(UsageError, match="too few"):
        measure(made, asked_rows()[:1])


def test_checkpointing_changes_no_gradient() -> None:
    made, rows = model(), [Row(prefix(seed=n), (taught(n),), (picture(seed=n),)) for n in range(2)]
    objective = open_objective(ObjectiveConfig(feed="teacher"), made, tiny_processor().tokenizer)
    made.train()
    found = []
    for _ in range(2):
        made.zero_grad()
        objective.losses(made, objective.collate(rows), step_share=0.0).total.backward()
        found.append({n: p.grad.clone() for n, p in made.named_parameters() if p.grad is not None})
        checkpoint_layers(made)
    assert made.text.layers[0].gradient_checkpointing and found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def lora_learner(seed: int) -> tuple[Learner, SftConfig]:
    config = SftConfig.model_validate({"training": {"steps": 1, "lora": {"rank": 3, "alpha": 6}}})
    made, processor = new_tiny(0)
    assert config.training.lora is not None
    torch.manual_seed(seed)
    add_lora(made, config.training.lora)
    return Learner(made, open_objective(ObjectiveConfig(), made, processor.tokenizer)), config


def test_adapters_are_trained_alone_with_latents_and_merge_exactly(tmp_path: Path) -> None:
    learner, config = lora_learner(0)
    trained = {name for name, parameter in learner.slvr.named_parameters() if parameter.requires_grad}
    assert all(
        ".lora_" in name or "latents." in name or "embed_tokens" in name or ".visual." in name for name in trained
    )
    assert any("lora_B" in name for name in trained)
    with torch.no_grad():
        for name, parameter in learner.slvr.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    ids = torch.arange(40, 60)[None]
    inputs = learner.slvr.text.embed_tokens(ids)
    positions = torch.arange(20).expand(3, 1, -1)
    wanted = learner.slvr.run(inputs, positions, None)
    save_learner(learner, tiny_processor(), tmp_path, learner.state_dict(), config)
    merged = type(learner.slvr).from_pretrained(tmp_path)
    plain, _ = new_tiny(0)
    assert torch.allclose(merged.run(inputs, positions, None), wanted, atol=2e-4)
    assert not torch.allclose(plain.eval().run(inputs, positions, None), wanted, atol=1e-2)
    assert not any("lora" in name for name in merged.state_dict())
    again, _ = lora_learner(9)
    load_learner(again, tmp_path, config)
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in learner.state_dict().items())


def test_a_state_without_adapters_is_left_as_it_is() -> None:
    state = {"a.weight": torch.ones(2, 2), "b.bias": torch.zeros(2)}
    assert plain_state(state, 2.0) == state


def test_unknown_layers_for_adapters_are_named() -> None:
    with pytest.raises(UsageError, match=r"targets \['qproj'\].*q_proj"):
        add_lora(model(), LoraConfig(targets=["qproj", "v_proj"]))


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    learner, config = lora_learner(0)
    save_learner(learner, tiny_processor(), tmp_path, learner.state_dict(), config)
    (tmp_path / "trained.safetensors").unlink()
    with pytest.raises(Exception, match="does not fit the configuration"):
        load_learner(learner, tmp_path, config)
    assert getattr(learner.slvr.config, KEY)
