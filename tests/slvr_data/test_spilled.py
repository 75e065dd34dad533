"""Maps and sets of ids do what dictionaries and sets do, and hold no more of many ids than of few."""

from __future__ import annotations

import random
import subprocess
import sys
import tracemalloc

import pytest

from slvr_data.spilled import IdMap, IdSet


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


def test_what_many_ids_hold_is_what_few_do() -> None:
    peaks = []
    for count in (4_000, 16_000):
        tracemalloc.start()
        found = IdMap(1000)
        for number in range(count):
            found[f"{number * 7919 % 65_537:064x}"] = "shard"
        assert len(found) == count and f"{7919:064x}" in found
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


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
