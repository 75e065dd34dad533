"""Names of pictures that lead out of the root, or through links: refused by their letters, each with the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Published, build, encoded, picture, slvr_data, write_coco, write_jsonl, write_pictures

BOX = [10, 10, 50, 40]
REFUSED = {
    "/etc/passwd": ("path-absolute", "relative to the picture root"),
    "//host/share/a.png": ("path-absolute", "relative to the picture root"),
    "C:\\pictures\\a.png": ("path-absolute", "relative to the picture root"),
    "C:a.png": ("path-absolute", "relative to the picture root"),
    "\\\\host\\share\\a.png": ("path-absolute", "relative to the picture root"),
    "../outside.png": ("path-climbs", "without '..'"),
    "inner/../../outside.png": ("path-climbs", "without '..'"),
    "inner/../sound.png": ("path-climbs", "without '..'"),
    "..\\outside.png": ("path-climbs", "without '..'"),
    "nul\0.png": ("path-invalid", "not a file name"),
    "   ": ("path-invalid", "not a file name"),
    "https://example.org/a.png": ("path-address", "download the pictures"),
    "file:///etc/passwd": ("path-address", "download the pictures"),
    "linked.png": ("path-link", "--follow-links"),
    "folder/outside.png": ("path-link", "--follow-links"),
    "inner/linked.png": ("path-link", "--follow-links"),
    "dangling.png": ("path-link", "--follow-links"),
    "sound.png/a.png": ("picture-unreachable", "Not a directory"),
    "inner": ("picture-missing", "not a regular file"),
}
SOUND = ["sound.png", "./inner/deep.png", "inner//deep.png"]
NAMES = [*REFUSED, *SOUND]
LINKS = ["linked.png", "folder/outside.png", "inner/linked.png"]


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of pictures with links in it, itself reached through a link, and both forms of rows."""
    folder = tmp_path_factory.mktemp("paths")
    write_pictures(folder / "elsewhere", {"outside.png": encoded(picture(seed=3))})
    root = write_pictures(
        folder / "real", {"sound.png": encoded(picture(seed=1)), "inner/deep.png": encoded(picture(seed=2))}
    )
    (root / "linked.png").symlink_to(folder / "elsewhere" / "outside.png")
    (root / "inner" / "linked.png").symlink_to(root / "sound.png")
    (root / "folder").symlink_to(folder / "elsewhere")
    (root / "dangling.png").symlink_to(root / "gone.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    (folder / "pictures").symlink_to(root)
    write_jsonl(folder / "rows.jsonl", [{"image": n, "bbox": BOX, "id": i} for i, n in enumerate(NAMES)])
    images = [{"id": n, "file_name": name} for n, name in enumerate(NAMES)]
    notes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [10, 10, 40, 30]} for n in range(len(NAMES))]
    write_coco(folder / "instances.json", images, notes)
    return folder


@pytest.fixture(scope="module", params=["coco", "jsonl"])
def published(request: pytest.FixtureRequest, laid_out: Path) -> Published:
    file = laid_out / {"coco": "instances.json", "jsonl": "rows.jsonl"}[request.param]
    out = laid_out / request.param
    return Published(out, build(request.param, out, "--images", laid_out / "pictures", "--annotations", file).stderr)


@pytest.mark.parametrize("name", REFUSED, ids=[name.encode("unicode_escape").decode() for name in REFUSED])
def test_a_path_is_refused(published: Published, name: str) -> None:
    reason, says = REFUSED[name]
    found = published.rejected(NAMES.index(name) + 1)
    assert found is not None
    assert (found["stage"], found["check"], found["reason"]) == ("read", "row", reason), found["evidence"]
    assert repr(name) in found["evidence"] and says in found["evidence"]
    assert found["image_id"] is None  # nothing was read


def test_the_sound_ones_are_published(published: Published) -> None:
    """Two ways to write one path are two rows of one region."""
    published.check(rows=len(NAMES))
    assert published.accounts["published"] == 2 and published.accounts["merged"] == 1
    assert sorted(row["path"] for row in published.rows("images")) == ["./inner/deep.png", "sound.png"]


def test_links_are_followed_on_demand(laid_out: Path) -> None:
    file = write_jsonl(
        laid_out / "links.jsonl", [{"image": n, "bbox": BOX} for n in [*LINKS, "dangling.png", "loop.png"]]
    )
    options = ("--images", laid_out / "pictures", "--annotations", file)
    build("jsonl", laid_out / "followed", *options, "--follow-links")
    found = Published(laid_out / "followed")
    found.check(rows=5)
    assert {r["line"]: r["reason"] for r in found.rejections} == {4: "picture-missing", 5: "picture-unreachable"}
    assert found.accounts["pictures_published"] == 2  # two of the links lead to one picture


def test_attach_refuses_links_too(laid_out: Path, tmp_path: Path) -> None:
    """A set by reference gets no picture through a link, unless told so."""
    file = write_jsonl(laid_out / "one.jsonl", [{"image": "linked.png", "bbox": BOX}])
    options = ("--images", laid_out / "pictures", "--annotations", file)
    build("jsonl", tmp_path / "set", *options, "--follow-links", "--set", "publish.pictures=reference")
    shown = slvr_data("attach", tmp_path / "set", "--images", laid_out / "pictures", code=1)
    assert "passes through a symbolic link: allow it with --follow-links" in shown.stderr
    slvr_data("attach", tmp_path / "set", "--images", laid_out / "pictures", "--follow-links")
    Published(tmp_path / "set").check(rows=1)
