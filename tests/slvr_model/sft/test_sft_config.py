"""Configurations: read, changed, checked, shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from slvr_data.errors import UsageError
from slvr_model.sft.config import SftConfig
from slvr_model.sft.settings import as_yaml, load_config, shipped
from tests.slvr_model.test_train_cli import WITHOUT

RECIPES = ("tiny", "3b", "7b", "7b-lora")


def test_shipped_configurations_are_whole_and_each_recipe_has_a_twin() -> None:
    assert set(shipped()) == {name + twin for name in RECIPES for twin in ("", "-debug")}
    for name, purpose in shipped().items():
        assert load_config(name, []).training.rows > 0 and purpose.endswith(".")
    for name in RECIPES:
        recipe, twin = load_config(name, []), load_config(f"{name}-debug", [])
        assert recipe.objective == twin.objective and recipe.model.dtype == twin.model.dtype
        for key in ("bf16", "checkpointing", "lengths", "questions", "lora"):
            assert getattr(recipe.training, key) == getattr(twin.training, key), f"{name}-debug: {key}"


def test_what_is_shown_reads_as_the_same_configuration(tmp_path: Path) -> None:
    config = load_config("7b", ["training.lora={rank: 4}", "logging.report=[tensorboard]", "out=somewhere"])
    file = tmp_path / "shown.yaml"
    file.write_text(as_yaml(config, explained=True))
    again = load_config(str(file), ["out=somewhere"])
    assert again == config
    assert SftConfig.model_validate(yaml.safe_load(as_yaml(config))) == config


def test_every_setting_is_explained() -> None:
    def bare(model: type[BaseModel], prefix: str) -> list[str]:
        found = []
        for name, info in model.model_fields.items():
            inner = info.annotation
            found += [] if info.description else [prefix + name]
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += bare(inner, f"{prefix}{name}.")
        return found

    ours = [name for name in bare(SftConfig, "") if not name.startswith("objective.")]
    assert not ours


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("training.rwos=3", r"tiny: unknown setting 'training\.rwos': did you mean 'training\.rows'\?"),
        ("learning_rate=1", r"unknown setting 'learning_rate': did you mean 'training\.learning_rate'\?"),
        ("objective.fed=own", r"unknown setting 'objective\.fed': did you mean 'objective\.feed'\?"),
        ("training.lora.rnk=4", r"did you mean 'training\.lora\.rank'\?"),
        ("training.rows=0", r"training\.rows = 0: Input should be greater than or equal to 1"),
        ("training.rows", r"write key=value"),
        ("training.rows.x=1", r"'rows' holds a value, not settings"),
        ("training.checkpointing=true", r'feed "schedule" needs a cache, which training\.checkpointing forbids'),
        ("data.access=streamed", r'lengths "grouped" needs all lengths beforehand'),
        ("model.dtype=bfloat16", r"model\.dtype bfloat16 without training\.lora: .* take float32"),
        ("training.questions=3", r'training\.questions is of lengths "shared", these are "grouped": leave it out'),
    ],
)
def test_what_is_wrong_is_named_with_the_cure(assignment: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_config("tiny", [assignment])


def test_length_is_told_once() -> None:
    assert load_config("tiny", ["training.steps=5"]).training.epochs is None
    assert load_config("tiny-debug", ["training.epochs=2"]).training.steps is None


def test_a_file_names_its_data_from_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("out: run\ndata: {set: set}\ntraining: {steps: 1}\n")
    config = load_config(str(tmp_path / "mine.yaml"), [])
    assert (config.out, config.data.set) == (tmp_path / "run", tmp_path / "set")
    for text, says in (("- 1\n", "holds no settings"), ("a: [\n", "not YAML")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(UsageError, match=says):
            load_config(str(tmp_path / "bad.yaml"), [])
    with pytest.raises(UsageError, match='neither a file nor a shipped configuration; did you mean "tiny"'):
        load_config("tini", [])


def test_configurations_are_shown_without_torch() -> None:
    for arguments, says in ((["configs"], "7b-debug"), (["show", "7b"], "kind: fsdp2")):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, *arguments],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert says in done.stdout


def test_a_stream_cannot_choose_among_a_regions_questions() -> None:
    streamed = ["data.access=streamed", "training.lengths=random", "training.steps=2", "data.queries=1"]
    with pytest.raises(UsageError, match=r"data\.queries chooses among all questions of a region"):
        load_config("tiny", streamed)


@pytest.mark.parametrize("sharing", ["kind: fsdp2", "kind: deepspeed, stage: 3"])
def test_regions_with_unequal_slots_are_not_fed_in_turn_to_layers_that_are_shared(sharing: str) -> None:
    settings = ["objective.kind=lvr", "objective.targets=all", f"sharding={{{sharing}}}"]
    for feed in ("own", "detached", "mix", "schedule"):
        with pytest.raises(UsageError, match=f'targets all with feed "{feed}" under sharding.kind'):
            load_config("tiny", [*settings, f"objective.feed={feed}"])
    assert load_config("tiny", [*settings, "objective.feed=teacher"]).sharding.kind in sharing
    load_config("tiny", [*settings, "sharding={kind: deepspeed, stage: 2}"])
