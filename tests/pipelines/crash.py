"""Kill a command before each of its changes to the file system, one after the other, and let it go on.

    python crash.py TEMPLATE SCRATCH ARGUMENT...

Changes are files and folders that are moved or removed. For each: a copy of TEMPLATE is worked on by
`slvr-data ARGUMENT...` ("{}" stands for the copy) until SIGKILL strikes just before the change; then the
same command runs to its end. A line of JSON tells of each: the change, what a reader found after the kill,
and what was published at the end. The processes are forks of this one, so that libraries load once.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import yaml

_CHANGES = ("os.rename", "os.remove", "os.rmdir")


def main() -> None:
    template, scratch, *arguments = sys.argv[1:]
    modules = Path(scratch) / "modules"
    number = -1  # the first round strikes nowhere, and tells what to import before the others
    while True:
        folder = Path(scratch) / f"set-{number}"
        shutil.copytree(template, folder)
        command = [argument.replace("{}", str(folder)) for argument in arguments]
        note = Path(scratch) / f"change-{number}"
        killed = _forked(command, folder, number if number >= 0 else None, note, modules)
        if number < 0:
            for name in modules.read_text().split():
                importlib.import_module(name)
            gc.collect()
            gc.freeze()  # forks share what they do not write to
        found = {"number": number, "killed": killed, "change": note.read_text() if note.exists() else None}
        found["readable"] = _readable(folder)
        if killed and _forked(command, folder, None, note, modules):
            raise SystemExit(f"change {number}: the second run was killed")
        found["published"] = _published(folder)
        print(json.dumps(found), flush=True)
        shutil.rmtree(folder)
        if number >= 0 and not killed:
            return
        number += 1


def _forked(command: list[str], folder: Path, strike: int | None, note: Path, modules: Path) -> bool:
    """Run `slvr-data` in a fork; True where it was killed before change number `strike`."""
    child = os.fork()
    if child == 0:
        if strike is not None:
            sys.addaudithook(_Striker(folder, strike, note))
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(os.open(note.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.argv = ["slvr-data", *command]
        from pipelines.cli import main as run

        try:
            run()
        except SystemExit as ended:
            ours = ("pipelines", "slvr_data", "PIL", "numpy", "pyarrow", "jinja2", "pycocotools", "rich", "asyncio")
            modules.write_text("\n".join(name for name in sys.modules if name.split(".")[0] in ours))
            os._exit(int(ended.code or 0))
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(99)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise SystemExit(f"exit code {os.WEXITSTATUS(status)}: {note.with_suffix('.err').read_text()}")
    return False


class _Striker:
    """Counts changes below a folder, and kills its process before the one that is wanted."""

    def __init__(self, folder: Path, strike: int, note: Path) -> None:
        self._folder, self._left, self._note, self._done = str(folder), strike, note, False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._done or event not in _CHANGES:
            return
        if not any(str(argument).startswith(self._folder) for argument in arguments[:2]):
            return
        self._left -= 1
        if self._left < 0:
            self._done = True
            self._note.write_text(f"{event} {[str(argument) for argument in arguments[:2]]}")
            os.kill(os.getpid(), signal.SIGKILL)


def _readable(folder: Path) -> list[str] | None:
    """The data files that the card names; None without a card.

    Raises where one of them is not there, or the card's picture is not the one that the manifest names.
    """
    card = folder / "README.md"
    if not card.exists():
        return None
    for file in json.loads((folder / "manifest.json").read_bytes())["files"]:
        path = folder / file["path"]
        if file["path"].startswith("assets/") and hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            raise SystemExit(f"{file['path']} is not the one that the manifest names")
    header = yaml.safe_load(card.read_text().split("---\n")[1])
    paths = [path for config in header["configs"] for split in config["data_files"] for path in split["path"]]
    absent = [path for path in paths if not (folder / path).exists()]
    if absent:
        raise SystemExit(f"the card names {absent[0]}, which is not there")
    return sorted(paths)


def _published(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in (".work", "run.json")
    }


if __name__ == "__main__":
    main()
