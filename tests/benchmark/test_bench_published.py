"""The paper's table: its arithmetic, and what its margins allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.published import SOURCES, TABLE, Pair, p_bounds, pairs, published, text
from benchmark.stats import mcnemar

DOCS = Path(__file__).parents[2] / "docs" / "statistics.md"
PRINTED_OF_VSTAR = {
    "Qwen2.5-VL-7B": (76.4, 55.5, 44.0),
    "GRIT": (69.6, 61.8, 49.7),
    "DeepEyes": (83.3, 79.1, 70.2),
    "Visual-SR1": (75.9, 73.3, 62.8),
    "LVR": (81.7, 77.5, 65.4),
    "SLVR": (82.2, 80.1, 69.1),
}


def test_counts_give_the_printed_percentages() -> None:
    for model, printed in PRINTED_OF_VSTAR.items():
        mine = tuple(round(100 * count / 191, 1) for count in TABLE[model][0])
        assert mine == ((83.2, 79.1, 70.2) if model == "DeepEyes" else printed)


def test_intervals_of_vstar_are_seven_points_to_either_side() -> None:
    cells = [cell for cell in published() if cell.source == "V*"]
    assert len(cells) == 6
    for cell in cells:
        low, high = cell.intervals[2]
        assert low < cell.shares[2] < high
        assert 0.12 < high - low < 0.145


def test_text_models_are_the_most_consistent_beyond_accuracy() -> None:
    for source in SOURCES:
        phi = {cell.model: cell.phi for cell in published() if cell.source == source.name}
        assert {"GRIT", "Visual-SR1"} == set(sorted(phi, key=lambda model: -phi[model])[:2])


def test_bounds_are_those_of_every_table_with_the_margins() -> None:
    for first, second, n in [(5, 3, 8), (0, 8, 8), (4, 4, 8), (7, 7, 9)]:
        found = [
            mcnemar(first - both, second - both)
            for both in range(n + 1)
            if both <= min(first, second) and first + second - both <= n
        ]
        assert p_bounds(first, second, n) == (min(found), max(found))


def test_the_gain_over_lvr_on_vstar_is_undecidable() -> None:
    pair = next(p for p in pairs() if (p.source, p.first, p.second) == ("V*", "LVR", "SLVR"))
    assert pair.smallest == pytest.approx(2 * 0.5**7)
    assert pair.largest > 0.5
    assert pair.verdict == "undecidable from published figures"


def test_verdicts() -> None:
    assert Pair("s", "a", "b", 0.001, 0.04).verdict == "they differ"
    assert Pair("s", "a", "b", 0.05, 0.5).verdict == "no difference is shown"
    assert Pair("s", "a", "b", 0.04, 0.05).verdict == "undecidable from published figures"


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="9 and 3 are not counts of 8 regions"):
        p_bounds(9, 3, 8)


def test_the_documentation_shows_this_table() -> None:
    assert text() in DOCS.read_text(encoding="utf-8")
