"""Interventions by name, whose latents are taken, what is asked, and what the answers then say: no model is run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmark.asks import Asks
from benchmark.interventions.donors import Donor, Donors
from benchmark.interventions.edits import edits
from benchmark.interventions.effects import changed_by_facet, effects, interventions_in
from benchmark.interventions.names import Intervention, Shape, Wanted, intervention_of, resolved, wanted_of
from benchmark.interventions.slots import slot_scores
from benchmark.lines import line_of
from benchmark.models.base import ModelOptions
from benchmark.records import LogLine, Reply
from benchmark.run import run_bench
from benchmark.scores import scores_of
from benchmark.wording import kind_of, titled, word_of
from slvr_data.errors import UsageError
from tests.benching import Shelf, item, letter, plan, query, shelf
from tests.benchmark.score_logs import line

BOTH, ONE = Shape(2, True), Shape(2, False)


def variants(text: str, shape: Shape = BOTH, profiles: bool = True) -> list[str]:
    return [change.variant for change in resolved(wanted_of(text), shape, profiles)]


class TestNames:
    def test_a_name_is_every_part_that_a_model_has(self) -> None:
        assert variants("zeroed") == ["latents-zeroed", "latents-zeroed-visual", "latents-zeroed-semantic"]
        assert variants("zeroed", ONE) == ["latents-zeroed"]
        assert variants("noise:visual, mean:all") == ["latents-noise-visual", "latents-mean"]

    def test_slots_go_to_a_multiple_of_the_models_own_and_leave_that_out(self) -> None:
        every = [f"latents-slots-{number}" for number in (0, 1, 3, 4)]
        assert variants("slots") == variants("slots:0..2K") == every
        assert variants("slots:1..3") == ["latents-slots-1", "latents-slots-3"]
        assert variants("slots:0") == ["latents-slots-0"]
        assert variants("slots:3..3K", Shape(1, True)) == ["latents-slots-3"]

    def test_targets_without_profiles_are_the_visual_ones(self) -> None:
        assert variants("targets", profiles=False) == ["latents-targets-visual"]
        assert variants("targets", ONE, profiles=False) == ["latents-targets-visual"]
        assert len(variants("targets")) == 3

    def test_what_is_asked_twice_is_there_once(self) -> None:
        assert variants("zeroed,zeroed:visual") == variants("zeroed")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("zerod", "did you mean zeroed"),
            ("zeroed:semantics", "'semantics' is none of all, visual, semantic"),
            ("slots:a", "give slots:N"),
            ("slots:3..1", "holds no number"),
            ("slots:2..", "give slots:N"),
        ],
    )
    def test_what_is_wrong_is_named(self, text: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            wanted_of(text)

    def test_what_a_model_cannot_do_is_named(self) -> None:
        with pytest.raises(UsageError, match="no semantic latent"):
            variants("noise:semantic", ONE)
        with pytest.raises(UsageError, match="--profiles"):
            variants("targets:semantic", profiles=False)

    def test_variants_are_read_back(self) -> None:
        for change in resolved(wanted_of("zeroed,noise,mean,picture,region,targets,slots"), BOTH, True):
            assert intervention_of(change.variant) == change
        for other in (
            "plain",
            "rotation-1",
            "masked",
            "latents",
            "latents-zeroed-both",
            "latents-other",
            "only-region",
        ):
            assert intervention_of(other) is None


class TestDonors:
    def test_another_picture_with_another_answer_to_the_same_question(self) -> None:
        items = [item(n) for n in range(12)]
        donors = Donors(items)
        for own in items:
            for asked in own.queries:
                found = donors.of(own, asked, "picture")
                assert found is not None and found.item.image_id != own.image_id
                assert found.query.facet == asked.facet
                assert found.answer_to(asked) == found.query.answer != asked.answer

    def test_another_region_of_the_picture(self) -> None:
        items = [item(0, 0), item(1, 0), item(2, 0), item(5, 1)]
        donors = Donors(items)
        for own in items[:3]:
            found = donors.of(own, own.queries[0], "region")
            assert found is not None and found.item.region_id != own.region_id and found.item.image_id == own.image_id
            assert found.answer_to(own.queries[0]) is not None
        assert donors.of(items[3], items[3].queries[0], "region") is None

    def test_two_items_of_one_region_are_no_donors_of_each_other(self) -> None:
        one, other = item(0, 0), item(1, 0, region_id="region-00000")
        assert Donors([one, other]).of(one, one.queries[0], "region") is None

    def test_a_donor_of_another_kind_of_question_has_no_answer_to_follow(self) -> None:
        alone = item(
            1, 1, queries=(query("x", "shape", ("round", "square"), 0), query("x", "size", ("big", "small"), 0))
        )
        found = Donors([item(0), alone]).of(alone, alone.queries[0], "picture")
        assert found is not None and found.answer_to(alone.queries[0]) is None
        assert Donors([alone]).of(alone, alone.queries[0], "picture") is None

    def test_they_do_not_depend_on_the_order_of_other_questions(self) -> None:
        items = [item(n) for n in range(8)]
        found = [Donors(items).of(items[3], items[3].queries[0], "picture") for _ in range(2)]
        assert found[0] == found[1]


def asks_for(bench: Any, *changes: Intervention, **more: Any) -> Asks:
    return Asks(bench, replace(plan(**more), changes=changes))


class TestAsks:
    def test_each_query_again_in_every_variant(self) -> None:
        made = asks_for(shelf(3), Intervention("zeroed"), Intervention("slots", slots=4), seeds=2)
        asks = list(made.asks())
        assert len(asks) == len(made) == 3 * 2 * 3 * 2
        assert made.counts() == {"plain": 12, "latents": 24}
        by_id = {ask.ask_id: ask for ask in asks}
        for ask in asks:
            plain = by_id["/".join([*ask.ask_id.split("/")[:2], "plain", ask.ask_id.split("/")[3]])]
            assert (ask.prompt, ask.picture, ask.choices) == (plain.prompt, plain.picture, plain.choices)

    def test_donors_come_as_plain_asks_with_their_own_picture(self) -> None:
        bench = shelf(8)
        asks = [ask for ask in asks_for(bench, Intervention("picture")).asks() if ask.variant == "latents-picture"]
        assert len(asks) == 16
        for ask in asks:
            assert ask.donor is not None and ask.donor.variant == "plain"
            assert ask.donor.picture == bench.picture(ask.donor.item.image_id) != ask.picture
            logged = line_of(ask, Reply(letter(ask, ask.donor.query.answer)))
            assert logged.donor == f"{ask.donor.item.item_id}/{ask.donor.query.query_id}"
            assert logged.donor_answer == ask.donor.query.answer == logged.answer
            assert not logged.correct and logged.expected == ask.query.answer

    def test_donors_do_not_depend_on_the_limit(self) -> None:
        def donors(limit: int | None) -> dict[str, str]:
            made = asks_for(shelf(6), Intervention("picture"), limit=limit)
            return {ask.ask_id: ask.donor.ask_id for ask in made.asks() if ask.donor is not None}

        few, all_ = donors(2), donors(None)
        assert few and few.items() <= all_.items()

    def test_what_has_no_such_latents_is_left_out_and_told(self) -> None:
        bench = Shelf([item(0, 0), item(1, 0), item(2, 1, bbox=None)])
        made = asks_for(bench, Intervention("region"), Intervention("targets", "visual"), Intervention("targets"))
        assert made.left_out() == {"latents-region": 2, "latents-targets-visual": 2, "latents-targets": 6}

    def test_plain_asks_are_drawn_like_a_limit(self) -> None:
        made = asks_for(shelf(6))
        assert [ask.ask_id for ask in made.plain(3)] == [ask.ask_id for ask in asks_for(shelf(6), limit=3).asks()]


def test_a_model_without_latents_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="oracle has no latents"):
        run_bench(shelf(3), "oracle", plan(), ModelOptions(), tmp_path, interventions=[Wanted("zeroed")])


# --- effects: constructed logs with known answers


def log(*pairs: tuple[dict[str, Any], dict[str, Any]], change: Intervention) -> list[LogLine]:
    """Items of two queries each, on a picture each: a plain line and one with latents replaced for each pair."""
    lines = []
    for place, (plain, replaced) in enumerate(pairs):
        for variant, said in (("plain", plain), (change.variant, replaced)):
            right = said.get("answer", "red") == "red"
            more = {"reply": said.get("answer", "red"), **said, "variant": variant, "image": f"picture {place // 2}"}
            lines.append(line(f"item {place // 2}", place % 2, right, **more))
    return lines


def values(lines: list[LogLine]) -> dict[str, Any]:
    found = {name: one for name, one in scores_of(lines, draws=400).items() if name.startswith("latents/")}
    return {name.split("/", 1)[1]: one.value for name, one in found.items()}


def test_answers_that_ignore_latents_change_nowhere() -> None:
    said = [{"answer": "red"}, {"answer": "blue"}] * 25
    found = scores_of(log(*[(one, one) for one in said], change=Intervention("zeroed")), draws=400)
    assert {name: found[f"latents/zeroed/{name}"].value for name in ("changed", "text_changed", "accuracy_lost")} == {
        "changed": 0.0, "text_changed": 0.0, "accuracy_lost": 0.0,
    }  # fmt: skip
    assert found["latents/zeroed/accuracy"].value == 0.5
    assert found["latents/zeroed/changed"].low == 0.0
    assert 0 < (found["latents/zeroed/changed"].high or 0) < 0.2  # of 25 pictures
    assert found["latents/zeroed/changed"].n_clusters == 25


def test_answers_that_are_the_latents_change_everywhere_and_follow() -> None:
    change = Intervention("picture", "visual")
    pairs = [({"answer": "red"}, {"answer": "blue", "donor_answer": "blue"})] * 40
    found = values(log(*pairs, change=change))
    assert found == {
        "picture-visual/changed": 1.0, "picture-visual/accuracy_lost": 1.0, "picture-visual/accuracy": 0.0,
        "picture-visual/text_changed": 1.0, "picture-visual/follows": 1.0, "picture-visual/followed_plainly": 0.0,
    }  # fmt: skip


def test_counts_by_hand() -> None:
    no_answer = {"answer": None, "outcome": "unparsed", "reply": "well"}
    pairs = [
        ({"answer": "red"}, {"answer": "red", "reply": "it is red"}),  # other words, the same answer
        ({"answer": "red"}, no_answer),  # an answer is gone
        (no_answer, {**no_answer, "reply": "hm"}),  # never one: not changed
        ({"answer": "blue"}, {"answer": "red", "donor_answer": "blue"}),  # named the donor's before, not now
        ({"answer": "red"}, {"answer": "green", "donor_answer": "blue"}),
        ({"answer": "red"}, {"answer": "blue", "donor_answer": "blue"}),
    ]
    found = values(log(*pairs, change=Intervention("region")))
    assert found["region/changed"] == pytest.approx(4 / 6)
    assert found["region/text_changed"] == pytest.approx(6 / 6)
    assert found["region/accuracy"] == pytest.approx(2 / 6)
    assert found["region/accuracy_lost"] == pytest.approx((4 - 2) / 6)
    assert found["region/follows"] == pytest.approx(1 / 3)
    assert found["region/followed_plainly"] == pytest.approx(1 / 3)


def test_a_query_without_its_plain_reply_is_left_out() -> None:
    lines = log(*[({"answer": "red"}, {"answer": "blue"})] * 4, change=Intervention("zeroed"))
    sums, _ = effects([one for one in lines if (one.variant, one.position) != ("plain", 0)])
    assert sums.total[0, sums.names.index("zeroed pairs")] == 2


def test_interventions_of_one_log_are_counted_apart() -> None:
    zeroed, noise = Intervention("zeroed"), Intervention("noise", "semantic")
    lines = log(*[({"answer": "red"}, {"answer": "blue"})] * 4, change=zeroed)
    more = log(*[({"answer": "red"}, {"answer": "red"})] * 2, change=noise)
    found = scores_of([*lines, *(one for one in more if one.variant != "plain")], draws=50)
    assert (found["latents/zeroed/changed"].value, found["latents/zeroed/changed"].n_items) == (1, 2)
    assert found["latents/noise-semantic/changed"].value == 0
    assert found["latents/noise-semantic/changed"].n_items == 1


def test_changed_answers_are_counted_by_facet() -> None:
    zeroed = Intervention("zeroed")
    pairs = [({"answer": "red"}, {"answer": "blue"}), ({"answer": "red"}, {"answer": "red"})] * 4
    lines = log(*pairs, change=zeroed)
    first, second = dict.fromkeys(one.facet for one in lines)
    assert changed_by_facet(lines) == {(zeroed, first): (4, 4), (zeroed, second): (0, 4)}
    assert changed_by_facet([one for one in lines if one.variant != "plain"]) == {}


def test_accuracy_over_slots_has_the_plain_one_at_the_models_own_number() -> None:
    scores = {"accuracy": 5, "latents/slots-3/accuracy": 3, "latents/slots-3/changed": 9, "latents/picture/accuracy": 8}
    assert slot_scores(scores, 2) == {2: 5, 3: 3} and slot_scores(scores, None) == {3: 3}
    assert slot_scores(scores | {"latents/slots-2/accuracy": 4}, 2) == {2: 4, 3: 3}
    assert slot_scores({"accuracy": 5, "latents/picture/accuracy": 8}, 2) == {}


def test_every_score_has_words_of_its_kind() -> None:
    lines = log(*[({"answer": "red"}, {"answer": "blue", "donor_answer": "blue"})] * 4, change=Intervention("zeroed"))
    kinds = {"share": "share", "difference": "points"}
    scores = effects(lines)[1] | {one.name: one for one in edits(lines)[1]}
    assert len(scores) == 6 + 4
    for name, statistic in scores.items():
        assert word_of(name).meaning.endswith(".") and kind_of(name) == kinds[statistic.kind], name
        assert "_" not in titled(name)[0]


def test_interventions_are_in_order() -> None:
    names = ["latents-slots-10", "latents-slots-2", "latents-picture-semantic", "plain", "masked", "latents-picture",
             "latents-zeroed"]  # fmt: skip
    found = interventions_in([line("a", 0, True, variant=name) for name in names])
    assert [change.words for change in found] == ["zeroed", "picture", "picture semantic", "slots 2", "slots 10"]


def test_a_donor_is_compared_by_facet_and_choices() -> None:
    own, other = item(0), item(1)
    assert Donor(other, other.queries[0]).answer_to(own.queries[0]) == "green"
    assert Donor(other, other.queries[1]).answer_to(own.queries[0]) is None
    open_ = own.queries[0].model_copy(update={"choices": (), "answer_index": None, "chance": None})
    assert Donor(other, other.queries[0]).answer_to(open_) == "green"
    elsewhere = other.queries[0].model_copy(update={"template": "another form"})
    assert Donor(other, elsewhere).answer_to(open_) is None
