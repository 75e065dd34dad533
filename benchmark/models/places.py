"""Where the weights of a model in this process are: looked up before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from slvr_data.errors import UsageError


def slvr_folder(spec: str) -> Path:
    """The folder of `slvr:PATH`; no hub is asked.

    Raises:
        UsageError: it is not there, or no checkpoint.
    """
    folder = Path(spec.removeprefix("slvr:")).expanduser()
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "is no folder"
        raise UsageError(f"--model {spec}: {folder} {what}; name the folder of a checkpoint, with its config.json")
    return folder


def hf_name(spec: str) -> str:
    """The folder of `hf:PATH`, or the name of a repository on a hub.

    Raises:
        UsageError: it is plainly a path (it begins like one, has more parts than ORG/NAME, or its first folder is
            here), and is not there.
    """
    name = spec.removeprefix("hf:")
    path = Path(name).expanduser()
    if path.exists():
        return str(path)
    begins = name.startswith(("/", "\\", ".", "~"))
    if begins or path.is_absolute() or len(path.parts) > 2 or (len(path.parts) == 2 and path.parent.is_dir()):
        raise UsageError(f"--model {spec}: there is no {path}; name a folder that is there, or ORG/NAME on a hub")
    return name
