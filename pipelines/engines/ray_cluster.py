"""The way to a Ray cluster: one that runs, or one of our own that ends with this process; and without Ray's noise."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from pipelines.engines.local import processors
from slvr_data.errors import RunError, UsageError

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_STARTS = 3
"""Times that a cluster of our own is started, since Ray gives up early on a busy machine."""
_KNOCK_SECONDS = 10.0
_HEALTH_SECONDS = 60.0
"""Within which a head says that it is well; most of it is for the loading of Ray on a busy machine."""


def ray_module() -> Any:
    """The package `ray`. Raises UsageError where it is not installed."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError("--engine ray needs the package ray: pip install '.[ray]' in a clone") from None


def checked_address(told: str | None) -> str:
    """The address to use: the one told, that of the variable RAY_ADDRESS, or `local` for a cluster of our own.

    Raises:
        UsageError: it is no address of a cluster's head.
    """
    address = told or os.environ.get("RAY_ADDRESS") or "local"
    if address in ("local", "auto"):
        return address
    host, _, port = address.rpartition(":")
    if "//" in address or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f"--ray-address {address}: write host:port of the head, as `ray start` prints it, or auto, and run "
            "this command on a machine of the cluster"
        )
    return address


def connect(ray: Any, address: str, workers: int | None) -> bool:
    """Connect this process; whether it is to be undone in the end (a caller may be connected already).

    Raises:
        RunError: there is no cluster, or none can be started.
    """
    if ray.is_initialized():
        return False
    with _own_signals():
        if address == "local":
            _start(ray, workers or processors())
        else:
            _join(ray, address)
    return True


def _join(ray: Any, address: str) -> None:
    if address != "auto":
        _knock(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray says with many classes that a cluster is not there, or not of its version
        raise RunError(f"--ray-address {address}: no Ray cluster answers ({_first_line(error)}): {_CURE}") from None


def _knock(address: str) -> None:
    """Raise RunError where no head of a cluster answers: `ray.init` would try for many minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
    except OSError as error:
        raise RunError(f"--ray-address {address}: nothing answers there ({error}): {_CURE}") from None
    line = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        subprocess.run(line, timeout=_HEALTH_SECONDS, capture_output=True, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        raise RunError(
            f"--ray-address {address}: what answers is not the head of a cluster of Ray {version('ray')}: {_CURE}"
        ) from None


_CURE = "start one with `ray start --head`, join it from this machine, or leave --ray-address out to use this machine"


def _start(ray: Any, processors: int) -> None:
    """A cluster on this machine alone; it dies with this process, however that ends."""
    told = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    for number in range(_STARTS):
        try:
            ray.init(address="local", num_cpus=processors, **told)
            return
        except Exception as error:  # as above
            ray.shutdown()
            if number == _STARTS - 1:
                raise RunError(
                    f"Ray does not start on this machine ({_first_line(error)}): use --engine local, or start it with "
                    "`ray start --head` and give --ray-address auto"
                ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts a handler of its own on SIGTERM: the command's goes back, so that it ends as it does everywhere."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
