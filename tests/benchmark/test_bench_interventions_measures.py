"""Measures and probes on latents that are made so that the right figures are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.interventions.latents import Survey
from benchmark.interventions.measures import effective_rank, keys_of, measures_of, partners, rank_of
from benchmark.interventions.probes import interpreter_probe, linear_probe, probes_of, shuffled, words_of
from benchmark.interventions.profiles import Profiles
from slvr_data.embeddings import local_embedding
from slvr_data.schema import Appearance, AttributeProfile
from tests.benching import COLORS, item

REGIONS, WIDTH = 2, 12


def asked(pictures: int) -> list[Any]:
    """Two regions on each picture, two queries each."""
    items = [item(n, n // REGIONS) for n in range(pictures * REGIONS)]
    return [(one, query) for one in items for query in one.queries]


def survey(pictures: int, visual: Any, semantic: Any = None, **targets: Any) -> Survey:
    """Latents by a function of (picture, region, query, slot), or of (picture, region, query)."""
    own = asked(pictures)
    places = [(n // 4, n // 2, n) for n in range(len(own))]
    visual_nkd = np.array([[visual(*place, slot) for slot in range(2)] for place in places], np.float32)
    semantic_ne = None if semantic is None else np.array([semantic(*place) for place in places], np.float32)
    return Survey(own, visual_nkd, semantic_ne, **targets)


def unit(*names: object) -> Any:
    """A random direction that follows from names."""
    drawn = np.random.default_rng(list(map(int, names))).standard_normal(WIDTH)
    return drawn / np.linalg.norm(drawn)


class TestMeasures:
    def test_the_effective_rank_of_known_spectra(self) -> None:
        rng = np.random.default_rng(0)
        square = np.linalg.qr(rng.standard_normal((60, 60)))[0]
        for rank in (1, 3, 8):
            rows = square[:, :rank] - square[:, :rank].mean(0)
            basis = np.linalg.qr(rows)[0] @ np.linalg.qr(rng.standard_normal((20, rank)))[0].T
            assert effective_rank(basis + 5) == pytest.approx(rank, rel=1e-6)
        uneven = np.linalg.qr(square[:, :2] - square[:, :2].mean(0))[0] * [3.0, 1.0]
        entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
        assert effective_rank(uneven) == pytest.approx(np.exp(entropy))
        assert effective_rank(np.ones((9, 4))) == 0.0

    def test_the_error_of_a_rank_is_how_much_it_varies_over_pictures(self) -> None:
        """Of latents of pictures that are drawn anew: the spread of the rank is what the jackknife says."""
        scale, keys = 0.8 ** np.arange(WIDTH), [(f"p{n // 4}", f"i{n}", "q", 0) for n in range(240)]
        found = []
        for turn in range(60):
            rng = np.random.default_rng(turn)
            own_pd = np.repeat(3 * scale * rng.standard_normal((60, WIDTH)), 4, axis=0)
            found.append(rank_of(keys, own_pd[:, None] + 0.1 * rng.standard_normal((240, 2, WIDTH))))
        values = np.array([one.value for one in found], float)
        errors = np.array([one.error for one in found], float)
        assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.25)
        assert sum((one.low or 0) <= values.mean() <= (one.high or 0) for one in found) >= 52
        assert {one.method for one in found} == {"jackknife"}
        few = rank_of(keys[:76], np.random.default_rng(0).standard_normal((76, 1, WIDTH)))
        assert (few.low, few.withheld) == (None, "19 pictures are too few")

    def test_collapsed_latents(self) -> None:
        found = measures_of(survey(25, lambda *_: np.ones(WIDTH)))
        values = {name.removeprefix("visual/"): one.value for name, one in found.items()}
        assert values["effective_rank"] == values["spread_slots"] == values["spread_pictures"] == 0
        assert values["within_region"] == values["between_pictures"] == 0
        assert values["cosine_pictures"] == pytest.approx(1)
        assert values["within_over_pictures"] is None  # 0 / 0

    def test_latents_that_tell_regions_and_nothing_else(self) -> None:
        found = measures_of(survey(25, lambda picture, region, query, slot: unit(region)))
        assert found["visual/spread_slots"].value == pytest.approx(0, abs=1e-6)
        assert found["visual/within_region"].value == 0 == found["visual/within_over_picture"].value
        between, beside = (found[f"visual/{name}"] for name in ("between_pictures", "within_picture"))
        assert between.value == pytest.approx(2, abs=0.2) == beside.value  # two slots of length 1 at right angles
        assert beside.low is not None and beside.low < (beside.value or 0) < (beside.high or 0)
        assert abs(found["visual/cosine_pictures"].value or 1) < 0.15

    def test_latents_of_pictures_are_nearer_than_others(self) -> None:
        made = survey(25, lambda picture, region, query, slot: 3 * unit(picture) + unit(7, query))
        found = measures_of(made)
        assert found["visual/within_over_picture"].value == pytest.approx(1, abs=0.15)
        assert (found["visual/within_over_pictures"].value or 1) < 0.5
        assert found["visual/spread_pictures"].value == pytest.approx(np.sqrt(9.25 / 10), abs=0.05)

    def test_slots_that_differ(self) -> None:
        found = measures_of(survey(25, lambda picture, region, query, slot: np.eye(WIDTH)[slot]))
        assert found["visual/spread_slots"].value == pytest.approx(np.sqrt(0.5))
        assert found["visual/spread_pictures"].value == 0

    def test_targets(self) -> None:
        targets = np.stack([np.stack([unit(n, 0), unit(n, 1)]) for n in range(100)]).astype(np.float32)
        holes = targets.copy()
        holes[:8] = np.nan
        right = survey(25, lambda picture, region, query, slot: unit(query, slot), visual_target_nkd=holes)
        assert measures_of(right)["visual/target_r2"].value == pytest.approx(1)
        middle = targets[8:].mean(0)
        mean = survey(25, lambda picture, region, query, slot: middle[slot], visual_target_nkd=holes)
        found = measures_of(mean)["visual/target_r2"]
        assert found.value == pytest.approx(0, abs=1e-5) and found.n_clusters == 23
        opposite = survey(25, lambda *_: unit(1), lambda *place: unit(place[2], 0), semantic_target_ne=-targets[:, 0])
        assert measures_of(opposite)["semantic/target_cosine"].value == pytest.approx(-1, abs=1e-5)

    def test_few_pictures_have_no_interval(self) -> None:
        found = measures_of(survey(6, lambda picture, *_: unit(picture)))
        assert found["visual/within_picture"].low is None
        assert "too few" in str(found["visual/cosine_pictures"].withheld)

    def test_partners_are_of_other_pictures(self) -> None:
        keys = keys_of(survey(6, lambda *_: unit(1)))
        for place, key in enumerate(keys):
            found = partners(keys, place)
            assert len(found) == len(set(found)) >= 3
            assert all(keys[other][0] != key[0] for other in found)
        assert partners(keys[:4], 0) == []


def profiles(number: int) -> Profiles:
    """Regions of four colours; those of one colour have one profile."""
    known = {
        f"region-{n:05d}": AttributeProfile(appearance=Appearance(entity="box", colors=[COLORS[n % 4]]))
        for n in range(number)
    }
    return Profiles("0" * 64, None, known, {})


class TestProbes:
    def test_a_line_reads_what_is_there_and_nothing_else(self) -> None:
        words = [COLORS[n % 4] for n in range(160)]
        keys = [(f"picture {n // 2}", f"item {n}", "q", 0) for n in range(160)]
        told = np.eye(4)[[n % 4 for n in range(160)]]
        found = linear_probe(keys, told, words)
        assert found["own"].value == 1 and (found["own"].low or 0) > 0.9
        assert (found["zero"].value or 1) < 0.35
        noise = linear_probe(keys, np.random.default_rng(1).standard_normal((160, 8)), words)
        assert (noise["own"].value or 1) < 0.45

    def test_shuffled_latents_tell_nothing_of_the_picture(self) -> None:
        rng = np.random.default_rng(2)
        code = rng.integers(0, 4, 120)
        keys = [(f"picture {n}", f"item {n}", "q", 0) for n in range(120)]
        found = linear_probe(keys, np.eye(4)[code], [COLORS[c] for c in code])
        assert found["own"].value == 1 and (found["shuffled"].value or 1) < 0.5

    def test_what_is_shuffled_is_of_another_picture_and_taken_once(self) -> None:
        keys = keys_of(survey(7, lambda *_: unit(1)))
        taken = shuffled(keys)
        assert sorted(taken.tolist()) == list(range(len(keys)))
        assert all(keys[n][0] != keys[other][0] for n, other in enumerate(taken.tolist()))

    def test_words_are_those_of_profiles_or_the_answers(self) -> None:
        made = survey(10, lambda *_: unit(1))
        by_answer = words_of(made, None)
        assert set(by_answer) == {"color", "position"}
        assert by_answer["color"][:4] == ["red", None, "green", None]
        by_profile = words_of(made, profiles(18))
        assert set(by_profile) == {"color"}  # all are boxes
        assert by_profile["color"][:3] == ["red", "red", "green"] and by_profile["color"][-4:] == [None] * 4

    def interpreted(self, semantic: Any) -> dict[str, Any]:
        known = profiles(60)
        targets = np.array([local_embedding(known.known[one.region_id], 64) for one, _ in asked(30)], np.float32)
        own = asked(30)
        made = Survey(own, np.ones((120, 2, 4), np.float32), semantic(targets), None, targets)
        return {name: one.value for name, one in interpreter_probe(made, known).items()}

    def test_the_nearest_profile_is_the_right_one_of_targets(self) -> None:
        found = self.interpreted(lambda targets: 3 * targets)
        assert found["interpreter/color/own"] == found["interpreter/region/own"] == 1
        assert found["interpreter/color/zero"] == found["interpreter/region/zero"] == pytest.approx(0.25)
        assert found["interpreter/color/shuffled"] < 0.75  # half of the pictures have the same two colours
        assert "interpreter/entity/own" not in found  # every profile has the same

    def test_zeros_tell_less_than_the_right_ones(self) -> None:
        found = self.interpreted(lambda targets: np.roll(targets, 2, axis=0))  # the colour before
        assert found["interpreter/color/own"] == 0

    def test_names(self) -> None:
        made = survey(10, lambda *_: unit(1), lambda *_: unit(2))
        found = probes_of(made, None)
        assert set(found) == {
            f"linear/{kind}/{facet}/{control}" for kind in ("visual", "semantic") for facet in ("color", "position")
            for control in ("own", "zero", "shuffled")
        }  # fmt: skip
