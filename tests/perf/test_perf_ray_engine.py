"""The script that compares the engines builds with both, and asks with one."""

from __future__ import annotations

import re

import pytest

from tests.perf.test_perf_whole import ended, start

pytest.importorskip("ray", reason="the extra ray is not installed")

NUMBER = r"(-?\d+\.\d)"
QUOTIENT = r"([\d.]+|unknown)"


@pytest.mark.slow
def test_both_engines_build_and_the_driver_asks() -> None:
    """So little that quotients may be unknown; what was built and told is not."""
    said = ended(start("ray_engine.py", "--regions", 12, "--served", 12))
    for name in ("local", "ray"):
        (found,) = re.findall(rf"^ +{name}: start-up {NUMBER} s, {NUMBER} s CPU$", said, re.M)
        assert float(found[1]) > 0
        assert re.search(rf"^ +{name}: a shard more costs {NUMBER} ms of CPU$", said, re.M)
    (regions,) = re.findall(r"^(\d+) regions; less start-up:$", said, re.M)
    assert int(regions) >= 4, "each of four scenes has some"
    built = re.findall(rf"^ +(local|ray) +(64|4) +{NUMBER} +{NUMBER}$", said, re.M)
    assert [(name, shard) for name, shard, _, _ in built] == [(n, s) for s in ("64", "4") for n in ("local", "ray")]
    for shard in (64, 4):
        line = rf"^ray / local, shards of {shard}: wall {QUOTIENT}, CPU {QUOTIENT} \(bar 1\.15\)$"
        assert re.search(line, said, re.M), said
    assert re.search(rf"^served by ray: {QUOTIENT} replies/s with the publication$", said, re.M), said
    line = rf"^{QUOTIENT} ms of the driver's CPU a reply: one driver carries {QUOTIENT} replies/s$"
    assert re.search(line, said, re.M), said
