"""A benchmark folder: the items, their pictures, and what fitted baselines have learnt, all of it hashed.

    DIR/bench.json          what it is, how it was made, what was dropped, and the hash of each other file
    DIR/items.jsonl         one `Item` per line, those of a picture together
    DIR/pictures.parquet    image_id, sha256 and the encoded picture (Hugging Face's `Image` struct)
    DIR/training.json       statistics of the fitted baselines, where the build had pictures to fit them on
    DIR/left-out.jsonl      the rows of an imported file that are not asked, where there are any

The revision is a sha256 over all items and the hashes of all pictures: two folders of one revision ask the same. A
folder is never changed once it is there; runs lie in DIR/runs.
"""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.records import BENCH_VERSION, Item
from slvr_data.errors import RunError, UsageError
from slvr_data.files import folder_atomic, sha256_of, write_atomic
from slvr_data.remote.addresses import shown
from slvr_data.remote.reading import digest_of, is_there, open_parquet, read_bytes

ABOUT, ITEMS, PICTURES, TRAINING = "bench.json", "items.jsonl", "pictures.parquet", "training.json"
LEFT_OUT = "left-out.jsonl"
FORMAT = "slvr-bench"
LEAST_QUERIES, MOST_QUERIES = 2, 4
"""Of an item that `build` makes; an imported one may have a single query, and is then in no score over regions."""
_GROUP_BYTES = 8 << 20
"""Of pictures in a row group."""
_GROUPS = 4
"""Row groups that stay in memory."""
_SCHEMA = pa.schema([
    ("image_id", pa.string()),
    ("sha256", pa.string()),
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
])  # fmt: skip


class Bench:
    """An opened benchmark folder. It can be read from several threads."""

    def __init__(self, folder: Path, about: dict[str, Any], items: list[Item]) -> None:
        self.folder = folder
        self.about = about
        """`bench.json`."""
        self.name: str = about["name"]
        self.revision: str = about["revision"]
        self.items = items
        self._lock = threading.Lock()
        self._read: OrderedDict[int, dict[str, tuple[str, bytes]]] = OrderedDict()
        self._firsts = _first_ids(folder / PICTURES)

    @property
    def training(self) -> Path | None:
        """The file of the fitted baselines' statistics (`benchmark.fitted`)."""
        return self.folder / TRAINING if TRAINING in self.about["files"] else None

    def picture(self, image_id: str) -> bytes:
        """The encoded picture; reading in the order of the items opens each row group once.

        Raises:
            KeyError: the folder has no such picture.
            RunError: its bytes are not those that the folder was made with.
        """
        with self._lock:
            found = self._group(max(0, bisect_right(self._firsts, image_id) - 1)).get(image_id)
        if found is None:
            raise KeyError(f"{self.folder} has no picture {image_id!r}")
        told, data = found
        if hashlib.sha256(data).hexdigest() != told:
            raise RunError(f"{self.folder / PICTURES}: picture {image_id} is damaged: copy the folder anew")
        return data

    def _group(self, group: int) -> dict[str, tuple[str, bytes]]:
        if group not in self._read:
            try:
                with open_parquet(self.folder / PICTURES) as file:
                    columns = file.read_row_group(group).to_pydict()
            except (OSError, pa.ArrowException) as error:
                raise RunError(f"{self.folder / PICTURES} cannot be read: {error}") from None
            named = zip(columns["image_id"], columns["sha256"], columns["image"], strict=True)
            self._read[group] = {image_id: (digest, image["bytes"]) for image_id, digest, image in named}
            while len(self._read) > _GROUPS:
                self._read.popitem(last=False)
        self._read.move_to_end(group)
        return self._read[group]


def open_bench(folder: Path) -> Bench:
    """The benchmark in a folder.

    Raises:
        UsageError: there is none, it is of a newer version, or its items are not those that it was made with.
    """
    about = _about(folder)
    for name, digest in about["files"].items():
        if name != PICTURES and not (is_there(folder / name) and digest_of(folder / name) == digest):
            raise UsageError(f"{folder / name} was changed since the folder was made: make the folder anew")
    try:
        lines = read_bytes(folder / ITEMS).splitlines()
        items = [Item.model_validate_json(line) for line in lines]
        told = _digests(folder / PICTURES)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{folder} is damaged: {' '.join(str(error).split())[:200]}") from None
    if _revision(lines, told) != about["revision"]:
        raise UsageError(f"{folder} was changed since it was made: its revision is no longer {about['revision'][:12]}")
    if missing := next((item for item in items if item.image_id not in told), None):
        raise UsageError(f"{folder} has no picture {missing.image_id} of item {missing.item_id}: make the folder anew")
    return Bench(folder, about, items)


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    try:
        tree = json.loads(read_bytes(path))
    except FileNotFoundError:
        raise UsageError(f"{shown(folder)} is no benchmark folder: slvr-bench build or import makes one") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise UsageError(f"{path} does not describe a benchmark folder")
    if tree.get("version") != BENCH_VERSION:
        raise UsageError(f"{path} has version {tree.get('version')}, this reader knows {BENCH_VERSION}: upgrade slvr")
    wanted = {"name": str, "revision": str, "files": dict}
    if wrong := [key for key, kind in wanted.items() if not isinstance(tree.get(key), kind)]:
        raise UsageError(f"{path} is damaged: it has no {wrong[0]}")
    if unknown := set(tree["files"]) - {ITEMS, PICTURES, TRAINING, LEFT_OUT}:
        raise UsageError(f"{path} is damaged: it names the file {min(unknown)!r}")
    return tree


def refuse_occupied(out: Path, name: str | None = None, made: dict[str, Any] | None = None) -> None:
    """Refuse a folder that holds something else, before work is done.

    Args:
        out: the folder.
        name: of the benchmark that shall be written; one that is there already must have it.
        made: what is known of how it will be made; one that is there already must agree on what it tells.

    Raises:
        UsageError: naming the folder, and what differs.
    """
    if not out.exists():
        return
    if not (out / ABOUT).is_file():
        if not out.is_dir() or any(out.iterdir()):
            raise UsageError(f"--out {out} holds something else: name a new folder")
        return
    about = _about(out)
    told = about.get("made")
    there: dict[str, Any] = told if isinstance(told, dict) else {}
    pairs = [("name", about["name"], name if name is not None else about["name"])]
    pairs += [(key, there.get(key, value), value) for key, value in (made or {}).items()]
    for key, before, now in pairs:
        if before != now:
            raise UsageError(f"--out {out} holds another benchmark ({key} {before!r}, not {now!r}): name a new folder")


def write_bench(
    out: Path,
    name: str,
    items: Sequence[Item],
    picture: Callable[[str], bytes],
    made: dict[str, Any],
    training: bytes | None = None,
    left_out: bytes | None = None,
) -> Bench:
    """Write a folder that is whole or not there; the same input gives the same bytes.

    Args:
        out: must not be there; or hold the same benchmark already, which is then left as it is.
        name: of the benchmark.
        items: at least one; put into the order of pictures and ids.
        picture: image_id -> encoded picture.
        made: how the items were made, and what was dropped; for `bench.json`.
        training: the content of `training.json`.
        left_out: the content of `left-out.jsonl`.

    Raises:
        UsageError: `out` holds something else; there are no items; ids are not unique, or an item has a wrong number
            of queries.
    """
    refuse_occupied(out)
    ordered = sorted(items, key=lambda item: (item.image_id, item.item_id))
    check_items(ordered)
    lines = [item.model_dump_json().encode() for item in ordered]
    with folder_atomic(out) as making:
        digests = _write_pictures(making / PICTURES, sorted({item.image_id for item in ordered}), picture)
        write_atomic(making / ITEMS, b"".join(line + b"\n" for line in lines))
        for file, content in ((TRAINING, training), (LEFT_OUT, left_out)):
            if content is not None:
                write_atomic(making / file, content)
        files = {path.name: sha256_of(path) for path in sorted(making.iterdir())}
        about = {"format": FORMAT, "version": BENCH_VERSION, "name": name, "revision": _revision(lines, digests)}
        tree = {**about, "items": len(ordered), "pictures": len(digests), "files": files, **made}
        data = (json.dumps(tree, indent=1, ensure_ascii=False) + "\n").encode()
        write_atomic(making / ABOUT, data)
        if (out / ABOUT).is_file() and (out / ABOUT).read_bytes() != data:
            raise UsageError(f"--out {out} holds another benchmark already: name a new folder")
    return open_bench(out)


def check_items(items: Iterable[Item]) -> None:
    """Refuse items that could not be scored.

    Raises:
        UsageError: naming the item.
    """
    counts: Counter[str] = Counter()
    for item in items:
        counts[item.item_id] += 1
        if counts[item.item_id] > 1:
            raise UsageError(f"item {item.item_id!r} is there twice: ids must be unique")
        if not 1 <= len(item.queries) <= MOST_QUERIES:
            raise UsageError(f"item {item.item_id!r} has {len(item.queries)} queries: give 1 to 4")
        if len({query.query_id for query in item.queries}) < len(item.queries):
            raise UsageError(f"item {item.item_id!r} has a query twice: ids must be unique")
        for query in item.queries:
            index = query.answer_index
            if query.choices and (index is None or query.choices[index : index + 1] != (query.answer,)):
                raise UsageError(f"query {query.query_id!r} of item {item.item_id!r}: its answer is no choice")
    if not counts:
        raise UsageError("no items are left: there is nothing to ask")


def _revision(lines: Iterable[bytes], digests: dict[str, str]) -> str:
    whole = hashlib.sha256()
    for line in lines:
        whole.update(hashlib.sha256(line).digest())
    for image_id, digest in sorted(digests.items()):
        whole.update(f"\n{image_id} {digest}".encode())
    return whole.hexdigest()


def _write_pictures(path: Path, image_ids: Sequence[str], picture: Callable[[str], bytes]) -> dict[str, str]:
    """Write the pictures sorted by id; their hashes by id."""
    digests: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    size = 0
    with pq.ParquetWriter(path, _SCHEMA, compression="none", write_page_index=True) as writer:
        for place, image_id in enumerate(image_ids, 1):
            data = picture(image_id)
            digests[image_id] = hashlib.sha256(data).hexdigest()
            rows.append({"image_id": image_id, "sha256": digests[image_id], "image": {"bytes": data, "path": None}})
            size += len(data)
            if size >= _GROUP_BYTES or place == len(image_ids):
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                rows, size = [], 0
    return digests


def _digests(path: Path) -> dict[str, str]:
    if not is_there(path):
        raise FileNotFoundError(f"{path.name} is missing")
    with open_parquet(path) as file:
        columns = file.read(columns=["image_id", "sha256"]).to_pydict()
    return dict(zip(columns["image_id"], columns["sha256"], strict=True))


def _first_ids(path: Path) -> list[str]:
    """The first picture of each row group."""
    with open_parquet(path) as file:
        metadata = file.metadata
    return [metadata.row_group(group).column(0).statistics.min for group in range(metadata.num_row_groups)]
