"""The command `slvr-data`: its front, its commands (`pipelines.commands`), and how it ends."""

from __future__ import annotations

import io
import os
import signal
import sys

import typer

from pipelines.commands import build, embed, publication, reading, serving
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
app.command()(serving.doctor)
app.command(context_settings={"allow_extra_args": True})(serving.serve)

_STOPPED = "stopped; run the same command again to go on, nothing finished is lost"


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
