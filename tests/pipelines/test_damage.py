"""Files of a set that are damaged are mended or named; one that cannot be read now is left as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.asking_config import load_asking
from pipelines.build import Summary, build_attributes
from pipelines.config import load_config
from pipelines.embeddings import VectorStore
from pipelines.finished import STAGES, Finished
from pipelines.multiquery import build_multiquery
from pipelines.partitions import load_partitions
from pipelines.republish import republish
from slvr_data.errors import RunError, UsageError
from slvr_data.files import DAMAGED
from tests.builds import published, shards

PICTURES = 6


def build(out: Path, level: str = "easy", **more: Any) -> Summary:
    source = {"kind": "scenes", "name": f"scenes-{level}", "level": level, "count": PICTURES}
    return build_attributes(
        load_config(None, {"out": out, "workers": 1, "shard_size": 2, "sources": [source]} | more, [])
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "set"
    build(out)
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "set"))


@contextmanager
def out_of_reach(file: Path) -> Iterator[None]:
    """The system refuses to open a file, whoever asks: here because its name leads to itself."""
    aside = file.with_name("aside")
    file.replace(aside)
    file.symlink_to(file.name)
    try:
        yield
    finally:
        aside.replace(file)


def harmed(path: Path, harm: str) -> Path:
    """What a loss of power leaves of a file that was not on disk."""
    data = path.read_bytes()
    path.write_bytes(b"" if harm == "empty" else data[: len(data) // 2])
    return path


HARMS = pytest.mark.parametrize("harm", ["empty", "cut"])


def test_shards_that_cannot_be_read_now_stay(out: Path) -> None:
    before = {stage: shards(out, stage).keys() for stage in STAGES}
    for stage in STAGES:
        file = next((out / ".work" / stage).glob("*/*.parquet"))
        with out_of_reach(file), pytest.raises(RunError, match=rf"{stage}/\w+ cannot be read now .*symbolic links"):
            Finished(out / ".work")
    finished = Finished(out / ".work")
    finished.clean()
    assert {stage: shards(out, stage).keys() for stage in STAGES} == before


def test_vectors_that_cannot_be_read_now_stay(tmp_path: Path) -> None:
    key = b"a" * 32
    VectorStore(tmp_path, "m", None).commit({key: np.ones(4, np.float16)}, {})
    for file in list((tmp_path / "embeddings").glob("*/*/*")):
        with out_of_reach(file), pytest.raises(RunError, match="cannot be read now"):
            VectorStore(tmp_path, "m", None)
    store = VectorStore(tmp_path, "m", None)
    store.clean()
    assert key in VectorStore(tmp_path, "m", None)


@HARMS
def test_a_damaged_shard_is_put_aside_until_it_is_made_again(
    out: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = published(out)
    for stage in STAGES:
        file = harmed(next((out / ".work" / stage).glob("*/*.parquet")), harm)
        name = f"{stage}/{file.parent.name}"
        Finished(out / ".work").clean()
        assert f"shard {name} is damaged" in capsys.readouterr().err
        assert (out / ".work" / stage / f".{file.parent.name}.damaged" / file.name).exists()
        build(out)
        assert published(out) == before
        assert not list((out / ".work" / stage).glob(DAMAGED))


def test_a_set_whose_shards_are_all_damaged_keeps_its_settings(out: Path) -> None:
    for file in (out / ".work").glob("crop/*/images.parquet"):
        harmed(file, "empty")
    Finished(out / ".work").clean()
    with pytest.raises(UsageError, match="seed"):
        build(out, seed=7)


@HARMS
def test_damaged_rows_are_read_anew(out: Path, harm: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = published(out)
    (file,) = (out / ".work" / "plan").glob("*/*.parquet")
    harmed(file, harm)
    with pytest.raises(RunError, match=f"{file} is damaged .* with source scenes-easy and its annotations again"):
        republish(out, {}, None)
    with pytest.raises(RunError, match=f"{file} is damaged"):
        build(out, "full")
    build(out)
    assert f"{file} is damaged" in capsys.readouterr().err
    assert published(out) == before


def test_rows_that_cannot_be_read_now_stay(out: Path) -> None:
    (file,) = (out / ".work" / "plan").glob("*/*.parquet")
    before = file.read_bytes()
    with out_of_reach(file), pytest.raises(RunError, match="cannot be read now"):
        load_partitions(out / ".work" / "plan", {file})
    assert file.read_bytes() == before


@HARMS
def test_damaged_splits_are_those_of_the_publication(out: Path, harm: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = published(out)
    memory = out / ".work" / "splits.parquet"
    kept = memory.read_bytes()
    harmed(memory, harm)
    build(out)
    assert f"{memory} is damaged" in capsys.readouterr().err
    assert published(out) == before and memory.read_bytes() == kept
    harmed(memory, harm)
    next((out / "data" / "images").iterdir()).unlink()
    with pytest.raises(UsageError, match=f"{memory} is damaged .*remove this file"):
        build(out)


@HARMS
@pytest.mark.parametrize("config", ["images", "attributes", "rejections"])
def test_a_damaged_published_file_is_written_anew(
    out: Path, harm: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = published(out)
    file = harmed(next((out / "data" / config).iterdir()), harm)
    build(out)
    assert f"{file} is damaged" in capsys.readouterr().err
    assert published(out) == before


def test_damaged_verdicts_of_questions_are_named(out: Path) -> None:
    build_multiquery(out, load_asking({"workers": 1}, None, []))
    before = published(out)
    file = harmed(out / ".work" / "query-verdicts.parquet", "empty")
    with pytest.raises(RunError, match=f"{file} is damaged .*: remove it, and run slvr-data build-multiquery"):
        republish(out, {}, None)
    file.unlink()
    build_multiquery(out, load_asking({"workers": 1}, None, []))
    assert published(out) == before


def test_all_that_a_set_is_made_of_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data files before the manifest that names them, and everything by the end."""
    out = tmp_path / "set"
    real, synced = os.fsync, {}
    replaced: list[int] = []

    def noted(descriptor: int) -> None:
        real(descriptor)
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(".manifest.json."):
            replaced.append(len(synced))
        synced.setdefault(os.fstat(descriptor).st_ino, len(synced))

    monkeypatch.setattr(os, "fsync", noted)
    build(out)
    build_multiquery(out, load_asking({"workers": 1}, None, []))
    files = [path for path in out.rglob("*") if path.is_file()]
    open_files = {"lock", "slvr", *(path.name for path in files if path.name.startswith("progress"))}
    assert [path for path in files if path.stat().st_ino not in synced and path.name not in open_files] == []
    folders = [path for path in out.rglob("*") if path.is_dir() and any(one.is_file() for one in path.iterdir())]
    assert [path for path in folders if path.stat().st_ino not in synced and path.name != "requests"] == []
    assert all(synced[path.stat().st_ino] < replaced[-1] for path in (out / "data").rglob("*.parquet"))
