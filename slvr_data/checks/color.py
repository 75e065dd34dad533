"""`color`: the colours that a profile names can be seen on the thing."""

from __future__ import annotations

from slvr_data import colors
from slvr_data.annotators.measured import NO_COLOR_OF_THEIR_OWN
from slvr_data.checks.base import CheckedRegion, failed, not_applicable, passed
from slvr_data.schema import Verdict

NAME = "color"
MIN_PIXELS = 48
"""Below this many pixels nothing is said of a colour."""
MIN_SHARE = 0.04
"""Share of the mask's pixels that may be called a named colour, at least; of the box's middle, half of that."""
DOMINANT_SHARE = 0.7
"""Share of the mask's pixels from which an unnamed colour contradicts the named ones."""


def check_color(record: CheckedRegion) -> Verdict:
    """Fails with "color-unsupported" or "color-unnamed".

    Not applicable where the light does not tell colours, where things of the label have no colour of
    their own, where a word is none of the basic colour terms, and for few pixels.
    """
    claimed, label = record.profile.appearance.colors, record.region.label
    if not claimed or record.region.iscrowd or not set(claimed) <= set(colors.COLORS):
        return not_applicable(NAME)
    if label is not None and label.lower().split()[-1] in NO_COLOR_OF_THEIR_OWN:
        return not_applicable(NAME)
    pixels = record.pixels
    if len(pixels) < MIN_PIXELS:
        return not_applicable(NAME)
    if set(claimed) <= record.picture.told_colors:
        shares = colors.allowed(pixels, claimed)
    elif record.picture.is_gray:
        return not_applicable(NAME)
    else:
        shares = colors.allowed_in_odd_light(pixels, claimed, colors.tint_of(record.picture.sample))
    least = MIN_SHARE if record.inside is not None else MIN_SHARE / 2
    for name, seen in zip(claimed, shares, strict=True):
        if seen < least:
            return failed(NAME, "color-unsupported", f"{name}: {seen:.1%} of the pixels may be called so")
    return _unnamed(record, set(claimed))


def _unnamed(record: CheckedRegion, claimed: set[str]) -> Verdict:
    """Whether most of the mask plainly has a colour that nobody takes for a named one."""
    if record.inside is None:
        return passed(NAME)
    shares = colors.shares(colors.name_pixels(record.pixels))[: len(colors.COLORS)]
    top = int(shares.argmax())
    name = colors.COLORS[top]
    if shares[top] < DOMINANT_SHARE or claimed & colors.ALIKE[name] or name not in record.picture.told_colors:
        return passed(NAME)
    return failed(NAME, "color-unnamed", f"{shares[top]:.0%} of the pixels are {name}, which is not named")
