"""The configuration of `slvr-data build-attributes`: one typed object, from YAML, options and `--set`."""

from __future__ import annotations

import difflib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.choice import RegionsConfig
from pipelines.engines.config import EngineName, RayConfig
from slvr_data.annotators.measured import MeasuredConfig
from slvr_data.checks.model.config import LOOK, ModelChecksConfig
from slvr_data.errors import UsageError
from slvr_data.remote.addresses import address_of, rooted
from slvr_data.requests.config import ServedConfig
from slvr_data.schema import SCHEMA_VERSION
from slvr_data.settings import first_fault, flat, read_tree, split_assignment
from slvr_data.sources.base import SourceConfig

PROMPT_VERSIONS = "prompt_versions"
"""Key of the prompts' versions among the settings that decide data; they are found, not set."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)


class CropConfig(_Config):
    """The stage `crop`."""

    padding: float = Field(0.15, ge=0, le=2)
    """Context on every side, as a share of the box's longer side; clipped at the picture's edge."""
    min_side: float = Field(8, ge=1)
    """A region with a shorter side, in pixels, is rejected."""
    max_side: int = Field(1024, ge=16)
    """A crop with a longer side is scaled down to it."""
    quality: int = Field(90, ge=1, le=100)
    """Of the crops' JPEG encoding."""


class PictureConfig(_Config):
    """How pictures are read."""

    max_pixels: int = Field(80_000_000, ge=1, le=400_000_000)  # images.MAX_PIXELS
    """A larger picture is rejected."""
    max_bytes: int = Field(48 << 20, ge=1, le=60 << 20)
    """A picture whose published form is larger is rejected: row groups stay bounded."""
    quality: int = Field(95, ge=1, le=100)
    """Of the JPEG encoding of pictures that must be normalised."""


class SplitConfig(_Config):
    """Shares of pictures per split."""

    train: float = Field(0.9, ge=0, le=1)
    """For training."""
    validation: float = Field(0.05, ge=0, le=1)
    """For choosing settings."""
    test: float = Field(0.05, ge=0, le=1)
    """For the final figure."""

    @model_validator(mode="after")
    def _adds_up(self) -> SplitConfig:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError(f"train + validation + test = {self.train + self.validation + self.test:g}, must be 1")
        return self


class PublishConfig(_Config):
    """What a publication holds; `slvr-data publish` changes it."""

    pictures: Literal["embed", "reference"] = "embed"
    """Ship the pictures, or only their sha256, size and path."""
    embed: bool = False
    """Every attribute row carries its picture too (for the Hub's viewer)."""
    crops: bool = False
    """Publish the crops as a config of their own."""
    licenses: list[str] | None = None
    """Keep only pictures under these licences."""
    max_file_mb: int = Field(256, ge=1)
    """A shard file is closed at about this size."""
    max_group_mb: int = Field(16, ge=1, le=64)
    """A row group is closed at this size."""

    @model_validator(mode="after")
    def _fits(self) -> PublishConfig:
        if self.embed and self.pictures == "reference":
            raise ValueError("rows cannot carry pictures (embed) in a publication by reference")
        return self

    def changed(self, changes: dict[str, Any]) -> PublishConfig:
        """The form with `changes`.

        Raises:
            UsageError: a value does not fit.
        """
        try:
            return PublishConfig.model_validate(self.model_dump() | changes)
        except ValidationError as error:
            raise UsageError(explain(error, "publish")) from None


class BuildConfig(_Config):
    """Everything that a build is told."""

    sources: list[SourceConfig] = Field(default_factory=list)
    """Where regions come from."""
    out: Path
    """Folder of the set."""
    annotator: Literal["measured", "exact", "served"] = "measured"
    """Who writes the profiles: pixels and labels, the scenes' own truth, or a model behind a server."""
    limit: int | None = Field(None, ge=1)
    """Pictures per source."""
    workers: int | None = Field(None, ge=1)
    """Processes; as many as there are processors unless told."""
    shard_size: int | None = Field(None, ge=1)
    """Pictures per shard, the unit of work and recovery; chosen by the size of the job unless told."""
    shard: str | None = Field(None, pattern=r"^\d+/\d+$")
    """i/n: do the i-th of n parts only (0 <= i < n), to be merged later."""
    engine: EngineName = "local"
    """What carries shards to workers: processes of this machine, or a Ray cluster."""
    ray: RayConfig = Field(default_factory=RayConfig)
    """Which cluster, and what stages need of its machines."""
    seed: int = 0
    """Of the splits and of drawn scenes."""
    follow_links: bool = False
    """Read pictures through symbolic links."""
    avoid: list[str] | None = None
    """Folders of pictures, published sets, benchmark folders, or Parquet, Arrow and TSV files: pictures that are, or
    come from, one of theirs are kept out of train. The set remembers them; "none" forgets them."""
    regions: RegionsConfig = Field(default_factory=RegionsConfig)
    """Which regions are taken; all of them unless told."""
    crop: CropConfig = Field(default_factory=CropConfig)
    """How regions are cut out."""
    picture: PictureConfig = Field(default_factory=PictureConfig)
    """How pictures are read."""
    measured: MeasuredConfig = Field(default_factory=MeasuredConfig)
    """When the measured annotator calls something plain."""
    served: ServedConfig = Field(default_factory=ServedConfig)
    """The model of the served annotator, and how it is called."""
    model_checks: ModelChecksConfig = Field(default_factory=ModelChecksConfig)
    """Checks that ask the model again; those of questions belong to `build-multiquery`."""
    splits: SplitConfig = Field(default_factory=SplitConfig)
    """Shares of pictures per split."""
    publish: PublishConfig = Field(default_factory=PublishConfig)
    """What a publication holds."""

    @model_validator(mode="after")
    def _sound(self) -> BuildConfig:
        for source in self.sources:
            source.name = source.name or (f"scenes-{source.level}" if source.kind == "scenes" else source.kind)
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are named {name!r}: give each a name of its own")
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
                raise ValueError(f"source name {name!r}: use letters, digits, '-', '_' and '.'")
        if self.shard:
            part, parts = self.part
            if not 0 <= part < parts:
                raise ValueError(f"shard {self.shard}: i/n needs 0 <= i < n")
        if self.annotator != "served" and self.model_checks.second_look != "off":
            raise ValueError("model_checks.second_look asks a model: it goes with the annotator 'served'")
        if self.annotator == "exact":
            other = [source.name for source in self.sources if source.kind != "scenes"]
            if other:
                raise ValueError(f"the annotator 'exact' knows the truth of scenes only, not of {', '.join(other)}")
        return self

    @property
    def part(self) -> tuple[int, int]:
        """(i, n) of `shard`; (0, 1) for the whole."""
        part, parts = (self.shard or "0/1").split("/")
        return int(part), int(parts)

    def affects_data(self) -> dict[str, Any]:
        """The settings, sources apart, that must not change while a set grows; flat, `a.b` to value."""
        kept = {"annotator", "seed", "crop", "picture", "splits"} | (
            {"measured"} if self.annotator == "measured" else set()
        )
        data = {"schema_version": SCHEMA_VERSION} | flat(self.model_dump(mode="json", include=kept))
        data |= flat({"regions": self.regions.model_dump(exclude_none=True)})
        if self.annotator != "served":
            return data
        looks = {name: value for name, value in self.model_checks.affects_data().items() if name.startswith(LOOK)}
        return data | flat({"served": served_identity(self.served, "profile"), "model_checks": looks})


def served_identity(served: ServedConfig, *prompts: str) -> dict[str, Any]:
    """What of a served model decides the data: the model, its sampling, those prompts; no address, no budget."""
    from slvr_data.prompts import load_prompts

    versions = load_prompts(served.prompts).versions
    return served.affects_data() | {PROMPT_VERSIONS: {name: versions[name] for name in prompts}}


def canonical(tree: dict[str, Any]) -> str:
    """The one JSON text of a dictionary."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"))


def load_config(file: Path | None, options: dict[str, Any], assignments: list[str]) -> BuildConfig:
    """The configuration of a run: the file, then options that were given, then `--set key=value`.

    Raises:
        UsageError: a file that is not there or not YAML, an unknown key (named with the nearest known
            one), or a value that does not fit.
    """
    tree = read_tree(file) if file else {}
    base = file.parent if file else Path()
    tree = {key: value for key, value in tree.items() if value is not None}
    if isinstance(tree.get("out"), str):
        tree["out"] = rooted(base, tree["out"])
    if isinstance(tree.get("sources"), list):
        tree["sources"] = [_rooted(source, base) for source in tree["sources"]]
    if isinstance(tree.get("served"), dict):
        tree["served"] = served_rooted(tree["served"], base)
    if isinstance(tree.get("avoid"), list):
        tree["avoid"] = [_below(told, base) for told in tree["avoid"]]
    for key, value in options.items():
        if isinstance(value, dict):  # options of a group join what the file says of it
            known = tree.get(key)
            told = {name: found for name, found in value.items() if found is not None}
            tree[key] = (known if isinstance(known, dict) else {}) | told
        elif value is not None:
            tree[key] = deepcopy(value)
    for assignment in assignments:
        assign(tree, assignment)
    try:
        config = BuildConfig.model_validate(tree)
    except ValidationError as error:
        raise UsageError(explain(error, str(file) if file else "options")) from None
    _check_sources(config)
    return config


def _rooted(source: Any, base: Path) -> Any:
    """A source whose relative paths are read from the folder of the configuration file."""
    if not isinstance(source, dict):
        return source
    found = dict(source)
    annotations = found.get("annotations")
    if isinstance(annotations, str):
        annotations = [annotations]
    if isinstance(annotations, list):
        found["annotations"] = [rooted(base, a) if isinstance(a, str) else a for a in annotations]
    if isinstance(found.get("images"), str):
        found["images"] = rooted(base, found["images"])
    return found


def _below(told: Any, base: Path) -> Any:
    """What is to be avoided, a relative path read from the folder of the configuration file."""
    return told if not isinstance(told, str) or told == "none" or "://" in told else str(base / told)


def served_rooted(served: dict[str, Any], base: Path) -> dict[str, Any]:
    """The settings of a served model, relative paths read from the folder of the configuration file."""
    paths = {name: str(base / served[name]) for name in ("prompts", "scratch") if isinstance(served.get(name), str)}
    return served | paths


def assign(tree: dict[str, Any], assignment: str) -> None:
    """Put `key=value` into the tree. Raises UsageError."""
    (*path, last), value = split_assignment(assignment, "crop.padding=0.2")
    node: Any = tree
    for part in path:
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise UsageError(f"--set {assignment}: there is no element {part!r}")
            node = node[int(part)]
        else:
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise UsageError(f"--set {assignment}: {part!r} holds a value, not settings")
    if isinstance(node, list):
        raise UsageError(f"--set {assignment}: name a setting of one element, for example sources.0.license")
    node[last] = value


def explain(error: ValidationError, where: str) -> str:
    """The first fault, with the nearest known name for an unknown key."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(fault["loc"][-1]), _names(BuildConfig), n=1, cutoff=0.6)
        return f"{where}: unknown setting {key!r}" + (f": did you mean {close[0]!r}?" if close else "")
    if fault["type"] == "missing" and key == "out":
        return "--out DIR is missing: name the folder of the set"
    return first_fault(error, where)


def _names(model: type[BaseModel]) -> list[str]:
    names: list[str] = []
    for name, info in model.model_fields.items():
        names.append(name)
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _names(inner)
    return names + list(SourceConfig.model_fields)


def _check_file(file: Path, where: str) -> None:
    if not file.is_file():
        raise UsageError(f"{where} is not a file")
    try:
        file.name.encode()
        file.open("rb").close()
    except UnicodeEncodeError:
        raise UsageError(f"{where}: the name is not UTF-8: rename the file") from None
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}") from None


def _check_sources(config: BuildConfig) -> None:
    """There are sources, and the files and folders that they name."""
    if not config.sources:
        raise UsageError("the configuration names no source: list one or more under 'sources'")
    for source in config.sources:
        if source.kind == "scenes":
            continue
        if not source.annotations:
            raise UsageError(f"source {source.name}: no annotation file: give --annotations FILE")
        if source.images is None:
            raise UsageError(f"source {source.name}: no picture root: give --images DIR")
        if address_of(source.images) is None and not source.images.is_dir():
            raise UsageError(f"source {source.name}: --images {source.images} is not a folder")
        for file in source.annotations:
            if (there := address_of(file)) is not None:
                raise UsageError(f"source {source.name}: --annotations {there}: copy the file to this machine first")
            _check_file(file, f"source {source.name}: --annotations {str(file)!a}")
        bases = [file.name for file in source.annotations]
        for base in bases:
            if bases.count(base) > 1:
                raise UsageError(f"source {source.name}: two annotation files are named {base}: make them two sources")
