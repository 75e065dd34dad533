"""The search: is this picture one of the avoided ones, or made of one?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slvr_data.avoid.features import Described, mirrored
from slvr_data.avoid.index import Index
from slvr_data.avoid.verify import Agreement, Box, as_a_whole, by_features

CANDIDATES = 8
"""Avoided pictures that are looked at closely for each picture and each way round: those with most votes."""
LEAST_VOTES = 2.0
MAX_DISTANCE = 10
"""Bits in which the perceptual hashes of a picture and its copy may differ."""

How = Literal["same-file", "features", "whole"]


@dataclass(frozen=True)
class Match:
    """An avoided picture that was recognised; boxes are shares of width and height, [x1, y1, x2, y2]."""

    number: int
    """Of the avoided picture in the index."""
    how: How
    """The same file; local features and pixels that agree; or all pixels from edge to edge."""
    mirrored: bool
    """The picture shows the avoided one's mirror image."""
    inliers: int
    """Features that agree on the placement (0 where none were needed)."""
    agreement: float
    """Correlation of grey values' differences over the common part."""
    box: Box
    """The common part in the picture."""
    avoided_box: Box
    """The common part in the avoided picture (in its mirror image, where `mirrored`)."""


def find(index: Index, picture: Described, digests: tuple[str, ...]) -> Match | None:
    """The avoided picture that a picture is or comes from: the one that agrees best, or None.

    `digests` are sha256 of the picture's file and of its published form.
    """
    whole: Box = (0.0, 0.0, 1.0, 1.0)
    for digest in digests:
        if digest in index.by_digest:
            return Match(index.by_digest[digest], "same-file", False, 0, 1.0, whole, whole)
    return max(alike(index, picture), key=lambda match: (match.inliers, match.agreement, -match.number), default=None)


def alike(index: Index, picture: Described) -> list[Match]:
    """All avoided pictures that a picture agrees with, by pixels: by features, or where none agree, as a whole."""
    both = ((False, picture), (True, mirrored(picture)))
    found = [match for turned, seen in both for match in _by_features(index, seen, turned)]
    return found or [match for turned, seen in both for match in _as_a_whole(index, seen, turned)]


def _by_features(index: Index, seen: Described, turned: bool) -> list[Match]:
    votes = index.votes(seen.descriptors)
    order = np.argsort(-votes, kind="stable")[:CANDIDATES]
    found = []
    for number in order[votes[order] >= LEAST_VOTES].tolist():
        agreed = by_features(seen, index.described(number))
        if agreed is not None:
            found.append(_match(number, "features", turned, agreed))
    return found


def _as_a_whole(index: Index, seen: Described, turned: bool) -> list[Match]:
    if not len(index):
        return []
    distances = np.bitwise_count(index.hashes[:, 0] ^ np.uint64(seen.hashes[0]))
    order = np.argsort(distances, kind="stable")[:CANDIDATES]
    found = []
    for number in order[distances[order] <= MAX_DISTANCE].tolist():
        agreed = as_a_whole(seen, index.described(number))
        if agreed is not None:
            found.append(_match(number, "whole", turned, agreed))
    return found


def _match(number: int, how: How, turned: bool, agreed: Agreement) -> Match:
    box = agreed.box
    if turned:  # in the picture as it is, not as its mirror image
        box = (round(1 - box[2], 4), box[1], round(1 - box[0], 4), box[3])
    return Match(number, how, turned, agreed.inliers, agreed.agreement, box, agreed.other_box)
