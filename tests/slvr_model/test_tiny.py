"""The embedded model: shape, weights, pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from slvr_model.packing import patches
from slvr_model.tiny import ROOM, new_plain, new_tiny, size_of, tiny_config, tiny_processor


def test_it_has_one_to_three_million_parameters_and_room_for_its_tokens() -> None:
    model, processor = new_tiny(0)
    assert 1_000_000 <= size_of(model) <= 3_000_000
    assert len(processor.tokenizer) <= ROOM


def test_a_seed_is_a_model() -> None:
    first, again, other = (new_tiny(seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(
        first["model.language_model.embed_tokens.weight"], other["model.language_model.embed_tokens.weight"]
    )


def test_every_weight_is_drawn() -> None:
    """Nothing is left at the library's small deviation: matrices have deviation 1 / sqrt(fan_in)."""
    for name, parameter in new_plain(0).named_parameters():
        if parameter.dim() > 1:
            fan_in = parameter[0].numel()
            expected = fan_in**-0.5 * (parameter.shape[0] ** -0.5 if name.endswith("merger.mlp.2.weight") else 1)
            assert abs(float(parameter.std()) / expected - 1) < 0.1, name


def test_patches_are_those_of_the_processor() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    ours, grid = patches(picture[None])
    theirs = tiny_processor().image_processor(images=[Image.fromarray(picture)], return_tensors="pt")
    assert torch.equal(grid, theirs["image_grid_thw"])
    torch.testing.assert_close(ours, theirs["pixel_values"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("size", "grid"), [((64, 64), (16, 16)), ((1, 1), (16, 16)), ((9, 100), (6, 54)), ((3000, 2000), (26, 38))]
)
def test_pictures_of_any_size_keep_within_limits(size: tuple[int, int], grid: tuple[int, int]) -> None:
    found = (
        tiny_processor()
        .image_processor(images=[Image.new("RGB", size)], return_tensors="pt")["image_grid_thw"][0]
        .tolist()
    )
    assert found[0] == 1
    assert 64 * 64 <= found[1] * found[2] * 16 <= 128 * 128
    assert found[1] % 2 == found[2] % 2 == 0


def test_it_answers_through_the_public_path() -> None:
    model, processor = new_tiny(0)
    content = [{"type": "image"}, {"type": "text", "text": "What color is the circle?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    inputs = processor(text=[text], images=[Image.new("RGB", (64, 64))], return_tensors="pt")
    assert int(inputs["mm_token_type_ids"].sum()) == 64
    assert model.generate(**inputs, max_new_tokens=3, do_sample=False).shape[1] == inputs["input_ids"].shape[1] + 3


def test_columns_of_pictures_can_be_told_apart_by_position() -> None:
    """The width's share of the rotary frequencies must turn by more than a little over eight columns."""
    rope = tiny_config().text_config.rope_parameters
    slowest = rope["rope_theta"] ** (-15 / 16)
    assert 7 * slowest > 0.5
