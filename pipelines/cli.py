"""The command `slvr-data`: its front and its commands (`pipelines.commands`)."""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from pipelines.commands import build, embed, publication, reading, serving
from slvr_data import commandline


class _Group(TyperGroup):
    """The commands. Typer loads pydantic, half of what help costs, to make a bool of the missing --help before them."""

    def get_help_option(self, ctx: Any) -> Any:
        """As it was, with a value where it is not given."""
        option = super().get_help_option(ctx)
        if option is not None and option.default is None:
            option.default = False
        return option


class _Command(TyperCommand):
    """A command; what is only asked for its help loads nothing."""

    def invoke(self, ctx: Any) -> Any:
        """Run it, without pandas."""
        commandline.spare_pandas()
        return super().invoke(ctx)


app = typer.Typer(
    name="slvr-data",
    cls=_Group,
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
for _registered in app.registered_commands:
    _registered.cls = _Command


def main() -> None:
    """Run the command; what a user can meet is one line, never a traceback."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers are processes: more threads would only compete
    commandline.run(
        "slvr-data",
        app,
        stopped="stopped; run the same command again to go on, nothing finished is lost",
        memory="out of memory: fewer --workers; the same command goes on, nothing finished is lost",
    )
