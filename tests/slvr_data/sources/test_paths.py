"""Names below a root: what is refused by its letters, and what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr_data.sources import paths
from slvr_data.sources.base import PictureMissingError
from slvr_data.sources.paths import checked_path, read_below

ROOT = Path("/pictures")


def refused(relative: str, root: Path = ROOT, follow_links: bool = False) -> str:
    with pytest.raises(PictureMissingError) as error:
        read_below(root, relative, follow_links)
    return error.value.reason


@pytest.mark.parametrize(
    ("relative", "reason"),
    [
        ("/a.png", "path-absolute"), ("//a/b.png", "path-absolute"), ("\\a.png", "path-absolute"),
        ("C:\\a.png", "path-absolute"), ("c:a.png", "path-absolute"),
        ("a:b.png", "path-absolute"), ("\\\\host\\share\\a.png", "path-absolute"),
        ("../a.png", "path-climbs"), ("a/../b.png", "path-climbs"), ("..", "path-climbs"), ("a\\..\\b", "path-climbs"),
        ("s3://bucket/a.png", "path-address"), ("a\0.png", "path-invalid"), ("", "path-invalid"),
        (" \t", "path-invalid"), ("\ud83d.png", "path-invalid"), ("\udcff.png", "path-invalid"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("follow_links", [False, True])
def test_refused_by_its_letters(relative: str, reason: str, follow_links: bool) -> None:
    assert refused(relative, follow_links=follow_links) == reason


@given(st.text())
def test_no_name_leads_out(relative: str) -> None:
    """Whatever the name: it is refused, or lies below the root when `.` and `..` are worked out."""
    try:
        path = checked_path(ROOT, relative, follow_links=False)
    except PictureMissingError:
        return
    assert path.is_relative_to(ROOT)
    assert Path(str(path)).resolve().is_relative_to(ROOT)


@pytest.mark.parametrize("name", ["a..png", "...png", "%2e%2e/a.png", "naïve/猫.png", "a b.png", "~/a.png"])
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert read_below(tmp_path, name, follow_links=False) == b"x"


def test_links(tmp_path: Path) -> None:
    (tmp_path / "root" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "inner" / "a.png").write_bytes(b"x")
    (tmp_path / "root" / "file.png").symlink_to(tmp_path / "root" / "inner" / "a.png")
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "root" / "inner")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    for name in ("file.png", "folder/a.png"):
        assert refused(name, tmp_path / "root") == "path-link"
        assert read_below(tmp_path / "root", name, follow_links=True) == b"x"
    assert read_below(tmp_path / "link", "inner/a.png", follow_links=False) == b"x"  # the root may be a link


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "large.png").write_bytes(b"12345")
    assert refused("folder", tmp_path) == "picture-missing"
    assert refused("gone.png", tmp_path) == "picture-missing"
    assert refused("large.png/a.png", tmp_path) == "picture-unreachable"
    monkeypatch.setattr(paths, "MAX_FILE_BYTES", 4)
    assert refused("large.png", tmp_path) == "file-too-large"
