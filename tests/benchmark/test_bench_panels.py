"""What the report counts straight from logs, against slower counting, and which samples it shows."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from benchmark.facets import facet_table
from benchmark.opened import Run, open_runs
from benchmark.pages.strips import Strip, fitting_axis, share_axis, strip
from benchmark.panels import evidence, facet_grids, shown_run, stamps
from benchmark.records import CANNOT_SEE, LogLine
from benchmark.sampled import browser
from benchmark.samples import CLASSES, classes_of, item_class, picked, small_picture
from benchmark.table import Outcomes
from tests.benchmark.bench_logs import FACETS, able, item, items, line, lines, picture, write_run


def one_run(folder: Path, skill: float = 0.6, name: str = "m", **more: object) -> Run:
    return open_runs([write_run(folder / name, name, able(skill, name), **more)])[0]  # type: ignore[arg-type]


def test_facet_table_is_that_of_counting_pair_by_pair() -> None:
    log = list(lines(items(200, 50), able(0.6), seeds=(0, 1)))
    table = facet_table(Outcomes.from_log(log))
    groups: dict[tuple[str, int], list[LogLine]] = {}
    for entry in log:
        groups.setdefault((entry.item_id, entry.seed), []).append(entry)
    for f, g in combinations(FACETS, 2):
        pairs = [
            (a.correct, b.correct) for own in groups.values() for a in own for b in own if (a.facet, b.facet) == (f, g)
        ]
        a, b = np.array(pairs, float).T
        i, j = table.facets.index(f), table.facets.index(g)
        assert table.pairs_fg[i, j] == table.pairs_fg[j, i] == len(pairs) > 0
        assert table.both_fg[i, j] == pytest.approx((a * b).mean())
        assert table.expected_fg[i, j] == pytest.approx(a.mean() * b.mean())
        assert table.phi_fg[i, j] == table.phi_fg[j, i] == pytest.approx(np.corrcoef(a, b)[0, 1])
    for i, facet in enumerate(table.facets):
        own = [entry.correct for entry in log if entry.facet == facet]
        assert (table.pairs_fg[i, i], table.both_fg[i, i]) == (len(own), pytest.approx(np.mean(own)))


def test_a_model_that_is_always_right_has_no_correlation_to_show(tmp_path: Path) -> None:
    run = open_runs([write_run(tmp_path, "oracle", lambda item, query, variant: query.answer)])[0]
    table = facet_table(Outcomes.from_log(run.lines))
    assert np.isnan(table.phi_fg).all()
    (grid,) = facet_grids([run])
    words = [cell.words for row in grid.rows for cell in row]
    assert set(words) == {"100.0", "0.0"}
    assert {cell.detail for row in grid.rows for cell in row if cell.detail.startswith("φ")} == {"φ –"}
    assert {cell.shade for row in grid.rows for cell in row} == {0.0}


def test_facets_of_several_runs_share_one_order_and_few_pairs_are_faint(tmp_path: Path) -> None:
    few = [item(number, 5) for number in (0, 12, 24)]  # color and shape alone
    grids = facet_grids([one_run(tmp_path, name="a"), one_run(tmp_path, name="b", all_items=few)])
    assert [grid.facets for grid in grids] == [sorted(FACETS)] * 2
    by_name = {
        (row, column): cell
        for row, cells in zip(grids[1].facets, grids[1].rows, strict=True)
        for column, cell in zip(grids[1].facets, cells, strict=True)
    }
    assert by_name["shape", "color"].faint and by_name["shape", "color"].detail == "3"
    assert by_name["position", "position"].words == ""


def test_evidence_parts_are_counted_and_add_up(tmp_path: Path) -> None:
    run = one_run(tmp_path, variants=("plain", "intact", "masked"))
    found = {entry.name: entry for entry in evidence([run])}
    assert list(found) == ["intact", "masked"]
    masked = [entry for entry in run.lines if entry.variant == "masked"]
    answers = {(e.item_id, e.query_id): e.expected for e in run.lines if e.variant == "plain"}
    unseen = sum(entry.answer == CANNOT_SEE for entry in masked)
    right = sum(e.answer is not None and e.answer == answers[e.item_id, e.query_id] for e in masked)
    none = sum(entry.outcome != "answer" for entry in masked)
    ((place, number, parts),) = found["masked"].bars
    shares = {part.kind: part.share for part in parts}
    assert (place, number) == (0, str(len(masked)))
    assert shares["unseen"] * len(masked) == pytest.approx(unseen) and unseen > 0
    assert shares["right"] * len(masked) == pytest.approx(right) and right > 0
    assert shares["none"] * len(masked) == pytest.approx(none) and none > 0
    assert math.fsum(shares.values()) == pytest.approx(1)
    assert evidence([one_run(tmp_path, name="plain")]) == []


def test_queries_that_a_transform_is_not_asked_of_are_told(tmp_path: Path) -> None:
    run = one_run(tmp_path, variants=("plain", "swapped"), missing=7)
    ((_, number, _),) = next(iter(evidence([run]))).bars
    plain = sum(entry.variant == "plain" for entry in run.lines)
    asked = sum(entry.variant == "swapped" for entry in run.lines)
    assert asked < plain and number == f"{asked} of {plain}"


def test_classes_part_the_items(tmp_path: Path) -> None:
    run = one_run(tmp_path, seeds=[0, 1])
    classes = classes_of(run)
    assert len(classes) == 60 and set(classes.values()) == set(CLASSES)
    own = item(2, 9)
    right, wrong = own.queries[0].answer, "blue" if own.queries[0].answer != "blue" else "red"
    assert item_class([line(own, 0, "plain", 0, own.queries[0].answer)]) == "all-right"
    other = own.queries[1]
    bad = next(choice for choice in other.choices if choice != other.answer)
    assert right != wrong
    good, ill = line(own, 0, "plain", 0, right), line(own, 1, "plain", 0, bad)
    assert item_class([good, ill]) == "mixed" and item_class([ill, ill]) == "all-wrong"
    for words in ("no idea", None):
        assert item_class([good, line(own, 1, "plain", 0, words)]) == "unparsed"


def test_samples_are_dealt_from_all_combinations(tmp_path: Path) -> None:
    runs = [one_run(tmp_path, skill, name, all_items=items(300)) for skill, name in ((0.8, "a"), (0.4, "b"))]
    classes = [classes_of(run) for run in runs]
    combos = Counter(tuple(own[name] for own in classes) for name in classes[0])
    shown = picked(classes, len(combos))
    assert (len(shown.items), shown.of) == (len(combos), 300)
    assert {tuple(own[name] for own in classes) for name in shown.items} == set(combos)
    first = tuple(own[shown.items[0]] for own in classes)
    assert len(set(first)) == 2, "runs differ on what comes first"
    assert picked(classes, 1000).items[: len(combos)] == shown.items
    assert len(set(picked(classes, 1000).items)) == 300


def test_the_browser_shows_every_reply_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    all_items = items(80, 40)
    runs = [
        one_run(tmp_path, name=name, all_items=all_items, variants=("plain", "paraphrase-1", "masked"))
        for name in ("a", "b")
    ]
    found = browser(runs, {own.item_id: own for own in all_items}, picture, 10)
    assert len(found.samples) == 10 and found.note.startswith("10 regions of 80; dealt in turn")
    assert sum(found.counts[0][1].values()) == 80
    assert found.facets == sorted(FACETS)
    for sample in found.samples:
        own = next(own for own in all_items if own.item_id == sample.item_id)
        assert [query.question for query in sample.queries] == [query.question for query in own.queries]
        assert sample.path and sample.picture is not None and sample.label == "cup"
        for query in sample.queries:
            assert [reply.run for reply in query.replies] == [0, 1]
            assert [ask.variant for ask in query.others] == ["paraphrase 1", "masked"]
            assert query.others[1].expected == CANNOT_SEE
    assert len(found.pictures) == len({own.image_id for own in all_items if own.item_id in
                                       {sample.item_id for sample in found.samples}})  # fmt: skip
    bare = browser(runs, {}, None, 10)
    assert not bare.pictures and "--data" in bare.note and {sample.picture for sample in bare.samples} == {None}


def test_a_page_stays_within_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def long(own: object, query: object, variant: str) -> str:
        return "word " * 200_000

    run = open_runs([write_run(tmp_path / "long", "m", long, items(30))])[0]
    found = browser([run], {}, None, 30)
    assert len(found.samples) == 30, "a reply of a megabyte shows its beginning"
    reply = found.samples[0].queries[0].replies[0]
    assert (len(reply.text), reply.cut) == (2000, 998_000)
    monkeypatch.setattr("benchmark.sampled.MAX_BYTES", 50_000)
    some = browser([run], {}, None, 30)
    assert 0 < len(some.samples) < 30 and some.note.startswith(f"{len(some.samples)} regions of 30")


def test_a_picture_that_cannot_be_read_costs_that_picture(tmp_path: Path) -> None:
    all_items = items(20, 20)
    broken = all_items[3].image_id
    found = browser(
        [one_run(tmp_path, all_items=all_items)],
        {own.item_id: own for own in all_items},
        lambda image_id: b"no picture" if image_id == broken else picture(image_id),
        20,
    )
    assert len(found.samples) == 20 and len(found.pictures) == 19
    assert [sample.item_id for sample in found.samples if sample.picture is None] == ["item3"]


def test_small_regions_get_a_crop() -> None:
    whole, crop = small_picture(picture("a"), (20, 30, 30, 40), (160, 120))
    assert whole.startswith(b"\xff\xd8") and crop is not None and crop.startswith(b"\xff\xd8")
    assert small_picture(picture("a"), (10, 10, 150, 110), (160, 120))[1] is None
    assert small_picture(picture("a"), None, (160, 120))[1] is None


def test_the_legend_and_the_stamps_say_everything(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    facts = dict(shown_run(run).facts)
    assert facts["asked"] == "180 queries of 60 regions"
    assert "name an answer" in facts["replies"] and "name none" in facts["replies"]
    assert facts["reply tokens"] == "540, median 3" and facts["weights"].endswith("…")
    told = dict(stamps([run.header, run.header]))
    assert told["prompt sha256"] == ["a" * 64] * 2
    assert len(told["weights"][0]) == 64
    assert {"protocol", "extraction", "max pixels", "max new tokens", "seeds", "data revision"} <= set(told)


@pytest.mark.parametrize("largest", [0.0, 0.004, 0.03, 0.11, 0.28, 0.5, 0.9, 1.0])
def test_axes_around_zero_hold_their_values(largest: float) -> None:
    axis = fitting_axis([largest, -largest / 2, None, float("nan")])
    assert axis.low == -axis.high and axis.high >= largest and axis.zero == 50.0
    assert 3 <= len(axis.ticks) <= 5 and (50.0, "0") in axis.ticks
    assert all(0 <= place <= 100 for place, _ in axis.ticks)
    assert axis.place(largest) <= 100 and axis.place(-largest) >= 0


def test_strips_are_drawn_in_percent_and_withheld_intervals_are_not() -> None:
    axis = share_axis()
    assert strip(axis, 0.5, 0.25, 0.75) == Strip(50.0, 25.0, 75.0)
    assert strip(axis, 0.5, None, None, 0.25) == Strip(50.0, None, None, 25.0)
    assert strip(axis, None, 0.1, float("nan")) == Strip(None, None, None)
