"""Targets that the vocabulary reads: what a taught encoder says is there, and the words of a region's profile."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from slvr_data.errors import UsageError
from slvr_model.data import Unusable
from slvr_model.labels import LABELS
from slvr_model.objectives.align import alignment, stretched
from slvr_model.objectives.config import AlignmentConfig
from slvr_model.objectives.targets.base import LogitTarget
from slvr_model.objectives.targets.interpreter import Interpreter
from slvr_model.objectives.targets.scene_labels import SceneLabels
from slvr_model.objectives.targets.scenes import CELL
from slvr_model.objectives.targets.scenes_training import main
from slvr_model.regions import box_tokens
from slvr_model.sft.collate import Collator
from slvr_model.sft.samples import Shown
from slvr_model.tiny import tiny_tokenizer
from tests.slvr_model.objectives import objective_support as support

WIDTH = 8


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("labels") / "scenes.safetensors"
    main([str(made), "--steps", "20", "--width", str(WIDTH), "--pictures", "8"])
    return made


def settings(file: Path, *encoders: str) -> dict[str, object]:
    return {"encoders": list(encoders), "scenes_file": str(file), "width": WIDTH, "triplet_weight": 0}


def test_labels_are_what_the_taught_encoder_says_is_there(file: Path) -> None:
    provider = SceneLabels.of(AlignmentConfig(width=WIDTH, scenes_file=str(file)), tiny_tokenizer())
    model, objective = support.tiny()[0], support.opened("multi_encoder", alignment=settings(file, "labels"))
    batch = support.batch(objective, (0, 1))
    target, kept = provider.targets(model, batch, None), load_file(file)
    assert target.ids_C is not None
    assert target.logits_NV.exp().sum(1).tolist() == pytest.approx([1.0] * len(target.group_N))
    place = {token: at for at, token in enumerate(target.ids_C.tolist())}
    row = 0
    for number, sample in enumerate(support.samples()[:2]):
        pixels = torch.from_numpy((np.asarray(sample.picture, np.float32) / 255 - 0.5) / 0.25).permute(2, 0, 1)
        features = provider.scenes.encoder(pixels[None])[0]
        grid = (pixels.shape[1] // CELL, pixels.shape[2] // CELL)
        for token in box_tokens(sample.box, sample.picture.size, grid):
            at = features[:, token // grid[1], token % grid[1]]
            entity, color = ((kept[f"readers.{n}.weight"] @ at + kept[f"readers.{n}.bias"]).softmax(0) for n in (0, 1))
            wanted = dict(zip(LABELS[0], entity.tolist(), strict=True))
            wanted |= {word: float(1 - entity[-1]) * float(p) for word, p in zip(LABELS[1], color, strict=True)}
            total = sum(wanted.values())
            assert int(target.group_N[row]) == number
            for word, p in wanted.items():
                told = target.logits_NV[row, place[tiny_tokenizer()(word, add_special_tokens=False).input_ids[0]]]
                assert float(told.exp()) == pytest.approx(p / total, abs=1e-5)
            row += 1
    assert row == len(target.group_N)


def test_distributions_over_some_tokens_are_compared_among_them() -> None:
    dice = torch.Generator().manual_seed(0)
    states, vocabulary = torch.randn(2, 3, 6, generator=dice), torch.randn(11, 6, generator=dice)
    group_N, ids_C = torch.tensor([0, 0, 1]), torch.tensor([9, 2, 4])
    target = LogitTarget(torch.randn(3, 3, generator=dice), group_N, ids_C)
    found_N, _ = alignment(states, target, torch.nn.Identity(), vocabulary)
    values = stretched(states, group_N)
    for n in range(3):
        p, q = target.logits_NV[n].softmax(0), (vocabulary[[9, 2, 4]] @ values[n]).softmax(0)
        assert float(found_N[n]) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-4)
    every = LogitTarget(torch.randn(3, 11, generator=dice), group_N)
    named = replace(every, ids_C=torch.arange(11))
    for one, other in zip(
        alignment(states, every, torch.nn.Identity(), vocabulary),
        alignment(states, named, torch.nn.Identity(), vocabulary),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_slots_learn_what_is_there_and_need_no_head(file: Path) -> None:
    model = support.tiny()[0]
    objective = support.opened("multi_encoder", alignment=settings(file, "labels", "interpreter", "filters"))
    assert {name.split(".")[0] for name in objective.heads.state_dict()} == {"filters"}
    terms = objective.losses(model, support.batch(objective, (0, 1)), step_share=0)
    numbers = terms.numbers()
    assert numbers["align"] == pytest.approx(
        (numbers["align_labels"] + numbers["align_interpreter"] + numbers["align_filters"]) / 3, rel=1e-5
    )
    reached = support.gradients(model, terms.named["align"])
    assert bool(reached["model.language_model.layers.0.mlp.up_proj.weight"].any())
    readers = objective.providers[0].readers  # type: ignore[attr-defined]
    assert not any(weights.requires_grad for weights in readers.parameters())


def test_the_interpreter_reads_the_profile_of_each_region() -> None:
    model, tokenizer = support.tiny()[0], support.tiny()[1].tokenizer
    objective = support.opened("multi_encoder", alignment={"encoders": ["interpreter"], "triplet_weight": 0})
    silent = replace(support.samples()[1], profile_text="")
    samples = [support.samples()[0], silent, support.samples()[2]]
    rows = [support.row(objective, sample) for sample in samples]
    ids = [tuple(tokenizer(one.profile_text, add_special_tokens=False).input_ids) for one in samples]
    packed = Collator(objective, model.layout)([Shown(row) for row in rows])["batch"]
    for batch in (objective.collate(rows), packed, packed.to("cpu")):
        assert Interpreter().targets(model, batch, None).ids == (ids[0], None, ids[2])
    with torch.no_grad():
        batch = objective.collate(rows)
        found = objective.losses(model, batch, step_share=0).numbers()["align_interpreter"]
        out, at = model.latent_forward(batch, "own"), batch.ids_BL == model.latent_config.tokens.vis_slot
        means = out.hidden_BLD[at].view(3, -1, out.hidden_BLD.shape[-1]).mean(1)
        said = (means @ model.lm_head.weight.T).log_softmax(-1)
        wanted = sum(-float(said[n, list(ids[n])].mean()) for n in (0, 2))
    assert found == pytest.approx(wanted / 3, rel=1e-4), "a region without a profile has no loss"
    with pytest.raises(UsageError, match="0 profiles for 3 visual spans"):
        Interpreter().targets(model, support.opened("lvr").collate(rows), None)
    spelt = replace(samples[0], profile_text="A <|image_pad|> of glass.")
    with pytest.raises(Unusable, match="special-token"):
        support.row(objective, spelt)


def test_slots_come_to_say_what_is_there(file: Path) -> None:
    model, chosen = deepcopy(support.tiny()[0]), settings(file, "labels", "interpreter")
    objective = support.opened("multi_encoder", model, alignment=chosen | {"weight": 4})
    batch, adam = support.batch(objective, (0, 1)), torch.optim.Adam(model.parameters(), lr=3e-4)
    told = []
    for _ in range(9):
        terms = objective.losses(model, batch, step_share=0)
        told.append(terms.numbers())
        adam.zero_grad()
        terms.total.backward()  # type: ignore[no-untyped-call]
        adam.step()
    assert told[-1]["align_labels"] < told[0]["align_labels"] / 2
    assert told[-1]["align_interpreter"] < told[0]["align_interpreter"] - 1


def test_what_labels_need_is_said(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs alignment\.scenes_file.*scenes_training FILE"):
        support.opened("multi_encoder", alignment={"encoders": ["labels"]})
    kept = load_file(file)
    save_file({name: one for name, one in kept.items() if not name.startswith("readers.")}, tmp_path / "bare")
    with pytest.raises(UsageError, match="nothing that tells entity and colour"):
        support.opened("multi_encoder", alignment=settings(tmp_path / "bare", "labels"))
    assert support.opened("multi_encoder", alignment=settings(tmp_path / "bare", "scenes")).heads
    with pytest.raises(UsageError, match="each may be named once"):
        support.opened("multi_encoder", alignment={"encoders": ["filters", "filters"]})
