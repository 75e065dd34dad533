"""Near-identical pictures: a perceptual hash proposes pairs, a comparison of small pictures decides.

Two files of one photograph (encoded anew, scaled, slightly cropped) must not stand in different splits.
The hash is compared by multi-index hashing: 64 bits in four bands of 16; two hashes within
`MAX_DISTANCE` bits (7 at most) have a band in which they differ by one bit at most. Each candidate is
then judged by 64x64 colour pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from slvr_data.images import decoded, encode_jpeg

MAX_DISTANCE = 6
"""Bits in which the hashes of near-identical pictures may differ."""
SIDE = 64
BLOCK = 8
MAX_BLOCK_DIFFERENCE = 18.0
"""Mean absolute difference, of 0..255, that no 8x8 block of near-identical 64x64 pictures exceeds."""
MAX_DIFFERENCE = 7.0
"""The same over the whole picture."""
_CHUNK = 1 << 20

Thumbnail = NDArray[np.int16]


def candidates(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of distinct hashes within `MAX_DISTANCE` bits, each once."""
    found: list[NDArray[np.int64]] = []
    for band in range(4):
        values = ((hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        for flip in (0, *(1 << bit for bit in range(16))):
            rows = np.flatnonzero((values & flip) == 0)  # of a pair that differs in one bit, the one without it
            for left, right in _joined(values[rows] | flip, ordered, order):
                found.append(_close(hashes, rows[left], right))
    pairs = np.unique(np.concatenate([np.empty(0, np.int64), *found]))
    for pair in pairs.tolist():
        yield pair >> 32, pair & 0xFFFFFFFF


def _joined(
    wanted: NDArray[np.int64], ordered: NDArray[np.int64], order: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Index pairs with equal values, in pieces of bounded size."""
    starts, stops = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
    lengths = stops - starts
    total = np.cumsum(lengths)
    first = 0
    while first < len(wanted):
        base = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, base + _CHUNK, "right")))
        piece = lengths[first:last]
        left = np.repeat(np.arange(first, last), piece)
        offsets = np.arange(len(left)) - np.repeat(np.cumsum(piece) - piece, piece)
        yield left, order[np.repeat(starts[first:last], piece) + offsets]
        first = last


def _close(hashes: NDArray[np.uint64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    near = (np.bitwise_count(hashes[left] ^ hashes[right]) <= MAX_DISTANCE) & (left != right)
    left, right = left[near], right[near]
    return np.asarray((np.minimum(left, right) << 32) | np.maximum(left, right))


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
    pictures with neighbouring hashes, the firsts. `thumbnail_of` is asked only for proposed pictures.
    """
    ids = image_ids if isinstance(image_ids, pa.ChunkedArray) else pa.chunked_array([pa.array(image_ids, pa.string())])
    found = _Joined(ids, thumbnail_of)
    hashes = hashes[found.order]
    by_hash = np.argsort(hashes, kind="stable")
    distinct, starts, counts = np.unique(hashes[by_hash], return_index=True, return_counts=True)
    leaders = {
        group: found.leaders(by_hash[starts[group] : starts[group] + counts[group]].tolist())
        for group in np.flatnonzero(counts > 1).tolist()
    }
    for i, j in candidates(distinct):
        for one in leaders.get(i) or [int(by_hash[starts[i]])]:
            for other in leaders.get(j) or [int(by_hash[starts[j]])]:
                if found.root(one) != found.root(other) and found.alike(one, other):
                    found.join(one, other)
    return found.groups()


class _Joined:
    """Pictures by their place in the order of their ids, and which of them were found to be alike."""

    def __init__(self, ids: pa.ChunkedArray, thumbnail_of: Callable[[str], Thumbnail]) -> None:
        self.order = pc.sort_indices(ids).to_numpy()
        self._ids, self._thumbnail_of = ids, thumbnail_of
        self._parent: dict[int, int] = {}

    def root(self, place: int) -> int:
        while (above := self._parent.get(place, place)) != place:
            self._parent[place] = self._parent.get(above, above)
            place = above
        return place

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low

    def alike(self, one: int, other: int) -> bool:
        return near_identical(self._thumbnail_of(self._name(one)), self._thumbnail_of(self._name(other)))

    def leaders(self, members: list[int]) -> list[int]:
        """The first of each group among pictures with one hash; the others are joined to it."""
        found = members[:1]
        for member in members[1:]:
            leader = next((first for first in found if self.alike(first, member)), None)
            if leader is None:
                found.append(member)
            else:
                self.join(leader, member)
        return found

    def groups(self) -> list[list[str]]:
        found: dict[int, list[str]] = {}
        for place in sorted(self._parent):
            first = self.root(place)
            if first != place:
                found.setdefault(first, [self._name(first)]).append(self._name(place))
        return [found[first] for first in sorted(found)]

    def _name(self, place: int) -> str:
        return str(self._ids[int(self.order[place])].as_py())
