"""The latents that replies open with: read, kept, and put in the place of those of other replies.

N queries, K visual slots, D width, E dimension of the semantic latent
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.interventions.latents import Survey
from benchmark.interventions.names import SLOTS, Intervention, intervention_of
from benchmark.models.interventions import Kind, RowChange, given, noise_for, only, zeroed
from benchmark.models.local import batches_of
from benchmark.records import Ask
from slvr_data.errors import UsageError

KEPT = 4096
"""Queries whose latents are kept for those that are given them."""


class Opening(NamedTuple):
    """The latents that a reply opens with, on the CPU; None for what there is none of."""

    visual_kd: Tensor | None
    semantic_e: Tensor | None


class NoTargetError(UsageError):
    """What a region's latents should be cannot be told."""


class Replacements:
    """What takes the place of a model's own latents, by the variant of an ask.

    Args:
        read: plain asks -> the latents of their replies; None for an ask that cannot be put.
        target: an ask's visual or semantic target; raises `NoTargetError`.
        unit: brings a semantic latent to the length that the model's own have.
    """

    def __init__(
        self,
        read: Callable[[Sequence[Ask]], Iterable[Opening | None]],
        target: Callable[[Ask, Kind], Tensor],
        unit: Callable[[Tensor], Tensor],
    ) -> None:
        self._read, self._target, self._unit = read, target, unit
        self._kept: OrderedDict[tuple[str, str], Opening | None] = OrderedDict()
        self._targets: OrderedDict[tuple[str, Kind], Tensor] = OrderedDict()
        self._mean: Opening | None = None

    def open(self, asks: Sequence[Ask]) -> list[Opening | None]:
        """The latents of plain asks, each decoded once as long as it is remembered."""
        wanted = {_key(ask): ask for ask in asks if _key(ask) not in self._kept}
        if wanted:
            self._kept.update(zip(wanted, self._read(list(wanted.values())), strict=True))
        found = [self._kept[_key(ask)] for ask in asks]
        for ask in asks:
            self._kept.move_to_end(_key(ask))
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def survey(self, asks: Iterable[Ask], size: int) -> Survey:
        """The latents of plain asks with their targets, in batches of `size`; their mean is kept.

        Asks that cannot be put are left out.

        Raises:
            UsageError: none can.
        """
        asked, own, targets = [], list[Opening](), list[Opening]()
        for batch in batches_of(asks, size):
            for ask, found in zip(batch, self.open(batch), strict=True):
                if found is not None:
                    asked.append((ask.item, ask.query))
                    own.append(found)
                    targets.append(Opening(self._target_of(ask, "visual"), self._target_of(ask, "semantic")))
        if not own:
            raise UsageError("no query can be put to this model: slvr-bench run without --interventions says why")
        visual_nkd = _stacked([one.visual_kd for one in own])
        semantic_ne = _stacked([one.semantic_e for one in own])
        mean_e = None if semantic_ne is None else self._unit(torch.from_numpy(semantic_ne.mean(0)))
        self._mean = Opening(None if visual_nkd is None else torch.from_numpy(visual_nkd.mean(0)), mean_e)
        wanted = _stacked([one.visual_kd for one in targets]), _stacked([one.semantic_e for one in targets])
        return Survey(asked, visual_nkd, semantic_ne, *wanted)

    def change(self, ask: Ask) -> RowChange | None:
        """What an ask's variant does to its latents; None where it does nothing to their values.

        Raises:
            UsageError: there are no latents to put in their place.
        """
        change = intervention_of(ask.variant)
        if change is None or change.name == SLOTS:
            return None
        made = self._made(ask, change)
        return made if change.part == "all" else only(change.part, made)

    def _made(self, ask: Ask, change: Intervention) -> RowChange:
        if change.name == "zeroed":
            return zeroed
        if change.name == "noise":
            return noise_for(plain_id(ask))
        if change.name == "mean":
            assert self._mean is not None, "the mean latent is known after a survey"
            return given(*self._mean)
        if change.name == "targets":
            visual_kd = None if change.part == "semantic" else self._kept_target(ask, "visual")
            return given(visual_kd, None if change.part == "visual" else self._kept_target(ask, "semantic"))
        found = None if ask.donor is None else self.open([ask.donor])[0]
        if found is None:
            raise UsageError(f"the query whose latents {ask.variant} takes cannot be put to this model")
        return given(*found)

    def _kept_target(self, ask: Ask, kind: Kind) -> Tensor:
        """A target, which is the same for all queries of an item. Raises `NoTargetError`."""
        key = ask.item.item_id, kind
        if key not in self._targets:
            self._targets[key] = self._target(ask, kind)
            while len(self._targets) > KEPT:
                self._targets.popitem(last=False)
        return self._targets[key]

    def _target_of(self, ask: Ask, kind: Kind) -> Tensor | None:
        """A target, where it can be told."""
        try:
            return self._kept_target(ask, kind)
        except NoTargetError:
            return None


def plain_id(ask: Ask) -> str:
    """The id of the plain ask of the same query and seed."""
    head, _, seed = ask.ask_id.rsplit("/", 2)
    return f"{head}/plain/{seed}"


def _key(ask: Ask) -> tuple[str, str]:
    return ask.item.item_id, ask.query.query_id


def _stacked(parts: Sequence[Tensor | None]) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """One array of all parts, NaN for those that are not there; None where none is."""
    shape = next((part.shape for part in parts if part is not None), None)
    if shape is None:
        return None
    return np.stack([np.full(shape, np.nan, np.float32) if part is None else part.float().numpy() for part in parts])
