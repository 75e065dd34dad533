"""`stats`, `preview` and `validate --sample` read what they need of a set, and say what reading all of it says."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.preview import preview
from pipelines.report import stats
from slvr_data.errors import RunError
from slvr_data.manifest import load_manifest
from slvr_data.reader import rows_of, rows_of_pictures
from slvr_data.shards import files_of
from slvr_data.validate import not_looked_at, validate
from tests.builds import mixed_set, rows, run, shared


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of three sources; not to be changed."""
    return shared(tmp_path_factory, "mixed", mixed_set) / "set"


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """The same in row groups of few rows, without working files."""
    shutil.copytree(made, tmp_path / "set", ignore=shutil.ignore_patterns(".work"))
    for path in (tmp_path / "set/data").rglob("*.parquet"):
        pq.write_table(pq.read_table(path), path, row_group_size=3)
    return tmp_path / "set"


def spoil(path: Path, group: int) -> None:
    """Make a row group unreadable, each of its columns."""
    found = pq.read_metadata(path).row_group(group)
    data = bytearray(path.read_bytes())
    for number in range(found.num_columns):
        column = found.column(number)
        first = column.dictionary_page_offset or column.data_page_offset
        data[first : first + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)


def spoil_others(out: Path, shown: set[str]) -> int:
    """Spoil every row group in which nothing of these pictures lies; how many."""
    spoiled = 0
    for file in load_manifest(out).files:
        if file.config in ("images", "attributes", "multiquery"):
            with pq.ParquetFile(out / file.path) as parquet:
                groups = range(parquet.num_row_groups)
                ids = [set(parquet.read_row_group(g, ["image_id"])["image_id"].to_pylist()) for g in groups]
            for group in groups:
                if not ids[group] & shown:
                    spoil(out / file.path, group)
                    spoiled += 1
    return spoiled


def shown_on(page: Path, out: Path) -> set[str]:
    text = page.read_text()
    return {row["image_id"] for row in rows(out, "images") if f"{row['image_id']}" in text or row["path"] in text}


@pytest.mark.parametrize("how", [{"most": 3}, {"most": 50, "sample": 3, "seed": 4}])
def test_a_preview_reads_what_it_shows(out: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    page = preview(out, tmp_path / "page.html", crops=True, **how)
    text, shown = page.read_bytes(), shown_on(page, out)
    assert len(shown) >= 3
    assert spoil_others(out, shown) > 10
    assert preview(out, tmp_path / "page.html", crops=True, **how).read_bytes() == text
    with pytest.raises(RunError, match=rf"^{out}/data/.*parquet is damaged \(.*\): fetch the set again"):
        preview(out, tmp_path / "page.html", 1000, crops=False)


def test_another_seed_shows_other_pictures(out: Path, tmp_path: Path) -> None:
    pages = {seed: preview(out, tmp_path / f"{seed}.html", 50, False, 5, seed).read_bytes() for seed in (0, 1)}
    assert pages[0] != pages[1]
    assert preview(out, tmp_path / "0.html", 50, False, 5, 0).read_bytes() == pages[0]
    everything = preview(out, tmp_path / "all.html", 1000, False).read_bytes()
    assert preview(out, tmp_path / "all.html", 50, False, 1000).read_bytes() == everything


def test_pictures_have_all_their_rows_and_no_others(out: Path) -> None:
    manifest = load_manifest(out)
    for config in ("images", "attributes", "rejections"):
        whole = [row | {"image": None} for row in rows_of(out, manifest, config, None)]
        for some in ({row["image_id"] for row in whole[::4] if row["image_id"]}, set(), {"f" * 64}):
            found = [row | {"image": None} for _, row in rows_of_pictures(out, manifest, config, some)]
            assert found == [row for row in whole if row["image_id"] in some]


def leaf(profile: dict[str, Any], field: str) -> object:
    for part in field.split("."):
        profile = profile[part]
    return profile


@pytest.mark.parametrize("statistics", [True, False])
def test_stats_count_what_a_reader_of_all_rows_counts(out: Path, statistics: bool) -> None:
    for file in files_of(load_manifest(out).files, "attributes"):
        table = pq.read_table(out / file.path)
        pq.write_table(table, out / file.path, row_group_size=5, write_statistics=statistics)
    found, whole = stats(out), rows(out, "attributes")
    shares = {
        field: round(sum(leaf(row["profile"], field) is not None for row in whole) / len(whole), 4)
        for field in found["known_share"]
    }
    assert found["known_share"] == shares and len(set(shares.values())) > 2
    assert found["labels"] == dict(Counter(row["label"] or "(none)" for row in whole).most_common(30))


def one_bit(out: Path) -> None:
    """Another label for the last region: its id is then not its hash."""
    path = out / files_of(load_manifest(out).files, "attributes", "train")[-1].path
    table = pq.read_table(path)
    labels = [*table["label"].to_pylist()[:-1], "spoon"]
    column = table.schema.get_field_index("label")
    pq.write_table(table.set_column(column, table.schema.field(column), [labels]), path, row_group_size=3)


def test_a_sample_of_everything_finds_what_the_whole_finds(out: Path, made: Path) -> None:
    (breaches, checked), (expected, whole_checked) = validate(made, 10_000), validate(made)
    assert breaches == expected == []
    assert checked.pop("rejections") < whole_checked.pop("rejections"), "some are on no picture that is published"
    assert checked == whole_checked
    one_bit(out)
    sizes = "its bytes are not those that the manifest names"
    whole = [line for line in validate(out)[0] if sizes not in line]
    assert len(whole) == 1 and "its id is not the hash" in whole[0]
    assert [line for line in validate(out, 10_000)[0] if sizes not in line] == whole


def test_a_sample_says_what_it_has_left_out(out: Path) -> None:
    accounts = load_manifest(out).accounts
    seeds = {seed: validate(out, 4, seed) for seed in range(6)}
    assert seeds[0] == validate(out, 4, 0)
    for _, checked in seeds.values():
        assert 4 <= checked["regions"] < accounts["published"] and checked["pictures"] < accounts["pictures_published"]
        left = not_looked_at(out, checked)
        regions = accounts["published"] - checked["regions"]
        assert f"{regions:,} of {accounts['published']:,} regions" in left


def test_a_sample_reads_no_pictures_beside_its_own(made: Path, out: Path) -> None:
    def broken(lines: list[str]) -> bool:
        return any("cannot be read to its end" in line for line in lines)

    for path in (out / "data/images").glob("train*"):
        for group in range(pq.read_metadata(path).num_row_groups):
            if group % 2:
                spoil(path, group)
    outcomes = {broken(validate(out, 1, seed)[0]) for seed in range(12)}
    assert outcomes == {True, False}
    assert broken(validate(out)[0])


def test_the_command_tells_it(made: Path) -> None:
    said: Callable[[str], bool] = run("validate", made, "--sample", 3, "--seed", 2).stdout.__contains__
    assert said("not looked at: the hashes of") and said("sound, as far as was looked") and said(" pictures")
    assert "not looked at" not in run("validate", made).stdout
    counted = json.loads(run("stats", made, "--json").stdout)["splits"]
    assert sum(counted.values()) == load_manifest(made).accounts["published"]
