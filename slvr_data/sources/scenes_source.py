"""`scenes`: the embedded world as a source; its pictures are drawn, not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from slvr_data import masks
from slvr_data.sources import scenes
from slvr_data.sources.base import Malformed, ParsedRow, PictureMissingError, RawRow, SourceConfig, Unit

LICENSE = "CC0-1.0"
"""Of the drawn pictures."""
_PATH = re.compile(r"(easy|full)/seed(-?\d+)/(\d+)\.ppm")


@lru_cache(maxsize=4)
def _scene(level: str, seed: int, index: int) -> scenes.Scene:
    return scenes.scene(level, seed, index)


def scene_at(path: str) -> scenes.Scene:
    """The scene that a path of this source names.

    Raises:
        PictureMissingError: the path is not of this source.
    """
    found = _PATH.fullmatch(path)
    if not found:
        raise PictureMissingError("picture-missing", f"{path!r} names no scene")
    return _scene(found[1], int(found[2]), int(found[3]))


def is_scene(path: str) -> bool:
    """Whether a path has the form of this source's pictures."""
    return _PATH.fullmatch(path) is not None


class Scenes:
    """A row per drawn object. `file` is level and seed, `line` the scene's index + 1."""

    normalized = False
    exhaustive = True

    def __init__(self, config: SourceConfig, seed: int) -> None:
        self.config = config
        self._seed = seed

    def units(self, limit: int | None) -> Iterator[Unit]:
        """`limit` scenes, or the configured count."""
        level = self.config.level
        for index in range(self.config.count if limit is None else limit):
            path = f"{level}/seed{self._seed}/{index:08d}.ppm"
            yield Unit(path=path, file=f"{level}/seed{self._seed}", rows=[RawRow(index + 1, None)])

    def parse(self, unit: Unit) -> Iterator[tuple[RawRow, ParsedRow | Malformed]]:
        """The objects of the scene."""
        assert unit.path is not None
        line = unit.rows[0].line
        for number, region in enumerate(scene_at(unit.path).regions):
            mask = masks.encode(region.mask).model_dump()
            row = ParsedRow(
                line=line,
                id=f"{line - 1}/{number}",
                box=region.box,
                label=region.label,
                segmentation=mask,
                license=self.config.license or LICENSE,
                complete=True,
            )
            yield RawRow(line, {"path": unit.path, "object": number}), row

    def read_picture(self, path: str) -> bytes:
        """The scene's pixels as a PPM file."""
        return scene_at(path).ppm
