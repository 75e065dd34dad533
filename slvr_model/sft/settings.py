"""Configuration files: read, changed by `--set`, checked, shown. Shipped ones go by their name."""

from __future__ import annotations

import difflib
import importlib
import json
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from slvr_data.errors import UsageError
from slvr_data.remote.addresses import rooted
from slvr_data.settings import first_fault, read_tree, split_assignment

CONFIGS = Path(__file__).parent.parent / "configs"
"""Where the shipped ones lie: those of stage 2 begin with its name."""
STAGES = {"sft": "slvr_model.sft.config:SftConfig", "mgrpo": "slvr_model.mgrpo.config:MgrpoConfig"}
"""Command -> its configuration."""


def shipped(stage: str = "sft") -> dict[str, str]:
    """Name -> what it is for, the first line of each shipped file of a stage (`STAGES`)."""
    files = [file for file in sorted(CONFIGS.glob("*.yaml")) if _stage_of(file.stem) == stage]
    return {file.stem: file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for file in files}


def load_config(name: str, assignments: list[str], stage: str = "sft") -> Any:
    """The configuration of a shipped name or a file, with `key=value` assignments: that of a stage (`STAGES`).

    Relative paths in a user's file are read from its folder; those of assignments from the working folder.

    Raises:
        UsageError: the file is not there or not YAML, a key is unknown (the nearest known one is named), or a value
            does not fit.
    """
    tree = _read(name, stage)
    for assignment in assignments:
        _assign(tree, assignment)
    model = _config_of(stage)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise UsageError(_explain(error, name, model)) from None


def load_any(name: str, assignments: list[str]) -> Any:
    """As `load_config`, of the stage that the name or the settings of the file belong to.

    A file whose sections both stages know is taken for one of stage 1.
    """
    known = [name for stage in STAGES for name in shipped(stage)]
    if name in known or not Path(name).is_file():
        return load_config(name, assignments, _stage_of(name))
    (first, *later), sections = STAGES, set(read_tree(Path(name)))
    for stage in later:
        if sections & (_config_of(stage).model_fields.keys() - _config_of(first).model_fields.keys()):
            return load_config(name, assignments, stage)
    return load_config(name, assignments, first)


def _stage_of(name: str) -> str:
    return next((stage for stage in STAGES if name.startswith(f"{stage}-")), "sft")


def _config_of(stage: str) -> type[BaseModel]:
    module, name = STAGES[stage].split(":")
    found: type[BaseModel] = getattr(importlib.import_module(module), name)
    return found


def as_yaml(config: BaseModel, explained: bool = False) -> str:
    """The whole configuration as YAML; explained: each setting under a line that says what it is."""
    if not explained:
        return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    return "\n".join(_lines(config, "")) + "\n"


def _read(name: str, stage: str) -> dict[str, Any]:
    ships = shipped(stage)
    file = CONFIGS / f"{name}.yaml" if name in ships else Path(name)
    if not file.is_file():
        if other := next((other for other in STAGES if name in shipped(other)), None):
            raise UsageError(f"--config {name} is one of slvr-train {other}; these ship here: {', '.join(ships)}")
        near = difflib.get_close_matches(name, ships, 1)
        hint = f'; did you mean "{near[0]}"?' if near else f"; these ship: {', '.join(ships)}"
        raise UsageError(f"--config {name} is neither a file nor a shipped configuration{hint}")
    tree = read_tree(file)
    if name not in ships:
        _rooted(tree, file.parent)
    return tree


def _rooted(tree: dict[str, Any], base: Path) -> None:
    """Relative paths of a file, from its folder on."""
    data, judge = tree.get("data"), tree.get("judge")
    for held, key in ((tree, "out"), (data, "set"), (data, "cache"), (data, "pictures"), (judge, "scratch")):
        if isinstance(held, dict) and isinstance(held.get(key), str):
            held[key] = rooted(base, held[key])


def _assign(tree: dict[str, Any], assignment: str) -> None:
    (*path, last), value = split_assignment(assignment, "training.rows=4")
    node, key = tree, ".".join((*path, last))
    for part in path:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise UsageError(f"--set {assignment}: {part!r} holds a value, not settings")
    if key == "training.steps" and value is not None:
        node.pop("epochs", None)
    elif key == "training.epochs" and value is not None:
        node.pop("steps", None)
    node[last] = value


def _explain(error: ValidationError, where: str, model: type[BaseModel]) -> str:
    """The first fault, with the nearest known name for an unknown key."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        near = _nearest(str(fault["loc"][-1]), [str(part) for part in fault["loc"][:-1]], model)
        return f"{where}: unknown setting {key!r}" + (f": did you mean {near!r}?" if near else "")
    return first_fault(error, where)


def _nearest(name: str, path: list[str], model: type[BaseModel]) -> str | None:
    """The known setting with the nearest name: of the same section if any, else of another, in full."""
    known = {full: full.rsplit(".", 1)[-1] for full in _names(model)}
    beside = [full for full in known if full.rsplit(".", 1)[0] == ".".join(path)] if path else []
    beside = beside or [full for full in known if "." not in full]
    for pool in (beside, list(known)):
        close = difflib.get_close_matches(name, [known[full] for full in pool], 1)
        if close:
            return next(full for full in pool if known[full] == close[0])
    return None


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, info in model.model_fields.items():
        found.append(prefix + name)
        for inner in _models(info.annotation):
            found += _names(inner, f"{prefix}{name}.")
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return [one for part in typing.get_args(annotation) for one in _models(part)]
    return []


def _lines(section: BaseModel, indent: str) -> list[str]:
    lines = []
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if info.description:
            lines.append(f"{indent}# {' '.join(info.description.split())}")
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        else:
            plain = section.model_dump(mode="json", include={name})[name]
            lines.append(f"{indent}{name}: {_inline(plain)}")
    return lines


def _inline(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)  # its quotes are YAML's too, and it has no line breaks
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]
