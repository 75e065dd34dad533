"""How a command ends: whatever a user can meet is one line on stderr and an exit code, never a traceback.

typer raises click's exceptions, and which click that is has changed over its versions. They are recognised by what they
carry, and so this module, as all of `slvr_data`, needs no command line library.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from slvr_data.errors import SlvrError

STOPPED = 130
"""Exit code after Ctrl-C or SIGTERM: 128 and the number of SIGINT."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What moves a cursor, colours, renames a window, or turns the direction of what follows."""


def run(command: str, app: Callable[..., object], stopped: str, memory: str) -> NoReturn:
    """Run a typer application to its end, and leave the process with its exit code.

    A `SlvrError` ends with its own code; Ctrl-C and SIGTERM with 130 and the sentence `stopped`; wrong options with 2;
    a reader that has seen enough (`| head`), a refusal of the file system, a damaged Parquet file and missing memory
    (the sentence `memory`) with 1. Any other exception is a fault of ours and is raised as it is.
    """
    signal.signal(signal.SIGTERM, _terminated)  # a batch system's way to stop: as Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a label must not end a listing where the terminal is not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except SlvrError as error:
        _end(command, str(error), error.exit_code)
    except KeyboardInterrupt:
        _end(command, stopped, STOPPED)
    except SystemExit as ended:
        if ended.code == STOPPED:  # typer turns Ctrl-C into a silent exit
            _end(command, stopped, STOPPED)
        raise
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _end(command, f"the file system refused: {error}", 1)
    except MemoryError:
        _end(command, memory, 1)
    except Exception as error:
        _end_known(command, error, stopped)
        raise
    if code == STOPPED:
        _end(command, stopped, STOPPED)
    sys.exit(code if isinstance(code, int) else 0)


def plain(text: object) -> str:
    r"""A text from data or from elsewhere as a terminal shows it: control characters stand as \x1b."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def spare_pandas() -> None:
    """Have pyarrow do without pandas in this process, a fifth of a second and 40 MiB, until someone imports it.

    pyarrow looks for pandas when it makes its first array, only to know whether it was given something of pandas. It
    looks once; so that look finds nothing here, and conversions to pandas look again. For processes of our own commands
    alone: after this, `pyarrow.array` takes a pandas Series for any sequence, whose NaN are no nulls.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(hidden)


class _Hidden:
    """A finder that says of pandas that it is not installed."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """See `importlib.abc.MetaPathFinder`."""
        if name == "pandas":
            raise ModuleNotFoundError("hidden from pyarrow", name=name)


def _terminated(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _end_known(command: str, error: Exception, stopped: str) -> None:
    """End with one line for what click raises, and for damaged Parquet files; return where it is neither."""
    message = getattr(error, "format_message", None)
    if type(error).__name__ == "Abort":
        _end(command, stopped, STOPPED)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(message() if message else error)
        sys.exit(2)
    if message is not None:
        _end(command, f"{message()} (see --help)", 2)
    if type(error).__module__.startswith("pyarrow"):
        what = f"a file of the set is damaged ({error}): `slvr-data validate DIR` names it; building again mends it"
        _end(command, what, 1)


def _end(command: str, message: str, code: int) -> NoReturn:
    print(f"{command}: {plain(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(code)
