"""The command `slvr-bench arms`: which runs are which seeds, what may not be compared, and the files."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmark.arm_page import page_of, write_arms
from benchmark.arm_report import as_json, as_markdown, as_text, slots_of
from benchmark.arm_runs import Comparison, compared_arms, named_of, open_arms
from benchmark.arms import TESTED
from benchmark.cli import app
from benchmark.interventions.slots import own_slots
from benchmark.pages.charts import HEIGHT, TOP, WIDTH, Point, chart
from benchmark.records import Item, ItemQuery
from benchmark.scores import scores_of
from slvr_data.errors import UsageError
from tests.benchmark.bench_logs import HOSTILE, Say, able, items, unit, write_run
from tests.html_tree import Tree

LATENTS = ("plain", "latents-picture", "latents-slots-0", "latents-slots-3")


def trained(skill: float, seed: int) -> Say:
    """An arm's seed: regions are easy or hard alike for all; replaced latents change some answers."""

    def say(item: Item, query: ItemQuery, variant: str) -> str:
        luck = 0.6 * unit(item.item_id) + 0.4 * unit(seed, skill, query.query_id)
        lost = variant != "plain" and unit(variant, seed, query.query_id) < 0.3
        return query.answer if luck < skill and not lost else query.choices[query.answer_index == 0]

    return say


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        details = {"visual_slots": 2, "weights": hashlib.sha256(bytes([seed])).hexdigest()}
        variants = LATENTS if seed < 2 else LATENTS[:2]
        write_run(folder / f"slvr/seed{seed}", "slvr:x", trained(0.8, seed), variants=variants, model_details=details)
        write_run(folder / f"direct-s{seed}", "slvr:y", trained(0.5, seed))
    write_run(folder / "odd", "slvr:z", trained(0.5, 7), all_items=items(20))
    write_run(folder / "cut", "slvr:z", trained(0.5, 7), missing=3)
    return folder


def arm_of(runs: Path) -> list[str]:
    return [f"slvr={runs / 'slvr'}", "direct=" + ",".join(str(runs / f"direct-s{seed}") for seed in (2, 0, 1))]


@pytest.fixture(scope="module")
def compared(runs: Path) -> Comparison:
    return compared_arms(open_arms(named_of(arm_of(runs))), "direct", draws=400)


class TestNames:
    def test_a_folder_stands_for_its_runs_and_names_tell_seeds(self, runs: Path) -> None:
        slvr, direct = named_of(arm_of(runs))
        assert slvr.folders == tuple(runs / f"slvr/seed{seed}" for seed in range(3))
        assert (slvr.numbers, direct.numbers) == ((0, 1, 2), (2, 0, 1))
        assert "names" in direct.numbered

    def test_numbers_may_be_given_or_are_places(self) -> None:
        assert named_of(["a=x@7,y@3"])[0].numbers == (7, 3)
        assert named_of(["a=x,y"])[0].numbers == (0, 1) and "order" in named_of(["a=x,y"])[0].numbered
        assert named_of(["a=seeds1,ab2"])[0].numbers == (0, 1), "no word of its own says a seed"
        assert named_of(["a=run-seed4-x,run_s11"])[0].numbers == (4, 11)
        assert named_of(["a=slvr/7/run,slvr/3/run"])[0].numbers == (7, 3)

    @pytest.mark.parametrize(
        ("texts", "words"),
        [
            (["slvr"], "name an arm and its runs"),
            (["=x"], "name an arm"),
            (["a="], "name an arm"),
            (["a=x", "a=y"], "named twice"),
            (["a=x@1,y"], "of every run"),
            (["a=x@1,y@1"], "two of its runs are of seed 1"),
        ],
    )
    def test_what_is_no_arm_is_refused(self, texts: list[str], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            named_of(texts)


class TestOpening:
    def test_runs_that_may_not_be_compared_are_refused(self, runs: Path) -> None:
        for other, words in (("odd", "lacks"), ("cut", "not whole"), ("nothing", "holds no run")):
            with pytest.raises(UsageError, match=words):
                open_arms(named_of([f"a={runs / 'direct-s0'}", f"b={runs / other}"]))
        with pytest.raises(UsageError, match="named twice"):
            open_arms(named_of([f"a={runs / 'direct-s0'}", f"b={runs / 'direct-s0'}"]))
        with pytest.raises(UsageError, match="none of the arms is named so"):
            compared_arms(open_arms(named_of(arm_of(runs)[1:])), "slvr")

    def test_other_picture_budgets_are_refused_or_passed_over(self, tmp_path: Path) -> None:
        sizes = {"smallest_picture": 5_000, "largest_picture": 50_000}
        for name, most in (("a", 20_000), ("b", 40_000)):
            write_run(tmp_path / name, f"slvr:{name}", able(0.6), most_pixels=most, **sizes)
        named = named_of([f"{name}={tmp_path / name}" for name in "ab"])
        with pytest.raises(UsageError, match="picture budget 20,000 pixels and 40,000 pixels; the largest picture has"):
            open_arms(named)
        assert [arm.name for arm in open_arms(named, ("pictures",))] == ["a", "b"]

    def test_seeds_have_the_scores_of_their_reports(self, runs: Path, compared: Comparison) -> None:
        from benchmark.opened import open_runs

        (run,) = open_runs([runs / "slvr/seed1"])
        alone = scores_of(run.lines, draws=100)
        for name, score in compared.arms[0].scores.items():
            if name == "latents/slots-2/accuracy":  # the plain one, in another place
                continue
            value = alone[name].value
            assert score.seeds[1] == (None if value is None else pytest.approx(value)), name

    def test_few_seeds_and_unpaired_ones_are_told(self, runs: Path, compared: Comparison) -> None:
        assert any("fewer than 5 seeds: slvr (3), direct (3)" in warning for warning in compared.warnings)
        other = [f"slvr={runs / 'slvr'}", f"direct={runs / 'direct-s0'}"]
        warnings = compared_arms(open_arms(named_of(other)), "direct", draws=200).warnings
        assert any("one seed alone: direct" in warning for warning in warnings)
        assert any("not paired: slvr has 0, 1, 2, direct has 0" in warning for warning in warnings)


class TestFiles:
    def test_the_files_say_the_same(self, compared: Comparison) -> None:
        tree = json.loads(as_json(compared))
        slvr, direct = tree["arms"]
        assert [seed["number"] for seed in direct["seeds"]] == [2, 0, 1]
        accuracy = slvr["scores"]["accuracy"]
        assert accuracy["value"] == pytest.approx(sum(accuracy["seeds"]) / 3)
        gain = next(row for row in tree["differences"] if row["score"] == "accuracy")
        assert gain["paired"] and gain["difference"] == pytest.approx(
            accuracy["value"] - direct["scores"]["accuracy"]["value"]
        )
        assert {row["score"] for row in tree["differences"] if row["p_adjusted"] is not None} <= set(TESTED)
        shown = f"{100 * accuracy['value']:.1f}"
        assert f"| slvr | 3 | {shown} ± " in as_markdown(compared) and shown in as_text(compared)
        assert "slvr is higher" in as_text(compared)

    def test_accuracy_over_slots_has_the_plain_one_at_the_own_number(self, compared: Comparison) -> None:
        slvr, direct = compared.arms
        assert own_slots(slvr.arm.headers) == 2 and list(slots_of(slvr)) == [0, 2, 3]
        assert slots_of(slvr)[2].value == pytest.approx(np.mean(slvr.scores["accuracy"].seeds[:2]))
        assert {score.n_seeds for score in slots_of(slvr).values()} == {2}
        assert any("not all seeds of slvr" in warning and "slots-0" in warning for warning in compared.warnings)
        assert slots_of(direct) == {}

    def test_the_page_is_whole_and_nothing_in_it_is_markup(self, compared: Comparison, tmp_path: Path) -> None:
        paths = write_arms(compared, tmp_path / "out", f"slvr-bench arms {HOSTILE}")
        assert [path.name for path in paths] == ["arms.html", "arms.json", "arms.md"]
        html = paths[0].read_text(encoding="utf-8")
        root = Tree(html).root
        assert not root.every("script") and "<img" not in html
        rings = sum(circle.attrs.get("class") == "single" for circle in root.every("circle"))
        page = page_of(compared, "")
        drawn = [row.strip for section in page.sections for measure in section.measures for row in measure.rows]
        drawn += [row.strip for pair in page.pairs for row in pair.rows]
        assert rings == sum(len(strip.dots) for strip in drawn) > 30
        assert re.findall(r"<h2 id=\"(\w+)\"", html) == [
            "arms", "scores", "pairs", "points", "together", "slots", "latents", "stamps",
        ]  # fmt: skip
        assert [row.name for row in page.changed] == ["picture", "slots 0", "slots 3"]

    def test_the_same_runs_give_the_same_bytes(self, runs: Path, compared: Comparison) -> None:
        again = compared_arms(open_arms(named_of(arm_of(runs))), "direct", draws=400)
        assert as_json(again) == as_json(compared)

    def test_the_command(self, runs: Path, tmp_path: Path) -> None:
        arms = [part for text in arm_of(runs) for part in ("--arm", text)]
        done = CliRunner().invoke(app, ["arms", *arms, "--draws", "200", "--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert "direct: 3 seeds 2, 0, 1 (by the names of their folders)" in done.output
        assert {path.name for path in tmp_path.iterdir()} == {"arms.html", "arms.json", "arms.md"}
        assert "--arm slvr=" in (tmp_path / "arms.html").read_text()


class TestChart:
    def test_places(self) -> None:
        made = chart("slots", [(0, [Point(4, 0.9), Point(0, 0.5, 0.4, 0.6)]), (2, [Point(4, 0.7, own=True)])])
        assert made is not None and [words for _, words in made.x_ticks] == ["0", "4"]
        first, last = made.lines[0].points
        assert first.x < last.x < WIDTH and TOP <= last.y < first.y < HEIGHT, "more is higher, and points are in order"
        assert first.low is not None and first.high is not None and first.high < first.y < first.low
        assert made.lines[1].points[0].own and made.lines[1].points[0].x > last.x, "beside each other"
        assert [words for _, words in made.y_ticks] == ["40", "50", "60", "70", "80", "90"]

    def test_nothing_to_draw_and_one_value(self) -> None:
        assert chart("slots", [(0, [])]) is None
        for value in (0.0, 0.5, 1.0):
            made = chart("slots", [(0, [Point(2, value)])])
            assert made is not None and TOP <= made.lines[0].points[0].y <= HEIGHT and len(made.y_ticks) >= 2
