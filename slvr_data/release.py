"""A publication in the making: tables, card and manifest, and the moment when it appears."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from PIL import Image, ImageDraw
from pydantic import BaseModel

from slvr_data import card
from slvr_data.arrow import embedding_schema
from slvr_data.files import disk_errors, sha256_of, sync, write_atomic
from slvr_data.images import decoded, encode_jpeg
from slvr_data.manifest import FORMAT, NAME, Manifest, is_ours, versions
from slvr_data.schema import (
    SCHEMA_VERSION,
    SPLITS,
    AttributeRow,
    CropRow,
    EmbeddedAttributeRow,
    ImageRow,
    QueryGroup,
    Rejection,
)
from slvr_data.shards import DataFile, TableWriter
from slvr_data.sources.base import cut_record

SAMPLES = "assets/samples-{}.jpg"
"""The card's picture; as every file but card and manifest it has its hash in its name, and so never changes."""
_SAMPLE_COUNT = 6
_SAMPLE_SIDE = 160
_COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


@dataclass(frozen=True)
class _Limits:
    group_bytes: int
    file_bytes: int


class Release:
    """Collects rows into a staging folder on the same file system as the set, and commits them."""

    def __init__(
        self,
        staging: Path,
        group_bytes: int,
        file_bytes: int,
        embed: bool,
        extra: Collection[str],
        dimension: int | None = None,
    ) -> None:
        """`extra` names configs beside `images` and `attributes`: "multiquery", "crops".

        With `dimension` there is `embeddings` too, of vectors of that length.
        """
        self._staging = staging
        self._limits = _Limits(group_bytes, file_bytes)
        self._records: dict[str, type[BaseModel] | pa.Schema] = {
            "images": ImageRow,
            "attributes": EmbeddedAttributeRow if embed else AttributeRow,
        }
        optional: dict[str, type[BaseModel]] = {"multiquery": QueryGroup, "crops": CropRow}
        self._records |= {name: record for name, record in optional.items() if name in extra}
        if dimension is not None:
            self._records["embeddings"] = embedding_schema(dimension)
        self._embed = embed
        self._writers: dict[tuple[str, str], TableWriter] = {}
        self._rejections = self._new_writer("rejections", "all", Rejection)
        self._samples: list[Image.Image] = []

    def _new_writer(self, config: str, split: str, record: type[BaseModel] | pa.Schema) -> TableWriter:
        return TableWriter(self._staging, config, split, record, self._limits.group_bytes, self._limits.file_bytes)

    def _writer(self, config: str, split: str) -> TableWriter:
        key = config, split
        if key not in self._writers:
            self._writers[key] = self._new_writer(config, split, self._records[config])
        return self._writers[key]

    def add_image(self, split: str, row: dict[str, Any]) -> None:
        """A row of `images`."""
        self._writer("images", split).add(row, len(row["image"]["bytes"]) if row["image"] else 0)

    def add_attributes(self, split: str, row: dict[str, Any], picture: dict[str, Any] | None) -> None:
        """A row of `attributes`; it carries `picture` too in an embedded publication."""
        if self._embed and picture is not None:
            self._writer("attributes", split).add(row | {"image": picture}, len(picture["bytes"]))
        else:
            self._writer("attributes", split).add(row, len(row["mask"]["counts"]) if row["mask"] else 0)

    def add_group(self, split: str, row: dict[str, Any]) -> None:
        """A row of `multiquery`."""
        self._writer("multiquery", split).add(row)

    def add_crop(self, split: str, row: dict[str, Any]) -> None:
        """A row of `crops`."""
        self._writer("crops", split).add(row, len(row["crop"]["bytes"]))

    def add_embedding(self, split: str, row: dict[str, Any]) -> None:
        """A row of `embeddings`; its vector is a numpy array, float16 [dimension]."""
        self._writer("embeddings", split).add(row, row["embedding"].nbytes)

    def add_rejection(self, rejection: Rejection) -> None:
        """A row of the list of rejections."""
        row = rejection.model_dump()
        row["record"] = cut_record(row["record"])
        self._rejections.add(row, len(row["record"]))

    def add_sample(self, data: bytes, boxes: Sequence[tuple[Sequence[float], str | None]]) -> None:
        """A picture for the card; only the first few are used."""
        if len(self._samples) < _SAMPLE_COUNT:
            self._samples.append(_outlined(data, boxes))

    def commit(self, out: Path, configuration: dict[str, Any], accounts: dict[str, int], funnel: card.Funnel) -> None:
        """Put the publication into `out` in place of the one that is there."""
        for config in self._records:
            self._writer(config, SPLITS[0])
        files = self._closed()
        files += self._sample_sheet()
        text = card.render(files, configuration, accounts, funnel).encode()
        (self._staging / "README.md").parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._staging / "README.md", text)
        files.append(DataFile("README.md", sha256_of(self._staging / "README.md"), len(text), 0, "card", ""))
        manifest = Manifest(
            format=FORMAT,
            schema_version=SCHEMA_VERSION,
            versions=versions(),
            configuration=configuration,
            accounts=accounts,
            files=files,
        )
        put_in_place(self._staging, out, manifest)

    def _closed(self) -> list[DataFile]:
        order = {config: i for i, config in enumerate(self._records)}
        splits: dict[str, int] = {split: i for i, split in enumerate(SPLITS)}
        keys = sorted(self._writers, key=lambda key: (order[key[0]], splits[key[1]]))
        files: list[DataFile] = []
        for key in keys:
            # A config without any rows keeps its columns in an empty file; where others have rows, an empty
            # split is left out: `load_dataset` refuses it, and with it the whole set.
            alone = not any(writer.has_rows for (config, _), writer in self._writers.items() if config == key[0])
            files += self._writers[key].close(keep_empty=alone)
        return files + self._rejections.close(keep_empty=True)

    def _sample_sheet(self) -> list[DataFile]:
        if not self._samples:
            return []
        gap = 4
        width = sum(image.width for image in self._samples) + gap * (len(self._samples) - 1)
        sheet = Image.new("RGB", (width, max(image.height for image in self._samples)), "white")
        left = 0
        for image in self._samples:
            sheet.paste(image, (left, 0))
            left += image.width + gap
        data = encode_jpeg(sheet, 75)
        digest = hashlib.sha256(data).hexdigest()
        name = SAMPLES.format(digest[:12])
        (self._staging / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._staging / name, data)
        return [DataFile(name, digest, len(data), 0, "card", "")]


def _outlined(data: bytes, boxes: Sequence[tuple[Sequence[float], str | None]]) -> Image.Image:
    """A small picture with its regions' boxes, all of one height."""
    source = decoded(data)
    scale = _SAMPLE_SIDE / source.height
    small = source.resize((max(1, min(320, round(source.width * scale))), _SAMPLE_SIDE))
    scale_x = small.width / source.width
    draw = ImageDraw.Draw(small)
    for index, (box, _) in enumerate(boxes):
        corners = [box[0] * scale_x, box[1] * scale, box[2] * scale_x - 1, box[3] * scale - 1]
        if corners[2] > corners[0] and corners[3] > corners[1]:
            draw.rectangle(corners, outline=_COLORS[index % len(_COLORS)])
    return small


def put_in_place(staging: Path, out: Path, manifest: Manifest) -> None:
    """Move a finished publication from `staging` into `out`.

    New data files first, beside the old; then the manifest; then the card, which readers follow; then
    what the manifest does not name is removed. Each is on disk before the next: killed anywhere, by a loss of power
    too, running it again completes it.
    """
    with disk_errors(f"publishing into {out}"):
        for file in manifest.files:
            if file.path != "README.md" and (staging / file.path).exists():
                target = out / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                (staging / file.path).replace(target)
        _sync_folders(out, manifest)
    write_atomic(out / NAME, manifest.to_bytes())
    if (staging / "README.md").exists():
        (staging / "README.md").replace(out / "README.md")
        with disk_errors(f"publishing into {out}"):
            sync(out)
    remove_unnamed(out, manifest)


def _sync_folders(out: Path, manifest: Manifest) -> None:
    folders = {(out / file.path).parent for file in manifest.files}
    for folder in sorted(folders | {folder.parent for folder in folders - {out}}):
        sync(folder)


def unnamed_files(out: Path, manifest: Manifest) -> list[Path]:
    """Files below `data/` and `assets/` that the manifest does not name."""
    named = {out / file.path for file in manifest.files}
    return sorted(
        path
        for folder in ("data", "assets")
        for path in (out / folder).rglob("*")
        if path.is_file() and path not in named
    )


def remove_unnamed(out: Path, manifest: Manifest) -> None:
    """Remove what an earlier publication left; files that no publication makes are somebody's own."""
    for path in unnamed_files(out, manifest):
        if is_ours(path.relative_to(out).as_posix()):
            path.unlink()
    for folder in ("data", "assets"):
        for path in sorted((out / folder).rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def published_name(path: str, data: bytes) -> str:
    """The file name of a published picture: the source file's, with the suffix of the form it is published in."""
    suffixes = {b"\xff\xd8": (".jpg", ".jpeg"), b"\x89P": (".png",), b"RI": (".webp",)}[data[:2]]
    name = PurePosixPath(path)
    return name.name if name.suffix.lower() in suffixes else name.stem + suffixes[0]
