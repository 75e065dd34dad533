"""What `model_checks.py` counts, and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.injector.base import CLASSES, SHARES
from slvr_data.injector.measure import Share

LOOKS = ("whole", "crop", "both")
READERS = {
    "blind": ModelChecksConfig(blind_samples=8),
    "from_profile": ModelChecksConfig(profile_samples=3),
    "answer": ModelChecksConfig(answer_samples=4, answer_min_rate=0.5),
}
"""Each check of questions alone, as measured."""


@dataclass
class Found:
    """What checks made of one sort of records."""

    caught: dict[str, dict[str, Share]] = field(default_factory=dict)
    """Class -> check -> wrong records that fail."""
    dropped: dict[str, Share] = field(default_factory=dict)
    """Check -> sound records that fail."""
    undone: Counter[str] = field(default_factory=Counter)
    """Class -> errors that reading the reply has mended: links are looked up, things of a kind counted,
    words that say nothing left out."""

    def count(self, error: str | None, check: str, failed: bool) -> None:
        """One record under one check; `error` is None for a sound one."""
        shares = self.dropped if error is None else self.caught.setdefault(error, {})
        shares.setdefault(check, Share()).count(failed)


def profiles_table(title: str, found: Found) -> str:
    """In Markdown: a row per class."""
    checks = ("without a model", *LOOKS)
    lines = [f"| {title}: class | share | wrong | {' | '.join(checks)} |", "| --- " * (3 + len(checks)) + "|"]
    lines += [f"| {error} | {SHARES[error]:.1%} | {_row(found.caught.get(error, {}), checks)} |" for error in CLASSES]
    lines.append(f"| all | 100 % | {_row(together(found), checks)} |")
    parts = [f"{check} {_of(found.dropped[check])}" for check in checks]
    mended = ", ".join(f"{error} {number}" for error, number in found.undone.most_common())
    return "\n".join([*lines, "", f"Sound profiles dropped: {', '.join(parts)}.", f"Mended by reading: {mended}."])


def questions_table(runs: dict[str, Found]) -> str:
    """In Markdown: a row per share of repeated errors."""
    checks = (*READERS, "all three")
    heads = " | ".join(checks)
    lines = [f"| questions | wrong | {heads} | sound, dropped: {heads} |", "| --- " * (2 + 2 * len(checks)) + "|"]
    for name, found in runs.items():
        cells = [_of(found.dropped[check]) for check in checks]
        lines.append(f"| {name} | {_row(together(found), checks)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def costs(ledger: dict[str, Any], regions: int, questions: int) -> str:
    """Calls and tokens of each purpose, for each region or question that was asked about."""
    lines = []
    for purpose, counts in ledger["this_run"]["purposes"].items():
        per, number = ("question", questions) if purpose in READERS else ("region", regions)
        tokens = [counts[f"{kind}_tokens"] / max(1, counts["replies"]) for kind in ("prompt", "completion")]
        lines.append(
            f"{purpose}: {counts['calls'] / max(1, number):.2f} calls per {per}, of {tokens[0]:.0f} tokens to read "
            f"and {tokens[1]:.0f} to write"
        )
    return "\n".join(lines)


def together(found: Found) -> dict[str, Share]:
    """All classes, each as often as it came."""
    whole: dict[str, Share] = {}
    for shares in found.caught.values():
        for check, share in shares.items():
            sum_ = whole.setdefault(check, Share())
            sum_.hits, sum_.number = sum_.hits + share.hits, sum_.number + share.number
    return whole


def _row(shares: dict[str, Share], checks: Sequence[str]) -> str:
    number = max((share.number for share in shares.values()), default=0)
    return f"{number} | " + " | ".join(f"{shares[c].value:.1%}" if c in shares else "-" for c in checks)


def number_of(found: Found) -> int:
    """Records that were counted, wrong and sound."""
    return found.dropped["answer"].number + (together(found).get("answer") or Share()).number


def _of(share: Share) -> str:
    return f"{share.hits} of {share.number} ({share.value:.1%}, at most {share.interval[1]:.1%})"
