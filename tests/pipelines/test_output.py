"""What a build publishes opens in `datasets`, pandas, DuckDB and Polars, in picture order, and is small."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import re
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from PIL import Image

from slvr_data import Pictures, with_pictures
from slvr_data.arrow import arrow_schema
from slvr_data.schema import SPLITS, AttributeRow, ImageRow
from tests.builds import coco, mixed_set, of_coco, photograph_set, published, rows, run, shared, sound

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of three sources, in all three splits."""
    return shared(tmp_path_factory, "mixed", mixed_set) / "set"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def pixels_of(out: Path) -> dict[str, bytes]:
    """The decoded pixels of every picture, read the plainest way."""
    return {
        row["image_id"]: Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB").tobytes()
        for row in rows(out, "images")
    }


@pytest.mark.parametrize("config", ["attributes", "images"])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_load_dataset(out: Path, cache: str, config: str, streaming: bool) -> None:
    expected = rows(out, config)
    found = datasets.load_dataset(str(out), config, streaming=streaming, cache_dir=cache)
    assert set(found) == set(SPLITS)
    for split in SPLITS:
        record = ImageRow if config == "images" else AttributeRow
        features = found[split].features
        assert features.arrow_schema.equals(datasets.Features.from_arrow_schema(arrow_schema(record)).arrow_schema)
        ids = [row["image_id"] for row in found[split]]
        assert ids == [row["image_id"] for row in expected if row["split"] == split]


def test_features_decode(out: Path, cache: str) -> None:
    pictures = datasets.load_dataset(str(out), "images", split="train", cache_dir=cache)
    assert isinstance(pictures.features["image"], datasets.Image)
    first = pictures[0]
    assert isinstance(first["image"], Image.Image)
    assert first["image"].size == (first["width"], first["height"])
    regions = datasets.load_dataset(str(out), split="train", cache_dir=cache)
    assert regions.config_name == "attributes"
    row = regions[0]
    stored = next(r for r in rows(out, "attributes") if r["region_id"] == row["region_id"])
    assert row["profile"] == stored["profile"]
    assert row["profile"]["appearance"]["entity"] == row["label"]
    assert row["mask"] == stored["mask"]
    assert row["source_refs"] == stored["source_refs"]


def test_working_files_are_invisible(out: Path, cache: str) -> None:
    """Even where no configuration says which files to read."""
    assert (out / ".work" / "crop").is_dir()
    told = datasets.load_dataset_builder(str(out), cache_dir=cache).config.data_files
    guessed = datasets.data_files.DataFilesDict.from_patterns(
        datasets.data_files.get_data_patterns(str(out)), base_path=str(out)
    )
    for files in (told, guessed):
        names = [name for split in files.values() for name in split]
        assert names
        assert not [name for name in names if ".work" in name]


def test_every_row_gets_its_picture(out: Path, cache: str) -> None:
    expected = pixels_of(out)
    for split in SPLITS:
        table = datasets.load_dataset(str(out), split=split, cache_dir=cache)
        seen = 0
        for row in with_pictures(table, out):
            assert row["picture"].tobytes() == expected[row["image_id"]]
            assert row["region_id"] == table[seen]["region_id"]
            seen += 1
        assert seen == len(table)
        batch = with_pictures(table, out)[:3]
        assert [picture.tobytes() for picture in batch["picture"]] == [expected[i] for i in batch["image_id"]]
        for row in with_pictures(datasets.load_dataset(str(out), split=split, streaming=True, cache_dir=cache), out):
            assert row["picture"].tobytes() == expected[row["image_id"]]


def test_a_whole_dictionary_of_splits_gets_pictures(out: Path, cache: str) -> None:
    found = with_pictures(datasets.load_dataset(str(out), cache_dir=cache), out)
    assert {split: found[split][0]["picture"].mode for split in SPLITS} == dict.fromkeys(SPLITS, "RGB")


def _sizes(table: Any, indices: list[int]) -> list[tuple[int, int]]:
    return [table[index]["picture"].size for index in indices]


def test_pictures_in_worker_processes(out: Path, cache: str) -> None:
    """As a data loader does: the table is pickled into spawned processes."""
    table = with_pictures(datasets.load_dataset(str(out), split="train", cache_dir=cache), out)
    indices = [0, len(table) - 1, len(table) // 2]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_sizes, (table, indices)) == _sizes(table, indices)
    streamed = datasets.load_dataset(str(out), split="train", streaming=True, cache_dir=cache)
    again = pickle.loads(pickle.dumps(with_pictures(streamed, out)))
    assert next(iter(again))["picture"].size == table[0]["picture"].size


def test_random_access(out: Path) -> None:
    expected, pictures = pixels_of(out), Pictures(out, most=2)
    order = sorted(expected, key=lambda image: image[::-1])
    for image in order:
        assert pictures[image].tobytes() == expected[image]
        assert pictures({"image_id": image, "x": 1})["picture"].size == pictures[image].size
    assert pickle.loads(pickle.dumps(pictures))[order[0]].tobytes() == expected[order[0]]
    with pytest.raises(KeyError, match=r"no picture of .* has the image_id 'f00'"):
        pictures["f00"]


def snippet(language: str, word: str) -> str:
    """The README's block in a language that holds a word."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if word in text)
    return str(found)


def test_the_readmes_line_for_datasets(out: Path, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    names: dict[str, Any] = {}
    exec(snippet("python", "with_pictures").replace("my-set", str(out)), names)
    assert isinstance(next(iter(names["rows"]))["picture"], Image.Image)


def test_the_readmes_line_for_pandas(out: Path) -> None:
    names: dict[str, Any] = {}
    exec(snippet("python", "pandas").replace("my-set", str(out)), names)
    frame, expected = names["rows"], pixels_of(out)
    assert len(frame) == len(rows(out, "attributes"))
    assert all(row.picture.tobytes() == expected[row.image_id] for row in frame.itertuples())


def test_the_readmes_line_for_duckdb(out: Path) -> None:
    query = snippet("sql", "JOIN").replace("my-set", str(out))
    found = duckdb.sql(query).fetchall()
    assert len(found) == len(rows(out, "attributes"))
    label, box, data = found[0]
    assert isinstance(label, str)
    assert len(box) == 4
    assert Image.open(io.BytesIO(data)).size


def test_pandas_duckdb_and_polars_see_the_same_rows(out: Path) -> None:
    folder, expected = out / "data" / "attributes", sorted(row["region_id"] for row in rows(out, "attributes"))
    assert sorted(pd.read_parquet(folder)["region_id"]) == expected
    files = f"{folder}/*.parquet"
    frame = pl.read_parquet(files)
    assert sorted(frame["region_id"]) == expected
    entities = frame["profile"].struct.field("appearance").struct.field("entity").to_list()
    query = f"SELECT profile.appearance.entity, profile.spatial.relations[1].target FROM '{files}'"
    assert sorted(row[0] for row in duckdb.sql(query).fetchall()) == sorted(entities)
    assert pl.read_parquet(f"{out}/data/images/*.parquet")["image"].struct.field("bytes").null_count() == 0


def test_rows_lie_in_picture_order_and_splits_are_apart(out: Path) -> None:
    images, regions = rows(out, "images"), rows(out, "attributes")
    for split in SPLITS:
        order = [row["image_id"] for row in images if row["split"] == split]
        assert order == sorted(set(order))
        assert order == list(dict.fromkeys(row["image_id"] for row in regions if row["split"] == split))
        keys = [(row["image_id"], row["region_id"]) for row in regions if row["split"] == split]
        assert keys == sorted(keys)
    splits = {(row["image_id"], row["split"]) for row in images + regions}
    assert len(splits) == len(images) == len({row["image_id"] for row in images})


@pytest.mark.parametrize("kind", ["photographs", "small pictures"])
def test_no_picture_is_stored_twice(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, kind: str) -> None:
    """Published bytes <= those of the distinct pictures + 10 % + 4 KB per region."""
    if kind == "photographs":
        out = shared(tmp_path_factory, "photographs", photograph_set) / "set"
    else:
        out = tmp_path / "set"
        run(*of_coco(coco(tmp_path, 12, size=(96, 80), regions=8), "--workers", 1, "--out", out))
    pictures, regions = rows(out, "images"), rows(out, "attributes")
    assert len(regions) == 8 * len(pictures)
    distinct = sum(row["byte_size"] for row in pictures)
    size = sum((out / name).stat().st_size for name in published(out)) + (out / "run.json").stat().st_size
    assert distinct < size <= 1.1 * distinct + 4096 * len(regions)


def test_the_manifest_names_every_file(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert {file["path"]: file["sha256"] for file in manifest["files"]} | {"manifest.json": ""} == (
        published(out) | {"manifest.json": ""}
    )
    for file in manifest["files"]:
        if file["path"].endswith(".parquet"):
            metadata = pq.read_metadata(out / file["path"])
            assert metadata.num_rows == file["rows"]
            assert all(
                metadata.row_group(group).column(0).compression == "ZSTD" for group in range(metadata.num_row_groups)
            )
    accounts = manifest["accounts"]
    assert accounts["rows"] == accounts["malformed"] + accounts["merged"] + accounts["regions"]
    assert accounts["regions"] == accounts["published"] + accounts["rejected"]


def test_a_split_without_rows_is_left_out(tmp_path: Path, cache: str) -> None:
    """An empty one would keep `load_dataset` from opening the others."""
    file, out = coco(tmp_path, 3, name="instances_val2017.json"), tmp_path / "set"
    run(*of_coco(file, "--workers", 1, "--set", "publish.crops=true", "--out", out))
    for config in ("attributes", "images", "crops"):
        assert list(datasets.load_dataset(str(out), config, cache_dir=cache)) == ["validation"]
    sound(out)


def test_a_source_of_which_everything_is_rejected(tmp_path: Path, cache: str) -> None:
    file, out = coco(tmp_path, 2), tmp_path / "set"
    run(*of_coco(file, "--workers", 1, "--set", "crop.min_side=500", "--out", out))
    assert {row["reason"] for row in rows(out, "rejections")} == {"region-too-small"}
    for config in ("attributes", "images"):
        found = datasets.load_dataset(str(out), config, split="train", streaming=True, cache_dir=cache)
        assert list(found) == []
        assert "image_id" in found.features
        with pytest.raises(ValueError, match="corresponds to no data"):  # of `datasets`: it opens no empty split
            datasets.load_dataset(str(out), config, split="train", cache_dir=cache)
    assert len(pd.read_parquet(out / "data" / "attributes")) == 0
    sound(out)
    run("preview", out)
    run("stats", out)
