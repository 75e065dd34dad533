"""Commands that make items: `build`, `import`, and `review` of what was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The benchmark folder: a new one.")]


def build(
    source: Annotated[Path, typer.Argument(metavar="SLV_SET_DIR", help="A published set with questions.")],
    out: Out,
    split: Annotated[
        Literal["train", "validation", "test", "all"],
        typer.Option(help="Of its pictures; all for a set made for testing only."),
    ] = "test",
    training: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A set of other pictures to fit the baselines on (default: its train split)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the order of choices, and of what is drawn.")] = 0,
    review: Annotated[bool, typer.Option("--review", help="Write the page of `review` too.")] = False,
) -> None:
    """Make SV-QA items of a set's groups: balanced, and without templates that can be answered unseen."""
    from benchmark.build import build as run
    from slvr_data.remote.addresses import local_output

    out = local_output(out, "--out")
    for line in run(source, out, split, seed, training, _say).lines():
        typer.echo(line)
    if review:
        from benchmark.review import write_page

        typer.echo(write_page(out))


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The paper's JSON list, JSON lines, CSV, VLMEvalKit's TSV, Parquet, Arrow; a folder of such tables.",
        ),
    ],
    out: Out,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where pictures are looked for (default: the file's folder).")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of the benchmark (default: the file's).")] = None,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Read pictures through symbolic links.")] = False,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="The part of a folder that is read, where it has several.")
    ] = None,
) -> None:
    """Make items of a file: the paper's list, VLMEvalKit's TSV, Parquet ... Nothing is balanced; each fault is told."""
    from benchmark.importing import import_file
    from slvr_data.remote.addresses import local_output

    for line in import_file(file, local_output(out, "--out"), images, follow_links, name, split).lines():
        typer.echo(line)


def edited(
    out: Out,
    scenes: Annotated[int, typer.Option(min=1, metavar="N", help="How many.")] = 200,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the drawn world.")] = 0,
) -> None:
    """Draw scenes with twins in which one thing has another colour: does the answer follow, and else stay?"""
    from benchmark.interventions.edited import write_edited
    from slvr_data.remote.addresses import local_output

    bench = write_edited(local_output(out, "--out"), scenes, seed)
    typer.echo(f"{len(bench.items):,} items of {scenes:,} scenes, revision {bench.revision[:12]}")


def review(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A benchmark folder.")],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the page (default: DIR/review.html).")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Regions on the page.")] = 400,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the draw.")] = 0,
    read: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Read back what the page saved; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --read: the folder without what was rejected.")
    ] = None,
) -> None:
    """Write a page on which a person accepts or rejects items by keyboard, or read its verdicts back."""
    from benchmark import review as run
    from slvr_data.errors import UsageError
    from slvr_data.remote.addresses import local_output

    if bool(read) != (out is not None):
        raise UsageError("--read FILE and --out DIR go together: a new folder is made of what stays")
    if not read or out is None:
        typer.echo(run.write_page(folder, html, n, seed))
        return
    for line in run.read_back(folder, read, local_output(out, "--out")).lines():
        typer.echo(line)


def _say(text: str) -> None:
    typer.echo(text, err=True)
