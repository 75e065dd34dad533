"""Commands that make a set: `build-attributes`, `build-multiquery`, `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands import served
from pipelines.commands.options import Avoid, Engine, Folder, RayAddress, Scratch, engine_options, refuse_address

_SOURCES = ("coco", "jsonl", "scenes", "scenes:full", "visual-cot", "refcoco", "parquet")


def build_attributes(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="coco, jsonl, scenes (= scenes:easy), scenes:full, visual-cot, refcoco or parquet; omitted with "
            "--config.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR|URL", help="Folder of the set, or s3://bucket/set; made, or extended."),
    ] = None,
    scratch: Scratch = None,
    annotator: Annotated[
        str | None,
        typer.Option(
            help="Who writes the profiles: measured (default), exact (scenes only) or served (a model behind a server)."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Root of the pictures that the source names.")
    ] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Annotation file of the source; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Take the first N pictures of each source.")] = None,
    limit_regions: Annotated[
        int | None,
        typer.Option(metavar="N", help="Take N regions at most, of whole pictures drawn by a hash of their ids."),
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes (default: one per processor).")] = None,
    shard_size: Annotated[
        int | None, typer.Option(metavar="N", help="Pictures per shard, the unit of work; does not change the data.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="i/n", help="Do part i of n (0 <= i < n) only; `slvr-data merge` joins the parts."),
    ] = None,
    engine: Engine = None,
    ray_address: RayAddress = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the splits and of drawn scenes (default 0).")
    ] = None,
    follow_links: Annotated[
        bool | None, typer.Option("--follow-links", help="Read pictures through symbolic links.", show_default=False)
    ] = None,
    avoid: Avoid = None,
    base_url: served.BaseUrls = None,
    model: served.Model = None,
    model_revision: served.Revision = None,
    api_key_env: served.KeyVariable = None,
    prompts: served.PromptFolder = None,
    box_format: served.BoxFormatName = None,
    budget_requests: served.BudgetRequests = None,
    budget_tokens: served.BudgetTokens = None,
    retry_rejected: served.RetryRejected = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file with any of these settings, and several sources.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="key=value", help="Set one setting, e.g. crop.padding=0.2.")
    ] = None,
) -> None:
    """Write an attribute profile for every region of a source, and publish them.

    The same command goes on after any interruption. A larger --limit, more rows or another source extend a set.
    """
    from pipelines.asking_config import refuse_unused
    from pipelines.build import build_attributes as build
    from pipelines.config import load_config
    from pipelines.remote import writing
    from pipelines.report import print_summary

    options: dict[str, Any] = {
        "out": out, "annotator": annotator, "limit": limit, "workers": workers, "shard_size": shard_size,
        "shard": shard, "seed": seed, "follow_links": follow_links, "avoid": avoid,
    }  # fmt: skip
    options["regions"] = {"limit": limit_regions} if limit_regions is not None else None
    options |= engine_options(engine, ray_address)
    options["sources"] = sources_told(source, images, annotations, config)
    options["served"] = served.served_options(
        base_url, model, model_revision, api_key_env, prompts, box_format, budget_requests, budget_tokens
    )
    settings = load_config(config, options, assignments or [])
    refuse_unused(options["served"], settings.annotator)
    refuse_address(settings.engine, ray_address)
    with writing(settings.out, scratch) as folder:
        summary = build(settings.model_copy(update={"out": folder}), retry_rejected)
    print_summary(summary, settings)
    summary.end()


def sources_told(
    source: str | None, images: Path | None, annotations: list[Path] | None, config: Path | None
) -> list[dict[str, Any]] | None:
    """The sources that SOURCE, --images and --annotations name; None where --config names them. Raises UsageError."""
    from slvr_data.errors import UsageError

    if source is None:
        if config is None:
            raise UsageError(f"name a SOURCE ({', '.join(_SOURCES)}), or give --config FILE")
        if images or annotations:
            raise UsageError("--images and --annotations belong to a SOURCE; with --config, write them into the file")
        return None
    if config is not None:
        raise UsageError(f"SOURCE {source} and --config both name sources: give one of them")
    kind, _, level = source.partition(":")
    if source not in (*_SOURCES, "scenes:easy"):
        raise UsageError(f"unknown source {source!r}: known are {', '.join(_SOURCES)} and scenes:easy")
    if kind == "scenes":
        if images or annotations:
            raise UsageError("scenes are drawn: --images and --annotations do not go with them")
        return [{"kind": kind, "level": level or "easy"}]
    return [{"kind": kind, "images": images, "annotations": annotations or []}]


def build_multiquery(
    folder: Folder,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes (default: one per processor).")
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Pictures per shard, the unit of work; does not change the data."),
    ] = None,
    engine: Engine = None,
    ray_address: RayAddress = None,
    annotator: Annotated[
        str | None, typer.Option(help="Who writes the questions: templates (default) or served.")
    ] = None,
    base_url: served.BaseUrls = None,
    model: served.Model = None,
    model_revision: served.Revision = None,
    api_key_env: served.KeyVariable = None,
    prompts: served.PromptFolder = None,
    box_format: served.BoxFormatName = None,
    budget_requests: served.BudgetRequests = None,
    budget_tokens: served.BudgetTokens = None,
    retry_rejected: served.RetryRejected = None,
    scratch: Scratch = None,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Write all questions anew where another writer, or other settings, did.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file of a build; its 'annotator', 'served' and 'model_checks' hold."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="key=value", help="Set one setting of the model or its checks, e.g. served.timeout=60."
        ),
    ] = None,
) -> None:
    """Write 2-4 questions on different facets for every published region, check them, and publish them.

    The same command goes on after any interruption, and takes up regions that build-attributes has added since.
    """
    from pipelines.asking_config import load_asking
    from pipelines.multiquery import build_multiquery as build
    from pipelines.remote import writing
    from pipelines.report import print_accounts

    options: dict[str, Any] = {"annotator": annotator, "workers": workers, "shard_size": shard_size}
    options |= engine_options(engine, ray_address)
    options["served"] = served.served_options(
        base_url, model, model_revision, api_key_env, prompts, box_format, budget_requests, budget_tokens
    )
    asking = load_asking(options, config, assignments or [])
    refuse_address(asking.engine, ray_address)
    with writing(folder, scratch) as here:
        summary = build(here, asking, retry_rejected, rewrite)
    print_accounts(summary.accounts)
    summary.end()


def merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="PART...", help="Folders of the parts, built with --shard i/n.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR|URL", help="Folder of the whole set, or its address.")],
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Where the pictures of source NAME lie here; may be repeated."),
    ] = None,
    unfinished: Annotated[
        bool,
        typer.Option("--unfinished", help="Publish without the pictures that no part has finished (exit code 3)."),
    ] = False,
    scratch: Scratch = None,
) -> None:
    """Join the parts of a build that independent jobs made with --shard i/n, and publish the whole."""
    from pipelines.merge import merge as run
    from pipelines.remote import merging
    from pipelines.report import print_accounts
    from slvr_data.requests.failures import UnfinishedError

    with merging(parts, out, scratch) as (here, folder):
        accounts = run(here, folder, images or [], unfinished)
    print_accounts(accounts)
    if left := accounts.get("regions_unfinished"):
        raise UnfinishedError(f"{left:,} regions are unfinished: finish their parts, and merge all parts again")
