"""`slvr-data embed`: embeddings of the published profile texts, by the local model or by one behind a server."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.asking_config import check_addresses
from pipelines.build import Summary, make_plan, publish
from pipelines.config import assign, explain
from pipelines.embed_calls import Calls, open_texts
from pipelines.embeddings import VectorStore
from pipelines.finished import Finished
from pipelines.history import history_of
from pipelines.opened import WORK, opened
from pipelines.partitions import load_partitions
from pipelines.progress import Progress
from pipelines.republish import check_finished, config_of, known_settings
from pipelines.settings import save_settings
from slvr_data.embeddings import LOCAL, EmbeddingModel, is_local, local_model
from slvr_data.errors import UsageError
from slvr_data.manifest import load_manifest
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import UnfinishedError


@dataclass(frozen=True)
class EmbedConfig:
    """What `slvr-data embed` is told."""

    served: ServedConfig
    """Its `model` may name the local one, which needs no server."""
    dimension: int | None = None
    """Of the local model."""
    batch: int = 32
    """Texts per call."""
    retry_rejected: bool = False
    """Ask again for texts that the server refused."""


def served_settings(options: dict[str, Any], assignments: list[str]) -> ServedConfig:
    """The settings of a server, from the options that were given, then `--set served.x=y`.

    Raises:
        UsageError: a value does not fit, or an address holds a secret.
    """
    tree = {"served": dict(options)}
    for assignment in assignments:
        if not assignment.startswith("served."):
            raise UsageError(f"--set {assignment}: only settings under 'served' can be set here")
        assign(tree, assignment)
    try:
        served = ServedConfig.model_validate(tree["served"])
    except ValidationError as error:
        raise UsageError(explain(error, "served")) from None
    check_addresses(served)
    return served


def embed(folder: Path, told: EmbedConfig) -> Summary:
    """Embed every published profile text that has no embedding yet, and publish; killed anywhere, it goes on.

    Raises:
        UsageError: there is no published set with working files, or the model or its server is not named.
        ServerError: the server cannot embed.
        UnfinishedError: some texts have no embedding yet, and the set keeps those of another model. Where it has
            none of another, what is finished is published, and the summary tells what is not.
    """
    if not (folder / WORK).is_dir():
        raise UsageError(f"{folder} has no working files ({WORK}): embed in the folder that the set was built in")
    with opened(folder) as (work, progress):
        settings = known_settings(folder, work)
        before, summary = settings.embeddings, Summary()
        name, revision = _chosen(told, before)
        config = config_of(settings, folder)
        history = history_of(folder, work)
        plan = make_plan(config, load_partitions(work / "plan", sources=settings.sources), history)
        finished = Finished(work)
        check_finished(plan, finished, folder, settings.parts)
        if is_local(name):
            model, left = local_model(name, told.dimension), ""
        else:
            model, left = _ask(folder, work, told, name, revision, progress, summary)
        if left and before is not None and before != model:
            raise UnfinishedError(f"{left}; until then the set keeps its embeddings of {before.model}")
        settings = settings.model_copy(update={"embeddings": model})
        save_settings(work, settings)
        publish(config, settings, work, plan, history, progress, summary, finished=finished)
        summary.unfinished = left
    return summary


def _chosen(told: EmbedConfig, before: EmbeddingModel | None) -> tuple[str, str | None]:
    """Name and revision of the model: those that are told, those that the set has, or the local one.

    Raises:
        UsageError: options that do not go together.
    """
    served = told.served
    name, revision = served.model, served.model_revision
    if name is None:
        if served.base_urls and (before is None or before.local):
            raise UsageError("--model NAME is missing: name the embedding model as the server lists it")
        name = before.model if before is not None else LOCAL
        if is_local(name) and told.dimension is not None:
            name = LOCAL
    if is_local(name):
        if served.base_urls:
            raise UsageError(f"--model {name} needs no server: leave out --base-url")
        return local_model(name, told.dimension).model, None
    if told.dimension is not None:
        raise UsageError(f"--dim is of the local model (--model {LOCAL}); {name} has its own dimension")
    if before is not None and before.model == name:
        revision = revision or before.revision
    return name, revision


def _ask(
    folder: Path, work: Path, told: EmbedConfig, name: str, revision: str | None, progress: Progress, summary: Summary
) -> tuple[EmbeddingModel, str]:
    """The served model, and in words what is left to do ("": nothing); what came of the rest is kept.

    Raises:
        UsageError: a server is needed, and none is told.
        UnfinishedError: nothing is known of the model's vectors yet.
    """
    from pipelines.serving import ledger_file, stoppable

    served = told.served.model_copy(update={"model": name, "model_revision": revision})
    manifest = load_manifest(folder)
    store = VectorStore(work, name, revision)
    store.clean()
    calls = Calls(served, store, told.batch)
    started = time.time()
    with progress.phase("embedding", "texts", manifest.accounts["published"], calls.state) as counting:
        texts = open_texts(folder, manifest, store, told.retry_rejected, counting)
        first = next(texts, None)
        if first is not None:
            if not served.base_urls:
                raise UsageError(
                    f"--base-url URL is missing: the set has texts without an embedding of {name} "
                    f"(--model {LOCAL} needs no server)"
                )
            asyncio.run(stoppable(calls.run(first, texts, ledger_file(work), counting)))
    summary.seconds["embedding"] = time.time() - started
    summary.counts["texts embedded"] = calls.embedded
    left = f"{calls.left:,} texts have no embedding of {name} yet ({calls.why}): run the same command again to go on"
    if store.dimension is None:
        if calls.left:
            raise UnfinishedError(left)
        raise UsageError(f"{name} has embedded no text of {folder}: there is nothing to publish")
    return EmbeddingModel(model=name, revision=revision, dimension=store.dimension), left if calls.left else ""
