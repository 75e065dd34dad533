"""Speed of reading foreign rows: parsing alone, and the whole reading where no picture is present.

    python perf/parse_sources.py [--command] visual-cot:FILE refcoco:FILE ...

"parse" lists a file's units and parses every row; "read" also looks for each picture (in an empty folder)
and makes the table of the plan. Both are rows per second of one process, the best of three. With --command,
the CPU seconds of the whole `build-attributes` follow, start-up included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import machine, run

from pipelines.plan import plan_table
from slvr_data.regions import read_unit
from slvr_data.sources import SourceConfig, open_source

CHUNK = 32


def parse(config: SourceConfig) -> int:
    """Rows that were parsed."""
    source = open_source(config, 0, False)
    return sum(1 for unit in source.units(None) for _ in source.parse(unit))


def read(config: SourceConfig) -> int:
    """Rows that were read into tables of the plan."""
    source = open_source(config, 0, False)
    units = list(source.units(None))
    rows = 0
    for start in range(0, len(units), CHUNK):
        found = [row for unit in units[start : start + CHUNK] for row in read_unit(source, unit)[0]]
        rows += plan_table(found).num_rows
    return rows


def rate(work: Callable[[SourceConfig], int], config: SourceConfig) -> float:
    """Rows per second of CPU time, the best of three."""
    best = 0.0
    for _ in range(3):
        started = time.process_time()
        rows = work(config)
        best = max(best, rows / (time.process_time() - started))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="KIND:FILE")
    parser.add_argument("--command", action="store_true")
    options = parser.parse_args()
    print(machine())
    print(
        f"{'file':32} {'rows':>8} {'parse/s':>10} {'read/s':>10}" + (f" {'command s':>10}" if options.command else "")
    )
    for given in options.files:
        kind, _, name = given.partition(":")
        file = Path(name)
        with tempfile.TemporaryDirectory() as empty:
            tree = {"kind": kind, "name": kind, "annotations": [file], "images": Path(empty)}
            config = SourceConfig.model_validate(tree)
            line = f"{file.name:32} {parse(config):8} {rate(parse, config):10,.0f} {rate(read, config):10,.0f}"
            if options.command:
                source = ("build-attributes", kind, "--images", empty, "--annotations", file, "--workers", 1)
                line += f" {run(*source, '--out', Path(empty) / 'set').cpu:10.2f}"
        print(line)


if __name__ == "__main__":
    main()
