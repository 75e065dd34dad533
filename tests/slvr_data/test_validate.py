"""`validate` finds every way in which a published set can be tampered with, and says where."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slvr_data import card
from slvr_data.ids import region_id
from slvr_data.shards import DataFile
from slvr_data.validate import validate
from tests.builds import mixed_set, run, shared

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with crops, without working files; not to be changed."""

    def make(folder: Path) -> None:
        mixed = shared(tmp_path_factory, "mixed", mixed_set)
        run("publish", mixed / "set", "--crops", "--to", folder / "ship")

    return shared(tmp_path_factory, "with-crops", make) / "ship"


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "set")
    return tmp_path / "set"


def manifest(out: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((out / "manifest.json").read_bytes())
    return tree


def save(out: Path, tree: dict[str, Any]) -> None:
    (out / "manifest.json").write_text(json.dumps(tree))


def file_of(out: Path, config: str, split: str = "train") -> dict[str, Any]:
    found: dict[str, Any] = next(f for f in manifest(out)["files"] if (f["config"], f["split"]) == (config, split))
    return found


def seal(out: Path, tree: dict[str, Any]) -> None:
    """Make sha256, sizes, counts and the card agree with the files again: a careful forger."""
    for file in tree["files"]:
        path = out / file["path"]
        if file["config"] != "card":
            file["rows"] = pq.read_metadata(path).num_rows
        file["sha256"], file["bytes"] = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
    files = [DataFile(**file) for file in tree["files"]]
    text = card.with_files((out / "README.md").read_text(), files)
    (out / "README.md").write_text(text)
    entry = next(file for file in tree["files"] if file["path"] == "README.md")
    entry["sha256"], entry["bytes"] = hashlib.sha256(text.encode()).hexdigest(), len(text.encode())
    for config, name in (("attributes", "published"), ("images", "pictures_published")):
        tree["accounts"][name] = sum(file["rows"] for file in tree["files"] if file["config"] == config)
    accounts = tree["accounts"]
    accounts["regions"] = accounts["published"] + accounts["rejected"]
    accounts["rows"] = accounts["regions"] + accounts["merged"] + accounts["malformed"]
    save(out, tree)


def rewrite(out: Path, config: str, change: Callable[[Rows], Rows | None], split: str = "train") -> None:
    """Change a file's rows, and seal the set."""
    path = out / file_of(out, config, split)["path"]
    table = pq.read_table(path)
    rows = table.to_pylist()
    pq.write_table(pa.Table.from_pylist(change(rows) or rows, schema=table.schema), path)
    seal(out, manifest(out))


def breaches(out: Path) -> list[str]:
    return validate(out)[0]


def test_an_untouched_set_is_sound(out: Path) -> None:
    found, checked = validate(out)
    assert found == []
    tree = manifest(out)
    assert checked == {
        "files": len(tree["files"]), "pictures": tree["accounts"]["pictures_published"],
        "regions": tree["accounts"]["published"], "crops": tree["accounts"]["published"],
        "rejections": tree["accounts"]["rejected"] + tree["accounts"]["malformed"],
    }  # fmt: skip
    seal(out, tree)
    assert breaches(out) == [], "sealing alone is no breach"


def test_the_command_exits_1_and_names_the_breach(out: Path) -> None:
    assert run("validate", out).stdout.endswith("sound\n")
    path = file_of(out, "images")["path"]
    (out / path).unlink()
    done = run("validate", out, code=1)
    assert f"{path}: is missing" in done.stderr.splitlines()
    assert done.stdout.splitlines()[-1].endswith(" breaches")


@pytest.mark.parametrize("config", ["images", "attributes", "crops", "rejections", "card"])
def test_any_flipped_bit(out: Path, config: str) -> None:
    """Wherever it lies: in a page, in a page's header, in the footer."""
    for file in [file for file in manifest(out)["files"] if file["config"] == config][:2]:
        path = out / file["path"]
        data = path.read_bytes()
        places = {0, len(data) - 1, len(data) - 6, *random.Random(config).sample(range(len(data)), 6)}
        for place in sorted(places):
            path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
            found = breaches(out)
            assert f"{file['path']}: its bytes are not those that the manifest names" in found, place
            path.write_bytes(data)
    assert breaches(out) == []


def test_files_gone_and_files_too_many(out: Path) -> None:
    path = file_of(out, "attributes", "test")["path"]
    (out / path).unlink()
    (out / "data" / "images" / "train-00009-aaaaaaaaaaaa.parquet").write_bytes(b"x")
    (out / "assets" / "more.jpg").write_bytes(b"x")
    found = breaches(out)
    assert f"{path}: is missing" in found
    assert "data/images/train-00009-aaaaaaaaaaaa.parquet: is not named by the manifest" in found
    assert "assets/more.jpg: is not named by the manifest" in found


@pytest.mark.parametrize(
    "name", ["rows", "malformed", "merged", "regions", "published", "rejected", "pictures_published"]
)
def test_any_changed_count(out: Path, name: str) -> None:
    tree = manifest(out)
    tree["accounts"][name] += 1
    save(out, tree)
    assert any(line.startswith(("manifest.json: ", "rejections: ")) for line in breaches(out))
    del tree["accounts"][name]
    save(out, tree)
    assert f"manifest.json: its accounts have no '{name}'" in breaches(out)


def test_changed_row_counts_and_moved_files(out: Path) -> None:
    tree = manifest(out)
    entry = next(file for file in tree["files"] if file["config"] == "attributes")
    entry["rows"] += 1
    save(out, tree)
    assert any(f"has {entry['rows'] - 1} rows, the manifest says {entry['rows']}" in line for line in breaches(out))


@pytest.mark.parametrize("configs", [["images"], ["attributes"], ["images", "attributes", "crops"]], ids=str)
def test_swapped_splits(out: Path, configs: list[str]) -> None:
    tree = manifest(out)
    swap = {"train": "test", "test": "train"}
    for file in tree["files"]:
        if file["config"] in configs:
            file["split"] = swap.get(file["split"], file["split"])
    save(out, tree)
    found = breaches(out)
    assert any("is not where test of" in line for line in found)
    assert "README.md: its data files are not those that the manifest names" in found
    if configs != ["images", "attributes", "crops"]:
        assert any(", its picture in " in line for line in found)


def test_a_card_that_names_other_files(out: Path) -> None:
    path = out / "README.md"
    text = path.read_text()
    path.write_text(text.replace("split: test", "split: train", 1))
    assert "README.md: its data files are not those that the manifest names" in breaches(out)
    path.write_text("no header")
    assert any(line.startswith("README.md: its header cannot be read") for line in breaches(out))
    path.unlink()
    assert "README.md: is missing" in breaches(out)


def other_box(rows: Rows) -> None:
    rows[0]["bbox"] = [1.0, 1.0, 9000.0, 20.0]
    rows[0]["region_id"] = region_id(rows[0]["image_id"], rows[0]["bbox"], rows[0]["label"])


def dangling(rows: Rows) -> None:
    links = next(row["profile"]["spatial"]["relations"] for row in rows if row["profile"]["spatial"]["relations"])
    links[0]["target_region_id"] = "f" * 32


def failed(rows: Rows) -> None:
    rows[0]["verdicts"][0] |= {"verdict": "fail", "reason": "x", "evidence": "y"}


def masked(rows: Rows) -> None:
    next(row for row in rows if row["mask"])["mask"]["size"] = [3, 4]


def without_first_picture(rows: Rows) -> Rows:
    return [row for row in rows if row["image_id"] != rows[0]["image_id"]]


def first(**values: Any) -> Callable[[Rows], None]:
    return lambda rows: rows[0].update(values)


FORGERIES: dict[str, tuple[str, Callable[[Rows], Any], str]] = {
    "an image row dropped": ("images", lambda rows: rows[1:], "is not in images"),
    "an image row twice": ("images", lambda rows: [rows[0], *rows], "stands twice"),
    "images out of order": ("images", lambda rows: rows[::-1], "is out of order"),
    "another picture": ("images", lambda rows: rows[0].update(image=rows[1]["image"]), "its bytes are not those"),
    "no picture": ("images", first(image=None), "ships no bytes"),
    "a picture of no bytes": ("images", first(image={"bytes": b"", "path": "a.jpg"}), "its bytes are not those"),
    "a null picture": ("images", first(image={"bytes": None, "path": "a.jpg"}), "cannot be checked"),
    "another size": ("images", first(width=7), "its row says 7x"),
    "regions dropped": ("attributes", without_first_picture, "has no region"),
    "a region twice": ("attributes", lambda rows: [rows[0], *rows], "stands twice"),
    "regions out of order": ("attributes", lambda rows: [rows[1], rows[0], *rows[2:]], "is out of order"),
    "regions apart": ("attributes", lambda rows: [*rows[1:], rows[0]], "is apart from the other regions"),
    "a box outside": ("attributes", other_box, "does not lie in its picture of"),
    "a box of three": ("attributes", first(bbox=[1.0, 2.0, 3.0]), "cannot be checked"),
    "another id": ("attributes", first(region_id="0" * 32), "its id is not the hash of"),
    "another label": ("attributes", first(label="wolf"), "its id is not the hash of"),
    "another text": ("attributes", first(profile_text="A lie."), "its profile_text does not say"),
    "a dangling relation": ("attributes", dangling, "which its picture does not have"),
    "a failed check": ("attributes", failed, "is published although a check failed"),
    "a mask of another size": ("attributes", masked, "its mask has another size"),
    "no source": ("attributes", first(source_refs=[]), "names no source"),
    "a crop of nothing": ("crops", first(region_id="0" * 32), "its region is not published beside it"),
    "a crop twice": ("crops", lambda rows: [rows[0], *rows[:-1]], "stands twice"),
    "a crop that is no picture": ("crops", first(crop={"bytes": b"GIF", "path": "x"}), "so it is no picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_careful_forgery(out: Path, name: str) -> None:
    """Rows are changed, and every hash, size and count made to fit."""
    config, change, message = FORGERIES[name]
    rewrite(out, config, change)
    found = breaches(out)
    assert any(message in line for line in found), found
    assert not any("its bytes are not those that the manifest names" in line for line in found)


def test_published_and_rejected(out: Path) -> None:
    region = pq.read_table(out / file_of(out, "attributes")["path"]).to_pylist()[0]

    def change(rows: Rows) -> None:
        next(row for row in rows if row["kind"] == "rejected")["region_id"] = region["region_id"]

    rewrite(out, "rejections", change, "all")
    assert any(f"region {region['region_id']}: is both published and rejected" in line for line in breaches(out))
    rewrite(out, "rejections", first(kind="rejected", reason=""), "all")
    found = breaches(out)
    assert any("is rejected without a reason" in line for line in found)
    assert any("malformed are listed, the accounts say" in line for line in found)


def test_other_columns_and_other_groups(out: Path) -> None:
    path = out / file_of(out, "rejections", "all")["path"]
    pq.write_table(pq.read_table(path).drop_columns(["evidence"]), path)
    seal(out, manifest(out))
    assert any("its columns are not those of the config rejections" in line for line in breaches(out))


def test_a_row_group_that_is_too_large(out: Path) -> None:
    path = out / file_of(out, "images")["path"]
    table = pq.read_table(path)
    heavy = random.randbytes(65 << 20)
    rows = [row | {"image": {"bytes": heavy, "path": "a.jpg"}} for row in table.to_pylist()[:1]]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    assert any("row group 0 has" in line and "more than 67108864" in line for line in breaches(out))


def test_a_picture_in_two_splits(out: Path) -> None:
    moved = pq.read_table(out / file_of(out, "images")["path"]).to_pylist()[0]
    rewrite(out, "images", lambda rows: sorted([*rows, moved], key=lambda row: row["image_id"]), "test")
    assert any(f"picture {moved['image_id']}: stands twice" in line for line in breaches(out))
