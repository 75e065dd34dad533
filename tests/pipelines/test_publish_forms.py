"""Other forms of the same set: embedded rows, crops, licences, by reference and attached again, elsewhere."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines import attach as attaching
from pipelines.build import STAGING
from slvr_data import Pictures
from slvr_data.arrow import arrow_schema
from slvr_data.release import put_in_place
from slvr_data.schema import ImageRow
from slvr_data.shards import TableWriter
from tests.builds import LICENSES, mixed_set, photograph, published, refused, rows, run, shared, sound

MIB = 1 << 20


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources and their set (in `set`); not to be changed."""
    return shared(tmp_path_factory, "mixed", mixed_set)


@pytest.fixture
def out(base: Path, tmp_path: Path) -> Path:
    """A copy of the set, working files included."""
    shutil.copytree(base / "set", tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture(scope="session")
def reference(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set, published by reference, without working files."""

    def make(folder: Path) -> None:
        run("publish", base / "set", "--pictures", "reference", "--to", folder / "ship")

    return shared(tmp_path_factory, "reference", make) / "ship"


def test_embedded_rows_carry_their_picture(out: Path, tmp_path: Path) -> None:
    before = published(out)
    run("publish", out, "--embed")
    pictures = {row["image_id"]: row["image"] for row in rows(out, "images")}
    assert all(row["image"] == pictures[row["image_id"]] for row in rows(out, "attributes"))
    found = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(found[0]["image"], Image.Image)
    sound(out)
    run("publish", out, "--no-embed")
    assert published(out) == before


def test_crops(out: Path, tmp_path: Path) -> None:
    before = published(out)
    run("publish", out, "--crops")
    crops, regions = rows(out, "crops"), rows(out, "attributes")
    assert [row["region_id"] for row in crops] == [row["region_id"] for row in regions]
    assert [row["split"] for row in crops] == [row["split"] for row in regions]
    for crop, region in zip(crops, regions, strict=True):
        x1, y1, x2, y2 = crop["crop_box"]
        assert x1 <= region["bbox"][0] and y1 <= region["bbox"][1]
        assert x2 >= region["bbox"][2] and y2 >= region["bbox"][3]
        assert Image.open(io.BytesIO(crop["crop"]["bytes"])).size == (x2 - x1, y2 - y1)
    found = datasets.load_dataset(str(out), "crops", split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(found[0]["crop"], Image.Image)
    sound(out)
    run("publish", out, "--no-crops")
    assert published(out) == before


def test_licences(out: Path) -> None:
    before, count = published(out), len(rows(out, "attributes"))
    run("publish", out, "--licenses", LICENSES[1], "--licenses", "CC0")
    kept = {row["license"] for row in rows(out, "images")}
    assert kept == {LICENSES[1], "CC0", f"{LICENSES[1]} AND CC0"}
    gone = [row for row in rows(out, "rejections") if row["reason"] == "license-not-kept"]
    assert len(rows(out, "attributes")) + len(gone) == count
    assert {row["image_id"] for row in gone}.isdisjoint(row["image_id"] for row in rows(out, "images"))
    sound(out)
    run("publish", out, "--licenses", "all")
    assert published(out) == before


def test_a_copy_elsewhere_is_the_whole_set(out: Path, tmp_path: Path) -> None:
    run("publish", out, "--to", tmp_path / "ship")
    assert published(tmp_path / "ship") == published(out)
    names = sorted(path.name for path in (tmp_path / "ship").iterdir())
    assert names == ["README.md", "assets", "data", "manifest.json"]
    before = published(out)
    run("publish", out, "--pictures", "reference", "--to", tmp_path / "light")
    assert published(out) == before, "the set itself keeps its form"
    run("publish", out)
    assert published(out) == before
    sound(tmp_path / "ship")
    assert "is not empty: name a new folder" in refused("publish", out, "--to", tmp_path / "ship")
    mine = tmp_path / "mine" / ".notes.tmp"
    (mine / "deep").mkdir(parents=True)
    assert "is not empty: name a new folder" in refused("publish", out, "--to", mine.parent)
    assert (mine / "deep").is_dir(), "what is not of a publication is somebody's own"
    (mine / "deep").rmdir()
    mine.replace(tmp_path / "mine" / STAGING)
    (tmp_path / "mine" / ".manifest.json.7-0123abcd.tmp").touch()
    run("publish", out, "--to", mine.parent)
    assert published(mine.parent) == published(out)
    assert "has no working files" in refused("publish", tmp_path / "ship", "--embed")


def test_contradictory_forms_are_refused(out: Path) -> None:
    before = published(out)
    assert "by reference" in refused("publish", out, "--embed", "--pictures", "reference")
    assert "pictures = 'neither'" in refused("publish", out, "--pictures", "neither")
    assert published(out) == before


def test_by_reference_ships_no_picture(base: Path, reference: Path) -> None:
    embedded = {row["image_id"]: row for row in rows(base / "set", "images")}
    for row in rows(reference, "images"):
        assert row["image"] is None
        assert row | {"image": 0} == embedded[row["image_id"]] | {"image": 0}
    assert not (reference / "assets").exists()
    sound(reference)
    with pytest.raises(ValueError, match="slvr-data attach"):
        Pictures(reference)[next(iter(embedded))]
    assert "slvr-data attach" in refused("preview", reference)


def test_attach_restores_the_bytes(base: Path, reference: Path, tmp_path: Path) -> None:
    """What it leaves is the embedding publication, but for the card's sample sheet."""
    out = tmp_path / "set"
    shutil.copytree(reference, out)
    total = len(rows(out, "images"))
    done = run("attach", out, code=1)  # scenes lie in no root: they are drawn
    assert f"3 pictures restored, {total - 3} missing or different" in done.stdout
    assert "no --images ROOT is given" in done.stderr
    run("attach", out, "--images", base / "pictures")
    assert rows(out, "images") == rows(base / "set", "images")
    data = {name: sha for name, sha in published(base / "set").items() if name.startswith("data/")}
    assert {name: sha for name, sha in published(out).items() if name.startswith("data/")} == data
    sound(out)
    text, embedded = ((folder / "README.md").read_text() for folder in (out, base / "set"))
    sheet = r"!\[Some pictures with their regions\]\(assets/samples-[0-9a-f]{12}\.jpg\)\n\n"
    assert text != embedded and text == re.sub(sheet, "", embedded)
    before = published(out)
    assert "0 pictures restored, 0 missing" in run("attach", out).stdout
    assert published(out) == before


def test_attach_tells_what_is_wrong_and_restores_the_rest(base: Path, reference: Path, tmp_path: Path) -> None:
    out, root = tmp_path / "set", tmp_path / "pictures"
    shutil.copytree(reference, out)
    shutil.copytree(base / "pictures", root)
    files = [row["path"] for row in rows(out, "images") if row["path"].endswith(".jpg")]
    (root / files[0]).unlink()
    (root / files[1]).write_bytes(photograph(999)[0])
    (root / files[2]).unlink()
    (root / files[2]).symlink_to(base / "pictures" / files[2])
    done = run("attach", out, "--images", root, code=1)
    assert f"{files[0]}: '{files[0]}' is not below the picture root" in done.stderr
    assert f"{files[1]}: the file is not the one that was annotated" in done.stderr
    assert "--follow-links" in done.stderr
    restored = {row["path"] for row in rows(out, "images") if row["image"] is not None}
    assert {path for path in restored if path.endswith(".jpg")} == set(files[3:])
    sound(out)
    assert run("attach", out, "--images", root, "--follow-links", code=1).stdout.startswith("1 pictures restored")
    run("attach", out, "--images", base / "pictures")
    assert rows(out, "images") == rows(base / "set", "images")


def test_only_one_attaches_at_a_time(
    base: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shipped set has no working files, and no lock among them; what one makes there is no leftover to another."""
    out = tmp_path / "set"
    shutil.copytree(reference, out)
    made, go_on = threading.Event(), threading.Event()

    def waits(*given: Any) -> None:
        made.set()
        assert go_on.wait(300)
        put_in_place(*given)

    monkeypatch.setattr(attaching, "put_in_place", waits)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(attaching.attach, out, base / "pictures", False)
        try:
            assert made.wait(300)
            assert f"{out} is being written by process {os.getpid()}" in refused("attach", out)
        finally:
            go_on.set()
        assert first.result()[1] == []
    assert rows(out, "images") == rows(base / "set", "images")
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    sound(out)


def test_normalised_pictures_are_restored_too(tmp_path: Path) -> None:
    """A picture that is not published as its file is: turned, and in four colours."""
    root = tmp_path / "pictures"
    root.mkdir()
    image = Image.open(io.BytesIO(photograph(4)[0]))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(root / "turned.jpg", exif=exif)
    image.convert("CMYK").save(root / "four.jpg")
    lines = [{"image": name, "bbox": [5, 5, 60, 60], "label": "x"} for name in ("turned.jpg", "four.jpg")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ("jsonl", "--images", root, "--annotations", tmp_path / "rows.jsonl", "--workers", 1)
    run("build-attributes", *arguments, "--out", tmp_path / "set")
    run("build-attributes", *arguments, "--set", "publish.pictures=reference", "--out", tmp_path / "ship")
    run("attach", tmp_path / "ship", "--images", root)
    assert all(row["content_sha256"] != row["image_id"] for row in rows(tmp_path / "ship", "images"))
    assert rows(tmp_path / "ship", "images") == rows(tmp_path / "set", "images")


def group_sizes(files: list[Path]) -> list[int]:
    found = []
    for file in files:
        metadata = pq.read_metadata(file)
        found += [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
    return found


def image_row(index: int, data: bytes) -> dict[str, Any]:
    known = {"image_id": f"{index:064d}", "image": {"bytes": data, "path": "a.jpg"}}
    rest = {str: "", int: 1, bool: False}
    return {name: known.get(name, rest.get(info.annotation)) for name, info in ImageRow.model_fields.items()}


@pytest.mark.parametrize("sizes", [[3] * 40, [48, 1, 48, 1, 1], [12] * 12, [1, 47]], ids=str)
def test_row_groups_are_bounded_in_bytes(tmp_path: Path, sizes: list[int]) -> None:
    """For the largest groups that can be set and pictures up to the largest that are kept, in MiB."""
    import random

    noise = random.Random(0).randbytes(48 * MIB)
    writer = TableWriter(tmp_path, "images", "train", ImageRow, 64 * MIB, 100 * MIB)
    for index, size in enumerate(sizes):
        writer.add(image_row(index, noise[: size * MIB]), size * MIB)
    files = writer.close()
    found = group_sizes([tmp_path / file.path for file in files])
    assert max(found) <= 64 * MIB
    assert sum(found) >= sum(sizes) * MIB
    assert sum(file.rows for file in files) == len(sizes)
    assert all(file.bytes <= 164 * MIB for file in files)
    table = pq.read_table(tmp_path / files[0].path)
    assert table.schema.equals(arrow_schema(ImageRow))
    assert table["image_id"][0].as_py() == f"{0:064d}"


def test_small_groups_and_files_hold_the_same_rows(base: Path, out: Path, tmp_path: Path) -> None:
    before = rows(out, "images")
    settings = ("--set", "publish.max_group_mb=1", "--set", "publish.max_file_mb=1", "--set", "publish.embed=true")
    run("build-attributes", "--config", base / "config.yaml", "--workers", 1, *settings, "--out", out)
    files = sorted((out / "data" / "attributes").glob("train-*.parquet"))
    assert len(group_sizes(files)) > 1
    assert max(group_sizes(sorted((out / "data").rglob("*.parquet")))) <= MIB
    assert rows(out, "images") == before
    sound(out)
    pictures = Pictures(out, most=1)
    assert all(pictures.encoded(row["image_id"]) == row["image"]["bytes"] for row in reversed(before))
    found = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == len([row for row in rows(out, "attributes") if row["split"] == "train"])
