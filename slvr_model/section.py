"""What the settings of both stages share: unknown names are errors, and every field says what it is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a configuration."""

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)
