"""Training by several processes of one machine: each works on a share of every step's pictures.

All start from the same weights and step with the mean of all gradients, so they stay equal to the last bit; which
bits these are depends on the number of processes.
"""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Semaphore
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from slvr_data.errors import RunError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: for as long as the slowest needs to read its lessons, or to examine."""


class PartedError(RunError):
    """Another process of a training has ended."""


@dataclass(frozen=True)
class Group:
    """This process among those that train together."""

    rank: int = 0
    of: int = 1

    def mean(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> float:
        """Replace each gradient by the mean over all processes; the mean loss.

        Raises:
            PartedError: another process has ended.
        """
        if self.of == 1:
            return float(loss.detach())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.detach()[None]])
        try:
            distributed.all_reduce(flat)
        except RuntimeError as error:
            raise PartedError(f"a process of this training has ended ({str(error).splitlines()[0]})") from None
        flat /= self.of
        parts = torch.split(flat[:-1], [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(flat[-1])


ALONE = Group()


@contextmanager
def together(processes: int, work: Callable[[Group], object]) -> Iterator[Group]:
    """Start `processes` - 1 others, each of which runs `work(group)`; the caller does the same with what it is given.

    The others end when the caller leaves, however it ends: if it is killed, their connection to it breaks.

    Args:
        processes: how many, the caller included.
        work: a function that can be pickled.

    Raises:
        PartedError: one of the others ends before it begins.
    """
    if processes == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        spawn = multiprocessing.get_context("spawn")
        here = spawn.Semaphore(0)
        others: list[SpawnProcess] = [
            spawn.Process(target=_other, args=(work, Group(rank, processes), meeting, here), daemon=True)
            for rank in range(1, processes)
        ]
        for other in others:
            other.start()
        try:
            _await(others, here)
            _join(Group(0, processes), meeting)
            yield Group(0, processes)
        finally:
            leave()
            for other in others:
                other.terminate()
                other.join()


def _await(others: Sequence[SpawnProcess], here: Semaphore) -> None:
    """Wait until all others have begun: those that wait for one that has ended would wait without end."""
    missing = len(others)
    while missing:
        if here.acquire(timeout=0.1):
            missing -= 1
        elif ended := [other.exitcode for other in others if other.exitcode is not None]:
            raise PartedError(
                f"a process of this training ended at its start, with code {ended[0]}: what it said stands above. A "
                'script that starts several needs `if __name__ == "__main__":` before what it does'
            )


def leave() -> None:
    """Leave the processes that were trained with, if any: what still talks to them would abort this one's end."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _join(group: Group, meeting: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=group.rank, world_size=group.of, timeout=PATIENCE
    )


def _other(work: Callable[[Group], object], group: Group, meeting: Path, here: Semaphore) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides
    here.release()
    _join(group, meeting)
    with suppress(PartedError):  # whoever ended tells why
        work(group)
