"""`slvr-bench`: not built yet; it says so."""

from __future__ import annotations

from slvr_data.console import announce


def main() -> None:
    """Say what is coming."""
    announce("slvr-bench", "SV-QA: whether a model answers all questions about a region rightly")
