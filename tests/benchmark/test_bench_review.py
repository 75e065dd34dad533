"""The review: a page with every question, and a folder without what a person rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.folder import Bench, open_bench, write_bench
from benchmark.review import read_back, write_page
from slvr_data.errors import UsageError
from tests.benchmark.bench_logs import HOSTILE, items, picture
from tests.html_tree import Tree

NUMBER = 30


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    own = items(NUMBER, 12)
    first = own[0]
    own[0] = first.model_copy(
        update={
            "label": HOSTILE,
            "queries": (first.queries[0].model_copy(update={"question": HOSTILE}), *first.queries[1:]),
        }
    )
    folder = tmp_path_factory.mktemp("review") / "bench"
    return write_bench(folder, "mine", own, picture, {"made": {"by": "hand"}}, b"{}")


def verdicts(bench: Bench, judge: str, said: dict[str, str | None], **more: Any) -> dict[str, Any]:
    """A file as the page saves it; `said`: item/query -> None for right, "?" for cannot tell, otherwise a class."""
    entries = [
        {
            "id": key, "kind": "question", "region_id": key,
            "verdict": "right" if error is None else "cannot tell" if error == "?" else "wrong",
            "class": None if error in (None, "?") else error, "note": "", "time": "2026-01-01T00:00:00Z",
        }
        for key, error in said.items()
    ]  # fmt: skip
    whole = {"format": "slv-audit", "version": 1, "set": bench.revision, "seed": 0, "n": 400, "judge": judge}
    return whole | {"saved": "", "items": entries} | more


def save(path: Path, tree: dict[str, Any]) -> Path:
    path.write_text(json.dumps(tree))
    return path


def keys(bench: Bench) -> list[list[str]]:
    return [[f"{item.item_id}/{query.query_id}" for query in item.queries] for item in bench.items]


def test_the_page_shows_every_question_and_stays_inert(bench: Bench, tmp_path: Path) -> None:
    path = write_page(bench.folder, tmp_path / "review.html")
    text = path.read_text(encoding="utf-8")
    for own in keys(bench):
        for key in own:
            assert f'data-id="{key}"' in text
    tree = Tree(text)
    assert len(tree.root.every("section", "target")) == sum(map(len, keys(bench)))
    assert HOSTILE not in text and "&lt;script&gt;document.title" in text
    assert "Content-Security-Policy" in text and "http://" not in text and "https://" not in text
    assert '"set":"' + bench.revision + '"' in text
    assert text.count("<article") == NUMBER and text.count("data:image/jpeg") >= NUMBER
    assert write_page(bench.folder, tmp_path / "again.html").read_bytes() == path.read_bytes()


def test_a_smaller_page_is_the_beginning_of_a_larger(bench: Bench, tmp_path: Path) -> None:
    few = write_page(bench.folder, tmp_path / "few.html", n=5).read_text()
    more = write_page(bench.folder, tmp_path / "more.html", n=10).read_text()

    def shown(text: str) -> list[str]:
        return [line for line in text.splitlines() if "data-id=" in line]

    assert 10 <= len(shown(few)) < len(shown(more)) and shown(more)[: len(shown(few))] == shown(few)


def test_what_is_rejected_is_gone(bench: Bench, tmp_path: Path) -> None:
    own = keys(bench)
    pairs = [group for group in own if len(group) == 2]
    threes = [group for group in own if len(group) == 3]
    said = {pairs[0][0]: "color", threes[0][1]: "other", threes[1][0]: None, threes[2][0]: "?"}
    reviewed = read_back(bench.folder, [save(tmp_path / "a.json", verdicts(bench, "ann", said))], tmp_path / "out")
    after = open_bench(tmp_path / "out")
    left = {key for group in keys(after) for key in group}
    everything = {key for group in own for key in group}
    assert everything - left == {*pairs[0], threes[0][1]}
    assert len(after.items) == NUMBER - 1 and after.revision != bench.revision and after.training is not None
    before = {item.item_id: item for item in bench.items}
    for item in after.items:
        assert set(item.queries) <= set(before[item.item_id].queries)
        assert after.picture(item.image_id) == bench.picture(item.image_id)
    assert (reviewed.judged, reviewed.wrong, dict(reviewed.classes)) == (3, 2, {"color": 1, "other": 1})
    about = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert about["review"]["of"] == bench.revision and about["made"] == {"by": "hand"} and "ann" not in str(about)
    assert any("2 wrong" in line for line in reviewed.lines())


def test_one_of_two_judges_is_enough(bench: Bench, tmp_path: Path) -> None:
    group = next(group for group in keys(bench) if len(group) == 4)
    one = save(tmp_path / "a.json", verdicts(bench, "ann", {group[0]: "vague", group[1]: None}))
    two = save(tmp_path / "b.json", verdicts(bench, "bob", {group[0]: None, group[1]: "spatial"}))
    reviewed = read_back(bench.folder, [one, two], tmp_path / "out")
    assert reviewed.judges == ("ann", "bob") and reviewed.judged == 2 and reviewed.wrong == 2
    assert {key for own in keys(reviewed.bench) for key in own}.isdisjoint(group[:2])


def test_files_that_do_not_fit(bench: Bench, tmp_path: Path) -> None:
    key = keys(bench)[0][0]
    good = save(tmp_path / "good.json", verdicts(bench, "ann", {key: "other"}))

    def refused(tree: dict[str, Any], words: str, *before: Path) -> None:
        path = save(tmp_path / "bad.json", tree)
        with pytest.raises(UsageError, match=words):
            read_back(bench.folder, [*before, path], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    refused(verdicts(bench, "bob", {key: "other"}, set="0" * 64), "judges the set")
    refused(verdicts(bench, "bob", {"strange": "other"}), "does not ask")
    refused(verdicts(bench, "bob", {key: "taste"}), "unknown class")
    refused(verdicts(bench, "ann", {key: "other"}), "two files are by the judge", good)
    refused(verdicts(bench, "bob", {k: "other" for own in keys(bench) for k in own}), "no items are left")
    refused({"format": "x"}, "not a file that the audit page saved")


def test_a_page_needs_a_folder(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        write_page(bench.folder, tmp_path / "gone" / "review.html")
    with pytest.raises(UsageError, match="no benchmark folder"):
        write_page(tmp_path)


def test_imported_items_of_one_query_stay_unless_that_is_rejected(tmp_path: Path) -> None:
    own = [item.model_copy(update={"queries": item.queries[:1]}) for item in items(3, 3)]
    bench = write_bench(tmp_path / "bench", "single", own, picture, {})
    [rejected], *others = keys(bench)
    read_back(bench.folder, [save(tmp_path / "a.json", verdicts(bench, "ann", {rejected: "other"}))], tmp_path / "out")
    assert keys(open_bench(tmp_path / "out")) == others
