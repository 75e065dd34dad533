"""`slvr-train`: not built yet; it says so."""

from __future__ import annotations

from slvr_data.console import announce


def main() -> None:
    """Say what is coming."""
    announce("slvr-train", "stage 1 (region-centric latents) and stage 2 (M-GRPO)")
