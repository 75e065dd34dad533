"""What data says of itself reaches a terminal as text: none of it moves the cursor, colours, or renames the window."""

from __future__ import annotations

from pathlib import Path

import pytest

from slvr_data.commandline import plain
from tests.builds import box_of, jsonl, of_jsonl, photograph, refused, run

TITLE = "\x1b]0;owned\x07"
FORMS = ("\x1b", "\x07", "\x9b", "\u202e")


def clean(*texts: str) -> None:
    for text in texts:
        assert not any(form in text for form in FORMS), ascii(text)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of rows whose file, labels and pictures are named to be shown."""
    folder = tmp_path_factory.mktemp("names")
    data, polygons = photograph(1)
    pictures = folder / "pictures"
    pictures.mkdir()
    (pictures / "a.jpg").write_bytes(data)
    labels = (f"dog {TITLE}", "\u202eeert", "Bücherregal 本棚\u3000x")
    rows = [
        {"image": "a.jpg", "bbox": box_of(polygon[0]), "label": label}
        for polygon, label in zip(polygons, labels, strict=False)
    ]
    rows += [{"image": f"{TITLE}.jpg", "bbox": [1, 2, 30, 40], "label": "x"}, {"image": "a.jpg", "bbox": "\x9b2J"}]
    file = jsonl(folder, rows, f"rows {TITLE}.jsonl")
    done = run(*of_jsonl(file, "--workers", 1, "--out", folder / "set"))
    clean(done.stdout, done.stderr)
    return folder


def test_rejections_and_counts(base: Path) -> None:
    listed = run("rejections", base / "set").stdout
    assert "rows \\x1b]0;owned\\x07.jsonl:" in listed
    told = run("stats", base / "set").stdout
    assert "Bücherregal 本棚" in told, "words of any language stay"
    clean(listed, told)


def test_breaches(base: Path) -> None:
    odd = base / "set" / "data" / f"{TITLE}.parquet"
    odd.write_bytes(b"")
    try:
        done = run("validate", base / "set", code=1)
    finally:
        odd.unlink()
    assert "data/\\x1b]0;owned\\x07.parquet: is not named by the manifest" in done.stderr
    clean(done.stdout, done.stderr)


def test_errors(base: Path, tmp_path: Path) -> None:
    absent = tmp_path / f"{TITLE}.json"
    line = refused("build-attributes", "coco", "--annotations", absent, "--images", base, "--out", tmp_path / "set")
    assert "\\x1b]0;owned\\x07.json" in line
    clean(line, refused("stats", tmp_path / "\x9b2J"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\tc\n", "a\\x00b\\tc\\n"),
        ("\x7f\x85\u2028\u2066", "\\x7f\\x85\\u2028\\u2066"),
        ("naïve – 本棚 \u3000 👩\u200d🚀 \\x1b", "naïve – 本棚 \u3000 👩\u200d🚀 \\x1b"),
        (3, "3"),
    ],
)
def test_what_is_escaped(text: object, shown: str) -> None:
    assert plain(text) == shown
