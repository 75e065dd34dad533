"""Arms over seeds and pictures: scores, errors and tests against plain loops; pairing; when there is no interval."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmark import metrics, stats
from benchmark.arms import (
    TESTED,
    ArmDifference,
    Side,
    adjusted,
    differences_of,
    families_of,
    sampled_of,
    score_of,
)
from benchmark.records import LogLine
from benchmark.two_level import EQUAL, NO_SPREAD, Part, ends_of, error_of, two_level
from tests.benchmark import slow_arms
from tests.benchmark.score_logs import items_of

PICTURES = 30
ROOT = Path(__file__).parents[2]


def log(seed: int, gain: float = 0.0, pictures: int = PICTURES, shift: float = 0.0) -> list[LogLine]:
    """A seed of an arm: pictures are easy or hard alike for all, `gain` is the arm's, `shift` the seed's."""
    hard = np.random.default_rng(0).beta(2, 2, pictures)
    rng = np.random.default_rng([seed, round(1000 * (gain + 1)), round(1000 * (shift + 1))])
    chance = np.clip(np.repeat(hard, 2) + gain + shift, 0, 1)
    rights = rng.random((len(chance), 2)) < chance[:, None]
    return items_of(*rights.tolist(), pictures=[f"p{i // 2:03}" for i in range(len(chance))])


def replaced(lines: list[LogLine], share: float) -> list[LogLine]:
    """The lines, and each again with latents of another picture, which change `share` of the answers."""
    changed = [
        {"answer": "green", "reply": "green", "correct": False} if n < share * len(lines) else {}
        for n in range(len(lines))
    ]
    return [
        *lines,
        *(
            line.model_copy(update={"variant": "latents-picture", "ask_id": f"{line.ask_id}+", **change})
            for line, change in zip(lines, changed, strict=True)
        ),
    ]


def arm(name: str, logs: dict[int, list[LogLine]], draws: int = 300) -> Side:
    queries = metrics.queries_of(next(iter(logs.values())))
    return Side(name, sampled_of({seed: families_of(lines, queries) for seed, lines in logs.items()}, draws))


def seeds(gain: float = 0.0, number: int = 4, spread: float = 0.0) -> dict[int, list[LogLine]]:
    shifts = np.random.default_rng(5).standard_normal(number) * spread
    return {seed: log(seed, gain, shift=float(shifts[seed])) for seed in range(number)}


def one(rows: list[ArmDifference], score: str) -> ArmDifference:
    return next(row for row in rows if row.score == score)


@pytest.mark.parametrize("name", ["accuracy", "both", "lift", "phi"])
def test_scores_and_draws_equal_the_slow_ones(name: str) -> None:
    logs = {seed: log(seed, pictures=8) for seed in (0, 3)}
    found = arm("a", logs, draws=12).scores[name]
    own, drawn = slow_arms.values(logs, name, 12, 0)
    assert found.own_s == pytest.approx(own)
    assert found.drawn_ds == pytest.approx(np.array(drawn), nan_ok=True)
    assert score_of(found, found.numbers).value == pytest.approx(np.mean(own))
    assert score_of(found, found.numbers).spread == pytest.approx(np.std(own, ddof=1))


@pytest.mark.parametrize(("number", "spread"), [(1, 0.0), (2, 0.0), (4, 0.0), (4, 0.15)])
def test_errors_equal_the_slow_ones(number: int, spread: float) -> None:
    sampled = arm("a", seeds(number=number, spread=spread)).scores["accuracy"]
    found = error_of([Part(1, sampled.own_s, sampled.drawn_ds)], PICTURES)
    slow = slow_arms.error(sampled.own_s.tolist(), sampled.drawn_ds.tolist(), PICTURES)
    assert (found.error, found.pictures, found.df) == (pytest.approx(slow[0]), pytest.approx(slow[1]), slow[2])


def test_an_error_of_known_parts() -> None:
    """Draws that are normal: pictures with variance 4 for all seeds alike, and 9 for each; seeds with 16 beside."""
    rng = np.random.default_rng(0)
    n, variances = 5, []
    for _ in range(300):
        alike, each = 2 * rng.standard_normal(), 3 * rng.standard_normal(n)
        own = 4 * rng.standard_normal(n) + each + alike
        drawn = own + 2 * rng.standard_normal((400, 1)) + 3 * rng.standard_normal((400, n))
        variances.append(error_of([Part(1, own, drawn)], 10**6).error ** 2)
    assert np.mean(variances) == pytest.approx(4 + 9 / n + 16 / n, rel=0.08)


def test_the_interval_is_as_wide_as_students_and_about_the_score() -> None:
    sampled = arm("a", seeds(spread=0.1)).scores["accuracy"]
    part = Part(1, sampled.own_s, sampled.drawn_ds)
    ends = ends_of([part], PICTURES)
    assert ends.error is not None and ends.low is not None and ends.high is not None
    wanted = 2 * scipy_stats.t.ppf(0.975, ends.error.df) * ends.error.error
    assert ends.high - ends.low == pytest.approx(wanted)
    low, high = np.quantile(two_level([part], 0, 1), (0.025, 0.975))
    middle = float(sampled.own_s.mean())
    assert (middle - ends.low) / (ends.high - middle) == pytest.approx((middle - low) / (high - middle))


def test_t_beyond_is_scipys() -> None:
    for t, df in ((0.0, 1), (2.776, 4), (-3.1, 12), (11.0, 2)):
        assert stats.t_beyond(t, df) == pytest.approx(2 * scipy_stats.t.sf(abs(t), df), abs=1e-12)


def test_drawing_seeds_has_their_variance_with_one_seed_fewer() -> None:
    """Of n - 1 seeds the bootstrap has the variance of the mean; of n it is too small by (n - 1) / n."""
    own = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    part = Part(1, own, np.tile(own, (40_000, 1)))
    truth = own.var(ddof=1) / 5
    assert two_level([part], 0, 1).var() == pytest.approx(truth, rel=0.03)
    assert two_level([part], 0, 0).var() == pytest.approx(0.8 * truth, rel=0.03)


def test_a_gain_is_found_and_its_p_is_students() -> None:
    base, better = arm("base", seeds()), arm("better", seeds(0.25))
    row = one(differences_of(better, base), "accuracy")
    assert row.paired and row.low is not None and row.error is not None and row.df is not None
    assert 0 < row.low < (row.difference or 0) < (row.high or 0)
    expected = 2 * scipy_stats.t.sf((row.difference or 0) / row.error, row.df)
    assert row.p == pytest.approx(expected, abs=1e-9) and expected < 0.01
    assert row.detectable == pytest.approx(stats.detectable(row.error, row.df + 1))
    each = [slow_arms.score(log(s, 0.25), "accuracy") - slow_arms.score(log(s), "accuracy") for s in range(4)]
    assert row.seeds == pytest.approx(each)


def test_equal_arms_differ_by_nothing() -> None:
    row = one(differences_of(arm("again", seeds()), arm("base", seeds())), "both")
    assert (row.difference, row.p, row.low, row.withheld) == (0, None, None, EQUAL)


def test_pairing_follows_the_numbers_and_not_the_order() -> None:
    logs = seeds(spread=0.2)
    base = arm("base", logs)
    turned = arm("turned", {seed: logs[seed] for seed in (2, 0, 3, 1)})
    assert set(one(differences_of(turned, base), "accuracy").seeds) == {0.0}


def test_paired_seeds_have_a_smaller_error_than_unpaired_ones() -> None:
    shifts = np.random.default_rng(5).standard_normal(4) * 0.15
    base = arm("base", {s: log(s, shift=float(shifts[s])) for s in range(4)})
    better = {s: log(s + 50, 0.1, shift=float(shifts[s])) for s in range(4)}
    paired = one(differences_of(arm("a", better), base), "accuracy")
    other = arm("a", {s + 10: lines for s, lines in better.items()})
    unpaired = one(differences_of(other, base), "accuracy")
    assert (paired.paired, unpaired.paired) == (True, False) and unpaired.seeds == ()
    assert paired.difference == pytest.approx(unpaired.difference)
    assert paired.error is not None and unpaired.error is not None and paired.error < 0.8 * unpaired.error


def test_one_seed_is_over_pictures_and_against_several_has_no_interval() -> None:
    single, several = arm("single", {0: log(0)}), arm("several", seeds())
    found = score_of(single.scores["accuracy"], (0,))
    assert found.low is not None and found.spread is None
    assert found.error == found.picture_error
    row = one(differences_of(several, single), "accuracy")
    assert (row.low, row.p, row.withheld) == (None, None, NO_SPREAD)
    alone = one(differences_of(arm("other", {0: log(0, 0.2)}), single), "accuracy")
    assert alone.p is not None and alone.df == PICTURES - 1


def test_few_pictures_and_scores_that_never_move_have_their_reasons() -> None:
    few = arm("few", {s: log(s, pictures=10) for s in range(3)})
    assert "10 pictures are too few" in (score_of(few.scores["accuracy"], range(3)).withheld or "")
    never = score_of(arm("a", seeds()).scores["failed"], range(4))
    assert (never.value, never.low, never.withheld) == (0, 0, None) and 0 < (never.high or 0) < 0.2


def test_holm_is_over_the_tested_scores_of_all_arms() -> None:
    base = arm("base", seeds())
    rows = [row for name, gain in (("a", 0.1), ("b", 0.2)) for row in differences_of(arm(name, seeds(gain)), base)]
    found = adjusted(rows)
    tested = [row for row in found if row.score in TESTED]
    assert {row.score for row in tested} == set(TESTED) - {"latents/picture/changed"}
    assert [row.p_adjusted for row in tested] == pytest.approx(
        stats.holm([math.nan if row.p is None else row.p for row in tested])
    )
    assert all(row.p_adjusted is None for row in found if row.score not in TESTED)


def test_replaced_latents_are_compared_where_both_arms_have_them() -> None:
    have = {s: replaced(lines, 0.5) for s, lines in seeds().items()}
    less = {s: replaced(lines, 0.1) for s, lines in seeds().items()}
    base = arm("base", less)
    found = adjusted(differences_of(arm("a", have), base))
    row = one(found, "latents/picture/changed")
    assert row.difference == pytest.approx(0.4, abs=0.05) and row.p_adjusted is not None
    assert not [row for row in differences_of(arm("plain", seeds()), base) if row.score.startswith("latents/")]


def test_what_some_seeds_alone_were_asked_is_over_these() -> None:
    logs = {s: replaced(lines, 0.5) if s == 2 else lines for s, lines in seeds().items()}
    scores = arm("a", logs).scores
    found = score_of(scores["latents/picture/changed"], tuple(logs))
    assert found.seeds[:2] == (None, None) == (found.seeds[3], found.spread)
    assert (found.n_seeds, found.value) == (1, found.seeds[2]) and found.error == found.picture_error
    assert scores["accuracy"].numbers == (0, 1, 2, 3)


def test_the_same_logs_give_the_same_figures() -> None:
    def figures() -> list[object]:
        base, other = arm("base", seeds()), arm("a", seeds(0.1))
        return [*(score_of(one, one.numbers) for one in other.scores.values()), *differences_of(other, base)]

    assert figures() == figures()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "perf/arm_coverage.py"
    spec = importlib.util.spec_from_file_location("perf_arm_coverage", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestCoverage:
    """The simulation behind the table of docs/statistics.md."""

    def test_the_truth_is_that_of_very_many_pictures_and_seeds(self, script: ModuleType) -> None:
        columns = np.stack(list(script.world(800, 200, 0.7, 0.4, np.random.default_rng(1))))
        none = np.ones((1, 800))
        for name, statistic in script.statistics().items():
            found = np.mean([script.sampled(own, statistic, none)[0].mean() for own in columns])
            assert found == pytest.approx(script.truths(0.7, 0.4)[name], abs=0.03), name

    def test_a_cell_of_the_table_simulated_again(self, script: ModuleType) -> None:
        """Of 120 runs a share of 95 % has a standard error of 2 points."""
        again = script.simulate(60, 5, 0.7, 0.4, 120, seed=1)
        text = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
        (row,) = re.findall(r"^\| 0\.7 \| 60 \| 0\.4 \| 5 \| (.*) \|$", text, re.M)
        told = dict(zip(("accuracy", "difference", "both", "lift"), row.split(" | "), strict=True))
        for score, cell in told.items():
            for rule, printed in zip(script.RULES, cell.split(" / "), strict=True):
                near = 12 if rule == "pictures alone" else 7
                assert float(again[score, rule]) == pytest.approx(float(printed), abs=near), (score, rule)
        assert float(again["accuracy", "corrected"]) > 90 > 85 > float(again["accuracy", "pictures alone"])
