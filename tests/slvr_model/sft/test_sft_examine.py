"""Held-out accuracy: targets really take the place of the model's own latents, and answers are counted as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slvr_model.data import SlvSamples
from slvr_model.decoding import Decoded
from slvr_model.latents import Latents
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.rows import Block, Row
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.config import SftConfig
from slvr_model.sft.examine import Examiner, cut_off
from slvr_model.sft.learner import Learner
from slvr_model.sft.samples import RowMaker
from slvr_model.tiny import new_tiny, tiny_tokenizer
from tests.slvr_model.support import DIMENSION, SLOTS, WIDTH, left, model, picture, prefix, words


def test_targets_are_fed_in_place_of_own_latents() -> None:
    made = model()
    learner = Learner(made, open_objective(ObjectiveConfig(), made, tiny_tokenizer()))
    rows = [Row(prefix(seed=n), (Block(words(3 + n, n)),), (picture(seed=n),)) for n in range(3)]
    dice = torch.Generator().manual_seed(5)
    wanted = Latents(
        torch.randn(3 * SLOTS, WIDTH, generator=dice),
        torch.nn.functional.normalize(torch.randn(3, DIMENSION, generator=dice), dim=1),
    )
    options = learner.objective.form.options() | {"max_new_tokens": SLOTS + 9}
    own, fed = learner.written(left(rows), None, **options), learner.written(left(rows), wanted, **options)
    for kind in ("visual_TD", "semantic_SE"):
        assert torch.allclose(getattr(fed.latents, kind), getattr(wanted, kind), atol=1e-6)
        assert not torch.allclose(getattr(own.latents, kind), getattr(wanted, kind), atol=1e-2)


@pytest.mark.parametrize("kind", ["slvr", "direct"])
def test_right_answers_are_counted(
    kind: str, scenes_set: Path, configured: Callable[..., SftConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies are put in place of the model's: every second one right with its own latents, all with targets."""
    config = configured("data.lettered=0", "evaluation.rows=3")
    made, processor = new_tiny(0)
    objective = open_objective(ObjectiveConfig(kind=kind), made, processor.tokenizer)  # type: ignore[arg-type]
    maker = RowMaker(SampleRows(processor, made.layout), objective, config.data, 0)
    samples = [sample for sample, _ in zip(SlvSamples(scenes_set, embeddings=True), range(8), strict=False)]
    answers = iter([])  # type: ignore[var-annotated]

    def replies(self: Decoded) -> list[list[int]]:
        return [list(ids) for ids in next(answers)]

    right = [maker.answer(sample, False) for sample in samples]
    wrong = (processor.tokenizer.eos_token_id,)
    half = [ids if number % 2 == 0 else wrong for number, ids in enumerate(right)]
    parts = [slice(0, 3), slice(3, 6), slice(6, 8)]
    answers = iter([given[part] for part in parts for given in ((half, right) if kind == "slvr" else (half,))])
    monkeypatch.setattr(Decoded, "replies", replies)
    found = Examiner(samples, maker, config.evaluation).accuracy(Learner(made, objective), torch.device("cpu"))
    wanted = {"accuracy": 0.5, "samples": 8.0, "ended": found["ended"]} | (
        {"teacher_accuracy": 1.0, "gap": 0.5} if kind == "slvr" else {}
    )
    assert found == pytest.approx(wanted)


def test_right_replies_have_room_unless_a_length_is_told(
    scenes_set: Path, configured: Callable[..., SftConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):  # noqa: N818
        pass

    def written(self: Learner, batch: Any, targets: Any, **options: Any) -> Any:
        raise Asked(options["max_new_tokens"])

    monkeypatch.setattr(Learner, "written", written)
    made, processor = new_tiny(0)
    objective = open_objective(ObjectiveConfig(kind="text"), made, processor.tokenizer)
    learner, sample = Learner(made, objective), next(iter(SlvSamples(scenes_set)))
    long = replace(sample, profile_text=" ".join([sample.profile_text] * 6))
    for told, least in (("evaluation.every=9", None), ("evaluation.new_tokens=9", 15)):
        config = configured("data.lettered=0", told)
        maker = RowMaker(SampleRows(processor, made.layout), objective, config.data, 0)
        with pytest.raises(Asked) as asked:
            Examiner([long], maker, config.evaluation).accuracy(learner, torch.device("cpu"))
        with pytest.raises(Asked) as others:  # of another batch, in another process
            Examiner([long, sample], maker, config.evaluation, (1, 2)).accuracy(learner, torch.device("cpu"))
        assert others.value.args == asked.value.args, "room is that of all that is held out"
        size = len(maker.row(long, 0).blocks[0].reply)
        assert asked.value.args[0] > size > 64 if least is None else asked.value.args[0] == least
        said = cut_off(0.75, config.evaluation)
        assert said.startswith("evaluation: 25% of the replies were cut off and count as wrong")
        assert ("raise evaluation.new_tokens 9" in said) == (least is not None)
