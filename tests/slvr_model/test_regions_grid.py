"""Boxes and visual tokens: never none, never outside, row-major; pooling for every n and K."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from slvr_data.errors import UsageError
from slvr_model.batches import collate
from slvr_model.regions import box_tokens, pool_plan, pooled, slot_ranges
from slvr_model.rows import Row
from tests.slvr_model.support import layout, picture, prefix, taught

SIDE = st.integers(30, 3000)
SHARE = st.floats(0, 1, allow_nan=False)


@st.composite
def placed(draw: st.DrawFn) -> tuple[tuple[float, float, float, float], tuple[int, int], tuple[int, int]]:
    """A box in a picture, and the grid that smart resize gives it."""
    width, height = draw(SIDE), draw(SIDE.filter(lambda n: n > 0))
    if max(width, height) / min(width, height) > 150:
        height = width
    tall, wide = smart_resize(height, width, 28, 56 * 56, 128 * 28 * 28)
    x1, x2 = sorted(draw(st.tuples(SHARE, SHARE)))
    y1, y2 = sorted(draw(st.tuples(SHARE, SHARE)))
    box = (x1 * width, y1 * height, max(x2 * width, x1 * width + 0.01), max(y2 * height, y1 * height + 0.01))
    return box, (width, height), (tall // 28, wide // 28)


@given(placed())
def test_never_none_never_outside_row_major(case: tuple[tuple[float, ...], tuple[int, int], tuple[int, int]]) -> None:
    box, size, grid = case
    if box[0] >= size[0] or box[1] >= size[1] or box[2] > size[0] + 0.5 or box[3] > size[1] + 0.5:
        return
    found = box_tokens(box, size, grid)
    assert found
    assert found == sorted(set(found))
    assert 0 <= found[0] <= found[-1] < grid[0] * grid[1]
    rows, columns = {t // grid[1] for t in found}, {t % grid[1] for t in found}
    assert len(found) == len(rows) * len(columns)
    assert rows == set(range(min(rows), max(rows) + 1))


@given(placed(), st.data())
def test_exactly_the_cells_that_the_box_overlaps(
    case: tuple[tuple[float, ...], tuple[int, int], tuple[int, int]], data: st.DataObject
) -> None:
    box, (width, height), (rows, columns) = case
    if box[2] > width or box[3] > height:
        return
    found = set(box_tokens(box, (width, height), (rows, columns)))
    inner = st.floats(0.001, 0.999)
    x = box[0] + data.draw(inner) * (box[2] - box[0])
    y = box[1] + data.draw(inner) * (box[3] - box[1])
    assert min(int(y / height * rows), rows - 1) * columns + min(int(x / width * columns), columns - 1) in found
    for token in found:  # each one shares an area, or an edge within rounding, with the box
        left, top = token % columns * width / columns, token // columns * height / rows
        assert left <= box[2] + 1e-6 and left + width / columns >= box[0] - 1e-6
        assert top <= box[3] + 1e-6 and top + height / rows >= box[1] - 1e-6


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_whole_picture_is_all_tokens(rows: int, columns: int) -> None:
    assert box_tokens((0, 0, 333, 77), (333, 77), (rows, columns)) == list(range(rows * columns))


def test_a_box_of_a_thousandth_still_has_a_token() -> None:
    assert box_tokens((1000.2, 700.3, 1000.3, 700.4), (2000, 1500), (10, 20)) == [4 * 20 + 10]


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((10, 10, 10, 20), "empty"),
        ((10, 20, 30, 10), "empty"),
        ((-5, 0, 10, 10), "outside of its picture of 100x50"),
        ((0, 0, 101, 10), "outside"),
        ((200, 0, 210, 10), "outside"),
        ((100, 0, 100.3, 10), "outside"),
        ((0, 0, math.nan, 10), "finite"),
        ((0, 0, math.inf, 10), "finite"),
        ((0, 0, 10), "four"),
    ],
)
def test_bad_boxes(box: tuple[float, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        box_tokens(box, (100, 50), (4, 8))


def test_odd_pictures() -> None:
    for size, grid in (((0, 50), (4, 8)), ((100, 50), (0, 8))):
        with pytest.raises(UsageError, match="need an area"):
            box_tokens((0, 0, 1, 1), size, grid)


def test_half_a_pixel_of_rounding_is_let_through() -> None:
    assert box_tokens((-0.4, 0, 100.4, 50), (100, 50), (2, 2)) == [0, 1, 2, 3]


@given(st.integers(1, 300), st.integers(1, 20))
def test_pooling_is_adaptive_mean_pooling(number: int, slots: int) -> None:
    tokens = torch.randn(number, 5, dtype=torch.float64)
    expected = torch.nn.functional.adaptive_avg_pool1d(tokens.T[None], slots)[0].T
    torch.testing.assert_close(pooled(tokens, slots), expected, atol=1e-6, rtol=1e-6)
    ranges = slot_ranges(number, slots)
    assert len(ranges) == slots
    assert all(low < high for low, high in ranges)
    assert {i for low, high in ranges for i in range(low, high)} == set(range(number))


def test_a_mean_of_bfloat16_tokens_is_not_summed_in_bfloat16() -> None:
    tokens = (3 + torch.randn(500, 7)).to(torch.bfloat16)
    torch.testing.assert_close(pooled(tokens, 1), tokens.float().mean(0, keepdim=True), atol=1e-5, rtol=1e-5)


@given(st.integers(1, 9), st.integers(1, 9))
def test_few_tokens_repeat_in_order(number: int, slots: int) -> None:
    tokens = torch.arange(number, dtype=torch.float32)[:, None]
    out = pooled(tokens, slots)[:, 0]
    assert torch.all(out.diff() >= 0)
    if number == 1:
        assert torch.equal(out, torch.zeros(slots))
    if slots % number == 0:
        assert torch.equal(out, torch.arange(number).repeat_interleave(slots // number).float())


def test_nothing_to_pool() -> None:
    for number, slots in ((0, 3), (3, 0)):
        with pytest.raises(UsageError, match="cannot be pooled"):
            slot_ranges(number, slots)


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=12, unique=True), min_size=1, max_size=6))
def test_a_plan_pools_each_region_alone(regions: list[list[int]]) -> None:
    tokens = torch.randn(50, 4)
    out = pool_plan(regions, 3).pool(tokens)
    torch.testing.assert_close(out, torch.cat([pooled(tokens[region], 3) for region in regions]))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_regions_of_a_batch_lie_in_their_own_pictures(data: st.DataObject) -> None:
    """Several pictures and boxes per row, pictures shared by rows: each slot pools tokens of its box's picture."""
    rows, wanted = [], []
    for number in range(data.draw(st.integers(1, 3))):
        seeds = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
        pictures = tuple(picture(seed + 1, 4 - seed, seed) for seed in seeds)
        boxes, of_picture = [], []
        for _ in range(data.draw(st.integers(1, 2))):
            which = data.draw(st.integers(0, len(pictures) - 1))
            width, height = pictures[which].size
            x, y = data.draw(st.floats(0, width - 2)), data.draw(st.floats(0, height - 2))
            boxes.append((x, y, data.draw(st.floats(x + 1, width)), data.draw(st.floats(y + 1, height))))
            of_picture.append(which)
            grid = pictures[which].grid[1] // 2, pictures[which].grid[2] // 2
            wanted.append((seeds[which], box_tokens(boxes[-1], (width, height), grid)))
        block = taught(number, boxes=boxes)
        block = type(block)(block.prompt, block.reply, block.boxes, tuple(of_picture), block.semantics_SE)
        rows.append(Row(prefix(len(pictures)), (block,), pictures))
    batch = collate(rows, layout())
    assert batch.grids_N3 is not None and batch.regions is not None
    sizes = (batch.grids_N3.prod(1) // 4).tolist()
    tokens = torch.cat([torch.stack([torch.full((n,), float(n)), torch.arange(n).float()], 1) for n in sizes])
    found = batch.regions.pool(tokens).view(len(wanted), -1, 2)
    for slots, (seed, region) in zip(found, wanted, strict=True):
        number = (seed + 1) * (4 - seed)
        torch.testing.assert_close(slots[:, 0], torch.full_like(slots[:, 0], number))
        torch.testing.assert_close(slots[:, 1], pooled(torch.tensor(region)[:, None].float(), len(slots))[:, 0])
