"""`slvr-data convert --to FORM`: a published set becomes one file of another form, with accounts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.convert import Account, Sink, form_named, sink
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors
from slvr_data.forms import Asked, Form
from slvr_data.forms.base import RESERVED, shares
from slvr_data.manifest import Manifest, load_manifest
from slvr_data.pictures import Pictures
from slvr_data.reader import PublishedPicture, published_pictures, rows_of
from slvr_data.release import published_name
from slvr_data.schema import SPLITS
from slvr_data.shards import files_of

_ID = re.compile(r"[0-9a-f]{64}")
Question = tuple[str, str]
"""A question and its answer."""


def export(folder: Path, name: str, out: Path, split: str, images: Path | None) -> Account:
    """Write the questions of a published set in the form `name`; below `images`, the pictures that they are about.

    Without `images`, records name pictures by the path of their source file.

    Raises:
        UsageError: the set has no questions, or not the pictures that are asked for.
    """
    form = form_named(name)
    manifest = load_manifest(folder)
    if split not in (*SPLITS, "all"):
        raise UsageError(f"--split {split}: known are {', '.join(SPLITS)} and all")
    grouped = bool(files_of(manifest.files, "multiquery"))
    if form.pairs and not grouped:
        raise UsageError(f"{folder} has no config multiquery, of which {name} is made: run slvr-data build-multiquery")
    store = PictureStore(folder, images) if images else None
    with sink(out, form.lines, "questions") as into:
        groups = Groups(folder, manifest) if grouped else None
        for picture in published_pictures(folder, manifest):
            own = groups.of(picture) if groups else {}
            if split in (picture.split, "all"):
                writer = _Writer(form, picture, store, into)
                for region in picture.regions:
                    writer.region(region, own.get(region["region_id"], []))
    return into.account


class Groups:
    """Query groups, taken picture by picture in the order of the set."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._split = ""
        self._rows: Iterator[dict[str, Any]] = iter(())
        self._ahead: dict[str, Any] | None = None

    def of(self, picture: PublishedPicture) -> dict[str, list[dict[str, Any]]]:
        """The groups of a picture by region; pictures must be asked for in order.

        Raises:
            UsageError: a group belongs to a picture that is not published.
        """
        if picture.split != self._split:
            self._split = picture.split
            self._rows = rows_of(self._folder, self._manifest, "multiquery", picture.split)
            self._ahead = next(self._rows, None)
        found: dict[str, list[dict[str, Any]]] = {}
        while self._ahead is not None and self._ahead["image_id"] <= picture.image["image_id"]:
            group, self._ahead = self._ahead, next(self._rows, None)
            if group["region_id"] not in {region["region_id"] for region in picture.regions}:
                raise UsageError(
                    f"{self._folder}: group {group['group_id']} is about a region that is not published: "
                    "slvr-data validate tells more"
                )
            found.setdefault(group["region_id"], []).append(group)
        return found


class _Writer:
    """Writes the questions about one picture."""

    def __init__(self, form: Form, picture: PublishedPicture, store: PictureStore | None, into: Sink) -> None:
        self._form, self._picture, self._store, self._into = form, picture, store, into
        self._path: str | None = None

    def region(self, region: dict[str, Any], groups: list[dict[str, Any]]) -> None:
        """All questions about a region, each once; in pairs, those of its groups."""
        if self._form.pairs:
            for group in groups:
                self._group(region, group)
            return
        asked = [(q["question"], q["answer"]) for q in region["original_questions"]]
        asked += [(q["question"], q["answer"]) for group in groups for q in group["queries"]]
        for number, question in enumerate(dict.fromkeys(asked), 1):
            if self._sound(region, question):
                self._write(f"{region['region_id']}-{number}", region, question)
                self._into.account.kept += 1
        if not asked:
            evidence = "neither the source nor build-multiquery asks anything about the region"
            self._into.reject("question-absent", evidence, None, region_id=region["region_id"])

    def _group(self, region: dict[str, Any], group: dict[str, Any]) -> None:
        """The group's queries in pairs; an odd one is paired with the first again, so that none is lost."""
        queries = [(q["question"], q["answer"]) for q in group["queries"]]
        sound = [question for question in queries if self._sound(region, question)]
        if len(sound) == 1:
            evidence = f"the other queries of group {group['group_id']} cannot be written"
            self._refuse("pair-incomplete", evidence, region, sound[0])
            return
        self._into.account.kept += len(sound)
        if len(sound) % 2:
            sound.append(sound[0])
        for start in range(0, len(sound), 2):
            name = group["group_id"] if start == 0 else f"{group['group_id']}+{start // 2}"
            for place in (0, 1):
                self._write(f"{name}-{place + 1}", region, sound[start + place])

    def _sound(self, region: dict[str, Any], question: Question) -> bool:
        """Whether a question can be written; if not, it is listed."""
        for name, text in zip(("question", "answer"), question, strict=True):
            if not text.strip():
                self._refuse(f"{name}-empty", f"the {name} is empty", region, question)
                return False
            tag = next((tag for tag in RESERVED if tag in text), None)
            if tag is not None:
                self._refuse("text-reserved", f"the {name} holds {tag!r}, which means something else", region, question)
                return False
        return True

    def _refuse(self, reason: str, evidence: str, region: dict[str, Any], question: Question) -> None:
        record = {"question": question[0], "answer": question[1]}
        self._into.reject(reason, evidence, record, region_id=region["region_id"])

    def _write(self, name: str, region: dict[str, Any], question: Question) -> None:
        image = self._picture.image
        if self._path is None:
            self._path = self._store.put(image["image_id"]) if self._store else image["path"]
        asked = Asked(
            id=name,
            image=self._path,
            box=shares(region["bbox"], image["width"], image["height"]),
            question=question[0],
            answer=question[1],
            source=image["source"],
            split=self._picture.split,
        )
        self._into.write(self._form.record(asked))


class PictureStore:
    """Writes published pictures below a root, as `ab/abcdef....jpg`."""

    def __init__(self, folder: Path, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise UsageError(f"--images {root} is a file: name a folder for the pictures")
        self._pictures, self._root = Pictures(folder), root

    def put(self, image_id: str) -> str:
        """The path of the picture below the root, where it now stands.

        Raises:
            UsageError: the set is published by reference, or an id in it is none.
        """
        if not _ID.fullmatch(image_id):  # it becomes a path
            raise UsageError(f"{image_id[:100]!r} is not the id of a picture: slvr-data validate tells more of the set")
        try:
            data = self._pictures.encoded(image_id)
        except ValueError as error:
            raise UsageError(str(error)) from None
        name = f"{image_id[:2]}/{image_id}{Path(published_name('picture', data)).suffix}"
        path = self._root / name
        if not path.exists() or path.stat().st_size != len(data):
            with disk_errors(f"writing {path}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return name
