"""How a cluster is used: what one call of each stage needs of its machine."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EngineName = Literal["local", "ray"]


class StageNeeds(BaseModel):
    """What one call needs of the machine it runs on."""

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)

    cpus: float = Field(1, gt=0)
    """Processors; 0.5 puts two calls on one."""
    memory_gb: float | None = Field(None, gt=0)
    """Memory that Ray sets aside for it."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom resources of the cluster, by name: they choose the machines."""


class RayConfig(BaseModel):
    """The engine `ray`; none of it decides data."""

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)

    address: str | None = None
    """host:port of the cluster's head, or auto for the one that runs here; without it (and without the variable
    RAY_ADDRESS), one is started on this machine and ends with the command."""
    attempts: int = Field(3, ge=1)
    """Workers that a shard may end before its pictures are tried one by one, and left unfinished."""
    read: StageNeeds = Field(default_factory=StageNeeds)
    """Reading rows and picture headers."""
    build: StageNeeds = Field(default_factory=StageNeeds)
    """A shard's crops, profiles and checks, or its questions."""
    encode: StageNeeds = Field(default_factory=StageNeeds)
    """Served: crops, and what is sent of them."""
    check: StageNeeds = Field(default_factory=StageNeeds)
    """Served: checks of what was answered."""

    def needs(self, method: str) -> StageNeeds:
        """Of a call of that method of `Worker`."""
        if method.startswith("prepare"):
            return self.encode
        if method.startswith("finish"):
            return self.check
        return self.read if method == "read" else self.build
