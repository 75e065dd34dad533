"""The configuration: where values come from, which win, what is refused and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.config import BuildConfig, load_config
from slvr_data.errors import UsageError
from tests.support import write_coco, write_jsonl

SCENES: dict[str, Any] = {"sources": [{"kind": "scenes"}], "out": Path("set")}


def told(text: str, tmp_path: Path, *assignments: str, **options: Any) -> BuildConfig:
    (tmp_path / "config.yaml").write_text(text)
    return load_config(tmp_path / "config.yaml", options, list(assignments))


def refused(*assignments: str, **options: Any) -> str:
    with pytest.raises(UsageError) as error:
        load_config(None, SCENES | options, list(assignments))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_file_then_options_then_assignments(tmp_path: Path) -> None:
    text = "{sources: [{kind: scenes}], out: there, seed: 1, limit: 10, crop: {padding: 0.5, quality: 80}}"
    config = told(text, tmp_path, "crop.padding=0.25", seed=2, limit=None)
    assert (config.seed, config.limit) == (2, 10)
    assert (config.crop.padding, config.crop.quality, config.crop.min_side) == (0.25, 80, 8)
    assert config.out == tmp_path / "there"


def test_paths_in_a_file_are_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sub" / "pictures").mkdir(parents=True)
    write_coco(tmp_path / "sub" / "a.json", [], [])
    rows = write_jsonl(tmp_path / "sub" / "rows.jsonl", [])
    text = f"""
    out: there
    sources:
    - {{kind: coco, annotations: a.json, images: pictures, license: CC0, split: val}}
    - {{kind: jsonl, name: mine, annotations: [{rows}], images: {rows.parent}}}
    """
    (tmp_path / "sub" / "config.yaml").write_text(text)
    first, second = load_config(tmp_path / "sub" / "config.yaml", {}, []).sources
    assert (first.name, second.name) == ("coco", "mine")
    assert first.annotations == [tmp_path / "sub" / "a.json"] and first.images == tmp_path / "sub" / "pictures"
    assert second.annotations == [rows] and second.images == rows.parent
    assert (first.license, first.split) == ("CC0", "val")


def test_assignments_reach_into_lists_and_make_what_is_not_there() -> None:
    config = load_config(None, SCENES, ["sources.0.level=full", "sources.0.name=mine", "publish.licenses=[CC0, MIT]"])
    assert config.sources[0].level == "full" and config.sources[0].name == "mine"
    assert config.publish.licenses == ["CC0", "MIT"]


def test_sources_are_named_by_kind_and_level() -> None:
    sources = [{"kind": "scenes"}, {"kind": "scenes", "level": "full"}]
    assert [s.name for s in load_config(None, SCENES | {"sources": sources}, []).sources] == [
        "scenes-easy",
        "scenes-full",
    ]


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("crop.pading=1", "unknown setting 'crop.pading': did you mean 'padding'?"),
        ("anotator=exact", "unknown setting 'anotator': did you mean 'annotator'?"),
        ("sources.0.levle=full", "unknown setting 'sources.0.levle': did you mean 'level'?"),
        ("picture.max_pixel=5", "unknown setting 'picture.max_pixel': did you mean 'max_pixels'?"),
        ("publsh.embed=true", "unknown setting 'publsh': did you mean 'publish'?"),
        ("zzz=1", "unknown setting 'zzz'"),
        ("crop.padding=wide", "crop.padding = 'wide': Input should be a valid number"),
        ("crop.padding=-1", "crop.padding = -1: Input should be greater than or equal to 0"),
        ("crop.padding=.nan", "crop.padding = nan"),
        ("crop.quality=101", "crop.quality = 101"),
        ("crop.max_side=30.5", "crop.max_side = 30.5: Input should be a valid integer"),
        ("publish.max_group_mb=65", "publish.max_group_mb = 65"),
        ("publish.pictures=none", "publish.pictures = 'none': Input should be 'embed' or 'reference'"),
        ("splits.train=0.5", "splits: train + validation + test = 0.6, must be 1"),
        ("sources=coco", "sources = 'coco': Input should be a valid list"),
        ("sources.0.kind=voc", "sources.0.kind = 'voc': Input should be 'coco', 'jsonl'"),
        ("sources.0.count=0", "sources.0.count = 0"),
        ("sources.0.name=../up", "source name '../up': use letters, digits"),
        ("sources.0.name=.work", "source name '.work'"),
        ("shard=2/2", "shard 2/2: i/n needs 0 <= i < n"),
        ("shard=one", "shard = 'one'"),
        ("seed=1.5", "seed = 1.5"),
        ("out=", "out = None"),
        ("crop.padding", "--set crop.padding: write key=value"),
        ("=1", "--set =1: write key=value"),
        ("sources.7.level=easy", "there is no element '7'"),
        ("sources.first.level=easy", "there is no element 'first'"),
        ("sources.0=easy", "name a setting of one element"),
        ("seed.a=1", "seed: Input should be a valid integer"),
        ("out.a=1", "'out' holds a value, not settings"),
    ],
)
def test_what_does_not_fit_is_named(assignment: str, says: str) -> None:
    assert says in refused(assignment)


def test_two_sources_of_one_name_are_refused() -> None:
    assert "two sources are named 'scenes-easy'" in refused(sources=[{"kind": "scenes"}, {"kind": "scenes"}])


def test_embedding_what_is_not_shipped_is_refused() -> None:
    assert "embed" in refused("publish.embed=true", "publish.pictures=reference")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sources: [", "not YAML"),
        ("", "holds no settings"),
        ("just words", "holds no settings"),
        ("- a\n- b", "holds no settings"),
        ("out: set\n1: 2", "1: Keys should be strings"),
        ("out: set\nsources:", "sources"),
        ("out: set\nsources: []", "names no source"),
        ("out: set\nsources: [coco]", "sources.0"),
        ("out: set\nsources: [{kind: coco}]", "source coco: no annotation file"),
        ("out: set\nsources: [{kind: coco, annotations: gone.json}]", "no picture root"),
        ("out: set\nsources: [{kind: coco, annotations: gone.json, images: gone}]", "is not a folder"),
        ("out: set\nsources: [{kind: coco, annotations: gone.json, images: .}]", "gone.json' is not a file"),
        (
            "out: set\nsources: [{kind: scenes}]\nlimits: 3",
            "config.yaml: unknown setting 'limits': did you mean 'limit'?",
        ),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        told(text, tmp_path)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"out: caf\xe9")
    with pytest.raises(UsageError, match=r"config\.yaml: not YAML: .*utf-8"):
        load_config(tmp_path / "config.yaml", {}, [])


def test_only_settings_that_decide_data_are_kept() -> None:
    """Where, how fast and in which parts does not matter; the annotator's settings only where it is used."""
    one = load_config(None, SCENES, [])
    same = load_config(None, SCENES, ["workers=3", "shard_size=9", "limit=7", "shard=1/3", "publish.embed=true"])
    assert one.affects_data() == same.affects_data()
    for assignment in (
        "seed=1",
        "crop.padding=0.1",
        "picture.quality=90",
        "annotator=exact",
        "measured.max_relations=1",
    ):
        assert load_config(None, SCENES, [assignment]).affects_data() != one.affects_data(), assignment
    assert not [key for key in load_config(None, SCENES, ["annotator=exact"]).affects_data() if "measured" in key]
