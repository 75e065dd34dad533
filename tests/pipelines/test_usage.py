"""What the command line says to wrong options, missing files and bad configuration: one line, exit code 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import (
    Published,
    build,
    encoded,
    heed_permissions,
    picture,
    refusal,
    refused_here,
    slvr_data,
    write_coco,
    write_jsonl,
    write_pictures,
)

CASES: dict[str, tuple[str, str]] = {
    "no source": ("build-attributes --out new", "name a SOURCE (coco, jsonl, scenes, scenes:full, visual-cot"),
    "unknown source": ("build-attributes voc --out new", "unknown source 'voc': known are coco, jsonl, scenes"),
    "unknown level": ("build-attributes scenes:hard --out new", "unknown source 'scenes:hard'"),
    "coco has no level": ("build-attributes coco:easy --out new", "unknown source 'coco:easy'"),
    "no out": ("build-attributes scenes", "--out DIR is missing: name the folder of the set"),
    "no annotations": ("build-attributes coco --images pictures --out new", "give --annotations FILE"),
    "no images": ("build-attributes coco --annotations instances.json --out new", "give --images DIR"),
    "annotations are not there": (
        "build-attributes coco --images pictures --annotations gone.json --out new",
        "--annotations 'gone.json' is not a file",
    ),
    "annotations are a folder": (
        "build-attributes jsonl --images pictures --annotations pictures --out new",
        "--annotations 'pictures' is not a file",
    ),
    "two files of one name": (
        "build-attributes jsonl --images pictures --annotations rows.jsonl --annotations other/rows.jsonl --out new",
        "two annotation files are named rows.jsonl: make them two sources",
    ),
    "images are a file": (
        "build-attributes coco --images instances.json --annotations instances.json --out new",
        "--images instances.json is not a folder",
    ),
    "images with scenes": ("build-attributes scenes --images pictures --out new", "scenes are drawn"),
    "source and config": ("build-attributes scenes --config good.yaml --out new", "both name sources"),
    "images and config": (
        "build-attributes --config good.yaml --images pictures --out new",
        "write them into the file",
    ),
    "exact of coco": (
        "build-attributes coco --images pictures --annotations instances.json --annotator exact --out new",
        "the annotator 'exact' knows the truth of scenes only, not of coco",
    ),
    "unknown annotator": ("build-attributes scenes --annotator gpt --out new", "annotator = 'gpt': Input should be"),
    "shard outside": ("build-attributes scenes --shard 3/2 --out new", "shard 3/2: i/n needs 0 <= i < n"),
    "shard of nothing": ("build-attributes scenes --shard 0/0 --out new", "shard 0/0: i/n needs 0 <= i < n"),
    "shard in words": ("build-attributes scenes --shard first --out new", "shard = 'first'"),
    "limit 0": ("build-attributes scenes --limit 0 --out new", "limit = 0: Input should be greater than or equal to 1"),
    "limit in words": ("build-attributes scenes --limit many --out new", "Invalid value for '--limit'"),
    "workers 0": ("build-attributes scenes --workers 0 --out new", "workers = 0: Input should be greater"),
    "unknown option": ("build-attributes scenes --anotator exact --out new", "No such option: --anotator"),
    "unknown command": ("build-atributes scenes --out new", "No such command 'build-atributes'"),
    "unknown setting": (
        "build-attributes scenes --out new --set crop.pading=0.2",
        "unknown setting 'crop.pading': did you mean 'padding'?",
    ),
    "setting without value": ("build-attributes scenes --out new --set crop.padding", "write key=value"),
    "setting of a wrong type": (
        "build-attributes scenes --out new --set crop.padding=wide",
        "crop.padding = 'wide': Input should be a valid number",
    ),
    "setting out of range": ("build-attributes scenes --out new --set crop.quality=101", "crop.quality = 101"),
    "setting that is none": ("build-attributes scenes --out new --set crop=3", "crop = 3"),
    "source that is none": ("build-attributes scenes --out new --set sources.5.name=a", "there is no element '5'"),
    "config is not there": ("build-attributes --config gone.yaml --out new", "--config gone.yaml is not a file"),
    "config is a folder": ("build-attributes --config pictures --out new", "--config pictures is not a file"),
    "config is not YAML": ("build-attributes --config bad.yaml --out new", "--config bad.yaml: not YAML"),
    "config has no sources": ("build-attributes --config seed.yaml --out new", "names no source"),
    "empty jsonl": (
        "build-attributes jsonl --images pictures --annotations empty.jsonl --out new",
        "no rows in jsonl: the source is empty",
    ),
    "out holds something else": ("build-attributes scenes --out pictures", "holds something else (a.png)"),
    "out is a file": ("build-attributes scenes --out rows.jsonl", "--out rows.jsonl is a file: name a folder"),
    "out is below a file": ("build-attributes scenes --out rows.jsonl/new", "cannot be made: Not a directory"),
    "out cannot be made": ("build-attributes scenes --out /proc/new", "--out /proc/new cannot be made"),
    "validate nothing": ("validate pictures", "pictures holds no published set: manifest.json is missing"),
    "validate nowhere": ("validate gone", "gone holds no published set"),
    "preview nothing": ("preview pictures", "pictures holds no published set"),
    "preview of no pictures": ("preview set --pictures 0", "Invalid value for '--pictures'"),
    "preview into nowhere": ("preview set --html gone/page.html", "there is no folder gone"),
    "stats of nothing": ("stats pictures", "pictures holds no published set"),
    "status of nothing": ("status pictures", "pictures is not the folder of a set"),
    "rejections of nothing": ("rejections rows.jsonl", "rows.jsonl"),
    "publish nothing": ("publish pictures", "pictures has no working files (.work)"),
    "publish in no form": ("publish set --pictures thumbnails", "thumbnails"),
    "publish what contradicts": ("publish set --pictures reference --embed", "embed"),
    "publish to a full folder": ("publish set --to pictures", "--to pictures is not empty"),
    "attach from nowhere": ("attach set --images gone", "--images gone is not a folder"),
    "merge nothing": ("merge pictures --out new", "pictures is not a part"),
    "merge without parts": ("merge --out new", "Missing argument 'PART...'"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_set: Published) -> Path:
    """Where the commands run: files good and bad, and a set."""
    folder = tmp_path_factory.mktemp("usage")
    write_pictures(folder / "pictures", {"a.png": encoded(picture())})
    write_jsonl(folder / "rows.jsonl", [{"image": "a.png", "bbox": [10, 10, 50, 40]}])
    write_pictures(folder / "other", {"rows.jsonl": b""})
    write_coco(folder / "instances.json", [{"id": 1, "file_name": "a.png"}], [])
    (folder / "empty.jsonl").write_bytes(b"\n  \n")
    (folder / "good.yaml").write_text("sources: [{kind: scenes}]\n")
    (folder / "bad.yaml").write_text("sources: [{kind: scenes\n")
    (folder / "seed.yaml").write_text("seed: 3\n")
    (folder / "set").symlink_to(small_set.folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_call_gets_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    command, says = CASES[name]
    monkeypatch.chdir(folder)
    before = sorted(path for path in folder.rglob("*") if "new" not in path.parts)
    assert says in refused_here(capfd, *command.split())
    assert sorted(path for path in folder.rglob("*") if "new" not in path.parts) == before
    assert not (folder / "new" / "manifest.json").exists()


@pytest.mark.parametrize(
    "name", ["no source", "limit in words", "unknown setting", "out is a file", "validate nothing"]
)
def test_the_real_command_says_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A few of the calls above in a process of their own."""
    command, says = CASES[name]
    monkeypatch.chdir(folder)
    assert says in refusal(slvr_data(*command.split(), code=2))


def test_an_annotation_file_that_cannot_be_read(tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [])
    rows.chmod(0)
    options = ("--images", tmp_path, "--annotations", rows)
    found = build("jsonl", tmp_path / "set", *options, code=2, before=heed_permissions)
    if "is empty" in found.stderr:
        pytest.skip("this user can read files without permission, and cannot give that up")
    assert "rows.jsonl' is not readable" in refusal(found)


def test_an_annotation_file_whose_name_is_no_text(tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / os.fsdecode(b"caf\xe9.jsonl"), [{"image": "a.png", "bbox": [10, 10, 50, 40]}])
    found = build("jsonl", tmp_path / "set", "--images", tmp_path, "--annotations", rows, code=2)
    assert "the name is not UTF-8: rename the file" in refusal(found)


def test_a_working_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where a folder must be made: no such thing is expected, and still no traceback comes."""
    (tmp_path / "set" / ".work").mkdir(parents=True)
    (tmp_path / "set" / ".work" / "slvr").touch()
    (tmp_path / "set" / ".work" / "lock").mkdir()
    found = refusal(slvr_data("build-attributes", "scenes", "--out", tmp_path / "set", code=1))
    assert str(tmp_path / "set" / ".work" / "lock") in found


def test_settings_that_are_damaged_are_named(tmp_path: Path) -> None:
    (tmp_path / "set" / ".work").mkdir(parents=True)
    (tmp_path / "set" / ".work" / "slvr").touch()
    (tmp_path / "set" / ".work" / "settings.json").write_text("{")
    found = refusal(slvr_data("build-attributes", "scenes", "--out", tmp_path / "set", code=2))
    assert "settings.json is damaged" in found
