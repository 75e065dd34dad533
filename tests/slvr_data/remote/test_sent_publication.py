"""A publication at an address: at every moment one whole set, and killed anywhere, the next run completes it."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slvr_data import card
from slvr_data.manifest import load_manifest
from slvr_data.remote.holding import LostError
from slvr_data.remote.place import Place
from slvr_data.remote.record import Record
from slvr_data.remote.sending import Sending
from tests.builds import published
from tests.remotes import build, published_at

CHANGES = ("write", "put", "remove")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before") / "set"
    build(folder, folder, count=6)
    return folder


@pytest.fixture(scope="module")
def after(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same set, grown."""
    folder = tmp_path_factory.mktemp("after") / "set"
    shutil.copytree(before, folder)
    build(folder, folder, count=20)
    return folder


class Killed(BaseException):
    """SIGKILL, as far as the store can tell."""


@pytest.fixture
def place(before: Path) -> Place:
    place = Place(f"memory://{uuid.uuid4().hex}/set")
    send(place, before)
    return place


def send(place: Place, folder: Path, confirm: Callable[[], None] = lambda: None) -> bool:
    return Sending(place, folder, Record(), folder.parent / "mirror.json").publication(confirm)


def watched(monkeypatch: pytest.MonkeyPatch, look: Callable[[str, str], None]) -> None:
    """`look(method, name)` before each change of the place."""
    for method in CHANGES:
        change = getattr(Place, method)

        def noted(self: Place, one: Any, *rest: Any, method: str = method, change: Any = change) -> None:
            names = list(one) if method == "remove" else one
            look(method, str(names if method == "remove" else rest[0] if method == "put" else one))
            change(self, names, *rest)

        monkeypatch.setattr(Place, method, noted)


def whole(place: Place) -> None:
    """Whoever reads now finds all that manifest and card name."""
    folder = Path(place.address)
    for file in load_manifest(folder).files:
        if file.config != "card" and file.path.startswith("data/"):
            assert hashlib.sha256(place.read(file.path)).hexdigest() == file.sha256
    told = card.data_files(place.read("README.md").decode())
    paths = [path for config in told for split in config["data_files"] for path in split["path"]]
    assert paths
    assert place.names().keys() >= set(paths)


def test_it_appears_in_the_documented_order(place: Place, after: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[tuple[str, str]] = []

    def look(method: str, name: str) -> None:
        whole(place)
        changes.append((method, name))

    watched(monkeypatch, look)
    assert send(place, after)
    whole(place)
    kinds = [name if method == "write" else method for method, name in changes]
    assert kinds[0] == "put"
    assert [kind for kind in kinds if kind != "put"] == ["manifest.json", "README.md", "remove", "run.json"]
    assert not send(place, after)
    assert published_at(place) == published(after)


def test_killed_before_any_change_the_next_run_completes_it(
    before: Path, after: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 0
    while True:
        place = Place(f"memory://{uuid.uuid4().hex}/set")
        send(place, before)
        left = number

        def strike(method: str, name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        try:
            with monkeypatch.context() as patch:
                watched(patch, strike)
                send(place, after)
            break
        except Killed:
            whole(place)
        send(place, after)
        assert published_at(place) == published(after)
        number += 1
    assert number > 6


def test_an_object_that_somebody_removed_comes_back_and_others_files_stay(place: Place, before: Path) -> None:
    gone = next(name for name in place.names("data") if "attributes" in name)
    place.remove([gone])
    place.write("data/attributes/notes.txt", b"somebody's own")
    place.write("data/attributes/train-00007-0123456789ab.parquet", b"of a publication before")
    assert send(place, before)
    assert place.exists(gone)
    assert place.exists("data/attributes/notes.txt")
    assert not place.exists("data/attributes/train-00007-0123456789ab.parquet")


def test_a_driver_that_was_replaced_while_it_sent_shows_nothing_and_removes_nothing(
    place: Place, before: Path, after: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = place.read("manifest.json")
    changes: list[str] = []
    watched(monkeypatch, lambda method, name: changes.append(method))

    def confirm() -> None:
        assert changes  # not before the data files: they take the time in which another may come
        raise LostError("another")

    with pytest.raises(LostError):
        send(place, after, confirm)
    assert set(changes) == {"put"}
    assert place.read("manifest.json") == manifest
    asked: list[int] = []

    def later() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise LostError("another")

    with pytest.raises(LostError):
        send(place, after, later)
    assert "remove" not in changes
    assert place.names().keys() >= {file.path for file in load_manifest(before).files}
