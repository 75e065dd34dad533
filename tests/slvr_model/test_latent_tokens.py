"""Latent tokens: their ids, adding them, and what a reply with latents looks like."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from slvr_data.errors import UsageError
from slvr_model.tokens import ABSENT, STRINGS, LatentTokens


def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(WordLevel({"[unk]": 0, "<|vision_start|>": 1, "<|vision_end|>": 2}, unk_token="[unk]"))
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[unk]", extra_special_tokens=["<|vision_start|>"])


def test_missing_tokens_are_named() -> None:
    with pytest.raises(UsageError, match=r"<\|slvr_vis_start\|>.*<\|slvr_sem_end\|>.*add_to"):
        LatentTokens.of(tokenizer())


def test_adding_twice_changes_nothing_and_keeps_other_special_tokens() -> None:
    mine = tokenizer()
    first = LatentTokens.add_to(mine)
    size = len(mine)
    assert LatentTokens.add_to(mine) == first == LatentTokens.of(mine)
    assert len(mine) == size
    assert "<|vision_start|>" in mine.all_special_tokens
    assert set(STRINGS) <= set(mine.all_special_tokens)


def test_each_token_is_one_id_and_none_is_the_pictures() -> None:
    mine = tokenizer()
    tokens = LatentTokens.add_to(mine)
    assert mine("".join(STRINGS), add_special_tokens=False).input_ids == list(vars(tokens).values())
    pictures = set(mine.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>"]))
    assert not pictures & set(vars(tokens).values())


def test_reply_and_banned_ids() -> None:
    tokens = LatentTokens(0, 1, 2, 3, 4, 5)
    assert tokens.reply(3) == [0, 1, 1, 1, 2, 3, 4, 5]
    assert tokens.reply(0) == [3, 4, 5]
    assert tokens.reply(2, semantic=False) == [0, 1, 1, 2]
    assert set(tokens.banned()) == {1, 2, 4, 5}


@pytest.mark.parametrize("ids", [(1, 1, 2, 3, 4, 5), (-2, 1, 2, 3, 4, 5)])
def test_ids_must_differ(ids: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="six different ids"):
        LatentTokens(*ids)


def test_a_checkpoint_may_have_no_semantic_tokens() -> None:
    assert LatentTokens(0, 1, 2, ABSENT, ABSENT, ABSENT).banned() == (1, 2)
