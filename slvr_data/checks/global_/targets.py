"""`targets`: what a profile links to by name alone is in the picture, where its kind is annotated completely."""

from __future__ import annotations

import numpy as np

from slvr_data.checks.global_.base import GlobalTable, GlobalVerdict, Ints, sorted_verdicts

NAME = "targets"


def check_targets(table: GlobalTable) -> list[GlobalVerdict]:
    """Gives "target-not-in-picture".

    The vocabulary of a source that annotates every instance of its labels is all labels it uses anywhere;
    in each of its pictures, a label of that vocabulary without a region is known to be absent.
    """
    size = len(table.words) + 1
    rows, words = table.link_row, table.link_word
    images = table.image[rows]
    open_links = table.link_target == -2
    here = np.concatenate([table.image * size + table.label, table.image * size + table.entity, _codes(table, size)])
    missing = open_links & ~np.isin(images * size + words, here)
    known = np.zeros(len(rows), dtype=np.bool_)
    for source in np.unique(table.source[table.exhaustive]):
        own = table.exhaustive & (table.source == source)
        vocabulary, pictures = np.unique(table.label[own]), np.unique(table.image[own])
        known |= np.isin(words, vocabulary[vocabulary >= 0]) & np.isin(images, pictures)
    found = [
        GlobalVerdict(
            table.region_id(int(rows[link])),
            NAME,
            "target-not-in-picture",
            f"links to the {table.word(int(words[link]))!r}, of which the picture has none",
        )
        for link in np.flatnonzero(missing & known)
    ]
    return sorted_verdicts(found)


def _codes(table: GlobalTable, size: int) -> Ints:
    return np.asarray(table.seen[:, 0] * size + table.seen[:, 1])
