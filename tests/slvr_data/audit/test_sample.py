from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr_data.audit.sample import LEAST, allocation, set_hash
from slvr_data.errors import UsageError
from slvr_data.shards import DataFile


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=12), st.integers(12, 600))
def test_every_stratum_gives_some_and_the_rest_goes_in_proportion(sizes: list[int], n: int) -> None:
    drawn = allocation(sizes, n)
    assert sum(drawn) == min(n, sum(sizes))
    least = max(1, min(LEAST, n // (2 * len(sizes))))
    assert all(min(size, least) <= count <= size for size, count in zip(sizes, drawn, strict=True))
    above = [h for h, count in enumerate(drawn) if least < count < sizes[h]]
    for a in above:
        for b in above:  # of two strata beyond the least, neither deserves a place of the other
            assert sizes[a] / (2 * drawn[a] + 1) <= sizes[b] / (2 * drawn[b] - 1) + 1e-9


def test_known_allocations() -> None:
    assert allocation([1000], 400) == [400]
    assert allocation([9000, 1000], 400) == [360, 40]
    assert allocation([100_000, 50, 3], 400) == [377, 20, 3]
    assert allocation([5, 5], 400) == [5, 5]
    assert allocation([100] * 4, 4) == [1, 1, 1, 1]
    with pytest.raises(UsageError, match="-n 3 is fewer than the 4 strata"):
        allocation([100] * 4, 3)


def test_a_set_is_named_by_its_profiles_and_questions() -> None:
    def file(config: str, digest: str) -> DataFile:
        return DataFile(f"data/{config}/train-0.parquet", digest, 10, 1, config, "train")

    base = [file("attributes", "aa"), file("multiquery", "bb")]
    named = set_hash(base)
    assert named == set_hash([file("images", "cc"), *reversed(base), file("card", "dd"), file("rejections", "ee")])
    assert len({named, set_hash(base[:1]), set_hash([file("attributes", "ab"), base[1]])}) == 3
