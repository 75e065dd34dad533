"""A row's picture, from the published set: every distinct picture is stored once, and found from here."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from slvr_data.images import decoded
from slvr_data.manifest import load_manifest
from slvr_data.remote.reading import open_parquet
from slvr_data.shards import files_of

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


class Pictures:
    """Pictures of the set in `folder` by `image_id`, as RGB images.

    Rows of a set lie in picture order, so reading them in order touches each row group once; a few row
    groups stay in memory (`most`). Call it with an `image_id`, or with a row to get the row with its
    `picture`. It can be pickled, so it works in worker processes.

    Raises:
        KeyError: no picture of the set has that id.
        ValueError: the picture is published by reference only (`slvr-data attach` restores it).
    """

    def __init__(self, folder: str | Path, most: int = 4) -> None:
        self._folder, self._most = Path(folder), most
        self._groups: OrderedDict[tuple[str, int], dict[str, bytes | None]] = OrderedDict()
        groups = []
        for file in files_of(load_manifest(self._folder).files, "images"):
            with open_parquet(self._folder / file.path) as parquet:
                metadata = parquet.metadata
            column = metadata.schema.to_arrow_schema().get_field_index("image_id")
            for group in range(metadata.num_row_groups):
                statistics = metadata.row_group(group).column(column).statistics
                groups.append((file.split, statistics.min, file.path, group))
        self._index: dict[str, tuple[list[str], list[tuple[str, int]]]] = {}
        for split, first, path, group in sorted(groups):
            firsts, places = self._index.setdefault(split, ([], []))
            firsts.append(first)
            places.append((path, group))

    def encoded(self, image_id: str) -> bytes:
        """The published bytes of a picture."""
        for firsts, places in self._index.values():
            position = bisect_right(firsts, image_id) - 1
            if position >= 0:
                group = self._group(places[position])
                if image_id in group:
                    data = group[image_id]
                    if data is None:
                        raise ValueError(
                            f"picture {image_id} is published by reference: restore it with slvr-data attach"
                        )
                    return data
        raise KeyError(f"no picture of {self._folder} has the image_id {image_id!r}")

    def __getitem__(self, image_id: str) -> Image.Image:
        """The picture, mode RGB."""
        return decoded(self.encoded(image_id))

    def __call__(self, row: Any) -> Any:
        """An id's picture; a row (or a batch of rows, columns of lists) with its `picture` beside the rest."""
        if isinstance(row, str):
            return self[row]
        ids = row["image_id"]
        return {**row, "picture": self[ids] if isinstance(ids, str) else [self[i] for i in ids]}

    def _group(self, place: tuple[str, int]) -> dict[str, bytes | None]:
        if place not in self._groups:
            path, group = place
            with open_parquet(self._folder / path) as file:
                table = file.read_row_group(group, columns=["image_id", "image"])
            pictures = (picture and picture["bytes"] for picture in table["image"].to_pylist())
            self._groups[place] = dict(zip(table["image_id"].to_pylist(), pictures, strict=True))
            while len(self._groups) > self._most:
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        return self._groups[place]


def with_pictures(rows: Dataset | IterableDataset, folder: str | Path) -> Any:
    """A `datasets` table of rows with an `image_id`, each given its `picture` when it is read.

    Works for data sets in memory (`with_transform`) and for streams (`map`).
    """
    pictures = Pictures(folder)
    return rows.with_transform(pictures) if hasattr(rows, "with_transform") else rows.map(pictures)
