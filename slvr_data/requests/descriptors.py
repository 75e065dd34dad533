"""Each call in flight holds a connection, and each connection a file descriptor."""

from __future__ import annotations

SPARE = 256
"""Descriptors for all else."""


def allow_connections(number: int) -> None:
    """Raise the process's soft limit on open files as far as so many connections need it and the hard limit lets it."""
    try:
        import resource
    except ImportError:  # no such limit on this platform
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + SPARE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return  # the system has a lower limit of its own; what does not open is a refused connection
