"""How processes share a policy: each holds all of it (DDP), or its part of what is trained (torch's `fully_shard`).

Shared out, what is trained is gathered as a whole for as long as it is needed: replies differ in how many calls of the
language model they take, so layers could not be gathered one by one in step. What is saved are gradients, optimiser and
weights between steps; what is frozen is held by every process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from slvr_data.errors import RunError
from slvr_model.mgrpo.config import ProcessesConfig
from slvr_model.mgrpo.policy import Policy

T = TypeVar("T")


class Processes:
    """A policy among processes.

    Args:
        accelerator: of this launch.
        policy: on its device, with its weights; what is trained of it may be shared out from here on.
        config: how.
    """

    def __init__(self, accelerator: Accelerator, policy: Policy, config: ProcessesConfig) -> None:
        self.accelerator, self.policy = accelerator, policy
        self.rank, self.ranks = accelerator.process_index, accelerator.num_processes
        self.shared: FSDPModule | None = None
        if config.kind == "fsdp2":
            frozen = {one for one in policy.parameters() if not one.requires_grad}
            offload = CPUOffloadPolicy() if config.offload else OffloadPolicy()
            self.shared = fully_shard(policy, ignored_params=frozen, offload_policy=offload)
            self.wrapped: Any = policy
        else:
            self.wrapped = accelerator.prepare_model(policy)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All weights in every process, to be read: for rollouts, references, evaluation."""
        if self.shared is None:
            yield
            return
        self.shared.unshard()
        try:
            yield
        finally:
            self.shared.reshard()

    def adding(self, last: bool) -> AbstractContextManager[Any]:
        """While a part of a step goes backward: gradients are summed over processes with the last one."""
        if self.shared is None:
            return nullcontext() if last else self.accelerator.no_sync(self.wrapped)
        self.shared.set_requires_gradient_sync(last)
        self.shared.set_reshard_after_backward(last)
        return nullcontext()

    def all(self, mine: Sequence[T]) -> list[T]:
        """What all processes have, in the order in which regions are dealt out: the first of each, the second, ..."""
        held: list[Sequence[T]] = gather_object([list(mine)])
        nothing = object()
        return [one for row in zip_longest(*held, fillvalue=nothing) for one in row if one is not nothing]  # type: ignore[misc]

    def weights(self) -> dict[str, Tensor]:
        """All of the policy's tensors, tied ones as one; every process has to ask."""
        held, full = self.policy.state_dict(keep_vars=True), dict[int, Tensor]()
        for value in held.values():
            if id(value) not in full:
                full[id(value)] = gathered(value.detach())
        return {name: full[id(value)] for name, value in held.items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """An optimiser's state as of one process; every process has to ask."""
        return _mapped(optimizer.state_dict(), lambda _, value: gathered(value))

    def restore_optimizer(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Take the state of an optimiser.

        Raises:
            RunError: it is that of another one.
        """
        parameters = [one for group in optimizer.param_groups for one in group["params"]]

        def parted(number: int, value: Tensor) -> Tensor:
            like = parameters[number]
            if isinstance(like, DTensor) and value.shape == like.shape:
                return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
            return value

        try:
            optimizer.load_state_dict(_mapped(state, parted))
        except (ValueError, KeyError, IndexError) as error:
            raise RunError(f"the checkpoint's optimiser is another one ({error})") from None


def _mapped(state: Mapping[str, Any], change: Callable[[int, Tensor], Tensor]) -> dict[str, Any]:
    """An optimiser's state with its tensors changed, each by its parameter's number."""
    held = {
        number: {name: change(number, value) if isinstance(value, Tensor) else value for name, value in one.items()}
        for number, one in state["state"].items()
    }
    return {**state, "state": held}


def gathered(value: Any) -> Any:
    """A value that may be shared out, as a whole; every process has to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value
