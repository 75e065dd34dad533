"""The command `embed`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines.commands import served
from pipelines.commands.options import Engine, Folder, RayAddress, Scratch, refuse_address


def embed(
    folder: Folder,
    base_url: served.BaseUrls = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The embedding model, as the server lists it; local-hash-1 needs no server (default)."
        ),
    ] = None,
    model_revision: served.Revision = None,
    api_key_env: served.KeyVariable = None,
    dim: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Dimension of the local model (default 256).")
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Texts per call.")] = 32,
    budget_requests: served.BudgetRequests = None,
    budget_tokens: served.BudgetTokens = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Ask again for texts that the server has refused.")
    ] = False,
    scratch: Scratch = None,
    engine: Engine = None,
    ray_address: RayAddress = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="key=value", help="Set one setting of the server, e.g. served.timeout=60."),
    ] = None,
) -> None:
    """Embed the profile text of every published region, by a model behind a server or by the local one, and publish.

    The same command goes on after any interruption, and takes up regions that build-attributes has added since.
    Without a model, the set's own is used again, or the local one: a hashed bag of attributes that runs anywhere.
    Texts are short and calls few: this process makes them all, and --engine ray changes nothing.
    """
    from pipelines.embed import EmbedConfig, served_settings
    from pipelines.embed import embed as run
    from pipelines.remote import writing
    from pipelines.report import print_accounts

    _told_engine(engine, ray_address)
    options = served.served_options(
        base_url, model, model_revision, api_key_env, None, None, budget_requests, budget_tokens
    )
    settings = served_settings(options or {}, assignments or [])
    with writing(folder, scratch) as here:
        summary = run(here, EmbedConfig(settings, dim, batch_size, retry_rejected))
    print_accounts(summary.accounts)
    summary.end()


def _told_engine(engine: str | None, ray_address: str | None) -> None:
    """Say that an engine changes nothing here. Raises UsageError where there is none of that name."""
    from slvr_data.errors import UsageError

    if engine not in (None, "local", "ray"):
        raise UsageError(f"--engine {engine}: known are local and ray")
    refuse_address(engine or "local", ray_address)
    if engine == "ray":
        print("embed needs no workers: this process makes all calls, --engine ray changes nothing", file=sys.stderr)
