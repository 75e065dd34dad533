"""Identifiers and splits: pure functions of content, the same on every machine and in every order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from slvr_data.schema import SPLITS, Split

ID_LENGTH = 32
"""Hexadecimal digits of region, group and query ids (128 bits)."""


def image_id(source_bytes: bytes) -> str:
    """sha256 of a source file, 64 hexadecimal digits."""
    return hashlib.sha256(source_bytes).hexdigest()


def region_id(image: str, box: Sequence[float], label: str | None) -> str:
    """Hash of the picture, the box rounded to 0.01 px and the label; 32 hexadecimal digits."""
    corners = " ".join(f"{round(c * 100)}" for c in box)
    text = f"{image}\n{corners}\n{label or ''}"
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def split_of(image: str, seed: int, shares: Sequence[float]) -> Split:
    """The split of a picture: its hash with `seed`, cut at the cumulated `shares` of `SPLITS`.

    Raises:
        ValueError: the shares are not three non-negative numbers that add up to 1.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"split shares {list(shares)} are not three shares that add up to 1")
    point = int(hashlib.sha256(f"{seed}:{image}".encode()).hexdigest()[:13], 16) / 16**13
    train, validation, _ = shares
    if point < train:
        return "train"
    return "validation" if point < train + validation else "test"


def part_of(image: str, parts: int) -> int:
    """Which of `parts` independent jobs a picture belongs to (0-based)."""
    return int(image[:8], 16) % parts
