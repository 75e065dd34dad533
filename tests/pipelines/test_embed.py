"""`slvr-data embed` with the local model: what it publishes, who can read it, what `validate` sees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.embed import EmbedConfig, embed, served_settings
from pipelines.republish import republish
from slvr_data.embeddings import local_embedding
from slvr_data.errors import UsageError
from slvr_data.requests.config import ServedConfig
from slvr_data.schema import AttributeProfile
from slvr_data.validate import validate
from tests.builds import coco, mixed_set, of_coco, published, refused, rows, run, shared, sound
from tests.slvr_data.test_validate import seal

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of three sources with local embeddings of 32 dimensions; not to be changed."""

    def make(folder: Path) -> None:
        shutil.copytree(shared(tmp_path_factory, "mixed", mixed_set) / "set", folder / "set")
        run("embed", folder / "set", "--dim", 32)

    return shared(tmp_path_factory, "embedded", make) / "set"


@pytest.fixture
def out(embedded: Path, tmp_path: Path) -> Path:
    shutil.copytree(embedded, tmp_path / "set")
    return tmp_path / "set"


def told(dimension: int | None = None, **served: Any) -> EmbedConfig:
    return EmbedConfig(ServedConfig(**served), dimension)


def accounts(out: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((out / "manifest.json").read_bytes())["accounts"]
    return found


def files(out: Path, config: str = "embeddings") -> list[str]:
    manifest = json.loads((out / "manifest.json").read_bytes())
    return [str(out / file["path"]) for file in manifest["files"] if file["config"] == config]


def vectors(out: Path) -> np.ndarray[Any, Any]:
    return np.stack([np.array(row["embedding"], np.float16) for row in rows(out, "embeddings")])


def test_every_region_has_the_embedding_of_its_profile(embedded: Path) -> None:
    regions, found = rows(embedded, "attributes"), rows(embedded, "embeddings")
    names = ("region_id", "image_id", "split")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in regions]
    assert {row["model"] for row in found} == {"local-hash-1:32"}
    expected = [local_embedding(AttributeProfile.model_validate(row["profile"]), 32) for row in regions]
    assert vectors(embedded).tobytes() == np.stack(expected).tobytes()
    told = accounts(embedded)
    assert (told["embeddings"], told["embeddings_rejected"], told["regions_without_embedding"]) == (len(regions), 0, 0)
    manifest = json.loads((embedded / "manifest.json").read_bytes())
    assert manifest["configuration"]["embeddings"] == {"model": "local-hash-1:32", "revision": None, "dimension": 32}
    text = (embedded / "README.md").read_text()
    assert "local-hash-1:32: 32 numbers, float16" in text and f"{len(regions)} with an embedding" in text
    assert f"{len(regions)} embeddings" in run("validate", embedded).stdout
    assert "embeddings published" in run("stats", embedded).stdout


def test_datasets_reads_them(embedded: Path, tmp_path: Path) -> None:
    expected = vectors(embedded)
    found = datasets.load_dataset(str(embedded), "embeddings", cache_dir=str(tmp_path))
    vector = datasets.List(datasets.Value("float16"), length=32)
    assert all(table.features["embedding"] == vector for table in found.values())
    loaded = [row["embedding"] for split in ("train", "validation", "test") for row in found[split]]
    assert np.array_equal(np.array(loaded, np.float16), expected)
    numbers = found["train"].with_format("numpy")[:3]["embedding"]
    assert numbers.shape == (3, 32) and numbers.dtype == np.float32, "datasets widens what it formats"
    streamed = datasets.load_dataset(str(embedded), "embeddings", split="train", streaming=True)
    assert next(iter(streamed))["embedding"] == expected[0].tolist()


def test_pandas_polars_and_duckdb_read_them(embedded: Path) -> None:
    expected, paths = vectors(embedded), files(embedded)
    frame = pd.concat([pd.read_parquet(path) for path in paths])
    assert frame["embedding"].iloc[0].dtype == np.float16
    assert np.array_equal(np.stack(list(frame["embedding"])), expected)
    table = pl.concat([pl.read_parquet(path) for path in paths])
    assert table.schema["embedding"] == pl.Array(pl.Float16, 32)
    assert np.array_equal(table["embedding"].to_numpy(), expected)
    names = ", ".join(f"'{path}'" for path in paths)
    query = f"select embedding from read_parquet([{names}])"
    assert np.array_equal(np.array([row[0] for row in duckdb.sql(query).fetchall()], np.float16), expected)
    near = f"select list_cosine_similarity(embedding, embedding) from read_parquet([{names}])"
    assert all(abs(row[0] - 1) < 1e-5 for row in duckdb.sql(near).fetchall())


def test_embedding_again_changes_nothing_and_another_dimension_everything(out: Path) -> None:
    before, others = published(out), {name: sha for name, sha in published(out).items() if "attributes" in name}
    embed(out, told())
    republish(out, {}, None)
    embed(out, told(model="local-hash-1:32"))
    assert published(out) == before
    embed(out, told(8))
    assert vectors(out).shape[1] == 8 and {row["model"] for row in rows(out, "embeddings")} == {"local-hash-1:8"}
    assert others.items() <= published(out).items(), "the other configs stay as they are"
    sound(out)
    embed(out, told(32))
    assert published(out) == before


def test_a_set_that_grows_or_changes_its_form_keeps_its_embeddings(tmp_path: Path) -> None:
    file = coco(tmp_path, 8)
    run(*of_coco(file, "--workers", 1, "--limit", 4, "--out", tmp_path / "set"))
    embed(tmp_path / "set", told(16))
    few = len(rows(tmp_path / "set", "embeddings"))
    run(*of_coco(file, "--workers", 1, "--out", tmp_path / "set"))
    assert len(rows(tmp_path / "set", "embeddings")) == len(rows(tmp_path / "set", "attributes")) > few
    run(*of_coco(file, "--workers", 1, "--out", tmp_path / "whole"))
    assert not rows(tmp_path / "whole", "embeddings"), "only who asks for them gets them"
    embed(tmp_path / "whole", told(16))
    assert published(tmp_path / "set") == published(tmp_path / "whole")
    run("publish", tmp_path / "set", "--pictures", "reference", "--crops", "--to", tmp_path / "ship")
    assert rows(tmp_path / "ship", "embeddings") == rows(tmp_path / "set", "embeddings")
    sound(tmp_path / "ship")
    run("attach", tmp_path / "ship", "--images", tmp_path / "pictures")
    sound(tmp_path / "ship")


def test_a_set_without_regions(tmp_path: Path) -> None:
    file = coco(tmp_path, 1)
    run(*of_coco(file, "--workers", 1, "--out", tmp_path / "set", "--set", "crop.min_side=5000"))
    embed(tmp_path / "set", told())
    assert rows(tmp_path / "set", "embeddings") == [] and len(files(tmp_path / "set")) == 1
    sound(tmp_path / "set")


URL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("dimension", "served", "said"),
    [
        (9, {"model": "local-hash-1:8"}, "local-hash-1:8 has 8 dimensions, --dim says 9"),
        (None, {"model": "local-hash-1", "base_urls": [URL]}, "leave out --base-url"),
        (None, {"base_urls": [URL]}, "--model NAME is missing"),
        (None, {"model": "some/model"}, "--base-url URL is missing"),
        (9, {"model": "some/model"}, "some/model has its own dimension"),
    ],
)
def test_options_that_do_not_go_together(out: Path, dimension: int | None, served: dict[str, Any], said: str) -> None:
    before = published(out)
    with pytest.raises(UsageError, match=said):
        embed(out, told(dimension, **served))
    assert published(out) == before
    embed(out, told())
    assert published(out) == before


def test_values_that_do_not_fit(out: Path) -> None:
    assert "budget_requests = 0" in refused("embed", out, "--budget-requests", 0)
    for assignments, said in ((["crop.padding=1"], "only settings under 'served'"), (["served.timeot=1"], "'timeout'")):
        with pytest.raises(UsageError, match=said):
            served_settings({}, assignments)
    assert served_settings({"model": "m"}, ["served.timeout=7"]).timeout == 7


def test_what_is_no_set_is_refused(out: Path, tmp_path: Path) -> None:
    republish(out, {}, tmp_path / "ship")
    for folder in (tmp_path / "ship", tmp_path / "nothing"):
        with pytest.raises(UsageError, match="has no working files"):
            embed(folder, told())


def forged(out: Path, change: Callable[[Rows], Any], schema: pa.Schema | None = None) -> list[str]:
    """What `validate` says when the rows of a file were changed, and all hashes and counts agree again."""
    tree = json.loads((out / "manifest.json").read_bytes())
    entry = next(file for file in tree["files"] if (file["config"], file["split"]) == ("embeddings", "train"))
    table = pq.read_table(out / entry["path"])
    changed = table.to_pylist()
    change(changed)
    pq.write_table(pa.Table.from_pylist(changed, schema=schema or table.schema), out / entry["path"])
    seal(out, tree)
    return validate(out)[0]


def has(found: list[str], *words: str) -> bool:
    return any(all(word in line for word in words) for line in found)


def test_an_untouched_forgery_is_sound(out: Path) -> None:
    assert forged(out, lambda rows: None) == []


def test_rows_that_are_gone_twice_or_elsewhere(out: Path) -> None:
    missing = forged(out, lambda rows: rows.pop(3))
    assert len(missing) == 1 and has(missing, "embeddings has", "rows, the accounts say")
    twice = forged(out, lambda rows: rows.insert(3, rows[2]))
    assert has(twice, "embedding of", "stands twice") and not has(twice, "the accounts say")


def test_rows_out_of_order_and_of_others(out: Path) -> None:
    def swapped(rows: Rows) -> None:
        rows[1], rows[4] = rows[4], rows[1]

    assert has(forged(out, swapped), "embedding of", "not in this order")

    def strange(rows: Rows) -> None:
        swapped(rows)
        rows[2]["image_id"] = "0" * 64
        rows[3]["model"] = "another"

    found = forged(out, strange)
    assert has(found, "its picture is 000") and has(found, "is of another, the manifest says local-hash-1:32")


@pytest.mark.parametrize(
    ("number", "said"), [(float("nan"), "is not finite"), (0.5, "is not the one that its profile")]
)
def test_numbers_that_are_wrong(out: Path, number: float, said: str) -> None:
    def change(rows: Rows) -> None:
        rows[0]["embedding"][5] = number

    found = forged(out, change)
    assert len(found) == 1 and has(found, "embedding of", said)


def test_columns_of_another_dimension_or_type(out: Path) -> None:
    schema = pq.read_schema(files(out)[0])
    place = schema.get_field_index("embedding")
    wide = schema.set(place, pa.field("embedding", pa.list_(pa.float32(), 32), nullable=False))
    assert has(forged(out, lambda rows: None, wide), "its columns are not those of the config embeddings")
    short = schema.set(place, pa.field("embedding", pa.list_(pa.float16(), 2), nullable=False))

    def cut(rows: Rows) -> None:
        for row in rows:
            row["embedding"] = row["embedding"][:2]

    assert has(forged(out, cut, short), "its columns are not those of the config embeddings")


def test_what_the_manifest_says_of_them(out: Path) -> None:
    tree = json.loads((out / "manifest.json").read_bytes())

    def said(**changes: Any) -> list[str]:
        changed = tree | changes
        (out / "manifest.json").write_text(json.dumps(changed))
        return validate(out)[0]

    for name in ("embeddings", "embeddings_rejected", "regions_without_embedding"):
        found = said(accounts=tree["accounts"] | {name: tree["accounts"][name] + 1})
        assert has(found, "published = embeddings + embeddings_rejected + regions_without_embedding"), name
        assert has(said(accounts={k: v for k, v in tree["accounts"].items() if k != name}), "cannot be checked", name)
    configuration = tree["configuration"]
    bad = configuration | {"embeddings": {"model": "local-hash-1:32", "dimension": "many"}}
    assert has(said(configuration=bad), "its embeddings cannot be read")
    without = {name: value for name, value in configuration.items() if name != "embeddings"}
    assert has(said(configuration=without), "does not say of which model")


def test_any_flipped_bit(out: Path) -> None:
    path = Path(files(out)[0])
    data = path.read_bytes()
    for place in (0, len(data) // 3, len(data) // 2, len(data) - 500, len(data) - 6, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        assert has(validate(out)[0], "its bytes are not those that the manifest names"), place
