"""Held-out accuracy: targets really take the place of the model's own latents, and answers are counted as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pytest
import torch

from slvr_data.stats import wilson
from slvr_model.data import Sample, SlvSamples
from slvr_model.decoding import Decoded
from slvr_model.latents import Latents
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.prompts import LETTERS
from slvr_model.rows import Block, Row
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.config import SftConfig
from slvr_model.sft.examine import Examiner, cut_off
from slvr_model.sft.figures import Fared, figures
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
    """Replies are put in place of the model's: letters right, open answers wrong with its own latents, right with
    targets, in capitals and with a full stop.
    """
    config = configured("data.lettered=0.5", "evaluation.rows=3")
    made, processor = new_tiny(0)
    objective = open_objective(ObjectiveConfig(kind=kind), made, processor.tokenizer)  # type: ignore[arg-type]
    maker = RowMaker(SampleRows(processor, made.layout), objective, config.data, 0)
    several = SlvSamples(scenes_set, embeddings=True)
    samples = [next(group) for _, group in groupby(several, lambda one: (one.image_id, bool(one.choices)))][:8]
    lettered = sum(bool(one.choices) for one in samples)
    assert 0 < lettered <= len(samples) == 8

    def ids(text: str) -> list[int]:
        return [*processor.tokenizer(text, add_special_tokens=False).input_ids, processor.tokenizer.eos_token_id]

    def said(sample: Sample, letter: bool, teacher: bool) -> list[int]:
        if letter:
            return ids(f"({LETTERS[sample.choices.index(sample.answer)].lower()})")
        return ids(f"{sample.answer.capitalize()}.") if teacher else ids("no idea")

    asks = [(one, letter) for one in samples for letter in ((False, True) if one.choices else (False,))]
    parts = [asks[start : start + 3] for start in range(0, len(asks), 3)]
    calls = [(part, teacher) for part in parts for teacher in ((False, True) if kind == "slvr" else (False,))]
    answers = iter([[said(*ask, teacher) for ask in part] for part, teacher in calls])
    monkeypatch.setattr(Decoded, "replies", lambda self: next(answers))
    found = Examiner(samples, maker, config.evaluation).accuracy(Learner(made, objective), torch.device("cpu"))
    own = lettered / (8 + lettered)
    wanted = {"accuracy": own, "open_accuracy": 0, "lettered_accuracy": 1, "samples": 8}
    wanted |= {"pictures": len({one.image_id for one in samples})}
    if kind == "slvr":
        wanted |= {"teacher_accuracy": 1, "gap": 1 - own, "open_gap": 1, "lettered_gap": 0}
        assert found["open_gap_low"] > 0 >= found["lettered_gap_low"] and found["open_gap_high"] == 1
    assert found | wanted == pytest.approx(found)
    assert any(name.startswith("open_gap") for name in found) == (kind == "slvr")


@pytest.mark.parametrize(("share", "forms"), [("0", {"open"}), ("0.5", {"open", "lettered"}), ("1", {"lettered"})])
def test_questions_are_asked_in_the_forms_that_training_shows(
    share: str, forms: set[str], scenes_set: Path, configured: Callable[..., SftConfig]
) -> None:
    config = configured(f"data.lettered={share}")
    made, processor = new_tiny(0)
    objective = open_objective(ObjectiveConfig(), made, processor.tokenizer)
    maker = RowMaker(SampleRows(processor, made.layout), objective, config.data, 0)
    samples = [one for one in islice(SlvSamples(scenes_set, embeddings=True), 40) if one.choices][:4]
    found = Examiner(samples, maker, config.evaluation).accuracy(Learner(made, objective), torch.device("cpu"))
    assert {name.partition("_")[0] for name in found if name.endswith("_accuracy")} - {"teacher"} == forms
    assert found["samples"] == 4


def test_a_gap_has_an_interval_over_pictures() -> None:
    """By hand, from Wilson's intervals of 3 and of 1 in 10: pictures count, not questions."""
    fared = [
        Fared(f"q{at}-{n}", f"i{at}", False, at in (3, 4, 5), at in (0, 1, 2, 4, 5), None, True)
        for at in range(10)
        for n in range(2)
    ]
    found = figures(fared)
    assert (found["samples"], found["pictures"], found["gap"]) == (20, 10, pytest.approx(0.2))
    (low, high), (least, most) = wilson(3, 10), wilson(1, 10)
    r = -math.sqrt(0.3 * 0.1 / (0.7 * 0.9))
    a, b, c, d = 0.3 - low, most - 0.1, high - 0.3, 0.1 - least
    assert found["gap_low"] == pytest.approx(0.2 - math.sqrt(a * a + b * b - 2 * r * a * b))
    assert found["gap_high"] == pytest.approx(0.2 + math.sqrt(c * c + d * d - 2 * r * c * d))
    apart = figures([replace(one, image_id=one.query_id) for one in fared])
    assert apart["gap_low"] > found["gap_low"] and apart["gap_high"] < found["gap_high"], "as if each were its own"
    same = figures([replace(one, own=True, teacher=True) for one in fared])
    assert same["gap"] == 0 and -0.5 < same["gap_low"] < -0.1 and same["gap_high"] == -same["gap_low"]


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
