"""The manifest: its versions, its canonical bytes, and what is said of a damaged one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slvr_data.errors import UsageError
from slvr_data.manifest import FORMAT, NAME, Manifest, load_manifest, versions
from slvr_data.schema import SCHEMA_VERSION
from slvr_data.shards import DataFile

FILE = DataFile("data/images/train-00000-aaaaaaaaaaaa.parquet", "a" * 64, 3, 1, "images", "train")


def manifest(**changes: Any) -> Manifest:
    tree: dict[str, Any] = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
        "configuration": {"data": {"seed": 0}, "label": "ü"},
        "accounts": {"rows": 1},
        "files": [FILE],
    }
    return Manifest(**(tree | changes))


def saved(folder: Path, **changes: Any) -> Path:
    (folder / NAME).write_bytes(manifest(**changes).to_bytes())
    return folder


def test_bytes_read_back_and_are_canonical(tmp_path: Path) -> None:
    read = load_manifest(saved(tmp_path))
    assert read == manifest()
    assert read.to_bytes() == (tmp_path / NAME).read_bytes()
    turned = manifest(accounts={"b": 1, "a": 2}).to_bytes()
    assert turned == manifest(accounts={"a": 2, "b": 1}).to_bytes()
    assert "ü" in turned.decode()


@pytest.mark.parametrize("version", [SCHEMA_VERSION, SCHEMA_VERSION - 1])
def test_this_version_and_the_one_before_are_read(tmp_path: Path, version: int) -> None:
    assert load_manifest(saved(tmp_path, schema_version=version)).schema_version == version


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, SCHEMA_VERSION - 2])
def test_other_versions_are_refused(tmp_path: Path, version: int) -> None:
    with pytest.raises(UsageError, match=f"schema version {version}, this reader knows {SCHEMA_VERSION}"):
        load_manifest(saved(tmp_path, schema_version=version))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"[]", "is not the manifest of an SLV-Set"),
        (b'{"format": "other"}', "is not the manifest of an SLV-Set"),
        (json.dumps({"format": FORMAT, "schema_version": SCHEMA_VERSION}).encode(), "is damaged"),
        (json.dumps({"format": FORMAT, "schema_version": "1"}).encode(), "schema version 1, this reader"),
        (manifest().to_bytes().replace(b'"accounts"', b'"account"'), "is damaged"),
        (manifest().to_bytes().replace(b'"rows": 1,', b'"rows": "many",'), "is damaged"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / NAME).write_bytes(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_manifest(tmp_path)
    assert str(tmp_path / NAME) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "/etc/passwd"},
        {"path": "../../x"},
        {"path": "data/images/../../../x-00000-aaaaaaaaaaaa.parquet"},
        {"path": "data/images/train-00000-aaaaaaaaaaaa.parquet\n"},
        {"path": ".work/settings.json"},
        {"path": "assets/samples-.jpg"},
        {"path": "assets/other-0123456789ab.jpg"},
        {"path": "manifest.json"},
        {"path": ""},
        {"config": "../images"},
        {"split": "../../train"},
        {"sha256": "ab"},
        {"bytes": -1},
        {"rows": -1},
    ],
    ids=str,
)
def test_a_file_that_no_publication_has_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Files of the manifest are fetched and replaced: a stranger's must not name one of somebody else."""
    card = DataFile("README.md", "b" * 64, 1, 0, "card", "")
    sheet = DataFile("assets/samples-0123456789ab.jpg", "b" * 64, 1, 0, "card", "")
    older = replace(sheet, path="assets/samples.jpg")
    assert len(load_manifest(saved(tmp_path, files=[FILE, card, sheet, older])).files) == 4
    with pytest.raises(UsageError, match="is damaged or forged: it names the file"):
        load_manifest(saved(tmp_path, files=[card, replace(FILE, **changes)]))


def test_no_manifest_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no published set"):
        load_manifest(tmp_path)


def test_versions_name_what_decides_bytes() -> None:
    assert set(versions()) == {"python", "slvr", "numpy", "pillow", "pyarrow", "pycocotools"}
