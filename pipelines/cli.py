"""The command `slvr-data`. Imports of weight happen inside the commands: `--help` must be instant."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from slvr_data.errors import SlvrError

app = typer.Typer(
    name="slvr-data",
    help="Build SLV-Set: regions of pictures, their attribute profiles, published as Parquet.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_STOPPED = "stopped; run the same command again to go on, nothing finished is lost"

_SOURCES = ("coco", "jsonl", "scenes", "scenes:full", "visual-cot", "refcoco", "parquet")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the set.")]


def main() -> None:
    """Run the command; what a user can meet is one line, never a traceback."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers are processes: more threads would only compete
    signal.signal(signal.SIGTERM, _terminated)  # a batch system's way to stop: as Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a label must not end a listing where the terminal is not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
    except SlvrError as error:
        _end(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _end(_STOPPED, 130)
    except SystemExit as ended:
        if ended.code == 130:  # typer turns Ctrl-C into a silent exit
            _end(_STOPPED, 130)
        raise
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _end(f"the file system refused: {error}", 1)
    except Exception as error:
        _end_known(error)
        raise
    if code == 130:  # typer turns Ctrl-C into a silent exit
        _end(_STOPPED, 130)
    sys.exit(code if isinstance(code, int) else 0)


def _terminated(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _end_known(error: Exception) -> None:
    """End with one line for wrong options, and for damaged Parquet files; anything else is a fault of ours."""
    message = getattr(error, "format_message", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(message() if message else error)
        sys.exit(2)
    if message is not None:
        _end(f"{message()} (see --help)", 2)
    if type(error).__module__.startswith("pyarrow"):
        _end(f"a file of the set is damaged ({error}): `slvr-data validate DIR` names it; building again mends it", 1)


def _end(message: str, code: int) -> None:
    print(f"slvr-data: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


@app.command("build-attributes")
def build_attributes(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="coco, jsonl, scenes (= scenes:easy), scenes:full, visual-cot, refcoco or parquet; omitted with "
            "--config.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the set; made, or extended.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Who writes the profiles: measured (default) or exact (scenes only).")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Root of the pictures that the source names.")
    ] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Annotation file of the source; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Take the first N pictures of each source.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes (default: one per processor).")] = None,
    shard_size: Annotated[
        int | None, typer.Option(metavar="N", help="Pictures per shard, the unit of work; does not change the data.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="i/n", help="Do part i of n (0 <= i < n) only; `slvr-data merge` joins the parts."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the splits and of drawn scenes (default 0).")
    ] = None,
    follow_links: Annotated[
        bool | None, typer.Option("--follow-links", help="Read pictures through symbolic links.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file with any of these settings, and several sources.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="key=value", help="Set one setting, e.g. crop.padding=0.2.")
    ] = None,
) -> None:
    """Write an attribute profile for every region of a source, and publish them.

    The same command goes on after any interruption. A larger --limit, more rows or another source extend a set.
    """
    from pipelines.build import build_attributes as build
    from pipelines.config import load_config
    from pipelines.report import print_summary

    options: dict[str, Any] = {
        "out": out, "annotator": annotator, "limit": limit, "workers": workers, "shard_size": shard_size,
        "shard": shard, "seed": seed, "follow_links": follow_links,
    }  # fmt: skip
    options["sources"] = _sources(source, images, annotations, config)
    settings = load_config(config, options, assignments or [])
    print_summary(build(settings), settings)


def _sources(
    source: str | None, images: Path | None, annotations: list[Path] | None, config: Path | None
) -> list[dict[str, Any]] | None:
    from slvr_data.errors import UsageError

    if source is None:
        if config is None:
            raise UsageError(f"name a SOURCE ({', '.join(_SOURCES)}), or give --config FILE")
        if images or annotations:
            raise UsageError("--images and --annotations belong to a SOURCE; with --config, write them into the file")
        return None
    if config is not None:
        raise UsageError(f"SOURCE {source} and --config both name sources: give one of them")
    kind, _, level = source.partition(":")
    if source not in (*_SOURCES, "scenes:easy"):
        raise UsageError(f"unknown source {source!r}: known are {', '.join(_SOURCES)} and scenes:easy")
    if kind == "scenes":
        if images or annotations:
            raise UsageError("scenes are drawn: --images and --annotations do not go with them")
        return [{"kind": kind, "level": level or "easy"}]
    return [{"kind": kind, "images": images, "annotations": annotations or []}]


@app.command("build-multiquery")
def build_multiquery(
    folder: Folder,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes (default: one per processor).")
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Pictures per shard, the unit of work; does not change the data."),
    ] = None,
) -> None:
    """Write 2-4 questions on different facets for every published region, check them, and publish them.

    The same command goes on after any interruption, and takes up regions that build-attributes has added since.
    """
    from pipelines.multiquery import build_multiquery as build
    from pipelines.report import print_accounts

    print_accounts(build(folder, workers, shard_size).accounts)


@app.command()
def merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="PART...", help="Folders of the parts, built with --shard i/n.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the whole set.")],
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Where the pictures of source NAME lie here; may be repeated."),
    ] = None,
) -> None:
    """Join the parts of a build that independent jobs made with --shard i/n, and publish the whole."""
    from pipelines.merge import merge as run
    from pipelines.report import print_accounts

    print_accounts(run(parts, out, images or []))


@app.command()
def publish(
    folder: Folder,
    pictures: Annotated[
        str | None, typer.Option(help="embed: ship the pictures; reference: only sha256, size and path.")
    ] = None,
    embed: Annotated[
        bool | None,
        typer.Option("--embed/--no-embed", help="Give every attribute row its picture (for the Hub's viewer)."),
    ] = None,
    crops: Annotated[bool | None, typer.Option("--crops/--no-crops", help="Publish the crops as a config too.")] = None,
    licenses: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Keep only pictures under this licence; may be repeated; 'all' keeps all."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Publish into this new folder, without working files; DIR stays as it is."),
    ] = None,
) -> None:
    """Publish the set again in another form; the form is remembered."""
    from pipelines.report import print_accounts
    from pipelines.republish import republish

    print_accounts(republish(folder, {"pictures": pictures, "embed": embed, "crops": crops, "licenses": licenses}, to))


@app.command()
def attach(
    folder: Folder,
    images: Annotated[
        Path | None, typer.Option(metavar="ROOT", help="Root of the pictures (not needed for scenes).")
    ] = None,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Read pictures through symbolic links.")] = False,
) -> None:
    """Restore the pictures of a set published by reference, each checked byte for byte."""
    from pipelines.attach import attach as run

    restored, problems = run(folder, images, follow_links)
    print(f"{restored} pictures restored, {len(problems)} missing or different")
    for path, problem in problems[:20]:
        print(f"  {path}: {problem}", file=sys.stderr)
    if len(problems) > 20:
        print(f"  ... and {len(problems) - 20} more", file=sys.stderr)
    if problems:
        sys.exit(1)


@app.command()
def validate(folder: Folder) -> None:
    """Verify everything a published set says of itself; exit code 1 on any breach."""
    from slvr_data.validate import validate as run

    breaches, checked = run(folder)
    for breach in breaches:
        print(breach, file=sys.stderr)
    print(f"{folder}: " + ", ".join(f"{count} {what}" for what, count in checked.items()))
    print("sound" if not breaches else f"{len(breaches)} breaches")
    if breaches:
        sys.exit(1)


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="A published set (with --to), or a file (with --from).")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")],
    to: Annotated[
        str | None, typer.Option(metavar="FORM", help="slvr-stage1, slvr-stage2, lvr or llava, from a set.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="FORM", help="The same, to rows of the source jsonl.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the set: train (default), validation, test or all.", show_default=False)
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="ROOT", help="With --to: where to write the pictures. With --from: where they are."),
    ] = None,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Read pictures through symbolic links.")] = False,
) -> None:
    """Turn a set into a training file of another form, or such a file into rows of the source jsonl.

    What cannot be carried over is listed, with its reason, in FILE.rejected.jsonl.
    """
    from slvr_data.errors import UsageError

    if (to is None) == (origin is None):
        raise UsageError("give one of --to FORM (from a set) and --from FORM (from a file)")
    if to is not None:
        from pipelines.export import export

        account = export(source, to, out, split or "train", images)
    else:
        from pipelines.convert import convert as run

        if split is not None:
            raise UsageError("--split chooses part of a set: it does not go with --from")
        account = run(source, str(origin), out, images, follow_links)
    print(f"{account.what}: {account.read:,} = kept {account.kept:,} + rejected {account.rejected:,}")
    for reason, count in sorted(account.reasons.items()):
        print(f"  {reason}: {count:,}")
    print(f"{account.written:,} records in {account.out}; rejections in {account.rejected_to}")


@app.command()
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


@app.command()
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


@app.command()
def stats(folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False) -> None:
    """Counts: the funnel, splits, labels, and how many profiles know each field."""
    _print_report("stats", folder, as_json)


@app.command()
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


@app.command()
def rejections(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, the record included.")] = False,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None,
) -> None:
    """List every row and region that was not published, with its file, line and reason."""
    from pipelines.report import print_rejections

    print_rejections(folder, as_json, reason)
