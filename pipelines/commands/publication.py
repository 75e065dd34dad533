"""Commands on a published set and its form: `publish`, `attach`, `validate`, `convert`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Folder, Scratch


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
    scratch: Scratch = None,
) -> None:
    """Publish the set again in another form; the form is remembered."""
    from pipelines.remote import writing
    from pipelines.report import print_accounts
    from pipelines.republish import republish
    from slvr_data.remote.addresses import local_output

    to = None if to is None else local_output(to, "--to")
    changes = {"pictures": pictures, "embed": embed, "crops": crops, "licenses": licenses}
    with writing(folder, scratch) as here:
        accounts = republish(here, changes, to)
    print_accounts(accounts)


def attach(
    folder: Folder,
    images: Annotated[
        Path | None, typer.Option(metavar="ROOT", help="Root of the pictures (not needed for scenes).")
    ] = None,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Read pictures through symbolic links.")] = False,
    scratch: Scratch = None,
) -> None:
    """Restore the pictures of a set published by reference, each checked byte for byte."""
    from pipelines.attach import attach as run
    from pipelines.remote import writing
    from slvr_data.commandline import plain

    with writing(folder, scratch) as here:
        restored, problems = run(here, images, follow_links)
    print(f"{restored} pictures restored, {len(problems)} missing or different")
    for path, problem in problems[:20]:
        print(plain(f"  {path}: {problem}"), file=sys.stderr)
    if len(problems) > 20:
        print(f"  ... and {len(problems) - 20} more", file=sys.stderr)
    if problems:
        sys.exit(1)


def validate(
    folder: Folder,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Look at about N regions, drawn at random, and say what was left out."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of --sample.")] = 0,
) -> None:
    """Verify everything a published set says of itself; exit code 1 on any breach."""
    from contextlib import nullcontext

    from pipelines.remote import reading, unnamed
    from slvr_data.commandline import plain
    from slvr_data.remote.addresses import local_path, shown
    from slvr_data.validate import not_looked_at
    from slvr_data.validate import validate as run

    with reading(folder) if sample is None else nullcontext(local_path(folder)) as here:
        breaches, checked = run(here, sample, seed)
        left = not_looked_at(here, checked) if sample is not None else []
    breaches += [f"{name}: is not named by the manifest" for name in unnamed(folder)]
    for breach in breaches:
        print(plain(breach), file=sys.stderr)
    print(f"{shown(folder)}: " + ", ".join(f"{count} {what}" for what, count in checked.items()))
    for what in left:
        print(f"not looked at: {what}")
    sound = "sound" if sample is None else "sound, as far as was looked"
    print(sound if not breaches else f"{len(breaches)} breaches")
    if breaches:
        sys.exit(1)


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
    from slvr_data.remote.addresses import local_output

    out = local_output(out, "--out")
    if (to is None) == (origin is None):
        raise UsageError("give one of --to FORM (from a set) and --from FORM (from a file)")
    if to is not None:
        from pipelines.export import export
        from pipelines.remote import reading

        with reading(source) as here:
            account = export(here, to, out, split or "train", images)
    else:
        from pipelines.convert import convert as run

        if split is not None:
            raise UsageError("--split chooses part of a set: it does not go with --from")
        account = run(source, str(origin), out, images, follow_links)
    print(f"{account.what}: {account.read:,} = kept {account.kept:,} + rejected {account.rejected:,}")
    for reason, count in sorted(account.reasons.items()):
        print(f"  {reason}: {count:,}")
    print(f"{account.written:,} records in {account.out}; rejections in {account.rejected_to}")
