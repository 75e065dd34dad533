"""The script that looks for avoided pictures counts what it finds, and what it takes for another's."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.builds import photograph
from tests.perf.test_perf_whole import ended, start

MILD = ("scaled x 0.5", "JPEG quality 95", "JPEG quality 60", "mirrored", "brightness +20 %")
"""Changes that hide no photograph."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two, and one of them a second time, encoded anew."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(2):
        (folder / f"{seed}.jpg").write_bytes(photograph(seed, size=(400, 300))[0])
    with Image.open(io.BytesIO((folder / "0.jpg").read_bytes())) as first:
        first.save(folder / "again.jpg", quality=80)
    return folder


def test_copies_are_found_and_nothing_else(photographs: Path) -> None:
    """Of three photographs each is avoided with its quarters; two are one."""
    said = ended(start("decontamination.py", "--photographs", photographs))
    assert "\n15 avoided pictures, " in said
    one = [line.partition(" (")[0] for line in said.splitlines() if line.startswith("taken as one: ")]
    assert set(one) == {"taken as one: 0.jpg and again.jpg"}
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in said.splitlines() if line[:1] == "|"]
    assert rows[0] == ["change", "copies", "recall", "95 % interval", "false alarms"]
    found = {name: (int(copies), recall, interval, int(wrong)) for name, copies, recall, interval, wrong in rows[2:]}
    for name in MILD:
        assert found[name] == (3, "100.0 %", "43.9 to 100.0 %", 0), name
    alarms = sum(wrong for *_, wrong in found.values())
    pairs = len(found) * 3 * (15 - 5)
    assert re.search(rf"^false alarms: {alarms} in {pairs:,} pairs; at most [\d.]+ in 100,000 \(95 %\)$", said, re.M)
    assert re.search(r"^index: 15 pictures, \d+ KiB each; peak memory \d+ MiB$", said, re.M)


def test_an_index_is_filled_up_to_a_size(photographs: Path) -> None:
    """Every other photograph is avoided, with pictures made of their features; looked for are these two."""
    said = ended(start("decontamination.py", "--photographs", photographs, "--every", 2, "--size", 9))
    assert re.search(r"^index of 9 pictures written in [\d.]+ s CPU$", said, re.M)
    assert re.search(r"^2 of 2 copies \(crop 50 %, x 0\.5, quality 60\) found, ", said, re.M)
    assert "index: 9 pictures, " in said
