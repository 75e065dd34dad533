"""A small set of drawn scenes with questions, published once for all tests that build from it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from tests.builds import run

_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def scenes(pictures: int, seed: int, level: str = "easy") -> Path:
    """A published set with questions; of `pictures` scenes, 60 % for training, 40 % for testing."""
    _KEPT.append(tempfile.TemporaryDirectory())
    folder = Path(_KEPT[-1].name) / f"{level}-{seed}"
    arguments = [f"scenes:{level}", "--annotator", "exact", "--limit", pictures, "--seed", seed, "--workers", 1]
    splits = ["--set", "splits.train=0.6", "--set", "splits.validation=0", "--set", "splits.test=0.4"]
    run("build-attributes", *arguments, *splits, "--out", folder)
    run("build-multiquery", folder, "--workers", 1)
    return folder
