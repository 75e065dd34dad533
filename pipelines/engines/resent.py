"""Calls whose worker or machine is gone: what counts against them, when each is sent again, and to which machine.

A machine on which everything fails is free again at once, and so is given most of what is sent: neither waiting nor
another machine comes by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

MOST_MACHINES = 5
"""Machines that may go away under a call: it is hardly ever what ends them."""
_PAUSE_SECONDS = 1.0
"""Before a call is sent for the second time; twice as long each time more."""
_LONGEST_SECONDS = 30.0


@dataclass
class Losses:
    """Of one call."""

    workers: int = 0
    """Workers that ended under it, on machines that live."""
    machines: int = 0
    """Machines that went away under it."""
    on: set[str] = field(default_factory=set)
    """Machines on which it is known to have lost a worker."""

    def count(self, machine_gone: bool, on: str | None) -> None:
        """One more, on this machine where that is known."""
        if machine_gone:
            self.machines += 1
            return
        self.workers += 1
        if on is not None:
            self.on.add(on)

    def too_many(self, attempts: int) -> bool:
        """Whether the call is given up; `attempts`: workers that it may end."""
        return self.workers >= attempts or self.machines >= MOST_MACHINES

    @property
    def pause(self) -> float:
        """Seconds before it is sent again."""
        return min(_LONGEST_SECONDS, _PAUSE_SECONDS * 2.0 ** (self.workers + self.machines - 1))

    def told(self) -> str:
        """What it has ended, in words."""
        if self.machines >= MOST_MACHINES:
            return f"has lost each of {self.machines} machines"
        return "has ended the worker" if self.workers == 1 else f"has ended each of {self.workers} workers"


class Machines:
    """What became of calls that were sent to a chosen machine, so that the next ones go where things go well."""

    def __init__(self) -> None:
        self._failed: dict[str, bool] = {}
        """Whether the last call that was sent there on purpose was lost."""
        self._chosen: Counter[str] = Counter()

    def note(self, machine: str | None, lost: bool) -> None:
        """A call has ended that was sent to this machine, None for one that the cluster chose."""
        if machine is not None:
            self._failed[machine] = lost

    def another(self, suited: Collection[str], losses: Losses) -> str | None:
        """Where a call goes that has ended a worker: to none where it is known to have done so. None: anywhere."""
        if not losses.workers:
            return None
        left = set(suited) - losses.on
        if not left:
            return None
        found = min(left, key=lambda machine: (self._failed.get(machine, False), self._chosen[machine], machine))
        self._chosen[found] += 1
        return found
