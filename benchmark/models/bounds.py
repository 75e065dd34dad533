"""The picture budget of a processor in this process: read, and set to `--max-pixels`.

Processors of the Qwen-VL family scale a picture so that its pixels lie between two bounds, which a checkpoint brings
along. Other processors bound edges, or cut pictures in tiles: of these nothing is said here, and nothing set.
"""

from __future__ import annotations

from typing import Any

from benchmark.models.base import Detail, ModelOptions

_KIND = "Qwen2VLImageProcessor"
"""What the classes of these processors are called, with or without torchvision."""


def set_most(images: Any, options: ModelOptions) -> None:
    """Let a processor's pictures have as many pixels as the option says, more or fewer than its checkpoint does."""
    most = options.max_pixels
    if most is not None and _bounds_pixels(images):
        least = min(int(images.size["shortest_edge"]), most)
        images.size = type(images.size)(shortest_edge=least, longest_edge=most)


def bounds_of(images: Any, options: ModelOptions) -> dict[str, Detail]:
    """The least and the most pixels of a picture as the model sees it; None for what is not known."""
    if not _bounds_pixels(images):
        return {"least_pixels": None, "most_pixels": options.max_pixels}
    return {"least_pixels": int(images.size["shortest_edge"]), "most_pixels": int(images.size["longest_edge"])}


def _bounds_pixels(images: Any) -> bool:
    return any(kind.__name__.startswith(_KIND) for kind in type(images).__mro__)
