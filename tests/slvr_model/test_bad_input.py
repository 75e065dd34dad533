"""What a user can get wrong is one clear sentence: it names the value and the cure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from slvr_data.errors import RunError, UsageError
from slvr_model import chat
from slvr_model.batches import collate
from slvr_model.checkpoints import open_checkpoint
from slvr_model.data import Accounts, Sample, Unusable, checked_box
from slvr_model.latents import KEY
from slvr_model.loading import load
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Picture, Row, rows_of
from slvr_model.sample_rows import SampleRows, batches
from slvr_model.tiny import new_tiny, tiny_tokenizer
from slvr_model.tokens import STRINGS, spelled
from tests.slvr_model.support import asked_rows, layout, prefix

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained embedded model with its processor."""
    folder = tmp_path_factory.mktemp("tiny")
    model, processor = new_tiny(0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def configured(saved: Path, folder: Path, change: Change) -> Path:
    """A copy of the checkpoint with another config.json."""
    copy = folder / "copy"
    shutil.copytree(saved, copy)
    data = json.loads((copy / "config.json").read_text())
    change(data)
    (copy / "config.json").write_text(json.dumps(data))
    return copy


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c[KEY].update(visual_slots="4"), "visual_slots is '4': a whole number is needed"),
        (lambda c: c[KEY].update(visual_slots=2.5), "visual_slots is 2.5: a whole number is needed"),
        (lambda c: c[KEY].update(unit_semantic="no"), "unit_semantic is 'no': true or false is needed"),
        (lambda c: c[KEY].update(tokens=[1, 2]), r'"slvr.tokens" in config.json is \[1, 2\], but names with values'),
        (lambda c: c.update({KEY: 3}), '"slvr" in config.json is 3'),
        (lambda c: c[KEY]["tokens"].update(vis_slot="7"), "vis_slot is '7': a whole number"),
        (lambda c: c[KEY]["tokens"].update(vis_slot=9000), "vis_slot 9000 .*the vocabulary has 576 tokens"),
        (lambda c: c[KEY]["tokens"].update(sem_slot=c["image_token_id"]), "sem_slot .*the id of picture tokens"),
        (lambda c: c["text_config"].update(hidden_size="x"), "config.json is wrong: .*'hidden_size' expected int"),
        (lambda c: c["text_config"].update(num_hidden_layers=9), r"config.json is wrong: .*num_hidden_layers. \(9\)"),
        (lambda c: c.update(model_type="qwen3_vl"), 'architecture "qwen3_vl"; only "qwen2_5_vl"'),
    ],
)
def test_configurations(saved: Path, tmp_path: Path, change: Change, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        SlvrModel.from_pretrained(configured(saved, tmp_path, change))


def test_a_config_that_is_no_json(saved: Path, tmp_path: Path) -> None:
    copy = configured(saved, tmp_path, lambda config: None)
    (copy / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"copy is no checkpoint: .*JSON"):
        SlvrModel.from_pretrained(copy)


def test_unknown_options_are_compared_with_known_ones(saved: Path) -> None:
    with pytest.raises(UsageError, match=r'unknown option "dtyp"; did you mean "dtype"\?'):
        SlvrModel.from_pretrained(saved, dtyp=torch.bfloat16)
    with pytest.raises(UsageError, match=r'unknown option "visual_slot"; did you mean "visual_slots"\?'):
        SlvrModel.from_public(saved, tiny_tokenizer(), visual_slot=2)
    with pytest.raises(UsageError, match=r'unknown option "frobnicate"$'):
        SlvrModel.from_pretrained(saved, frobnicate=1)
    with pytest.raises(UsageError, match="visual_slots is '3'"):
        SlvrModel.from_public(saved, tiny_tokenizer(), visual_slots="3")


def test_reading_without_memory_says_what_to_lower() -> None:
    def loader(*args: Any, **kwargs: Any) -> Any:
        return torch.empty(1 << 60)

    with pytest.raises(
        RunError, match=r"out of memory while reading big: lower its precision \(dtype=torch.bfloat16\)"
    ):
        load(loader, "big")


def test_a_processor_is_needed_and_must_be_the_models(saved: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(saved / name, bare)
    with pytest.raises(UsageError, match=r"bare has a model, but no processor .*processor.save_pretrained"):
        open_checkpoint(str(bare))

    def moved(config: dict[str, Any]) -> None:
        tokens = config[KEY]["tokens"]
        tokens["vis_end"], tokens["sem_end"] = tokens["sem_end"], tokens["vis_end"]

    with pytest.raises(RunError, match=r"do not belong together \(<\|slvr_vis_end\|> 9 and 12, <\|slvr_sem_end\|> 12"):
        open_checkpoint(str(configured(saved, tmp_path, moved)))
    assert open_checkpoint(str(saved))[0].latent_config.visual_slots == 2


def test_a_damaged_checkpoint_is_said(saved: Path, tmp_path: Path) -> None:
    copy = configured(saved, tmp_path, lambda config: None)
    tensors = load_file(copy / "model.safetensors")
    del tensors["latents.semantic_in.bias"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunError, match=r"lacks tensors: latents\.semantic_in\.bias"):
        open_checkpoint(str(copy))


@pytest.mark.parametrize("box", ["nan,1,2,3", "inf,1,2,3", "1,2,3", "a,b,c,d", ""])
def test_boxes_of_the_command_line(box: str) -> None:
    with pytest.raises(UsageError, match=f"--box {box}: give four numbers"):
        chat.box_of(box)


@pytest.mark.parametrize(
    ("size", "question", "box", "says"),
    [
        ((900, 2), None, None, "--image of 900x2 pixels: .*aspect ratio"),
        ((64, 64), "What is <|image_pad|>?", None, r"--question: <\|image_pad\|> is a special token"),
        ((64, 64), "<|slvr_vis_start|>", None, r"--question: <\|slvr_vis_start\|> is a special"),
        ((64, 64), "what " * 5000, None, "positions, but the limit is 4096: shorten the prompt"),
        ((64, 64), "what " * 4000, None, "256 new ones exceed the limit of 4096"),
        ((64, 64), None, (1.0, 1.0, 1.0, 9.0), "is empty"),
        ((64, 64), None, (1.0, 1.0, 99.0, 9.0), "outside of its picture of 64x64"),
        ((64, 64), None, (64.0, 1.0, 64.3, 9.0), "outside of its picture of 64x64"),
    ],
)
def test_questions_to_a_model(size: tuple[int, int], question: str | None, box: chat.Box | None, says: str) -> None:
    model, processor = new_tiny(0)
    with pytest.raises(UsageError, match=says):
        chat.asked(model, processor, Image.new("RGB", size), question, box)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (700, 20)])
def test_odd_pictures_are_answered(size: tuple[int, int]) -> None:
    model, processor = new_tiny(0)
    reply = chat.asked(model, processor, Image.new("RGB", size), None, (0.0, 0.0, 1.0, 1.0))
    assert reply.heat_KG.shape[1] == reply.grid[0] * reply.grid[1]


def test_answering_without_memory_says_what_to_lower() -> None:
    model, processor = new_tiny(0)
    model.model.visual.register_forward_pre_hook(lambda *_: torch.empty(1 << 60) and None)
    with pytest.raises(RunError, match="while answering: lower the size of the picture"):
        chat.asked(model, processor, Image.new("RGB", (64, 64)), None)


def test_picture_files(tmp_path: Path) -> None:
    for name, data in (("empty.png", b""), ("text.png", b"no picture"), ("cut.jpg", _jpeg()[:300])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=f"--image .*{name}: "):
            chat.shown(tmp_path / name, None)
    with pytest.raises(UsageError, match="holds no published set"):
        chat.shown(tmp_path, None)
    for mode in ("L", "RGBA", "P", "1"):
        Image.new(mode, (5, 7)).save(tmp_path / "odd.png")
        assert chat.shown(tmp_path / "odd.png", None).picture.mode == "RGB"


def _jpeg() -> bytes:
    import io

    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def test_patches_of_another_model_and_sizes_that_are_missing() -> None:
    foreign = Picture(torch.zeros(4, 1176), (1, 2, 2), (9.0, 9.0))
    with pytest.raises(UsageError, match=r"row 0: patches of shape \(1176,\), the model takes 48 numbers"):
        collate([Row(prefix(), (Block(),), (foreign,))], layout())
    inputs = {
        "input_ids": torch.tensor([[20, 4, 4]]),
        "pixel_values": torch.zeros(8, 48),
        "image_grid_thw": torch.tensor([[1, 2, 2], [1, 2, 2]]),
    }
    with pytest.raises(UsageError, match="1 sizes for 2 pictures"):
        rows_of(inputs, layout(), [(8.0, 8.0)])
    assert len(asked_rows()) == 3


def sample(**changes: Any) -> Sample:
    base = Sample(
        "q", "g", "r", "i", Image.new("RGB", (64, 64)), (0.0, 0.0, 9.0, 9.0), "color", "What color?",
        ("What color?",), ("red", "blue"), "red", "A red thing.", np.full(256, 1 / 16, np.float32),
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (sample(wordings=("Is <|im_end|> red?",)), "special-token"),
        (sample(answer="<|slvr_sem_slot|>", choices=()), "special-token"),
        (sample(picture=Image.new("RGB", (900, 2))), "picture-shape"),
        (sample(embedding=None), "embedding-size"),
        (sample(embedding=np.zeros(64, np.float32)), "embedding-size"),
        (sample(wordings=("word " * 4200,)), "prompt-too-long"),
    ],
)
def test_samples_that_cannot_be_rows_are_counted(made: Sample, reason: str) -> None:
    model, processor = new_tiny(0)
    rows = SampleRows(processor, model.layout)
    with pytest.raises(Unusable) as caught:
        rows.row(made)
    assert caught.value.reason == reason
    accounts = Accounts(budget=0.5, seen=2)
    assert [len(batch.ids_BL) for batch in batches([made, sample()], rows, 1, accounts)] == [1]
    assert accounts.unusable == {reason: 1} and accounts.used == 1


def test_a_box_in_the_last_half_pixel_is_outside() -> None:
    """What is let through here must have a token later."""
    with pytest.raises(Unusable, match="box-outside"):
        checked_box([64, 0, 64.4, 5], (64, 64))
    with pytest.raises(Unusable, match="box-empty"):
        checked_box([float("nan"), 0, 4, 5], (64, 64))
    assert checked_box([63.9, 0, 64.4, 5], (64, 64))[0] == 63.9


def test_only_special_tokens_are_spelled() -> None:
    tokenizer = tiny_tokenizer()
    assert spelled(tokenizer, f"a {STRINGS[1]} b {STRINGS[0]}") == [STRINGS[0], STRINGS[1]]
    assert spelled(tokenizer, "is 1 < 2 | 3 > 2? <|no|>") == []
