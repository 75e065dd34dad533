"""Options of commands that ask a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

BaseUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--base-url", metavar="URL", help="OpenAI-compatible server, e.g. http://localhost:8000/v1; may be repeated."
    ),
]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="The model, as the server lists it.")]
Revision = Annotated[
    str | None, typer.Option("--model-revision", metavar="R", help="Revision of its weights, for provenance.")
]
KeyVariable = Annotated[
    str | None,
    typer.Option(
        "--api-key-env", metavar="VAR", help="Environment variable that holds the API key (default OPENAI_API_KEY)."
    ),
]
PromptFolder = Annotated[
    Path | None, typer.Option("--prompts", metavar="DIR", help="Templates that replace the built-in ones.")
]
BoxFormatName = Annotated[
    str | None,
    typer.Option("--box-format", metavar="F", help="How a box is told: auto (default), pixels or thousandths."),
]
BudgetRequests = Annotated[
    int | None, typer.Option("--budget-requests", metavar="N", help="Stop cleanly after N calls of this run.")
]
BudgetTokens = Annotated[
    int | None, typer.Option("--budget-tokens", metavar="N", help="Stop cleanly after N tokens of this run.")
]
RetryRejected = Annotated[
    str | None,
    typer.Option(
        "--retry-rejected", metavar="REASON", help="Ask again where replies were rejected so, e.g. reply-schema."
    ),
]


def served_options(
    base_urls: list[str] | None,
    model: str | None,
    model_revision: str | None,
    api_key_env: str | None,
    prompts: Path | None,
    box_format: str | None,
    budget_requests: int | None,
    budget_tokens: int | None,
) -> dict[str, Any] | None:
    """The options that were given, as settings below `served`; None where there are none."""
    told = {
        "base_urls": base_urls or None, "model": model, "model_revision": model_revision, "api_key_env": api_key_env,
        "prompts": prompts, "box_format": box_format, "budget_requests": budget_requests,
        "budget_tokens": budget_tokens,
    }  # fmt: skip
    given = {name: value for name, value in told.items() if value is not None}
    return given or None
