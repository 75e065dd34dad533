"""Sets of strangers: what they name stays below the folders that are told, and in the memory that pictures take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import audit, preview
from pipelines.attach import attach
from pipelines.build import build_attributes
from pipelines.config import load_config
from pipelines.export import export
from slvr_data import masks
from slvr_data.errors import UsageError

EVIL = "../../outside/evil"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "set"
    source = {"kind": "scenes", "name": "scenes-easy", "count": 6}
    build_attributes(load_config(None, {"out": out, "workers": 1, "sources": [source]}, []))
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "here" / "set", ignore=shutil.ignore_patterns(".work")))


def forge(out: Path, config: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    (path,) = (out / "data" / config).glob("train-*.parquet")
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path)


def test_an_id_that_is_a_path_writes_nothing_elsewhere(out: Path, tmp_path: Path) -> None:
    def of_one(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = rows[0]["image_id"]
        question = {"original_questions": [{"question": "What?", "answer": "red"}]} if "label" in rows[0] else {}
        return [row | {"image_id": EVIL} | question for row in rows if row["image_id"] == first]

    for config in ("images", "attributes"):
        forge(out, config, of_one)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"'\.\./\.\./outside/evil' is not the id of a picture"):
        export(out, "llava", tmp_path / "here" / "o.json", "train", tmp_path / "here" / "pictures")
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == []


def test_a_mask_of_another_size_is_not_decoded(out: Path) -> None:
    """It names the memory that decoding it takes."""
    large = masks.parse([[1000, 1000, 6000, 1000, 6000, 6000]], 7000, 7000)
    assert large is not None
    forge(out, "attributes", lambda rows: [row | {"mask": large.model_dump()} for row in rows])
    preview.preview(out, None, 4, crops=False)
    for row in pq.read_table(next((out / "data/attributes").glob("train-*.parquet"))).to_pylist():
        assert preview._outline(row["mask"], (256, 256)) is None
        assert audit._outline(row["mask"], (256, 256)) == []


def test_masks_of_rows_that_fit_are_shown() -> None:
    mask = masks.parse([[10, 10, 50, 10, 50, 40]], 64, 48)
    assert mask is not None and masks.published(mask.model_dump(), (64, 48)) == mask
    assert masks.published(mask.model_dump(), (48, 64)) is None
    assert masks.published(mask.model_dump() | {"counts": mask.counts[:-2]}, (64, 48)) is None
    assert masks.published(None, (64, 48)) is None


@pytest.mark.parametrize(
    "configuration",
    [{}, {"data": {}, "publish": {}}, {"data": [], "publish": {"max_group_mb": "many"}}],
    ids=str,
)
def test_a_manifest_without_settings_is_named(out: Path, configuration: dict[str, Any]) -> None:
    path = out / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"configuration": configuration}))
    with pytest.raises(UsageError, match=r"does not tell data\.picture\.quality"):
        attach(out, None, False)
