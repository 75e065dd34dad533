"""`--avoid`: what is in, or comes from, avoided pictures is kept out of train, listed and counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from pipelines.avoid import Avoiding
from pipelines.avoid_settings import AvoidedGiven, AvoidSettings
from pipelines.avoided import avoided_lines
from pipelines.engines.lost import named
from pipelines.merge import merge
from pipelines.stages.avoid import LOOKS
from slvr_data.avoid.given import open_given
from slvr_data.errors import UsageError
from tests.builds import jsonl, of_jsonl, photograph, published, rows, run, sound

BOX = [20, 20, 180, 160]
COUNT = 6
ALL_TRAIN = ("--set", "splits={train: 1, validation: 0, test: 0}", "--workers", 1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `jsonl` file over six photographs; the last is one of a test split."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "pictures").mkdir()
    for number in range(COUNT):
        (folder / "pictures" / f"{number}.jpg").write_bytes(photograph(number, size=(320, 240))[0])
    all_rows: list[dict[str, Any]] = [{"image": f"{n}.jpg", "bbox": BOX, "label": "dog"} for n in range(COUNT)]
    all_rows[-1]["split"] = "test"
    return jsonl(folder, all_rows)


def avoided(folder: Path, source: Path, *numbers: int) -> Path:
    """Crops, mirrored and encoded anew, of some of the source's pictures, and one picture of its own."""
    folder.mkdir(exist_ok=True, parents=True)
    for number in numbers:
        with Image.open(source.parent / "pictures" / f"{number}.jpg") as picture:
            ImageOps.mirror(picture.crop((30, 20, 290, 220))).save(folder / f"crop-{number}.jpg", quality=60)
    (folder / "own.jpg").write_bytes(photograph(99, size=(320, 240))[0])
    return folder


def build(source: Path, out: Path, *more: object) -> Any:
    return run(*of_jsonl(source, *ALL_TRAIN, *more, "--out", out))


def pictures(out: Path) -> set[str]:
    return {row["path"] for row in rows(out, "images")}


def manifest(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_bytes())
    return found


def listed(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / ".work" / "avoided.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set that avoids nothing; not to be changed."""
    out = tmp_path_factory.mktemp("plain") / "set"
    build(source, out)
    return out


@pytest.fixture(scope="module")
def kept(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The avoided folder, the set built with it at once, and what was said; not to be changed."""
    root = tmp_path_factory.mktemp("kept")
    folder = avoided(root / "bench", source, 1, 5)
    (folder / "broken.png").write_bytes(b"\x89PNG no more")
    done = build(source, root / "set", "--avoid", folder)
    sound(root / "set")
    return folder, root / "set", done.stdout + done.stderr


def test_a_crop_of_an_avoided_picture_is_kept_out_of_train(kept: tuple[Path, Path, str]) -> None:
    _, out, _ = kept
    assert pictures(out) == {f"{n}.jpg" for n in range(COUNT) if n != 1}
    (row,) = rows(out, "rejections")
    assert (row["stage"], row["check"], row["reason"]) == ("publish", "avoid", "in-avoided")
    assert "crop-1.jpg of bench, mirrored" in row["evidence"]
    accounts = manifest(out)["accounts"]
    assert accounts["regions"] == COUNT == accounts["published"] + accounts["rejected"]
    assert (accounts["pictures_kept_out"], accounts["pictures_avoided_elsewhere"]) == (1, 1)


def test_what_other_splits_hold_is_listed_and_stays(kept: tuple[Path, Path, str]) -> None:
    _, out, _ = kept
    found = {line["files"][0]["path"]: line for line in listed(out) if "files" in line}
    assert {path: (line["split"], line["kept_out"]) for path, line in found.items()} == {
        "1.jpg": ("train", True), "5.jpg": ("test", False),
    }  # fmt: skip
    assert found["5.jpg"]["avoided"]["name"] == "crop-5.jpg" and found["5.jpg"]["mirrored"]
    assert found["5.jpg"]["box"] == pytest.approx([30 / 320, 20 / 240, 290 / 320, 220 / 240], abs=0.03)


def test_an_avoided_picture_that_cannot_be_read_is_a_hole_that_is_told(kept: tuple[Path, Path, str]) -> None:
    folder, out, said = kept
    assert "1 of 4 pictures" in said and "NOT" in said and "broken.png" in said
    assert [line["unreadable"]["name"] for line in listed(out) if "unreadable" in line] == ["broken.png"]
    told = manifest(out)["configuration"]["avoid"]
    assert told["given"] == [{"name": "bench", "pictures": 3, "unreadable": 1}] and len(told["index"]) == 64
    assert str(folder) not in (out / "manifest.json").read_text(), "no path of this machine"
    assert "| bench | 3 | 1 |" in (out / "README.md").read_text()


def test_the_pairs_are_shown_side_by_side(kept: tuple[Path, Path, str]) -> None:
    _, out, _ = kept
    done = run("avoided", out)
    assert "kept out: 1.jpg" in done.stdout and "in test: 5.jpg" in done.stdout and "broken.png" in done.stdout
    page = (out / ".work" / "avoided.html").read_text()
    assert page.count("<article") == 2 and page.count("data:image/jpeg;base64,") == 4
    assert "crop-1.jpg" in page and "broken.png" in page


def test_a_published_set_loses_the_pictures_and_gets_them_back(
    tmp_path: Path, source: Path, plain: Path, kept: tuple[Path, Path, str]
) -> None:
    folder, at_once, _ = kept
    out = tmp_path / "set"
    shutil.copytree(plain, out)
    build(source, out, "--avoid", folder)
    assert published(out) == published(at_once)
    before = {path.name: path.stat().st_mtime_ns for path in (out / ".work" / "compared").iterdir()}
    build(source, out)  # it remembers, and compares nothing again
    assert published(out) == published(at_once)
    assert {path.name: path.stat().st_mtime_ns for path in (out / ".work" / "compared").iterdir()} == before
    build(source, out, "--avoid", "none")
    assert published(out) == published(plain)
    run("build-multiquery", out, "--workers", 1)
    said = build(source, out, "--avoid", folder).stderr
    assert f"what is avoided has changed: run slvr-data build-multiquery {out} again" in said


def test_a_picture_that_ended_its_workers_while_it_was_compared(
    tmp_path: Path, source: Path, kept: tuple[Path, Path, str]
) -> None:
    """It stays unfinished, is published by nobody, and is compared by the next build."""
    _, at_once, _ = kept
    out = tmp_path / "set"
    shutil.copytree(at_once, out)
    compared = out / ".work" / "compared"
    shard = next(path for path in sorted(compared.iterdir()) if not has_match(path))
    ids = pq.read_table(shard / "looks.parquet", columns=["image_id"])["image_id"].to_pylist()
    index, _, name = shard.name.partition("-")
    shutil.rmtree(shard)
    (compared / f"{index}-lost-{name}").mkdir()
    lost = pa.Table.from_pylist([{"image_id": image_id} for image_id in ids], schema=LOOKS)
    pq.write_table(lost, compared / f"{index}-lost-{name}" / "looks.parquet")
    with pytest.raises(UsageError, match=f"{len(ids)} pictures have ended every worker .*--unfinished"):
        merge([out], tmp_path / "merged", [])
    run("publish", out)
    accounts = manifest(out)["accounts"]
    assert accounts["regions_unfinished"] == len(ids)
    assert accounts["published"] + accounts["rejected"] + accounts["regions_unfinished"] == COUNT
    build(source, out)
    assert published(out) == published(at_once)
    assert not list(compared.glob("*-lost-*"))


def has_match(shard: Path) -> bool:
    found = pq.read_table(shard / "looks.parquet", columns=["how"])["how"]
    return bool(found.null_count < len(found))


def test_a_build_that_was_stopped_before_comparing_is_not_published(
    tmp_path: Path, source: Path, kept: tuple[Path, Path, str]
) -> None:
    """What a run says in the settings before it compares, and then is killed."""
    _, at_once, _ = kept
    out = tmp_path / "set"
    shutil.copytree(at_once, out)
    shutil.rmtree(out / ".work" / "compared")
    settings = json.loads((out / ".work" / "settings.json").read_bytes())
    for index in ("", settings["avoid"]["index"]):
        settings["avoid"]["index"] = index
        (out / ".work" / "settings.json").write_text(json.dumps(settings))
        done = run("publish", out, "--no-crops", code=None)
        assert done.returncode != 0 and "compared with what is avoided" in done.stderr
        assert published(out) == published(at_once)


def test_a_change_of_the_avoided_folder_is_noticed(tmp_path: Path, source: Path) -> None:
    folder = avoided(tmp_path / "bench", source, 1)
    elsewhere = pa.array(
        [{"bytes": None, "path": ".later/3.jpg"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    pq.write_table(pa.table({"image": elsewhere}), folder / "paths.parquet")
    out = tmp_path / "set"
    build(source, out, "--avoid", folder, "--shard-size", 2)
    first = manifest(out)["configuration"]["avoid"]["index"]
    avoided(folder, source, 2)
    (folder / ".later").mkdir()  # what a table names may come later than the table
    shutil.copy(source.parent / "pictures" / "3.jpg", folder / ".later")
    assert "has changed" in build(source, out).stderr
    assert pictures(out) == {"0.jpg", "4.jpg", "5.jpg"}
    assert manifest(out)["configuration"]["avoid"]["index"] != first
    shutil.rmtree(folder)
    lost, *others = sorted((out / ".work" / "compared").iterdir())
    shutil.rmtree(lost)  # as in a run that was killed
    stamps, bytes_before = {path: path.stat().st_mtime_ns for path in others}, published(out)
    assert "is not there any more" in build(source, out).stderr
    assert published(out) == bytes_before
    assert {path: path.stat().st_mtime_ns for path in others} == stamps, "what was compared is not compared again"


def test_parts_and_their_merge_make_the_same_set(tmp_path: Path, source: Path, kept: tuple[Path, Path, str]) -> None:
    folder, at_once, _ = kept
    parts = [tmp_path / str(part) for part in range(2)]
    for number, part in enumerate(parts):
        run(*of_jsonl(source, *ALL_TRAIN, "--shard", f"{number}/2", "--avoid", folder, "--out", part))
    run("merge", *parts, "--out", tmp_path / "whole")
    assert published(tmp_path / "whole") == published(at_once)


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_part_that_was_stopped_before_comparing_is_to_be_run_again(
    tmp_path: Path, kept: tuple[Path, Path, str], unfinished: bool
) -> None:
    _, at_once, _ = kept
    stopped = tmp_path / "stopped"
    shutil.copytree(at_once, stopped)
    settings = json.loads((stopped / ".work" / "settings.json").read_bytes())
    settings["avoid"]["index"] = ""
    (stopped / ".work" / "settings.json").write_text(json.dumps(settings))
    for parts in ([at_once, stopped], [stopped, at_once], [stopped]):
        with pytest.raises(UsageError, match=f"^{stopped} was stopped before it compared .*: run it again"):
            merge(parts, tmp_path / "merged", [], unfinished)
    assert not (tmp_path / "merged").exists()


def test_parts_that_avoid_less_than_the_set_are_refused(
    tmp_path: Path, plain: Path, kept: tuple[Path, Path, str]
) -> None:
    folder, at_once, _ = kept
    out = tmp_path / "set"
    shutil.copytree(at_once, out)
    with pytest.raises(UsageError, match=f"avoids the pictures of {folder}, and the parts do not"):
        merge([plain], out, [])
    assert published(out) == published(at_once)


def test_a_list_that_is_older_than_what_is_avoided(tmp_path: Path, kept: tuple[Path, Path, str]) -> None:
    """A build was stopped after it compared with another folder, before it published."""
    _, at_once, _ = kept
    out = tmp_path / "set"
    shutil.copytree(at_once, out)
    assert avoided_lines(out)
    path = out / ".work" / "settings.json"
    path.write_text(path.read_text().replace(manifest(out)["configuration"]["avoid"]["index"], "0" * 64))
    with pytest.raises(UsageError, match="since what it avoids has changed: run its build again"):
        avoided_lines(out)


def test_a_set_and_a_table_may_be_avoided(tmp_path: Path, source: Path, plain: Path) -> None:
    """The published pictures of a set are the same files: nothing but the test picture is left."""
    out = tmp_path / "set"
    build(source, out, "--avoid", plain)
    assert pictures(out) == {"5.jpg"}
    assert {line["how"] for line in listed(out)} == {"same-file"}


def test_names_that_make_no_sense(tmp_path: Path) -> None:
    for told, words in ((["none", "bench"], "give it alone"), ([str(tmp_path / "set")], "is the set itself")):
        with pytest.raises(UsageError, match=words):
            Avoiding(told, None, tmp_path / "set", print)
    assert Avoiding(None, None, tmp_path, print).intended() is None


def test_what_holds_the_set_cannot_be_avoided(tmp_path: Path) -> None:
    avoided(tmp_path / "data", tmp_path)
    avoided(tmp_path / "data" / "set" / "inside", tmp_path)
    out = tmp_path / "data" / "set"
    for told, words in ((tmp_path / "data", "holds the set itself"), (out / "inside", "is a part of the set itself")):
        with pytest.raises(UsageError, match=words):
            Avoiding([str(told)], None, out, print)
    given = AvoidedGiven(path=str(tmp_path / "data"), name="data", chunks=[], pictures=1, unreadable=0)
    known = AvoidSettings(index="0", method="", given=[given])
    with pytest.raises(UsageError, match=r"holds the set itself .*--avoid none"):
        Avoiding(None, known, out, print)
    assert Avoiding(["none"], known, out, print).anew


def test_the_order_is_that_of_names_not_of_places(tmp_path: Path) -> None:
    """Machines mount folders elsewhere; a table without pictures is told of."""
    said: list[str] = []
    for one, other in (("1", "2"), ("2", "1")):
        named_so = [avoided_at(tmp_path / f"{one}/apes"), avoided_at(tmp_path / f"{other}/zoo")]
        settings = Avoiding(named_so, None, tmp_path / "set", said.append).intended()
        assert settings is not None and [given.name for given in settings.given] == ["apes", "zoo"]
        assert [given.path for given in settings.given] == named_so
    assert "without a column of pictures are passed over: questions.parquet" in said[0]
    assert "neither pictures nor tables are passed over: 1 .txt" in said[1]


def avoided_at(folder: Path) -> str:
    avoided(folder, folder)
    pq.write_table(pa.table({"question": ["what is it?"]}), folder / "questions.parquet")
    (folder / "labels.txt").write_text("dog")
    return str(folder)


def test_a_chunk_that_ends_its_workers_is_named(tmp_path: Path) -> None:
    (chunk,) = open_given(str(avoided(tmp_path / "bench", tmp_path))).chunks
    assert named("describe_avoided", (chunk,)) == f"reading own.jpg in {tmp_path}/bench, which --avoid names,"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (["{broken}"], "not one of its 1 pictures can be read"),
        (["{nulls}"], "with slvr-data attach"),
    ],
)
def test_what_is_refused_leaves_nothing_half(tmp_path: Path, source: Path, told: list[str], words: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "nulls").mkdir()
    nothing = pa.array([None], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": nothing}), tmp_path / "nulls" / "a.parquet")
    named = [word.format_map({name: tmp_path / name for name in ("broken", "nulls")}) for word in told]
    options = [part for name in named for part in ("--avoid", name)]
    done = run(*of_jsonl(source, *ALL_TRAIN, *options, "--out", tmp_path / "set"), code=2)
    assert words in done.stderr
    assert not (tmp_path / "set" / "manifest.json").exists()
