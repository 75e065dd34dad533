"""A few that stand for many: of as many pictures as possible, chosen by hash.

What is chosen depends on names alone: not on the order of a set, nor on how many processes look. Questions about one
picture are more alike than those about several, so that a figure of many pictures says more than one of few.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from slvr_model.data import Sample

LARGEST_SHARE = 20
"""One picture in so many is held out at most, unless fewer have not as much as is wanted."""


def spread(names: Sequence[str], pictures: Sequence[str], most: int) -> list[int]:
    """The places of at most `most` things, in order: one of each picture, then a second of each, until they are enough.

    Pictures come in the order of their hashes, the things of a picture in that of their names' hashes.

    Args:
        names: of the things, each another.
        pictures: of which each is.
        most: how many are wanted.
    """
    own, turns, met = [_hash(name) for name in names], [0] * len(names), Counter[str]()
    for place in sorted(range(len(names)), key=own.__getitem__):
        turns[place] = met[pictures[place]]
        met[pictures[place]] += 1
    hashes = {picture: _hash(picture) for picture in met}
    return sorted(sorted(range(len(names)), key=lambda place: (turns[place], hashes[pictures[place]]))[:most])


def set_apart(names: Sequence[str], pictures: Sequence[str], most: int) -> tuple[list[int], list[int]]:
    """(places that are left, at most `most` places that are set apart): those set apart are of other pictures.

    As many pictures are taken, in the order of their hashes, as things are wanted, but one in `LARGEST_SHARE` at most;
    more only where those have fewer things. Nothing of a picture that is taken is left.

    Args:
        names: of the things, each another.
        pictures: of which each is.
        most: how many are to be set apart; 0: none.
    """
    held, taken, number = Counter(pictures), set[str](), 0
    if most == 0:
        return list(range(len(names))), []
    for picture in sorted(held, key=_hash):
        if number >= most and len(taken) >= min(most, len(held) // LARGEST_SHARE):
            break
        taken.add(picture)
        number += held[picture]
    apart = [place for place, picture in enumerate(pictures) if picture in taken]
    chosen = spread([names[place] for place in apart], [pictures[place] for place in apart], most)
    return [place for place, one in enumerate(pictures) if one not in taken], [apart[place] for place in chosen]


def one_each(names: Sequence[str], things: Sequence[str]) -> list[int]:
    """The places of one name of each thing, that of the smallest hash; in order."""
    return spread(names, things, len(set(things)))


def streamed(samples: Iterable[Sample], most: int, name: Callable[[Sample], str]) -> Iterator[Sample]:
    """At most `most` samples of a set that is read in its order: one of each picture, then a second of each.

    A set lies in the order of its pictures' hashes. It is read again as often as its pictures are too few.

    Args:
        samples: of a split; iterating again begins anew.
        most: how many are wanted.
        name: of what samples are about; one sample of each is taken.
    """
    turn = given = 0
    while given < most:
        before = given
        for _, group in groupby(samples, key=lambda sample: sample.image_id):
            things: dict[str, Sample] = {}
            for sample in sorted(group, key=lambda sample: _hash(sample.query_id)):
                things.setdefault(name(sample), sample)
            if len(things) > turn:
                yield things[sorted(things, key=_hash)[turn]]
                given += 1
            if given == most:
                return
        if given == before:
            return
        turn += 1


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
