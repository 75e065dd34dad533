"""Maps and sets of ids do what dictionaries and sets do, and hold no more of many ids than of few."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from slvr_data.spilled import CACHE, IdMap, IdSet


@pytest.mark.parametrize("held", [0, 3, 1000])
def test_a_map_is_a_dictionary_in_order(held: int) -> None:
    dice, found, expected = random.Random(held), IdMap(held), dict[str, str]()
    assert not found and len(found) == 0 and list(found.items()) == []
    for step in range(600):
        key, value = f"{dice.randrange(60):04x}", str(step)
        if step % 7 == 0:
            keys = [f"{dice.randrange(60):04x}" for _ in range(5)]
            found.set_all(iter(keys), value)
            expected |= dict.fromkeys(keys, value)
        found[key] = expected[key] = value
        asked = f"{dice.randrange(80):04x}"
        assert found.get(asked) == expected.get(asked) and (asked in found) == (asked in expected)
        if step % 50 == 0:
            assert list(found.items()) == sorted(expected.items()) and list(found) == sorted(expected)
            assert len(found) == len(expected) and found
    assert found[key] == value
    with pytest.raises(KeyError):
        found["nobody"]


@pytest.mark.parametrize("held", [0, 1000])
def test_a_set_is_a_set_in_order(held: int) -> None:
    found = IdSet(["b", "a", "b"], held)
    found.add("ö\x00 '")
    found.update({"c", "a"})
    assert list(found) == ["a", "b", "c", "ö\x00 '"] and len(found) == 4 and found
    assert "c" in found and "d" not in found and None not in found
    assert not IdSet()


MANY = """
import re, sys
from pathlib import Path
from slvr_data import spilled
if len(sys.argv) > 2:
    spilled.CACHE = int(sys.argv[2])
found, count = spilled.IdMap(1000), int(sys.argv[1])
for number in range(count):
    found[f"{number * 7919 % 1_000_003:064x}"] = 60 * "s"
assert len(found) == count and f"{7919:064x}" in found
print(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def held(*arguments: int) -> int:
    """KiB of memory of a process of its own, SQLite's included."""
    command = [sys.executable, "-c", MANY, *map(str, arguments)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks the kernel of Linux")
def test_what_many_ids_hold_is_what_few_do() -> None:
    few = held(2_000)
    assert held(120_000) < few + CACHE + 2048
    assert held(120_000, 1 << 20) > few + CACHE + 8192, "without a bound it is seen"


FULL = """
import resource
from slvr_data.errors import RunError
from slvr_data.spilled import IdSet
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    IdSet((f"{number:064x}" for number in range(1 << 20)), 1 << 12)
except RunError as error:
    print(error)
"""


def test_a_full_disk_is_one_line() -> None:
    said = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True).stdout
    assert said.startswith("the folder for temporary files cannot be written (") and "TMPDIR=FOLDER" in said
