"""Who is asked, and whether enough is told to ask: the configuration of `build-multiquery`, checks for both builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.config import assign, canonical, explain, served_identity, served_rooted
from pipelines.engines.config import EngineName, RayConfig
from slvr_data.checks.model.config import LOOK, ModelChecksConfig
from slvr_data.errors import UsageError
from slvr_data.prompts import load_prompts
from slvr_data.queries.generate import VERSION
from slvr_data.requests.config import ServedConfig, shown_address
from slvr_data.settings import read_tree


class AskingConfig(BaseModel):
    """Everything that `build-multiquery` is told."""

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)

    annotator: Literal["templates", "served"] = "templates"
    """Who writes the questions."""
    workers: int | None = Field(None, ge=1)
    """Processes; as many as there are processors unless told."""
    shard_size: int | None = Field(None, ge=1)
    """Pictures per shard; chosen by the size of the job unless told."""
    engine: EngineName = "local"
    """What carries shards to workers."""
    ray: RayConfig = Field(default_factory=RayConfig)
    """Which cluster, and what stages need of its machines."""
    served: ServedConfig = Field(default_factory=ServedConfig)
    """The model, and how it is called."""
    model_checks: ModelChecksConfig = Field(default_factory=ModelChecksConfig)
    """Checks that ask the model about its questions."""

    @property
    def writer(self) -> str:
        """Who writes; another writer has other words for the same picture."""
        if self.annotator == "templates":
            return VERSION
        checks = {name: value for name, value in self.model_checks.affects_data().items() if not name.startswith(LOOK)}
        asked = {"model_checks": checks} if checks else {}
        readers = [name for name in ("blind", "from_profile", "answer") if checks]
        return canonical({"annotator": "served"} | served_identity(self.served, "questions", *readers) | asked)


def load_asking(options: dict[str, Any], file: Path | None, assignments: list[str]) -> AskingConfig:
    """The configuration of `build-multiquery`: what a build's file says of a model, then options, then `--set`.

    A file of a build by the measured or the exact annotator means templates.

    Raises:
        UsageError: a value does not fit, or options of a served model are given without one.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        whole = read_tree(file)
        if (annotator := whole.get("annotator")) is not None:
            tree["annotator"] = "templates" if annotator in ("measured", "exact") else annotator
        said = whole.get("served") or {}
        tree["served"] = served_rooted(said, file.parent) if isinstance(said, dict) else said
        tree["model_checks"] = whole.get("model_checks") or {}
        tree |= {name: whole[name] for name in ("engine", "ray") if whole.get(name) is not None}
    served = options.get("served")
    tree |= {name: value for name, value in options.items() if value is not None and name not in ("served", "ray")}
    if options.get("ray"):
        tree["ray"] = (tree.get("ray") or {}) | options["ray"]
    if served:
        tree["served"] = tree.get("served", {}) | served
    for assignment in assignments:
        if not assignment.startswith(("served.", "model_checks.", "ray.")):
            raise UsageError(
                f"--set {assignment}: only settings under 'served', 'model_checks' and 'ray' can be set here"
            )
        assign(tree, assignment)
    try:
        asking = AskingConfig.model_validate(tree)
    except ValidationError as error:
        raise UsageError(explain(error, "options")) from None
    refuse_unused(served, asking.annotator)
    if asking.annotator != "served" and asking.model_checks.asks_about_questions:
        raise UsageError("checks that ask a model (model_checks) go with --annotator served")
    return asking


def refuse_unused(served: dict[str, Any] | None, annotator: str) -> None:
    """Options of a served model without one are a slip of the user. Raises UsageError."""
    if served and annotator != "served":
        first = next(iter(served))
        option = "base-url" if first == "base_urls" else first.replace("_", "-")
        raise UsageError(f"--{option} goes with --annotator served, not with --annotator {annotator}")


def check_served(served: ServedConfig) -> None:
    """Whether there is a model to ask, and all its prompts.

    Raises:
        UsageError: no model or server is named, an address is not one, or a prompt is not sound.
    """
    if not served.base_urls:
        raise UsageError(
            "--annotator served needs a server: give --base-url URL, for example http://localhost:8000/v1 "
            "(a set does not remember addresses: name them in every run)"
        )
    if not served.model:
        raise UsageError("--annotator served needs --model NAME, as the server lists it")
    check_addresses(served)
    load_prompts(served.prompts)


def check_addresses(served: ServedConfig) -> None:
    """Whether all addresses are some, and hold no secret. Raises UsageError."""
    for url in served.base_urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--base-url {shown_address(url)}: write an address such as http://localhost:8000/v1")
        if parts.username is not None or parts.password is not None or parts.query:
            raise UsageError(
                f"--base-url of {parts.hostname}: leave user, password and query out of the address; the key goes "
                "into an environment variable (--api-key-env VAR)"
            )
