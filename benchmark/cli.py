"""The command `slvr-bench`: its front and its commands (`benchmark.commands`)."""

from __future__ import annotations

import typer

from benchmark.commands import arms, asking, items, reading
from slvr_data import commandline

app = typer.Typer(
    name="slvr-bench",
    help="SV-QA: does a model answer all questions about a region rightly, and do two models really differ?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(items.build)
app.command("import")(items.import_)
app.command()(items.edited)
app.command()(items.review)
app.command()(asking.run)
app.command()(asking.join)
app.command()(reading.compare)
app.command()(reading.report)
app.command()(arms.arms)
app.command("list")(reading.list_)


def main() -> None:
    """Run the command; what a user can meet is one line, never a traceback."""
    commandline.run(
        "slvr-bench",
        app,
        stopped="stopped; run the same command again to go on, no reply is asked for twice",
        memory="out of memory: a smaller --batch-size or --max-pixels; the same command goes on",
    )
