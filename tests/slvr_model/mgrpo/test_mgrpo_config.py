"""Configurations of stage 2: shipped, filled in by a preset, changed, checked, shown beside those of stage 1."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from slvr_data.errors import UsageError
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.settings.presets import form_of
from slvr_model.sft import records
from slvr_model.sft.config import SftConfig
from slvr_model.sft.settings import as_yaml, load_any, load_config, shipped

RECIPES = ("mgrpo-tiny", "mgrpo-3b", "mgrpo-7b")
EXACT = "rewards.answer.kind=exact"
PAIRED = ["data.fewest=2", "data.most=2"]


def loaded(*assignments: str, name: str = "mgrpo-tiny") -> MgrpoConfig:
    config: MgrpoConfig = load_config(name, list(assignments), "mgrpo")
    return config


def test_shipped_configurations_are_whole_and_each_recipe_has_a_twin() -> None:
    assert set(shipped("mgrpo")) == {name + twin for name in RECIPES for twin in ("", "-debug")}
    assert not set(shipped("mgrpo")) & set(shipped())
    for name in RECIPES:
        recipe, twin = loaded(name=name), loaded(name=f"{name}-debug")
        for part in ("objective", "rewards", "advantages", "loss", "latents"):
            assert getattr(recipe, part) == getattr(twin, part), f"{name}-debug: {part}"
        for key in ("bf16", "checkpointing", "schedule", "learning_rate", "feed"):
            assert getattr(recipe.training, key) == getattr(twin.training, key), f"{name}-debug: {key}"
        assert (recipe.training.lora is None) == (twin.training.lora is None)
        assert recipe.training.regions * recipe.sampling.rollouts > twin.training.regions * twin.sampling.rollouts


def test_what_is_shown_reads_as_the_same_configuration_of_either_stage(tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    for name, kind in (("mgrpo-7b", MgrpoConfig), ("7b", SftConfig)):
        config = load_any(name, ["out=somewhere"])
        assert type(config) is kind
        file.write_text(as_yaml(config, explained=True))
        again = load_any(str(file), ["out=somewhere"])
        assert again == config
    released = loaded("preset=released", EXACT, *PAIRED)
    assert MgrpoConfig.model_validate(yaml.safe_load(as_yaml(released))) == released


def test_every_setting_is_explained() -> None:
    def bare(model: type[BaseModel], prefix: str) -> list[str]:
        found = []
        for name, info in model.model_fields.items():
            inner = info.annotation
            found += [] if info.description else [prefix + name]
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += bare(inner, f"{prefix}{name}.")
        return found

    assert not [name for name in bare(MgrpoConfig, "") if not name.startswith("objective.")]


def test_a_preset_fills_what_is_not_told() -> None:
    for name in ("paper", "released", "ours"):
        made, form = loaded(f"preset={name}", EXACT, *PAIRED), form_of(name)
        assert (made.advantages, made.loss, made.latents) == (form.advantages, form.loss, form.latents)
        assert made.rewards.weights() == form.rewards.weights()
        assert made.rewards.answer.kind == "exact"
    assert loaded("preset=released", EXACT, *PAIRED, "advantages.epsilon=0.5").advantages.level == "joint"
    fed = [loaded(*told, EXACT, *PAIRED).training.feed for told in ([], ["preset=paper"], ["preset=released"])]
    assert fed == ["own", "own", "given"]
    assert loaded("preset=released", EXACT, *PAIRED, "training.feed=own").training.feed == "own"


def test_what_acts_on_latents_is_off_where_there_are_none() -> None:
    for kind in ("text", "direct", "pause"):
        assert not loaded(f"objective.kind={kind}").latents.active
    assert loaded("objective.kind=lvr").latents.active
    with pytest.raises(UsageError, match=r"latents\.together 0\.3 with objective\.kind 'text', which has no latents"):
        loaded("objective.kind=text", "latents.together=0.3")


def test_only_what_needs_a_reference_asks_for_one() -> None:
    none = ["loss.beta=0", "latents={together: 0, apart: 0, stability: 0}"]
    assert loaded().needs_reference and not loaded(*none).needs_reference
    assert loaded(*none, "loss.beta=0.1").needs_reference
    assert loaded("loss.beta=0", "latents.stability=0.2").needs_reference
    assert loaded(*none, "rewards.stability.weight=0.1").needs_reference


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        (["sampling.rollouts=1"], r"sampling: rollouts 1: an advantage compares the replies.*take 2 or more"),
        (["training.rgions=3"], r"unknown setting 'training\.rgions': did you mean 'training\.regions'\?"),
        (["temperature=2"], r"unknown setting 'temperature': did you mean 'sampling\.temperature'\?"),
        (["rewards.answr.kind=exact"], r"unknown setting 'rewards\.answr': did you mean 'rewards\.answer'\?"),
        (["training.epochs=2"], r"unknown setting 'training\.epochs'"),
        (["preset=papers"], r"preset = 'papers': Input should be 'ours', 'paper' or 'released'"),
        (["preset=paper"], r'rewards\.answer\.kind "judge" \(preset "paper"\) has nobody to ask: set judge\.base_urls'),
        (
            ["rewards.answer={weight: 0, kind: judge}"],
            r'rewards\.answer\.kind "judge" \(preset "ours"\) has nobody to ask',
        ),
        (["preset=released", EXACT], r"query_weights weighs 2 questions.*2 to any number: set data\.fewest and data"),
        (["data.fewest=1"], r"data\.fewest 1: a single question has no others.*rewards\.all_right\.weight to 0"),
        (["data.fewest=3", "data.most=2"], r"data: most 2 below fewest 3"),
        (["training.steps=5", "training.iterations=2"], r"training\.steps 5 is no multiple of training\.iterations 2"),
        (["model.dtype=bfloat16", "training.lora={}"], r"model\.dtype bfloat16 without training\.bf16"),
        (["training.checkpointing=true"], r'training\.feed "own" needs a cache, which training\.checkpointing forbids'),
        (["training.checkpointing=true", "training.feed=given"], r"latents\.together, apart and stability compute"),
        (["model.reference=RUN", "training.lora={rank: 4}"], r"whose reference is the start without adapters"),
        (["objective.kind=direct", "sampling.latent_noise=0.1"], r"sampling\.latent_noise 0\.1 with objective\.kind"),
        (["objective.kind=text", "rewards.consistency.weight=1"], r"rewards\.consistency\.weight 1 with objective"),
        (["loss.latent_density=mean"], r'latent_density "mean" needs latents that are drawn: set sampling\.latent'),
        (["rewards.stability={weight: 1, semantic_margin: 15}"], r"semantic_margin 15: a cosine distance is 0 to 2"),
        (["latents.stability_margin=2.5"], r"stability_margin 2\.5: a cosine distance is 2 at most"),
    ],
)
def test_what_is_wrong_is_named_with_the_cure(assignments: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        loaded(*assignments)


def test_a_configuration_of_the_other_stage_is_named_as_such() -> None:
    with pytest.raises(UsageError, match=r"--config tiny is one of slvr-train sft; these ship here: mgrpo-3b"):
        load_config("tiny", [], "mgrpo")
    with pytest.raises(UsageError, match=r"--config mgrpo-tiny is one of slvr-train mgrpo"):
        load_config("mgrpo-tiny", [])
    with pytest.raises(UsageError, match=r'neither a file nor a shipped configuration; did you mean "mgrpo-tiny"'):
        load_any("mgrpo-tini", [])


def test_a_file_names_its_data_from_where_it_lies_and_its_stage_by_its_sections(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("out: run\ndata: {set: pairs.json, pictures: shots}\nsampling: {rollouts: 4}\n")
    config = load_any(str(file), [])
    assert isinstance(config, MgrpoConfig)
    assert (config.out, config.data.set, config.data.pictures) == (
        tmp_path / "run",
        tmp_path / "pairs.json",
        tmp_path / "shots",
    )
    file.write_text("training: {steps: 3}\n")
    assert isinstance(load_any(str(file), []), SftConfig)
    assert isinstance(load_config(str(file), [], "mgrpo"), MgrpoConfig)


def test_records_of_a_stage_have_its_name_and_refuse_another_run(tmp_path: Path) -> None:
    config, facts = loaded(), {"data": {}, "start": {}, "processes": 1}
    records.write_records(tmp_path, config, facts, stage="mgrpo")
    assert {file.name for file in tmp_path.iterdir()} == {"mgrpo.yaml", "mgrpo.json"}
    records.check_same(tmp_path, loaded("logging.every=99"), facts, stage="mgrpo")
    with pytest.raises(UsageError, match=r"another run: sampling\.rollouts was 8 and is 4"):
        records.check_same(tmp_path, loaded("sampling.rollouts=4"), facts, stage="mgrpo")
    records.check_same(tmp_path, loaded("judge.timeout=5"), facts, stage="mgrpo", free=(*records.FREE, "judge"))
    with pytest.raises(UsageError, match="the starting model has changed"):
        records.check_same(tmp_path, config, facts | {"start": {"name": "x"}}, stage="mgrpo")


def test_what_lies_in_the_hosts_memory_is_shared_out() -> None:
    with pytest.raises(UsageError, match=r'offload with kind "none", of which every process holds all: take'):
        loaded("sharding.offload=true")
    assert loaded("sharding={offload: true, kind: fsdp2}").sharding.offload
