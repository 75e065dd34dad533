"""The tokenizer of the embedded model."""

from __future__ import annotations

import pytest

from slvr_model import words
from slvr_model.prompts import question_text
from slvr_model.tiny import SPECIAL, StillProcessor, tiny_processor, tiny_tokenizer


def test_every_text_comes_back() -> None:
    tokenizer = tiny_tokenizer()
    for text in (
        "What color is the circle?",
        question_text("Which pattern is on the ring?", ["solid", "striped"]),
        'A small gray sign. Visible text: "7UP".',
        "Größe – 漢字\nzebra_crossing  two  spaces",
        "cannot be seen",
        "12 of 13",
    ):
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids) == text
        assert max(ids) < len(tokenizer)


def test_what_drawn_scenes_can_say_is_a_token_per_word() -> None:
    """Words of questions, paraphrases, answers, choices and profiles; only what signs say is spelled in bytes."""
    tokenizer = tiny_tokenizer()
    known = set(words.WORDS)
    for text in words.texts(60, seed=99):
        for piece in words.pieces(text):
            assert piece in known or not (piece.isalpha() and piece.islower()), f"{piece!r} of {text!r} is no token"
        if '"' not in text and not text.isupper():
            spelled = [piece for piece in words.pieces(text) if piece.isalpha() or piece.isdigit()]
            assert len(tokenizer(text).input_ids) <= len(words.pieces(text)), (text, spelled)


@pytest.mark.slow
def test_the_frozen_words_hold_all_that_the_code_derives() -> None:
    assert set(words.derived(150)) <= set(words.WORDS)
    assert sorted(words.WORDS) == list(words.WORDS)


def test_prompts_and_letters_are_single_tokens() -> None:
    tokenizer = tiny_tokenizer()
    assert tokenizer.tokenize("Which\nA. red\nB. blue")[1:] == ["ĊA.", "Ġred", "ĊB.", "Ġblue"]
    assert tokenizer.tokenize("cannot be seen") == ["Ġcannot", "Ġbe", "Ġseen"]
    assert [tokenizer.tokenize(letter) for letter in "ABCDEFGH"] == [[f"Ġ{letter}"] for letter in "ABCDEFGH"]


def test_text_cannot_spell_special_tokens_after_escaping_and_words_are_one_id_everywhere() -> None:
    tokenizer = tiny_tokenizer()
    red = tokenizer.convert_tokens_to_ids("Ġred")
    assert tokenizer("red").input_ids == [red]
    assert tokenizer("<|im_end|>red").input_ids[1:] == [red]
    assert tokenizer("the red").input_ids[1:] == [red]
    assert len(set(tokenizer.convert_tokens_to_ids(list(SPECIAL)))) == len(SPECIAL)


def test_the_processor_survives_saving(tmp_path) -> None:  # type: ignore[no-untyped-def]
    processor = tiny_processor()
    processor.save_pretrained(tmp_path)
    again = StillProcessor.from_pretrained(tmp_path)
    text = "<|im_start|>user What is the size of the star?<|im_end|>"
    assert again.tokenizer(text).input_ids == processor.tokenizer(text).input_ids
    assert again.image_processor.patch_size == processor.image_processor.patch_size
