"""A Ray cluster of several nodes on this machine: real processes, as `ray start` would start them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

_STARTS = 3
_AGENTS = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@contextmanager
def cluster(nodes: int = 2, **environment: str) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of so many nodes with one processor each, its head included, with this environment.

    This process is not connected to it.
    """
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_agent_register_timeout_ms": "300000"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (settings | environment).items():
            patch.setenv(name, value)
        made = _started(nodes)
    try:
        yield made
    finally:
        made.shutdown()


def _started(nodes: int) -> Any:
    from ray.cluster_utils import Cluster

    for number in range(_STARTS):
        made = Cluster(shutdown_at_exit=True)
        try:
            for _ in range(nodes):
                made.add_node(num_cpus=1, include_dashboard=False, include_log_monitor=False, **_ports())
            return made
        except Exception:  # on a busy machine Ray gives up early
            made.shutdown()
            if number == _STARTS - 1:
                raise
    return None


def _ports() -> dict[str, int]:
    """For a node's agents: it waits only 15 s for those that they choose themselves."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in _AGENTS]
    ports = {name: found.getsockname()[1] for name, found in zip(_AGENTS, sockets, strict=True)}
    for found in sockets:
        found.close()
    return ports


def node_of(made: Any, pid: int) -> Any:
    """The node of a cluster that a worker process belongs to."""
    for node in made.list_all_nodes():
        (raylet,) = node.all_processes["raylet"]
        if raylet.process.pid in {parent.pid for parent in psutil.Process(pid).parents()}:
            return node
    raise AssertionError(f"process {pid} belongs to no node")
