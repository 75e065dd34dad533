"""The command `slvr-data`: its front and its commands (`pipelines.commands`)."""

from __future__ import annotations

import os

import typer

from pipelines.commands import build, embed, publication, reading, serving
from slvr_data import commandline

app = typer.Typer(
    name="slvr-data",
    help="Build SLV-Set: regions of pictures, their attribute profiles, published as Parquet.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("build-attributes")(build.build_attributes)
app.command("build-multiquery")(build.build_multiquery)
app.command()(embed.embed)
app.command()(build.merge)
app.command()(publication.publish)
app.command()(publication.attach)
app.command()(publication.validate)
app.command()(publication.convert)
app.command()(reading.preview)
app.command()(reading.audit)
app.command()(reading.stats)
app.command()(reading.status)
app.command()(reading.rejections)
app.command()(reading.avoided)
app.command()(serving.doctor)
app.command(context_settings={"allow_extra_args": True})(serving.serve)


def main() -> None:
    """Run the command; what a user can meet is one line, never a traceback."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers are processes: more threads would only compete
    commandline.run(
        "slvr-data",
        app,
        stopped="stopped; run the same command again to go on, nothing finished is lost",
        memory="out of memory: fewer --workers; the same command goes on, nothing finished is lost",
    )
