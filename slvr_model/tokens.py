"""The six latent tokens: their own ids, never Qwen's picture delimiters.

A reply with latents for one region reads

    vis_start  vis_slot x K  vis_end  sem_start  sem_slot  sem_end  answer ...

The input of a slot is a vector, not the embedding of its id; the ids only mark the places. The released code marks
them with Qwen's `<|vision_start|>` and `<|vision_end|>`, so that searching a reply finds the picture of the prompt
(docs/method.md); here a slot can only be a slot.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

from slvr_data.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAMES = ("vis_start", "vis_slot", "vis_end", "sem_start", "sem_slot", "sem_end")
STRINGS = tuple(f"<|slvr_{name}|>" for name in NAMES)
"""How the tokens are spelled in a tokenizer, in the order of `NAMES`."""
ABSENT = -1
"""The id of a token that a checkpoint does not have (some released ones have no semantic slot)."""


def check_types(held: Any) -> None:
    """Whether the fields of a dataclass that are declared `int`, `bool` or `str` are just that.

    Raises:
        UsageError: one is not.
    """
    words = {"int": "a whole number", "bool": "true or false", "str": "a text"}
    for field in fields(held):
        value, wanted = getattr(held, field.name), str(field.type)
        if wanted in words and type(value).__name__ != wanted:
            raise UsageError(f"{field.name} is {value!r}: {words[wanted]} is needed")


def spelled(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """Special tokens that a text spells out: the model would read what they stand for, not their letters."""
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return [token for token in special if token in text]


@dataclass(frozen=True)
class LatentTokens:
    """Ids of the latent tokens, resolved once."""

    vis_start: int
    vis_slot: int
    vis_end: int
    sem_start: int
    sem_slot: int
    sem_end: int

    def __post_init__(self) -> None:
        check_types(self)
        ids = [number for number in astuple(self) if number != ABSENT]
        if len(set(ids)) < len(ids) or any(number < 0 for number in ids):
            raise UsageError(f"latent tokens need six different ids, not {astuple(self)}")

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> LatentTokens:
        """The ids in `tokenizer`.

        Raises:
            UsageError: it lacks one of the tokens.
        """
        known = tokenizer.get_vocab()
        missing = [token for token in STRINGS if token not in known]
        if missing:
            raise UsageError(f"the tokenizer has no {', '.join(missing)}; add them with LatentTokens.add_to(tokenizer)")
        return cls(*(known[token] for token in STRINGS))

    @classmethod
    def add_to(cls, tokenizer: PreTrainedTokenizerBase) -> LatentTokens:
        """Add what is missing as special tokens and return the ids; adding twice changes nothing.

        The embedding of a model may have to grow: `SlvrModel.from_public` sees to it.
        """
        missing = [token for token in STRINGS if token not in tokenizer.get_vocab()]
        if missing:
            tokenizer.add_special_tokens({"extra_special_tokens": missing}, replace_extra_special_tokens=False)
        return cls.of(tokenizer)

    def banned(self) -> tuple[int, ...]:
        """Ids that no reply may sample: they stand for vectors or close a span of them."""
        return tuple(n for n in (self.vis_slot, self.vis_end, self.sem_slot, self.sem_end) if n != ABSENT)

    def reply(self, visual_slots: int, semantic: bool = True) -> list[int]:
        """The ids that open a reply about one region: K visual slots (0: none), then the semantic slot."""
        visual = [self.vis_start, *[self.vis_slot] * visual_slots, self.vis_end] if visual_slots else []
        return visual + ([self.sem_start, self.sem_slot, self.sem_end] if semantic else [])
