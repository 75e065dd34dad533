"""Commands that show a set: `preview`, `audit`, `stats`, `status`, `rejections`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands.options import Folder


def preview(
    folder: Folder,
    output: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Where to write the page (default: DIR/.work/preview.html)."),
    ] = None,
    pictures: Annotated[int, typer.Option("--pictures", metavar="N", min=1, help="How many pictures to show.")] = 50,
    crops: Annotated[bool, typer.Option("--crops", help="Show the crop of every region too.")] = False,
) -> None:
    """Write one self-contained HTML page: pictures, outlined regions, profiles, verdicts, filters."""
    from pipelines.preview import preview as run

    print(run(folder, output, pictures, crops))


def audit(
    folder: Folder,
    n: Annotated[int | None, typer.Option("-n", metavar="N", min=1, help="Regions to draw (default 400).")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the draw (default 0).")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Where to write the page (default: DIR/.work/audit.html)."),
    ] = None,
    read: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Report on verdicts that the page saved; a second judge's too, if repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --read: as one JSON object.")] = False,
) -> None:
    """Write a page on which a person judges a sample of the set by eye, or read the verdicts back."""
    from pipelines import audit as run

    run.check_audit(n, seed, output, read or [], as_json)
    if not read:
        print(run.write_page(folder, 400 if n is None else n, seed or 0, output))
        return
    summary = run.read_back(folder, read)
    if as_json:
        print(summary.model_dump_json())
    else:
        run.print_summary(summary)


def stats(folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False) -> None:
    """Counts: the funnel, splits, labels, and how many profiles know each field."""
    _print_report("stats", folder, as_json)


def status(
    folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False
) -> None:
    """Where a running build is; works from another shell."""
    _print_report("status", folder, as_json)


def _print_report(name: str, folder: Path, as_json: bool) -> None:
    import json

    from pipelines import report

    gather: Callable[[Path], dict[str, Any]] = getattr(report, name)
    found = gather(folder)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        report.print_tree(found)


def rejections(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, the record included.")] = False,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None,
) -> None:
    """List every row and region that was not published, with its file, line and reason."""
    from pipelines.report import print_rejections

    print_rejections(folder, as_json, reason)
