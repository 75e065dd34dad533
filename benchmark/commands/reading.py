"""Commands that read runs: `compare`, `report`, `list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Their benchmark folder (found for runs in DIR/runs).")
]
Draws = Annotated[
    int | None,
    typer.Option(
        "--draws",
        min=100,
        metavar="N",
        help="Resamplings and exchanges (default: 10,000, and 100 exchanges for each test up to 1,000,000).",
    ),
]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="RUN", help="One of the runs: compare each other with it, not every pair."),
]
Despite = Annotated[
    str,
    typer.Option(
        "--despite", metavar="LIST", help="Compare although these differ: pictures, tokens, prompt, extraction."
    ),
]


def compare(
    runs: Runs,
    base: Base = None,
    draws: Draws = None,
    despite: Despite = "",
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Do two runs really differ? Refuses runs that were not asked the same in the same way."""
    import json

    from benchmark.compare import Comparing, as_text, compared, despite_of, may_differ, too_few
    from benchmark.opened import open_runs

    how = Comparing(draws, base, despite_of(despite))
    opened = open_runs(runs)
    rows = compared(opened, how)
    if as_json:
        tree = {
            "differs": dict(may_differ(opened)),
            "comparisons": [row.model_dump(mode="json") for row in rows],
            "too_few": too_few(rows),
        }
        typer.echo(json.dumps(tree, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(as_text(opened, rows), nl=False)


def report(
    runs: Runs,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write (default: report in the first run).")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, metavar="N", help="Regions that the page shows.")] = 120,
    base: Base = None,
    draws: Draws = None,
    despite: Despite = "",
) -> None:
    """Write one self-contained HTML page, and the scores as JSON, CSV, Markdown, LaTeX and a leaderboard row."""
    import shlex

    from benchmark.compare import Comparing, despite_of
    from benchmark.report import write_report
    from slvr_data.remote.addresses import local_output

    out = local_output(out, "--out") if out else None
    told = {"--data": data, "--base": base, "--draws": draws, "--despite": despite or None}
    named = [part for name, value in told.items() if value is not None for part in (name, str(value))]
    command = shlex.join(["slvr-bench", "report", *map(str, runs), *named])
    for path in write_report(runs, data, out, samples, command, Comparing(draws, base, despite_of(despite))):
        typer.echo(path)


def list_(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A benchmark folder, or a folder of runs: list its runs.")
    ] = None,
) -> None:
    """List what can be run - models, variants, protocols - or the runs in a folder."""
    from benchmark.listing import kinds, runs_in

    typer.echo(kinds() if folder is None else runs_in(folder), nl=False)
