"""The errors a user can meet: one clear line each, never a traceback."""

from __future__ import annotations


class SlvrError(Exception):
    """What a command prints as one line; `exit_code` is what it exits with.

    The message names the offending value and the cure.
    """

    exit_code = 1


class UsageError(SlvrError):
    """A wrong option, a missing file or a bad configuration: nothing was done (exit code 2)."""

    exit_code = 2


class RunError(SlvrError):
    """The run could not go on (full disk, dead worker); what is finished is kept (exit code 1)."""

    exit_code = 1
