"""Latents of a random tiny model, replaced while it replies; and whole runs with their file of measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.asks import Asks
from benchmark.interventions.measured import FILE, read_measured
from benchmark.interventions.names import SURVEYED, Intervention, resolved, wanted_of
from benchmark.interventions.profiles import Profiles
from benchmark.models.base import ModelOptions, open_model
from benchmark.models.openings import plain_id
from benchmark.opened import open_runs
from benchmark.records import Ask, Item, ItemQuery
from benchmark.report import write_report
from benchmark.run import run_bench
from benchmark.runlog import read_log
from slvr_data.embeddings import local_embedding
from slvr_data.errors import UsageError
from slvr_data.schema import Appearance, AttributeProfile
from slvr_model.regions import box_tokens, pooled
from slvr_model.tiny import new_tiny
from tests.benching import COLORS, Shelf, item, plan
from tests.html_tree import Tree

ALL = "zeroed,noise,mean,picture,region,targets,slots:0..2K"


def bench() -> Any:
    """Two regions on each of two pictures; questions name theirs."""
    items = [item(n, n // 2, bbox=(4.0 + 40 * (n % 2), 20.0, 36.0 + 40 * (n % 2), 52.0)) for n in range(4)]
    return Shelf(
        [one.model_copy(update={"queries": tuple(named(one, asked) for asked in one.queries)}) for one in items]
    )


def named(one: Item, asked: ItemQuery) -> ItemQuery:
    return asked.model_copy(update={"question": f"What is the {asked.facet} of {one.region_id}?"})


def profiles(shelf: Any) -> Profiles:
    """The colour of each region but the last, as `--profiles` reads them."""
    known = {
        one.region_id: AttributeProfile(appearance=Appearance(entity="box", colors=[COLORS[n % 4]]))
        for n, one in enumerate(shelf.items[:-1])
    }
    return Profiles("0" * 64, None, known, {})


def saved(folder: Path, deaf: bool = False) -> str:
    """The specification of a fresh model; a deaf one reads nothing from its latents."""
    model, processor = new_tiny(3)
    if deaf:
        with torch.no_grad():
            for part in (model.latents.visual_in, model.latents.semantic_in):
                part.weight.zero_()
                part.bias.zero_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"slvr:{folder}"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("tiny"))


class Fed:
    """A model with what was fed into its slots, by ask."""

    def __init__(self, spec: str, shelf: Any, **changed: Any) -> None:
        options = ModelOptions(max_new_tokens=1, batch_size=7, bench=shelf, profiles=profiles(shelf))
        self.shelf, self.model = shelf, open_model(spec, replace(options, **changed))
        self.adapter: Any = self.model
        self.found: dict[str, tuple[Any, Any]] = {}
        self.replies: dict[str, str | None] = {}

    def asks(self, text: str) -> list[Ask]:
        changes = resolved(wanted_of(text), self.adapter.latent_shape(), True)
        self.made = Asks(self.shelf, replace(plan(), changes=changes, profiles=profiles(self.shelf)))
        return list(self.made.asks())

    def run(self, text: str) -> dict[tuple[str, str, str], tuple[Any, Any]]:
        """(Item, query, variant) -> visual latents [K, D], semantic latent [E]."""
        asks = self.asks(text)
        self.survey = self.adapter.survey(self.made.plain(SURVEYED))
        real, found = self.adapter._decode, {}

        def kept(rows: Any, own: list[Ask], *more: Any) -> Any:
            out = real(rows, own, *more)
            visual, semantic = out.latents.visual_TD, out.latents.semantic_SE
            for number, ask in enumerate(own):
                given = None if visual is None else visual.view(len(own), -1, 128)[number].numpy()
                found[ask.item.item_id, ask.query.query_id, ask.variant] = (given, semantic[number].numpy())
            return out

        self.adapter._decode = kept
        replies = dict(self.pairs(asks))
        self.replies = {ask_id: reply.text for ask_id, reply in replies.items()}
        assert {reply.error for reply in replies.values()} == {None}
        return found

    def pairs(self, asks: list[Ask]) -> Iterator[tuple[str, Any]]:
        for ask, reply in self.model.replies(iter(asks)):
            yield ask.ask_id, reply


@pytest.fixture(scope="module")
def fed(spec: str) -> tuple[Fed, dict[tuple[str, str, str], tuple[Any, Any]]]:
    made = Fed(spec, bench())
    return made, made.run(ALL)


def close(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, atol=2e-4))


def each(found: Any, name: str) -> Iterator[tuple[Any, Any, tuple[Any, Any], tuple[Any, Any]]]:
    """Item, query, the plain latents, those of a variant."""
    number = 0
    for (item_id, query_id, variant), latents in found.items():
        if variant == f"latents-{name}":
            number += 1
            yield item_id, query_id, found[item_id, query_id, "plain"], latents
    assert number


class TestReplaced:
    def test_one_part_leaves_the_visual_latents_of_the_other(self, fed: Any) -> None:
        """The semantic latent is written after the visual ones, and changes with them."""
        for name in ("zeroed", "noise", "mean", "picture", "region"):
            for *_, own, (visual, _) in each(fed[1], f"{name}-semantic"):
                assert close(visual, own[0])
            for (*_, own, whole), (*_, part) in zip(each(fed[1], name), each(fed[1], f"{name}-visual"), strict=True):
                assert close(whole[0], part[0]) and not close(whole[0], own[0])

    def test_zeros(self, fed: Any) -> None:
        for *_, (visual, semantic) in each(fed[1], "zeroed"):
            assert not visual.any() and not semantic.any()

    def test_noise_has_the_length_of_what_it_replaces(self, fed: Any) -> None:
        for *_, own, (visual, semantic) in each(fed[1], "noise"):
            assert np.allclose(np.linalg.norm(visual[0]), np.linalg.norm(own[0][0]), rtol=1e-3)
            assert np.allclose(np.linalg.norm(semantic), 1, atol=1e-4)
            assert abs(float(visual[0] @ own[0][0])) < 0.5 * float(own[0][0] @ own[0][0])

    def test_the_mean_is_that_of_all_queries(self, fed: Any) -> None:
        plain = [latents for (*_, variant), latents in fed[1].items() if variant == "plain"]
        middle = np.mean([visual for visual, _ in plain], axis=0)
        direction = np.mean([semantic for _, semantic in plain], axis=0)
        for *_, (visual, semantic) in each(fed[1], "mean"):
            assert close(visual, middle)
            assert close(semantic, direction / np.linalg.norm(direction))

    @pytest.mark.parametrize("name", ["picture", "region"])
    def test_those_of_a_donor_are_what_the_donor_is_asked_plainly(self, fed: Any, name: str) -> None:
        donors = {ask.ask_id: ask.donor for ask in fed[0].asks(ALL)}
        pictures = {one.item_id: one.image_id for one in fed[0].shelf.items}
        for item_id, query_id, _, (visual, semantic) in each(fed[1], name):
            donor = donors[f"{item_id}/{query_id}/latents-{name}/0"]
            assert (pictures[item_id] == donor.item.image_id) == (name == "region")
            own = fed[1][donor.item.item_id, donor.query.query_id, "plain"]
            assert close(visual, own[0]) and close(semantic, own[1])

    def test_targets_are_the_regions_tokens_and_its_embedding(self, fed: Any) -> None:
        model = new_tiny(3)[0]
        items = {one.item_id: one for one in fed[0].shelf.items}
        asks = {ask.item.item_id: ask for ask in fed[0].asks("zeroed")}
        for item_id, _, _, (visual, _) in each(fed[1], "targets-visual"):
            picture = fed[0].adapter._picture(asks[item_id].picture)
            _, rows, columns = picture.grid
            with torch.no_grad():
                tokens = model.model.visual(picture.patches_PX, grid_thw=torch.tensor([picture.grid])).pooler_output
            at = box_tokens(items[item_id].bbox, (96, 64), (rows // 2, columns // 2))
            assert close(visual, model.latents.standardised(pooled(tokens[at], 2)))
        known = profiles(fed[0].shelf)
        asked = set()
        for item_id, _, _, (_, semantic) in each(fed[1], "targets-semantic"):
            asked.add(item_id)
            assert close(semantic, local_embedding(known.known[items[item_id].region_id]))
        assert asked == {one.item_id for one in fed[0].shelf.items[:-1]}  # the last has no profile

    def test_slots(self, fed: Any) -> None:
        for number in (0, 1, 3, 4):
            for *_, own, (visual, _) in each(fed[1], f"slots-{number}"):
                assert (0 if visual is None else len(visual)) == number
                assert visual is None or close(visual[:2], own[0][:number])

    def test_the_survey_has_latents_and_targets(self, fed: Any) -> None:
        survey = fed[0].survey
        assert survey.visual_nkd.shape == survey.visual_target_nkd.shape == (8, 2, 128)
        assert survey.semantic_ne.shape == (8, 256)
        assert np.isnan(survey.semantic_target_ne).any(1).tolist() == [False] * 6 + [True] * 2
        for (one, asked), visual in zip(survey.asked, survey.visual_nkd, strict=True):
            assert close(visual, fed[1][one.item_id, asked.query_id, "plain"][0])


def test_batches_change_nothing(spec: str, fed: Any) -> None:
    """Latents of few slots beside others; donors from the survey, or decoded when they are wanted."""
    asks = [ask for ask in fed[0].asks("picture,slots,noise") if ask.item.item_id == "item-00002"]
    alone = Fed(spec, bench(), batch_size=1)
    assert {ask_id: reply.text for ask_id, reply in alone.pairs(asks)} == {
        ask.ask_id: fed[0].replies[ask.ask_id] for ask in asks
    }


def test_draws_are_those_of_the_plain_ask(spec: str, tmp_path: Path) -> None:
    """A deaf model, sampled: what is changed is nothing, so that no reply differs."""
    deaf = Fed(saved(tmp_path, deaf=True), bench(), temperature=1.0, max_new_tokens=3)
    asks = deaf.asks("zeroed:all,picture:all")
    texts = {ask_id: reply.text for ask_id, reply in deaf.pairs(asks)}
    assert all(texts[ask.ask_id] == texts[plain_id(ask)] for ask in asks)
    assert len(set(texts.values())) > 3


def test_other_latents_than_its_own_cannot_be_changed(spec: str) -> None:
    with pytest.raises(UsageError, match="leave --latents zero out"):
        Fed(spec, bench(), latents="zero").asks("noise")


def test_attention_adds_up_and_is_even_where_all_keys_are_alike(spec: str) -> None:
    fed = Fed(spec, bench(), max_new_tokens=3)
    fed.asks("zeroed")
    looks = fed.adapter.attention(list(fed.made.plain(2)))
    assert len(looks) == 4 and list(looks[0].middle) == ["visual", "semantic", "picture", "text", "reply"]
    for look in looks:
        for shares in (look.middle, look.mean, look.even):
            assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert fed.adapter._model.text.config._attn_implementation == "sdpa"
    with torch.no_grad():
        for layer in fed.adapter._model.text.layers:
            layer.self_attn.k_proj.weight.zero_()
            layer.self_attn.k_proj.bias.zero_()
    for look in fed.adapter.attention(list(fed.made.plain(2))):
        assert look.middle == pytest.approx(look.even, abs=1e-4)
        assert look.mean == pytest.approx(look.even, abs=1e-4)


class TestRuns:
    def test_a_deaf_model_changes_nothing_and_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        spec, shelf, out = saved(tmp_path / "model", deaf=True), bench(), tmp_path / "run"
        said: list[str] = []
        known = profiles(shelf)
        options = ModelOptions(max_new_tokens=2, profiles=known)
        wanted = wanted_of("zeroed,picture,targets:visual")

        def run(text: str = "") -> Any:
            changes = wanted_of(text) if text else wanted
            return run_bench(shelf, spec, replace(plan(), profiles=known), options, out, said.append, changes)

        assert run().asked == 8 * 8
        log = read_log(out)
        assert log.header.variants == [
            *(f"latents-{name}{part}" for name in ("zeroed", "picture") for part in ("", "-visual", "-semantic")),
            "latents-targets-visual",
        ]
        plain = {(one.item_id, one.query_id): one.reply for one in log.lines if one.variant == "plain"}
        assert all(one.reply == plain[one.item_id, one.query_id] for one in log.lines)
        whole = (out / "run.jsonl").read_bytes().splitlines(keepends=True)
        (out / "run.jsonl").write_bytes(b"".join(whole[:50]))
        assert (run().asked, run().asked) == (8 * 8 - 49, 0)
        assert sum("latents: 8 queries of 4 regions" in text for text in said) == 2  # not where nothing was left
        with pytest.raises(UsageError, match="take another --out"):
            run("zeroed,noise")
        self.reported(out)

    def reported(self, out: Path) -> None:
        """The file of measures, and the panel of the page."""
        measured = read_measured(out)
        assert measured is not None and (measured.queries, measured.items) == (8, 4)
        assert {"visual/effective_rank", "semantic/target_cosine", "attention/middle/visual"} <= set(measured.measures)
        page = next(path for path in write_report([out], None, None, 3, "again") if path.name == "report.html")
        words = page.read_text()
        tree = Tree(words)
        grid = next(table for table in tree.root.every("table", "facets-grid") if "zeroed" in table.text)
        assert [cell.text.strip() for cell in grid.every("th")] == [
            "all latents", "visual", "semantic", "zeroed", "picture", "targets",
        ]  # fmt: skip
        assert {cell.text.strip() for cell in grid.every("td")} == {"", "0.0lost 0.0"}
        assert "Do the latents matter?" in words and "Answers changed by other latents" in words
        assert "Effective rank" in words and "zeroed visual: Answers changed" in words
        (out / FILE).write_text("{}")
        with pytest.raises(UsageError, match="delete it"):
            read_measured(out)

    def test_the_mean_belongs_to_its_items(self, spec: str, tmp_path: Path) -> None:
        shelf, options = bench(), ModelOptions(max_new_tokens=1)

        def run(limit: int, text: str, out: Path) -> int:
            return run_bench(shelf, spec, plan(limit=limit), options, out, interventions=wanted_of(text)).asked

        run(1, "mean:all", tmp_path / "mean")
        with pytest.raises(UsageError, match="mean_latent_of_items 1, not 2"):
            run(2, "mean:all", tmp_path / "mean")
        assert run(1, "zeroed:all", tmp_path / "zero") == run(2, "zeroed:all", tmp_path / "zero") == 4

    def test_a_run_without_interventions_has_no_file(self, spec: str, tmp_path: Path) -> None:
        run_bench(bench(), spec, plan(limit=1), ModelOptions(max_new_tokens=1), tmp_path)
        assert read_measured(tmp_path) is None and not (tmp_path / FILE).exists()
        assert open_runs([tmp_path])[0].header.variants == []


def test_an_intervention_says_its_name() -> None:
    assert Intervention("noise", "visual").words == "noise visual"
