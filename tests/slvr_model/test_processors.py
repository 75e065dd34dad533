"""With torchvision and without: the same ids and grids; and both are what docs/method.md says."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from slvr_data.sources.scenes import scene
from slvr_model.checkpoints import open_checkpoint
from slvr_model.tiny import LEAST_PIXELS, MERGE, MOST_PIXELS, PATCH, StillProcessor, new_tiny, tiny_processor

QUESTION = "<|im_start|>user<|vision_start|><|image_pad|><|vision_end|>What color?<|im_end|>"
STEP = 1 / 255
"""Of 8 bits, before a value is divided by the deviation."""
TINY: dict[str, Any] = {
    "patch_size": PATCH,
    "merge_size": MERGE,
    "temporal_patch_size": 1,
    "size": {"shortest_edge": LEAST_PIXELS, "longest_edge": MOST_PIXELS},
    "image_mean": [0.5] * 3,
    "image_std": [0.25] * 3,
}
PUBLIC: dict[str, Any] = {}


def grid_of(height: int, width: int, side: int, least: int, most: int) -> tuple[int, int]:
    """Rows and columns of visual tokens by the formula."""
    rows, columns = round(height / side), round(width / side)
    area, per_token = height * width, side * side
    if rows * columns * per_token > most:
        shrink = math.sqrt(area / most)
        return max(1, math.floor(height / shrink / side)), max(1, math.floor(width / shrink / side))
    if rows * columns * per_token < least:
        grow = math.sqrt(least / area)
        return math.ceil(height * grow / side), math.ceil(width * grow / side)
    return rows, columns


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_grids_and_ids_follow_the_formula(height: int, width: int) -> None:
    if max(height, width) > 190 * min(height, width):
        return
    processor = tiny_processor()
    inputs = processor(text=[QUESTION], images=[Image.new("RGB", (width, height))], return_tensors="pt")
    rows, columns = grid_of(height, width, PATCH * MERGE, LEAST_PIXELS, MOST_PIXELS)
    assert inputs["image_grid_thw"].tolist() == [[1, MERGE * rows, MERGE * columns]]
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == rows * columns
    assert inputs["pixel_values"].shape == (rows * columns * MERGE**2, 3 * PATCH**2)


@pytest.mark.parametrize("size", [(28, 28), (640, 480), (5000, 300), (31, 57), (1400, 1400)])
def test_grids_of_the_public_shape(size: tuple[int, int]) -> None:
    found = Qwen2VLImageProcessorPil()(images=[Image.new("RGB", size)], return_tensors="pt")["image_grid_thw"]
    rows, columns = grid_of(size[1], size[0], 28, 56 * 56, 28 * 28 * 1280)
    assert found.tolist() == [[1, 2 * rows, 2 * columns]]


def pictures(number: int = 60) -> list[Image.Image]:
    """Drawn scenes, and smooth noise of all sizes."""
    dice, made = np.random.default_rng(0), [scene(level, 3, n).picture for level in ("easy", "full") for n in range(8)]
    for _ in range(number):
        width, height = (int(side) for side in dice.integers(8, 900, 2))
        blocks = dice.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3), dtype=np.uint8)
        made.append(Image.fromarray(blocks).resize((width, height), Image.Resampling.BILINEAR))
    return made


def with_torchvision() -> Any:
    """The public image processor that needs torchvision; the test is skipped, saying so, without it."""
    try:
        import torchvision  # noqa: F401
    except Exception as error:  # a torchvision that does not fit torch raises anything
        pytest.skip(f"needs torchvision: {error}")
    from transformers import Qwen2VLImageProcessor

    return Qwen2VLImageProcessor


@pytest.mark.parametrize("form", [TINY, PUBLIC], ids=["slvr:tiny", "Qwen2.5-VL"])
def test_torchvision_gives_the_same_grids_and_nearly_the_same_pixels(form: dict[str, Any]) -> None:
    theirs, ours = with_torchvision()(**form), Qwen2VLImageProcessorPil(**form)
    deviation, side = min(ours.image_std), ours.patch_size * ours.merge_size
    for picture in pictures():
        mine, other = (processor(images=[picture], return_tensors="pt") for processor in (ours, theirs))
        assert torch.equal(mine["image_grid_thw"], other["image_grid_thw"])
        apart = float((mine["pixel_values"] - other["pixel_values"]).abs().max())
        _, rows, columns = (int(n) * ours.patch_size for n in mine["image_grid_thw"][0])
        scaled = (columns, rows) != picture.size
        assert apart <= (2.001 * STEP / deviation if scaled else 1e-5), f"{picture.size}, tokens of {side} px"


def test_torchvision_gives_the_same_ids(tmp_path: Path) -> None:
    """The public processor with its part for videos, ours as the library would read it, and as we read it."""
    image_processor = with_torchvision()
    from transformers import Qwen2_5_VLProcessor, Qwen2VLVideoProcessor

    model, processor = new_tiny(0)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        public = Qwen2_5_VLProcessor(image_processor(**TINY), processor.tokenizer, Qwen2VLVideoProcessor())
    read = StillProcessor.from_pretrained(tmp_path)
    opened = open_checkpoint(str(tmp_path))[1]
    assert isinstance(read.image_processor, image_processor)
    assert isinstance(opened.image_processor, Qwen2VLImageProcessorPil)
    for picture in pictures(10):
        wanted = processor(text=[QUESTION], images=[picture], return_tensors="pt")
        for other in (public, read, opened):
            found = other(text=[QUESTION], images=[picture], return_tensors="pt")
            for name in ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw"):
                assert torch.equal(found[name], wanted[name]), (type(other), name)
        assert torch.equal(found["pixel_values"], wanted["pixel_values"]), "what we open has the same bits"
