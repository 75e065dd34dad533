"""The layout of replies in a checkpoint: written with it, read back, and obeyed by those that decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.models.base import ModelOptions, open_model
from slvr_data.errors import UsageError
from slvr_model.checkpoints import open_checkpoint
from slvr_model.decoding import Decoded
from slvr_model.objectives.config import KINDS, LATENT, VISUAL, ObjectiveConfig
from slvr_model.objectives.kept import KEY, keep, layout_of, replies_of
from slvr_model.tiny import new_tiny
from tests.benching import Shelf, asks_of, item


def saved(folder: Path, kind: str, **more: object) -> Path:
    model, processor = new_tiny(2)
    feed = {"feed": "own"} if kind == "multi_encoder" else {}
    keep(model, ObjectiveConfig(kind=kind, **feed, **more))  # type: ignore[arg-type]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_asked_in_the_form_it_was_trained_in(kind: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", kind)
    model, processor = open_checkpoint(str(folder))
    laid = replies_of(model, processor.tokenizer)
    assert laid is not None and laid.name == kind
    shelf = Shelf([item(n, n) for n in range(2)])
    asked: object = open_model(f"slvr:{folder}", ModelOptions(max_new_tokens=3, batch_size=4, bench=shelf))
    told = asked.details()  # type: ignore[attr-defined]
    slots = model.latent_config.visual_slots
    assert told["visual_slots"] == (slots if kind in VISUAL or kind == "multi_encoder" else 0)
    assert told["semantic_dim"] == (model.latent_config.semantic_dim if kind in ("semantic", "slvr") else 0)
    assert told["replies"] == kind
    if kind not in LATENT:
        with pytest.raises(UsageError, match="without latents"):
            asked.latent_shape()  # type: ignore[attr-defined]


def test_of_a_reply_the_answer_alone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the echo and the profile before it; and slots of `pause` stand behind the question."""
    shelf = Shelf([item(0, 0)])
    for kind, told in (("slvr", {"echo": True}), ("text", {}), ("pause", {}), ("direct", {})):
        folder = saved(tmp_path / kind, kind, **told)
        model, processor = open_checkpoint(str(folder))
        tokenizer, ask = processor.tokenizer, asks_of(shelf)[0]
        laid: Any = replies_of(model, tokenizer)
        word, answer = (tokenizer(text, add_special_tokens=False).input_ids for text in ("color", "red"))
        before = [] if kind in ("pause", "direct") else [*word, *laid.mark]
        reply = [*before, *answer, tokenizer.eos_token_id]
        monkeypatch.setattr(Decoded, "replies", lambda self, ids=reply: [ids])
        asked: Any = open_model(f"slvr:{folder}", ModelOptions(max_new_tokens=2, batch_size=4, bench=shelf))
        ((_, found),) = asked.replies([ask])
        assert found.text == "red", kind
        latents = asked._model.latent_config
        slots = latents.tokens.reply(latents.visual_slots, semantic=False)
        assert asked._row(ask, ask.picture).blocks[0].prompt == (tuple(slots) if kind == "pause" else ())


def test_without_a_layout_replies_open_with_all_latents() -> None:
    model, processor = new_tiny(2)
    assert layout_of(model) is None and replies_of(model, processor.tokenizer) is None


def test_the_layout_is_that_of_the_last_training(tmp_path: Path) -> None:
    model, _ = open_checkpoint(str(saved(tmp_path / "model", "direct")))
    keep(model, ObjectiveConfig(kind="lvr", echo=True, mark=":"))
    found = layout_of(model)
    assert found is not None and (found.kind, found.echo, found.mark) == ("lvr", True, ":")


@pytest.mark.parametrize("data", ["slvr", {"kind": "slvr", "feed": "own"}, {"kind": "slwr"}])
def test_what_is_no_layout_is_refused(data: object) -> None:
    model, _ = new_tiny(2)
    setattr(model.config, KEY, data)
    with pytest.raises(UsageError, match=r"slvr_reply|slwr"):
        layout_of(model)
