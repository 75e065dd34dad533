"""What a set remembers of the pictures that it avoids."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class AvoidedGiven(BaseModel):
    """A folder or file that `--avoid` named."""

    model_config = ConfigDict(extra="forbid")

    path: str
    name: str
    """The last parts of the path, as many as tell it from the others: a publication says no more."""
    chunks: list[str]
    """Shards of the store `avoided` with its pictures, in order."""
    pictures: int
    unreadable: int


class AvoidSettings(BaseModel):
    """What is avoided, as it was when the set was last compared with it."""

    model_config = ConfigDict(extra="forbid")

    index: str
    """Hash of all avoided pictures' names and bytes, and of the method; empty until the set has been compared."""
    method: str
    """How pictures are described (`slvr_data.avoid.features.method`)."""
    given: list[AvoidedGiven]

    def told(self) -> dict[str, Any]:
        """For the manifest: nothing that differs between machines."""
        given = [known.model_dump(include={"name", "pictures", "unreadable"}) for known in self.given]
        return {"index": self.index, "method": self.method, "given": given}
