"""Sources of regions, by kind."""

from __future__ import annotations

from collections.abc import Callable

from slvr_data.sources.base import Source, SourceConfig
from slvr_data.sources.coco import Coco
from slvr_data.sources.jsonl import Jsonl
from slvr_data.sources.parquet_rows import ParquetRows
from slvr_data.sources.refcoco import Refcoco
from slvr_data.sources.scenes_source import Scenes
from slvr_data.sources.visual_cot import VisualCot

__all__ = ["Source", "SourceConfig", "open_source"]

_KINDS: dict[str, Callable[[SourceConfig, bool], Source]] = {
    "coco": Coco,
    "jsonl": Jsonl,
    "parquet": ParquetRows,
    "refcoco": Refcoco,
    "visual-cot": VisualCot,
}


def open_source(config: SourceConfig, seed: int, follow_links: bool) -> Source:
    """The source that a configuration describes; `seed` draws scenes."""
    if config.kind == "scenes":
        return Scenes(config, seed)
    return _KINDS[config.kind](config, follow_links)
