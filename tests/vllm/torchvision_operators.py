"""Declares two operators just before torchvision is first imported.

The compiled half of a torchvision wheel that was built for CUDA cannot be loaded beside a torch for the CPU, and then
the import of the other half, which is plain Python, fails for want of two names. Nothing calls these operators.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

OPERATORS = ("nms", "qnms")
_kept: list[object] = []  # a library that is collected takes its operators along


class _Declaring:
    """Found first on the import path; finds nothing itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            from torch.library import Library

            library = Library("torchvision", "DEF")
            for operator in OPERATORS:
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _kept.append(library)
        return None


sys.meta_path.insert(0, _Declaring())
