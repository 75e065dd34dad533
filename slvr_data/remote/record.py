"""What a scratch folder knows of the set at its address: which run wrote there, and what has been sent or fetched."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slvr_data.files import write_atomic
from slvr_data.remote.artefacts import Signature


class Record(BaseModel):
    """`mirror.json`, beside the scratch copy of the set."""

    model_config = ConfigDict(extra="forbid")

    session: str | None = None
    """The last run that wrote the set from here (`holding.Holding.session`)."""
    sent: dict[str, Signature] = Field(default_factory=dict)
    """Units and files in the working folder that are the same here and there."""


def load_record(path: Path) -> Record:
    """The record; an empty one where it is missing or damaged: everything is then compared anew."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Record()


def save_record(path: Path, record: Record) -> None:
    """Write it whole."""
    write_atomic(path, record.model_dump_json().encode())
