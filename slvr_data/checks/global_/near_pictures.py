"""Near-identical pictures: a perceptual hash proposes pairs, a comparison of small pictures decides.

Two files of one photograph (encoded anew, scaled, slightly cropped) must not stand in different splits.
Hashes within a few bits propose pairs (`near_hashes`); each is then judged by 64x64 colour pictures. Of those that are
proposed, 48 mean colours are kept, and pairs that differ too much in these are not judged: whole heaps of pictures
may have nearly one hash (blank ones, things before white), and next to none of their pairs are worth two pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from slvr_data.checks.global_.joined import Ints, Joined
from slvr_data.checks.global_.near_hashes import near_pairs
from slvr_data.images import decoded, encode_jpeg

SIDE = 64
BLOCK = 8
MAX_BLOCK_DIFFERENCE = 18.0
"""Mean absolute difference, of 0..255, that no 8x8 block of near-identical 64x64 pictures exceeds."""
MAX_DIFFERENCE = 7.0
"""The same over the whole picture."""
_FIELDS = 4
"""Fields along a side of a picture whose mean colours are kept: whole blocks."""
_AT_ONCE = 2048
"""Pairs whose mean colours are compared at once."""

Thumbnail = NDArray[np.int16]


def encoded_thumbnail(pixels: Image.Image) -> bytes:
    """The picture at 64x64, as a small JPEG: it is kept with the picture's row, and looked at only if proposed."""
    factor = max(1, min(pixels.size) // (2 * SIDE))
    return encode_jpeg(pixels.reduce(factor).resize((SIDE, SIDE), Image.Resampling.BILINEAR), 92)


def thumbnail(encoded: bytes) -> Thumbnail:
    """What `encoded_thumbnail` has kept, int16 [64, 64, 3]."""
    return np.asarray(decoded(encoded)).astype(np.int16)


def near_identical(one: Thumbnail, other: Thumbnail) -> bool:
    """Whether two 64x64 pictures show the same: alike on the whole, and no block with another content."""
    difference = np.abs(one - other).mean(2)
    blocks = difference.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean((1, 3))
    return bool(difference.mean() <= MAX_DIFFERENCE and blocks.max() <= MAX_BLOCK_DIFFERENCE)


def clusters(
    image_ids: Sequence[str] | pa.ChunkedArray,
    hashes: NDArray[np.uint64],
    thumbnail_of: Callable[[str], Thumbnail],
) -> list[list[str]]:
    """Groups of two and more near-identical pictures, each sorted, in order of their first.

    Of pictures with one hash, each is compared with the first of every group found so far among them; of
    pictures with neighbouring hashes, the firsts. `thumbnail_of` is asked only for proposed pictures, and had better
    remember the last.
    """
    ids = image_ids if isinstance(image_ids, pa.ChunkedArray) else pa.chunked_array([pa.array(image_ids, pa.string())])
    found = _Pictures(ids, thumbnail_of)
    hashes = hashes[found.order]
    by_hash = np.argsort(hashes, kind="stable")
    _, starts, counts = np.unique(hashes[by_hash], return_index=True, return_counts=True)
    firsts = [by_hash[starts[counts == 1]]]
    for group in np.flatnonzero(counts > 1).tolist():
        firsts.append(found.firsts(by_hash[starts[group] : starts[group] + counts[group]]))
    places = np.sort(np.concatenate(firsts))
    for one, other in near_pairs(hashes[places], found.joined, places):
        found.compare(places[one], places[other])
    return [[found.name(place) for place in group.tolist()] for group in found.joined.groups()]


class _Pictures:
    """Pictures by their place in the order of their ids, and which of them were found to be alike."""

    def __init__(self, ids: pa.ChunkedArray, thumbnail_of: Callable[[str], Thumbnail]) -> None:
        self.order = pc.sort_indices(ids).to_numpy()
        self.joined = Joined(len(self.order))
        self._ids, self._thumbnail_of = ids, thumbnail_of
        self._means = np.zeros((len(self.order), _FIELDS, _FIELDS, 3), np.uint8)  # memory is taken as it is written
        self._known = np.zeros(len(self.order), bool)

    def name(self, place: int) -> str:
        return str(self._ids[int(self.order[place])].as_py())

    def firsts(self, members: Ints) -> Ints:
        """The first of each group among pictures with one hash, in order; the others are joined to it."""
        self._look(members)
        found, count = members.copy(), 1
        for member in members[1:]:
            for first in found[:count][self._may_be_alike(found[:count], member)].tolist():
                if self._alike(first, int(member)):
                    self.joined.join(first, int(member))
                    break
            else:
                found[count] = member
                count += 1
        return found[:count]

    def compare(self, one: Ints, other: Ints) -> None:
        """Join those of these pairs that are alike."""
        joins = -1
        while len(one):
            if joins != self.joined.joins:
                joins = self.joined.joins
                apart = self.joined.roots(one) != self.joined.roots(other)
                one, other = one[apart], other[apart]
            some, others = one[:_AT_ONCE], other[:_AT_ONCE]
            one, other = one[_AT_ONCE:], other[_AT_ONCE:]
            self._look(np.unique(np.concatenate([some, others])))
            near = self._may_be_alike(some, others)
            for pair in zip(some[near].tolist(), others[near].tolist(), strict=True):
                if self.joined.root(pair[0]) != self.joined.root(pair[1]) and self._alike(*pair):
                    self.joined.join(*pair)

    def _look(self, places: Ints) -> None:
        """Know the mean colours of these pictures: those of 4x4 fields, rounded down."""
        for place in places[~self._known[places]].tolist():
            side = SIDE // _FIELDS
            fields = self._thumbnail_of(self.name(place)).reshape(_FIELDS, side, _FIELDS, side, 3)
            self._means[place] = fields.sum((1, 3), dtype=np.int64) // side**2
            self._known[place] = True

    def _may_be_alike(self, one: Ints, other: Ints) -> NDArray[np.bool_]:
        """False only for pairs that are not near-identical.

        Means differ by no more than what they are of does on the mean, and rounding down adds less than 1.
        """
        differ = np.abs(self._means[one].astype(np.int16) - self._means[other]).sum(-1)
        values = self._means[0].size
        fields = differ.max((1, 2)) <= 3 * (MAX_BLOCK_DIFFERENCE + 1)
        return np.asarray(fields & (differ.sum((1, 2)) <= values * (MAX_DIFFERENCE + 1)))

    def _alike(self, one: int, other: int) -> bool:
        return near_identical(self._thumbnail_of(self.name(one)), self._thumbnail_of(self.name(other)))
