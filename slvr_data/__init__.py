"""What SLV-Set is: its records, its sources, its annotators and its checks.

from slvr_data import with_pictures
rows = with_pictures(load_dataset("set", "attributes", split="train"), "set")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slvr_data.pictures import Pictures, with_pictures

__all__ = ["Pictures", "with_pictures"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for: the command line must start at once."""
    if name in __all__:
        from slvr_data import pictures

        return getattr(pictures, name)
    raise AttributeError(f"module 'slvr_data' has no attribute {name!r}")
