"""What a served model is, and how it is called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from slvr_data.errors import UsageError

BoxFormat = Literal["auto", "pixels", "thousandths"]


def shown_address(url: str) -> str:
    """What a person is told of the address of a server, whole or not: no user, no password, no query."""
    address, mark, _ = url.partition("?")
    beginning, at, host = address.rpartition("@")
    scheme = "".join(re.findall(r"^\w+://", beginning))
    return (f"{scheme}***@{host}" if at else address) + ("?***" if mark else "")


class ServedConfig(BaseModel):
    """A model behind one or more OpenAI-compatible servers. Only what `affects_data` names decides data."""

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)

    base_urls: list[str] = Field(default_factory=list)
    """Servers of the same model, e.g. http://localhost:8000/v1: they form a pool."""
    model: str | None = None
    """Its name, as the server lists it."""
    model_revision: str | None = None
    """Of its weights; goes into provenance and into the key of each call."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; servers without one need none."""
    prompts: Path | None = None
    """Folder with templates that replace the built-in ones of the same name."""
    box_format: BoxFormat = "auto"
    """How a box is told: pixels of the picture as sent, or thousandths of its sides; "auto" knows the families."""
    max_pixels: int = Field(1_003_520, ge=3136)
    """Pictures are scaled down to this for sending (the default is 1280 patches of 28 x 28)."""
    temperature: float = Field(0.2, ge=0, le=2)
    """Of the first attempt and of all others."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus of the sampling."""
    max_tokens: int = Field(1024, ge=16)
    """Cap on a reply."""
    seed: int = 0
    """Of the first attempt; another attempt adds its number."""
    attempts: int = Field(4, ge=1, le=20)
    """Calls whose reply came and was bad, before a region is rejected."""
    transport_retries: int = Field(8, ge=0)
    """Calls without a reply, before a region is left unfinished."""
    timeout: float = Field(300, gt=0)
    """Seconds for one call."""
    connect_timeout: float = Field(5, gt=0)
    """Seconds for a connection."""
    patience: float = Field(60, gt=0)
    """Seconds without any reply from any server, before the run stops and leaves the rest unfinished."""
    max_concurrency: int = Field(512, ge=1)
    """Calls in flight at most, per server; below it the server's own queue decides."""
    affinity: bool = True
    """Calls on one picture go to one server, close together."""
    scratch: Path | None = None
    """Folder on a local disk for the request store (default: the system's temporary folder)."""
    budget_requests: int | None = Field(None, ge=1)
    """Stop cleanly after so many calls of this run."""
    budget_tokens: int | None = Field(None, ge=1)
    """Stop cleanly after so many tokens of this run, prompts and replies."""

    @field_validator("api_key_env", mode="before")
    @classmethod
    def _names_a_variable(cls, value: Any) -> Any:
        """A key in place of its variable's name is a usual slip: no error repeats it, and no file gets to hold it."""
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise UsageError(
                "--api-key-env (api_key_env) takes the name of an environment variable, e.g. OPENAI_API_KEY, "
                "and was given something else: put the key into a variable, and name that"
            )
        return value

    def affects_data(self) -> dict[str, Any]:
        """The settings that decide data."""
        kept = ("model", "model_revision", "box_format", "max_pixels", "temperature", "top_p", "max_tokens", "seed")
        return self.model_dump(mode="json", include={*kept, "attempts"})
