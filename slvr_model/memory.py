"""Out of memory, said in one line with what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from slvr_data.errors import RunError

SIGNS = ("out of memory", "can't allocate memory")


@contextmanager
def memory(doing: str, lower: str) -> Iterator[None]:
    """Turn an allocation that failed, on a GPU or not, into a `RunError`; also a decorator."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in SIGNS):
            raise
        first = (str(error).strip() or "allocation failed").splitlines()[0]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise RunError(f"out of memory while {doing}: lower {lower} ({first})") from error
