"""Where the preview draws: outlines, numbers and their order."""

from __future__ import annotations

import math
import re

import pytest

from slvr_data.pages.preview import Point, PreviewPicture, PreviewRegion, render_preview


def draw(
    *regions: tuple[list[float], list[list[Point]] | None], width: int = 640, height: int = 480
) -> tuple[str, list[tuple[float, float]]]:
    """The page of one picture with these boxes and outlines, and where the numbers stand in percent."""
    shown = [
        PreviewRegion(f"{i:032x}", "dog", box, outline, "A dog.", {}, [], None, [], None)
        for i, (box, outline) in enumerate(regions)
    ]
    picture = PreviewPicture("a" * 64, width, height, "train", "coco", None, "dog.jpg", b"", shown)
    html = render_preview("Preview", [], [picture], "", [])
    pins = re.findall(r'class="pin [^>]*style="left:([\d.]+)%;top:([\d.]+)%"', html)
    return html, [(float(left), float(top)) for left, top in pins]


def paths(html: str) -> list[str]:
    return re.findall(r'<path [^>]*d="([^"]*)"', html)


def absolute(path: str) -> list[list[Point]]:
    """Path data back into rings of absolute points."""
    rings = []
    for ring in re.findall(r"M([^z]*)z", path):
        numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", ring)]
        points = [(numbers[0], numbers[1])]
        for dx, dy in zip(numbers[2::2], numbers[3::2], strict=True):
            points.append((points[-1][0] + dx, points[-1][1] + dy))
        rings.append(points)
    return rings


@pytest.mark.parametrize(("width", "height", "error"), [(640, 480, 0.5), (64, 48, 0.05)])
def test_outlines_keep_their_place(width: int, height: int, error: float) -> None:
    ring = [(width * (0.5 + 0.4 * math.cos(t / 9)), height * (0.5 + 0.4 * math.sin(t / 9))) for t in range(56)]
    hole = [(width * 0.4, height * 0.4), (width * 0.6, height * 0.4), (width * 0.5, height * 0.61)]
    html, _ = draw(([0.0, 0.0, 10.0, 10.0], [ring, hole]), width=width, height=height)
    assert f'viewBox="0 0 {width} {height}"' in html
    [path] = paths(html)
    for expected, points in zip([ring, hole], absolute(path), strict=True):
        for x, y in expected:
            assert min(max(abs(x - a), abs(y - b)) for a, b in points) <= error + 1e-6


def test_odd_outlines_draw_what_they_can() -> None:
    nowhere = ([0.0, 0.0, math.nan, 10.0], None)
    point: tuple[list[float], list[list[Point]]] = ([5.0, 5.0, 6.0, 6.0], [[(5.0, 5.0)], []])
    outside = ([-50.0, -50.0, 5000.0, 30.0], None)
    html, pins = draw(nowhere, point, outside)
    assert paths(html) == ["M-50 -50l5050 0 0 80-5050 0z", "M5 5z"]
    assert html.count("<li id=") == 3, "a region that cannot be drawn still has its row"
    assert len(pins) == 2
    assert all(0 < left < 100 and 0 < top < 100 for left, top in pins)


def test_regions_on_the_same_spot_get_separate_numbers() -> None:
    box = [100.0, 100.0, 400.0, 300.0]
    _, pins = draw((box, None), (box, None), (box, None), (box, None))
    corners = [(100, 100), (100, 300), (400, 100), (400, 300)]
    expected = [(100 * x / 640, 100 * y / 480) for x, y in corners]
    assert sorted(pins) == [pytest.approx(place, abs=0.06) for place in expected]


def test_small_regions_lie_on_top_of_large_ones() -> None:
    html, _ = draw(([10.0, 10.0, 20.0, 20.0], None), ([0.0, 0.0, 600.0, 400.0], None))
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert re.findall(r'data-r="(\d+)"', svg) == ["1", "0"]
