"""How large pictures a run was shown: its picture budget, and whether two budgets make a difference.

A budget is the least and the most pixels that a picture has when a model sees it: what the model's processor keeps to,
and `--max-pixels`. Two budgets that differ matter where they bite: where some picture that is asked about is larger
than the smaller upper bound, or smaller than the larger lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from benchmark.models.base import BASELINES
from benchmark.records import Header, LogLine

_BLIND = frozenset(name.partition(":")[0] for name in BASELINES)
"""Models that look at no picture, and so have no budget."""


def most_of(header: Header) -> int | None:
    """Pixels that a picture is scaled down to; None where nothing is known to bound them.

    Of a served model only the option is known: its server may bound pictures further.
    """
    return header.max_pixels if header.most_pixels is None else header.most_pixels


def told(header: Header) -> str:
    """The budget in words."""
    if looks_at_nothing(header):
        return "looks at no picture"
    most = most_of(header)
    unknown = " by --max-pixels, the server's own bound unknown" if header.model.startswith("served:") else ""
    if most is None:
        return "unknown" if unknown or header.largest_picture is None else "none"
    return f"{most:,} pixels{unknown}"


def looks_at_nothing(header: Header) -> bool:
    """Whether the model of a run sees no picture."""
    return header.model.partition(":")[0] in _BLIND


def disagreement(first: Header, second: Header) -> str:
    """How two budgets differ where that makes a difference, in words; otherwise empty.

    An upper bound that is not known is taken for none, a lower one for that of the other. Logs that are older than
    these fields tell the option alone; where neither tells how large pictures are, every difference counts.
    """
    if looks_at_nothing(first) or looks_at_nothing(second):
        return ""
    largest = max((h.largest_picture for h in (first, second) if h.largest_picture is not None), default=None)
    smallest = min((h.smallest_picture for h in (first, second) if h.smallest_picture is not None), default=None)
    most = [most_of(header) for header in (first, second)]
    known = [bound for bound in most if bound is not None]
    if most[0] != most[1] and (largest is None or min(known) < largest):
        seen = "" if largest is None else f"; the largest picture has {largest:,}"
        return f"picture budget {told(first)} and {told(second)}{seen}"
    least = [header.least_pixels for header in (first, second) if header.least_pixels is not None]
    if len(set(least)) > 1 and (smallest is None or max(least) > smallest):
        seen = "" if smallest is None else f"; the smallest picture has {smallest:,}"
        return f"least pixels of a picture {least[0]:,} and {least[1]:,}{seen}"
    return ""


def visual_tokens(lines: Iterable[LogLine]) -> float | None:
    """The mean number of visual tokens of the plain asks; None where the model does not tell."""
    counts = [line.picture_tokens for line in lines if line.variant == "plain" and line.picture_tokens is not None]
    return fmean(counts) if counts else None
