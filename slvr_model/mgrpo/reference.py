"""The weights that a training began with: what the policy is held against. They never move.

Trained in full, the policy has a frozen copy beside it. Under LoRA the same module serves: its adapters are switched
off, and what else is trained (the latents' maps, the embeddings) is put back for as long as it is asked.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from slvr_data.errors import UsageError
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.modeling import SlvrModel

MARK = ".lora_"
"""In the name of every tensor of an adapter."""


class Reference(Protocol):
    """Where the first weights are kept."""

    pictures: Pictures
    """As its tower encodes them."""

    def weights(self) -> AbstractContextManager[SlvrModel]:
        """A model with the first weights, for as long as the block lasts; ask it without gradient."""


class Copied:
    """A frozen copy of a model: that of the policy itself, or another checkpoint of the same shape."""

    def __init__(self, model: SlvrModel, pictures: Pictures | None = None) -> None:
        self.model, self.pictures = model, pictures or Pictures(model)
        self.model.requires_grad_(False).train(False)

    @contextmanager
    def weights(self) -> Iterator[SlvrModel]:
        """The copy."""
        yield self.model


class AdaptersOff:
    """The policy itself, taken back to its first weights for a moment."""

    def __init__(self, model: SlvrModel, pictures: Pictures | None = None) -> None:
        self.model, self.pictures = model, pictures or Pictures(model)
        self.first: dict[str, Tensor] = {
            name: value.detach().clone()
            for name, value in model.named_parameters()
            if value.requires_grad and MARK not in name
        }

    @contextmanager
    @torch.no_grad()
    def weights(self) -> Iterator[SlvrModel]:
        """The policy without adapters; its own weights are back, to the last bit, when the block ends."""
        trained = {name: value for name, value in self.model.named_parameters() if name in self.first}
        kept = {name: value.detach().clone() for name, value in trained.items()}
        adapters: list[Any] = [part for part in self.model.modules() if hasattr(part, "lora_A")]
        for part in adapters:
            part.enable_adapters(False)
        for name, value in trained.items():
            value.copy_(self.first[name])
        torch.clear_autocast_cache()  # it holds copies of weights by their tensors, whatever is in these now
        try:
            yield self.model
        finally:
            for name, value in trained.items():
                value.copy_(kept[name])
            torch.clear_autocast_cache()
            for part in adapters:
                part.enable_adapters(True)


def reference_of(
    model: SlvrModel,
    *,
    lora: bool,
    other: SlvrModel | None = None,
    name: str = "",
    pictures: Pictures | None = None,
) -> Reference:
    """The reference of a policy that has not been trained yet.

    Args:
        model: the policy, with its adapters.
        lora: it has some.
        other: another checkpoint that is to be the reference.
        name: of `other`, for messages.
        pictures: the policy's; they serve a reference with the same tower, as long as that stands still.

    Raises:
        UsageError: `other` is of another size.
    """
    if other is not None:
        check_same_size(model, other, name)
        return Copied(other)
    seen = pictures if pictures is not None and pictures.still else None
    return AdaptersOff(model, seen) if lora else Copied(copy.deepcopy(model), seen)


def check_same_size(model: SlvrModel, other: SlvrModel, name: str) -> None:
    """Whether a reference can be asked about replies of a policy: tensors of the same names and shapes, same slots.

    Raises:
        UsageError: it cannot; the first difference is named.
    """
    mine, its = model.latent_config, other.latent_config
    for what in ("visual_slots", "semantic_dim", "tokens"):
        if getattr(mine, what) != getattr(its, what):
            raise UsageError(
                f"reference {name}: its latents have {what} {getattr(its, what)}, those of the policy "
                f"{getattr(mine, what)}: take the checkpoint that the training starts from"
            )
    shapes, theirs = _shapes(model), _shapes(other)
    for key in sorted(shapes.keys() | theirs.keys()):
        if shapes.get(key) != theirs.get(key):
            raise UsageError(
                f"reference {name} is of another size than the policy: {key} is {theirs.get(key, 'missing')} there and "
                f"{shapes.get(key, 'missing')} here: take the checkpoint that the training starts from"
            )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape, as without adapters."""
    return {
        name.replace(".base_layer.", "."): tuple(value.shape)
        for name, value in model.state_dict().items()
        if MARK not in name
    }
