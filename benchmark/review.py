"""A person's review of a benchmark: a page to judge each query by keyboard, and a folder without what was rejected.

The page and the file that it saves are those of `slvr-data audit`: a query is right, wrong for one of nine reasons, or
cannot be told. What is judged wrong is left out, and an item left with fewer than two queries goes whole; what has no
verdict, or cannot be told, stays. A verdict never changes what is asked, so what stays is asked as it was reviewed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.folder import LEAST_QUERIES, Bench, open_bench, write_bench
from benchmark.records import Item
from benchmark.samples import small_picture
from slvr_data.audit.verdicts import ERROR_CLASSES, FORMAT, VERSION, VerdictFile, load_verdicts
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.pages.render import render

PAGE = "review.html"
MOST_ITEMS = 400
"""Items on a page unless told: their pictures are in it."""


@dataclass(frozen=True)
class Reviewed:
    """What the verdicts say, and the folder made of what stays."""

    bench: Bench
    judges: tuple[str, ...]
    judged: int
    """Queries with a verdict of right or wrong."""
    wrong: int
    classes: Mapping[str, int]
    """Why, by the first judge who says so."""
    items_dropped: int
    """Items that fewer than two queries were left of."""

    def lines(self) -> Iterator[str]:
        """For people."""
        names = ", ".join(repr(name)[1:-1] for name in self.judges)
        yield f"{self.judged:,} queries judged by {names}, {self.wrong:,} wrong"
        for name, number in self.classes.items():
            yield f"  {name:<24} {number:>5,}"
        left = len(self.bench.items)
        yield f"{left:,} items stay, {self.items_dropped:,} are gone; revision {self.bench.revision[:12]}"


def write_page(folder: Path, html: Path | None = None, n: int = MOST_ITEMS, seed: int = 0) -> Path:
    """Write the page on which `n` items of the benchmark in `folder` are judged; its path.

    The items with the smallest hashes of seed and id are shown, so a larger page goes on from a smaller one.

    Raises:
        UsageError: there is no benchmark, or the page has no folder to go to.
    """
    bench = open_bench(folder)
    target = html or folder / PAGE
    if not target.parent.is_dir():
        raise UsageError(f"--html {target}: there is no folder {target.parent}")
    shown = sorted(bench.items, key=lambda item: hashlib.sha256(f"{seed}:{item.item_id}".encode()).digest())[:n]
    text = render(
        "review.html.j2",
        folder=Path(__file__).parent / "pages",
        title=f"Review of {bench.name}",
        subtitle=f"{len(shown):,} items to accept or to reject, with {sum(len(i.queries) for i in shown):,} questions",
        facts=[("revision", bench.revision[:12]), ("items", f"{len(bench.items):,}"), ("seed", f"{seed}")],
        command=f"slvr-bench review {folder.name}",
        configuration=None,
        pictures=[],
        items=[_shown(bench, item) for item in shown],
        strata=[],
        classes=ERROR_CLASSES,
        told={
            "format": FORMAT,
            "version": VERSION,
            "set": bench.revision,
            "seed": seed,
            "n": n,
            "classes": list(ERROR_CLASSES),
        },
    )
    write_atomic(target, text.encode())
    return target


def _shown(bench: Bench, item: Item) -> dict[str, object]:
    whole, crop = small_picture(bench.picture(item.image_id), item.bbox, (item.width, item.height))
    path = ""
    if item.bbox is not None:
        x1, y1, x2, y2 = (f"{round(c, 1):g}" for c in item.bbox)
        path = f"M{x1} {y1}H{x2}V{y2}H{x1}z"
    return {"item": item, "jpeg": whole, "crop": crop, "path": path}


def read_back(folder: Path, paths: Sequence[Path], out: Path) -> Reviewed:
    """Write the benchmark `out`: that of `folder` without the queries that a judge calls wrong.

    Raises:
        UsageError: a file is of another benchmark, or is damaged, two are of one judge, or nothing is left.
    """
    bench = open_bench(folder)
    files = [load_verdicts(path, bench.revision) for path in paths]
    wrong = _wrong(bench, files)
    items = []
    for item in bench.items:
        kept = tuple(query for query in item.queries if f"{item.item_id}/{query.query_id}" not in wrong)
        if len(kept) >= min(LEAST_QUERIES, len(item.queries)):
            items.append(item.model_copy(update={"queries": kept}))
    judged = {judgement.id for file in files for judgement in file.items if judgement.decided}
    classes = Counter(wrong.values())
    ordered = {name: classes[name] for name in ERROR_CLASSES if classes[name]}
    review = {"of": bench.revision, "judges": len(files), "judged": len(judged), "wrong": ordered}
    made = {
        key: value
        for key, value in bench.about.items()
        if key not in ("format", "version", "name", "revision", "items", "pictures", "files")
    }
    training = bench.training.read_bytes() if bench.training else None
    after = write_bench(out, bench.name, items, bench.picture, {**made, "review": review}, training)
    judges = tuple(file.judge for file in files)
    return Reviewed(after, judges, len(judged), len(wrong), ordered, len(bench.items) - len(items))


def _wrong(bench: Bench, files: Sequence[VerdictFile]) -> dict[str, str]:
    """The ids of queries that a judge calls wrong, each with why."""
    judges = Counter(file.judge for file in files)
    twice = next((name for name, number in judges.items() if number > 1), None)
    if twice is not None:
        raise UsageError(f"two files are by the judge {twice!r}: join them in the page (Load), and save one")
    known = {f"{item.item_id}/{query.query_id}" for item in bench.items for query in item.queries}
    wrong: dict[str, str] = {}
    for file in files:
        for judgement in file.items:
            if judgement.kind != "question" or judgement.id not in known:
                raise UsageError(f"the file of {file.judge!r} judges {judgement.id!r}, which {bench.name} does not ask")
            if judgement.verdict == "wrong":
                wrong.setdefault(judgement.id, judgement.error or "other")
    return wrong
