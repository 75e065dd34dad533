"""Every score that there is has words, and is written as what it is."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from benchmark.agreement import contradictions
from benchmark.metrics import Statistic
from benchmark.scores import Estimate, _families
from benchmark.sections import sections
from benchmark.transforms import TRANSFORMS
from benchmark.wording import kind_of, titled, word_of
from tests.benchmark.bench_logs import able, items, lines
from tests.benchmark.score_logs import random_log

VARIANTS = ("plain", "paraphrase-1", "rotation-1", "rotation-2", "rotation-3", *TRANSFORMS)


@pytest.fixture(scope="module")
def statistics() -> dict[str, Statistic]:
    """Every score of a run that asked everything, by name."""
    log = random_log(3, variants=VARIANTS)
    found = {name: one for _, own in _families(log, None) for name, one in own.items()}
    _, linked = contradictions(lines(items(4), able(0.5)), items(4))
    return found | {one.name: one for one in linked}


def test_every_family_is_there(statistics: dict[str, Statistic]) -> None:
    for pattern in ("cs_4", "position/q4/accuracy", "facet/*/over_chance", "paraphrase/alpha_of_right",
                    "circular/all_right_strict", "contradiction_rate",
                    *(f"evidence/{name}/said_unseen" for name in TRANSFORMS)):  # fmt: skip
        assert any(fnmatchcase(name, pattern) for name in statistics), pattern


def test_every_score_has_words_of_its_kind(statistics: dict[str, Statistic]) -> None:
    kinds = {"share": "share", "difference": "points", "coefficient": "coefficient"}
    for name, statistic in statistics.items():
        assert word_of(name).meaning.endswith("."), f"{name} has no words"
        assert kind_of(name) == kinds[statistic.kind], name
        label, _ = titled(name)
        assert label and "/" not in label and "_" not in label, f"{name} is called {label}"


def test_no_two_scores_of_a_family_are_called_alike(statistics: dict[str, Statistic]) -> None:
    for family in {name.rpartition("/")[0] for name in statistics}:
        labels = [word_of(name).label for name in statistics if name.rpartition("/")[0] == family]
        assert len(set(labels)) == len(labels), labels


def test_the_page_leaves_no_score_out(statistics: dict[str, Statistic]) -> None:
    one = Estimate(value=0.5, low=0.4, high=0.6, n_items=9, n_clusters=9, method="bootstrap")
    shown = sections([dict.fromkeys(statistics, one)])
    assert sum(len(section.measures) for section in shown) == len(statistics)
