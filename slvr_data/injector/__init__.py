"""The injector: sound records made wrong in known ways, to measure how well checks see it."""

from __future__ import annotations

from slvr_data.injector.base import CLASSES, SHARES, Corruption, Surroundings
from slvr_data.injector.profiles import PROFILE_KINDS, corrupt_profile
from slvr_data.injector.questions import QUERY_KINDS, corrupt_query

__all__ = [
    "CLASSES", "PROFILE_KINDS", "QUERY_KINDS", "SHARES", "Corruption", "Surroundings", "corrupt_profile",
    "corrupt_query",
]  # fmt: skip
