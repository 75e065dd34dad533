"""Commands that show a set: `preview`, `audit`, `stats`, `status`, `rejections`, `avoided`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Folder, Scratch


def preview(
    folder: Folder,
    output: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Where to write the page (default: DIR/.work/preview.html)."),
    ] = None,
    pictures: Annotated[int, typer.Option("--pictures", metavar="N", min=1, help="How many pictures to show.")] = 50,
    crops: Annotated[bool, typer.Option("--crops", help="Show the crop of every region too.")] = False,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Show N pictures drawn at random, not spread evenly.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of --sample.")] = 0,
) -> None:
    """Write one self-contained HTML page: pictures, outlined regions, profiles, verdicts, filters."""
    from pipelines.preview import preview as run
    from slvr_data.remote.addresses import local_path

    print(run(local_path(folder), output, pictures, crops, sample, seed))


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
    scratch: Scratch = None,
) -> None:
    """Write a page on which a person judges a sample of the set by eye, or read the verdicts back."""
    from pipelines import audit as run
    from pipelines.remote import writing
    from slvr_data.remote.addresses import local_path

    run.check_audit(n, seed, output, read or [], as_json)
    if not read:
        print(run.write_page(local_path(folder), 400 if n is None else n, seed or 0, output, scratch))
        return
    with writing(folder, scratch) as here:
        summary = run.read_back(here, read)
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

    from pipelines import remote, report

    found = remote.status(folder) if name == "status" else remote.stats(folder)
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
    from pipelines.remote import reading
    from pipelines.report import print_rejections

    with reading(folder, ("rejections",)) as here:
        print_rejections(here, as_json, reason)


def avoided(
    folder: Folder,
    output: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Where to write the page (default: DIR/.work/avoided.html)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The list alone, one JSON object per line.")] = False,
    scratch: Scratch = None,
) -> None:
    """List the pictures that --avoid found, and write a page that shows them beside the avoided ones."""
    import json

    from pipelines import avoided as run
    from pipelines.remote import reading
    from pipelines.stages.avoid import COMPARED

    with reading(folder, (), scratch, (COMPARED,)) as here:
        if as_json:
            for line in run.avoided_lines(here):
                print(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())
        else:
            run.print_avoided(here)
            print(run.write_page(here, output))
