"""Stages: functions over one shard. Each has a name, reads its task and what stages before it made, and
returns the tables that it adds to the store (none, where nothing is open); `crop` alone commits them itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from pipelines.tasks import ShardTask
    from pipelines.worker import Worker


class Stage(Protocol):
    """`made` carries what the stages of one shard hand on to each other in memory."""

    name: str

    async def run(self, task: ShardTask, worker: Worker, made: dict[str, Any]) -> dict[str, pa.Table]:
        """The stage's tables for this shard."""
        ...
