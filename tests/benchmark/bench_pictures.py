"""A small set of drawn scenes with questions, published once for all tests that build from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builds import run, shared

PICTURES, SEED = 120, 31


def scenes(tmp_path_factory: Any, pictures: int = PICTURES, seed: int = SEED) -> Path:
    """A published set with questions; of `pictures` scenes, 60 % for training, 40 % for testing. Not to be changed."""

    def make(folder: Path) -> None:
        arguments = ["scenes:easy", "--annotator", "exact", "--limit", pictures, "--seed", seed, "--workers", 1]
        splits = ["--set", "splits.train=0.6", "--set", "splits.validation=0", "--set", "splits.test=0.4"]
        run("build-attributes", *arguments, *splits, "--out", folder / "set")
        run("build-multiquery", folder / "set", "--workers", 1)

    return shared(tmp_path_factory, f"scenes-{pictures}-{seed}", make) / "set"
