"""`targets`: what a profile links to by name alone is in the picture, where its kind is annotated completely."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from slvr_data.checks.global_.base import GlobalTable, GlobalVerdict, Ints, sorted_verdicts
from slvr_data.spilled import room, temporary_database

NAME = "targets"


def check_targets(table: GlobalTable) -> list[GlobalVerdict]:
    """Gives "target-not-in-picture".

    The vocabulary of a source that annotates every instance of its labels is all labels it uses anywhere;
    in each of its pictures, a label of that vocabulary without a region is known to be absent.
    """
    targets = Targets()
    targets.add(table)
    return targets.verdicts()


class Targets:
    """The same over a set that comes in tables of whole pictures; what waits for the vocabularies is kept on disk."""

    def __init__(self) -> None:
        self._vocabularies: dict[str, set[str]] = defaultdict(set)
        """By source."""
        self._waiting = temporary_database()
        self._waiting.execute("CREATE TABLE links (region TEXT, word TEXT, sources TEXT)")

    def add(self, table: GlobalTable) -> None:
        """Take in pictures: all regions and links of each."""
        links = np.flatnonzero(_missing(table))
        images = table.image[table.link_row[links]]
        sources: list[list[str]] = [[] for _ in links]
        for source in np.unique(table.source[table.exhaustive]).tolist():
            own = table.exhaustive & (table.source == source)
            labels = np.unique(table.label[own])
            self._vocabularies[table.words[source]].update(table.words[label] for label in labels[labels >= 0])
            for place in np.flatnonzero(np.isin(images, np.unique(table.image[own]))):
                sources[place].append(table.words[source])
        rows = (
            (table.region_id(int(table.link_row[link])), table.words[table.link_word[link]], "\n".join(names))
            for link, names in zip(links.tolist(), sources, strict=True)
            if names
        )
        with room():
            self._waiting.execute("BEGIN")
            self._waiting.executemany("INSERT INTO links VALUES (?, ?, ?)", rows)
            self._waiting.execute("COMMIT")

    def verdicts(self) -> list[GlobalVerdict]:
        """Of everything that was added."""
        return sorted_verdicts(list(self._found()))

    def _found(self) -> Iterator[GlobalVerdict]:
        for region, word, names in self._waiting.execute("SELECT region, word, sources FROM links"):
            if any(word in self._vocabularies[name] for name in names.split("\n")):
                evidence = f"links to the {word!r}, of which the picture has none"
                yield GlobalVerdict(region, NAME, "target-not-in-picture", evidence)


def _missing(table: GlobalTable) -> NDArray[np.bool_]:
    """[L] whether a link names something that no region of its picture is."""
    size = len(table.words) + 1
    here = np.concatenate([table.image * size + table.label, table.image * size + table.entity, _codes(table, size)])
    wanted = table.image[table.link_row] * size + table.link_word
    return np.asarray((table.link_target == -2) & (table.link_word >= 0) & ~np.isin(wanted, here))


def _codes(table: GlobalTable, size: int) -> Ints:
    return np.asarray(table.seen[:, 0] * size + table.seen[:, 1])
