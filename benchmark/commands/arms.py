"""The command that compares arms, each trained with several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.reading import Despite


def arms(
    arm: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=RUN,RUN",
            help="An arm and the runs of its seeds; a folder stands for the runs in it, RUN@N tells the seed's number.",
        ),
    ],
    base: Annotated[str | None, typer.Option(metavar="NAME", help="The arm that the others are compared with.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write arms.json, arms.md and arms.html there.")
    ] = None,
    draws: Annotated[int, typer.Option(min=100, metavar="N", help="Resamplings.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the resamplings.")] = 0,
    despite: Despite = "",
) -> None:
    """Do training objectives differ, over seeds and pictures? The runs of all arms on the same items."""
    import shlex

    from benchmark.arm_page import write_arms
    from benchmark.arm_report import as_text
    from benchmark.arm_runs import compared_arms, named_of, open_arms
    from benchmark.compare import despite_of
    from slvr_data.remote.addresses import local_output

    out = local_output(out, "--out") if out else None
    compared = compared_arms(open_arms(named_of(arm), despite_of(despite)), base, draws, seed)
    typer.echo(as_text(compared), nl=False)
    if out is not None:
        named = [part for text in arm for part in ("--arm", text)] + ([] if base is None else ["--base", base])
        drawn = ["--draws", str(draws), "--seed", str(seed), *(["--despite", despite] if despite else [])]
        command = shlex.join(["slvr-bench", "arms", *named, *drawn, "--out", str(out)])
        for path in write_arms(compared, out, command):
            typer.echo(path)
