"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Folder = Annotated[
    Path, typer.Argument(metavar="DIR|URL", help="The folder of the set, or its address, as s3://bucket/set.")
]
Scratch = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="SLVR_SCRATCH",
        help="For a set at a URL: the local folder that its copy lies in (default: in the user's cache).",
    ),
]
Engine = Annotated[
    str | None, typer.Option(help="What carries shards to workers: local (processes of this machine, default) or ray.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDR",
        help="With --engine ray: host:port of its head, or auto (default: RAY_ADDRESS, or this machine alone).",
    ),
]
Avoid = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DIR|FILE",
        help="Keep pictures out of train that are in, or come from, this folder of pictures, published set, benchmark "
        "folder, or Parquet, Arrow or TSV file; may be repeated. The set remembers it; none forgets.",
    ),
]


def engine_options(engine: str | None, ray_address: str | None) -> dict[str, Any]:
    """The options that were given, as settings."""
    return {"engine": engine, "ray": {"address": ray_address} if ray_address is not None else None}


def refuse_address(engine: str, ray_address: str | None) -> None:
    """An address without its engine is a slip of the user. Raises UsageError."""
    from slvr_data.errors import UsageError

    if ray_address is not None and engine != "ray":
        raise UsageError(f"--ray-address {ray_address} goes with --engine ray, not with --engine {engine}")
