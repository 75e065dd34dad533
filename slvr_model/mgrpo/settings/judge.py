"""The served judge of open answers, and how long training waits for it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from slvr_data.requests.config import ServedConfig
from slvr_model.section import Section

PATIENCE = 60.0
"""Seconds of silence after which the servers are tried afresh, at most."""


class JudgeConfig(Section):
    """Who says whether an open answer means the same as the right one. Only the reward `judge` asks."""

    base_urls: list[str] = Field(default_factory=list)
    """OpenAI-compatible servers of the judge, e.g. http://localhost:8000/v1; none: there is no judge."""
    model: str | None = None
    """Its name, as the servers list it."""
    model_revision: str | None = None
    """Of its weights: verdicts of another revision are not reused."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; servers without one need none."""
    max_tokens: int = Field(256, ge=16)
    """Cap on a verdict's tokens; a judge that thinks aloud needs more."""
    seed: int = 0
    """Of the judge's sampling, which is greedy all the same."""
    attempts: int = Field(4, ge=1, le=20)
    """Calls whose reply holds no verdict, before an answer is left "unknown"."""
    unreadable: int = Field(100, ge=1)
    """Answers in a row that are left "unknown" so, before the run stops: this judge does not judge."""
    timeout: float = Field(120, gt=0)
    """Seconds for one call."""
    pause: float = Field(600, gt=0)
    """Seconds that training waits for a judge that has stopped answering, before the run stops."""
    max_concurrency: int = Field(64, ge=1)
    """Calls in flight at most, per server."""
    scratch: Path | None = None
    """Folder on a local disk for kept verdicts in use; unless told, the system's temporary folder."""

    def served(self) -> ServedConfig:
        """As the request layer takes it."""
        own = self.model_dump(exclude={"unreadable", "pause"})
        return ServedConfig(**own, patience=min(PATIENCE, self.pause / 4))
