"""The integer rasteriser of the embedded world, checked a second and slower way."""

from __future__ import annotations

import pytest

from slvr_data.sources.scenes import raster
from slvr_data.sources.scenes.forms import AXES


def slow_coverage(part: raster.Part, x: int, y: int) -> int:
    """Coverage of the pixel (x, y), sample point by sample point."""
    points = [(8 * x + 2 * i + 1, 8 * y + 2 * j + 1) for i in range(4) for j in range(4)]  # half subpixels
    return sum(slow_inside(part, px, py) for px, py in points)


def slow_inside(part: raster.Part, px: int, py: int) -> bool:
    if isinstance(part, raster.Polygon):
        corners = [(2 * a, 2 * b) for a, b in part.corners]
        edges = zip(corners, corners[1:] + corners[:1], strict=True)
        return all((bx - ax) * (py - ay) >= (by - ay) * (px - ax) for (ax, ay), (bx, by) in edges)
    (p, q, n), x, y = part.axis, px - 2 * part.centre[0], py - 2 * part.centre[1]
    a, b = 2 * part.along, 2 * part.across
    return (b * (p * x + q * y)) ** 2 + (a * (p * y - q * x)) ** 2 <= (a * b * n) ** 2


@pytest.mark.parametrize(
    "part",
    [
        raster.Polygon(((-13, -40), (37, 5), (11, 31))),
        raster.Polygon(((0, 0), (24, 0), (24, 16), (0, 16))),
        raster.Oval((3, -5), 29, 29),
        raster.Oval((0, 1), 45, 21, (4, -3, 5)),
        raster.Oval((2, 2), 33, 17, (-11, 60, 61)),
    ],
)
def test_coverage_counts_the_sample_points_inside(part: raster.Part) -> None:
    cover, x, y = raster.coverage([part])
    slow = [[slow_coverage(part, x + i, y + j) for i in range(cover.shape[1])] for j in range(cover.shape[0])]
    assert cover.tolist() == slow
    x1, y1, x2, y2 = part.bounds()
    window = [slow_coverage(part, i, j) for i in range(x1 // 4, x2 // 4 + 1) for j in range(y1 // 4, y2 // 4 + 1)]
    assert int(cover.sum()) == sum(window), "pixels outside the cut window are not covered"


def test_directions_have_whole_lengths() -> None:
    assert all(p * p + q * q == n * n for axes in AXES.values() for p, q, n in axes)
