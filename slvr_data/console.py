"""The front door of the three commands.

Two of the top-level packages have names (`benchmark`, `pipelines`) that another project on the import
path may use too. Before a command is imported, the door makes sure that it is ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import slvr_data


def data() -> None:
    """`slvr-data`."""
    _enter("pipelines", "slvr-data")


def train() -> None:
    """`slvr-train`."""
    _enter("slvr_model", "slvr-train")


def bench() -> None:
    """`slvr-bench`."""
    _enter("benchmark", "slvr-bench")


def _enter(package: str, command: str) -> None:
    ours = Path(slvr_data.__file__).parent.parent / package / "__init__.py"
    spec = importlib.util.find_spec(package)
    found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
    if found != ours.resolve():
        elsewhere = spec.submodule_search_locations if spec is not None else None
        place = found or next(iter(elsewhere or ()), "nowhere")
        print(
            f"{command}: the package {package!r} that Python finds is {place}, not ours ({ours}): "
            "take its folder out of PYTHONPATH, or reinstall slvr if ours is missing",
            file=sys.stderr,
        )
        sys.exit(2)
    importlib.import_module(f"{package}.cli").main()
