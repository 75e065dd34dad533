"""Other processes than those that began a run: every step is made of the samples that it would have had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from slvr_data.errors import RunError, UsageError
from slvr_model.data import SlvSamples, Unusable
from slvr_model.efficiency.lengths import Plan
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.collate import Collator
from slvr_model.sft.config import SftConfig
from slvr_model.sft.dealing import Deal
from slvr_model.sft.order import PlannedBatches, batches_of
from slvr_model.sft.run import _Run as Run
from slvr_model.sft.samples import RowMaker, Shown, StreamedBatches
from slvr_model.sft.shown import Record, cut_back, shown_in
from slvr_model.tiny import new_tiny

Steps = list[Counter[Any]]


def steps_of(deals: list[Deal], batches: Callable[[Deal], Any], name: Callable[[Any], Any]) -> Steps:
    """The samples of each step, those of all processes; idle ones, whose name is None, left out."""
    found: Steps = [Counter() for _ in range(deals[0].steps)]
    for deal in deals:
        turns = list(batches(deal))
        assert len(turns) == deal.total == deals[0].total, "no process waits for another"
        for turn, batch in enumerate(turns):
            assert batch, "each process has something to show in each turn"
            found[turn // deal.each].update(one for sample in batch if (one := name(sample)) is not None)
    return found


@pytest.mark.parametrize("kind", ["grouped", "packed", "random"])
@pytest.mark.parametrize(("begun", "accumulate"), [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_a_planned_step_has_the_same_samples_for_any_number_of_processes(
    kind: Any, begun: int, accumulate: int
) -> None:
    plan = Plan(np.arange(1, 24), kind, 4, 3, ranks=begun)
    batches = 2 * batches_of(plan) + 1  # the last step may lack some

    def steps(ranks: int) -> Steps:
        deals = [Deal(batches, accumulate, begun, rank, ranks) for rank in range(ranks)]
        return steps_of(deals, lambda deal: PlannedBatches(plan, deal), lambda key: key if len(key) == 2 else None)

    first = steps(begun)
    epoch = Counter((0, number) for number in range(23))
    assert sum(first, Counter()) & epoch == epoch, "nothing is left out"
    for ranks in range(1, 8):
        assert steps(ranks) == first, ranks


def test_what_is_drawn_for_a_batch_is_the_same_whoever_computes_it() -> None:
    two = [Deal(8, 1, 2, rank, 2) for rank in range(2)]
    one, four = Deal(8, 1, 2), [Deal(8, 1, 2, rank, 4) for rank in range(4)]
    assert [deal.place(0) for deal in two] == [one.place(0), one.place(1)] == [(0, 0), (0, 1)]
    assert [deal.place(0) for deal in four] == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    assert two[0].told(4) == "4 x 1 x 2 samples"
    assert one.told(4) == "4 x 1 x 2 samples, which 1 process shows in 2 turns"
    assert four[0].told(4) == "4 x 1 x 2 samples, which 4 processes show in 1 turn, batches cut into 2"


@pytest.mark.parametrize("begun", [1, 2])
def test_a_streamed_step_has_the_same_samples_for_any_number_of_processes(
    begun: int, scenes_set: Path, configured: Callable[..., SftConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where some cannot be used, which moves all that follow in the batches of their process."""
    config = configured("data.buffer=8", "data.limit=18")
    model, processor = new_tiny(0)
    objective = open_objective(ObjectiveConfig(kind="slvr"), model, processor.tokenizer)
    maker, samples = RowMaker(SampleRows(processor, model.layout), objective, config.data, 0), list[Any]()
    samples += (one for one, _ in zip(SlvSamples(scenes_set, embeddings=True), range(18), strict=False))
    row = maker.row(samples[0], 0)
    broken = {samples[number].query_id for number in (3, 4, 11)}

    def made(sample: Any, showing: int) -> Any:
        if sample.query_id in broken:
            raise Unusable("broken", "on purpose")
        return row

    monkeypatch.setattr(maker, "row", made)

    def steps(ranks: int, name: Callable[[Shown], Any]) -> Steps:
        deals = [Deal(6, 2, begun, rank, ranks) for rank in range(ranks)]
        held: Any = samples
        return steps_of(deals, lambda deal: StreamedBatches(held, maker, 3, deal), name)

    for name in (lambda one: None if one.idle else one.query_id), lambda one: one.faults or None:
        first = steps(begun, name)
        assert sum(first, Counter()), "something is shown, and something cannot be"
        for ranks in (1, 2, 3, 4):
            assert steps(ranks, name) == first, ranks


@pytest.mark.parametrize("lengths", ["random", "packed", "shared"])
def test_what_is_drawn_for_samples_is_the_same_in_the_parts_of_a_batch(
    lengths: str, scenes_set: Path, configured: Callable[..., SftConfig]
) -> None:
    """Slots that take their targets, and hidden answers: the loss of a batch is that of its parts together."""
    model, processor = new_tiny(0)
    model.latents.set_statistics(torch.randn(64, model.text.config.hidden_size))
    settings = {"kind": "slvr", "feed": "mix", "echo": True, "bottleneck": 0.5}
    objective = open_objective(ObjectiveConfig.model_validate(settings), model, processor.tokenizer)
    maker = RowMaker(SampleRows(processor, model.layout), objective, configured("data.lettered=0.2").data, 0)
    held = list(islice(SlvSamples(scenes_set, embeddings=True), 9))
    collate = Collator(objective, *(model.layout if lengths == kind else None for kind in ("packed", "shared")))
    deal = Deal(1, begun=1, ranks=4)

    def loss(shown: Any, seed: int) -> tuple[float, float]:
        made = objective.losses(model, collate(shown)["batch"], step_share=0.9, seed=seed, samples=9.0)
        return float(made.total), float(made.logged["hidden"]) * len(shown)

    with torch.no_grad():
        shown = [Shown(maker.row(sample, 0)) for sample in held]
        whole, parts = loss(shown, 1), [loss(deal.cut(shown, part), 2 + part) for part in range(deal.cuts)]
        assert deal.cuts == 4 and 0 < whole[1] < 9, "some are hidden, others are not"
        assert [sum(each) for each in zip(*parts, strict=True)] == pytest.approx(whole, rel=1e-4)
        later = loss([Shown(maker.row(sample, 1)) for sample in held], 1)
        assert abs(later[0] - whole[0]) > 1e-3, "drawn anew when they are shown again"


def test_a_loss_that_is_not_the_sum_of_those_of_parts_needs_whole_batches(
    configured: Callable[..., SftConfig],
) -> None:
    token = configured("objective.normalisation=token")
    apart = configured(
        "objective={kind: multi_encoder, feed: own, alignment: {triplet_weight: 0.5}}", "training.checkpointing=false"
    )
    for config, says in ((token, "normalisation token"), (apart, r"alignment\.triplet_weight")):
        for ranks in (1, 2):
            Run._deal(SimpleNamespace(config=config, begun=2, rank=0, ranks=ranks), 8)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=says + r" weighs by batches.* divides 2"):
            Run._deal(SimpleNamespace(config=config, begun=2, rank=0, ranks=4), 8)  # type: ignore[arg-type]


def test_what_was_shown_is_kept_and_taken_back_to_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no record of what was shown: data\.record=true"):
        shown_in(tmp_path)
    for rank in range(2):
        for step in (1, 2, 3):
            Record(tmp_path, rank).add(step, [f"q{rank}{step}"])
    with (tmp_path / "samples/0001.jsonl").open("a") as stream:
        stream.write('{"step": 4, "que')  # killed while writing
    assert shown_in(tmp_path)[3] == ["q03", "q13"]
    cut_back(tmp_path, 2)
    assert shown_in(tmp_path) == {1: ["q01", "q11"], 2: ["q02", "q12"]}
