"""What `build-multiquery` has written, as the publication needs it: groups and refusals by state of picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.stages.multiquery import picture_key
from pipelines.store import RowCache, StageStore
from slvr_data.card import Funnel
from slvr_data.errors import RunError
from slvr_data.files import disk_errors, refuse_unreadable, replace_synced
from slvr_data.queries.generate import LEAST
from slvr_data.schema import Rejection
from slvr_data.shards import read_parquet
from slvr_data.spilled import IdMap

BEFORE = "templates-2"
"""Who wrote the questions of sets that do not remember it."""
VERDICTS = pa.schema([(name, pa.string()) for name in ("query_id", "check", "reason", "evidence")])


class Questions:
    """Finished shards of the stage `multiquery`, and what the barrier said of their queries."""

    def __init__(self, work: Path, writer: str | None, old: bool = True) -> None:
        """`writer` is who wrote the questions that are wanted (`AskingConfig.writer`); others stay where they are.

        None: a set from before that was remembered. `old`: pictures that a retry has opened count with what they
        had before, until they are finished anew.
        """
        self.writer = writer or BEFORE
        self.store = StageStore(work, "multiquery")
        self._work = work
        self.written = IdMap()
        """picture key -> shard."""
        names = ("pictures", "groups", "refused")
        for shard, found in self.store.index({name: ["picture_key"] for name in names}):
            self.written.set_all(found["pictures"]["picture_key"], shard)
        self.reopened: set[str] = set()
        """Keys of pictures that have only what they had before a retry opened them."""
        if old:
            before: dict[str, str] = {}
            for shard, found in self.store.index({name: ["picture_key"] for name in names}, old=True):
                before |= dict.fromkeys(found["pictures"]["picture_key"], shard)
            self.reopened = {key for key in before if key not in self.written}
            for key in self.reopened:
                self.written[key] = before[key]
        self._groups = RowCache(self.store, "groups", "picture_key")
        self._refused = RowCache(self.store, "refused", "picture_key")
        self._verdicts = self._load_verdicts()
        self.queries = self.groups = self.unasked = 0

    def groups_of(self, keys: list[str]) -> Iterator[dict[str, Any]]:
        """The written groups of pictures, in their order."""
        for key in keys:
            for row in self._groups.rows(self.written[key], key):
                yield json.loads(row["group"])

    def of(self, image: dict[str, Any], regions: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Rejection]]:
        """The groups to publish for a picture, and the rejections; counts both for the accounts.

        A group that is left with fewer than two queries is rejected, and what survived of it is listed.
        """
        key = picture_key(image, regions, self.writer)
        shard = self.written.get(key)
        if shard is None:
            self.unasked += 1
            return [], []
        by_id = {region["region_id"]: region for region in regions}
        rejections = [
            _rejection("query", row, by_id[row["region_id"]], row["record"]) for row in self._refused.rows(shard, key)
        ]
        published = []
        for row in self._groups.rows(shard, key):
            group = json.loads(row["group"])
            region = by_id[group["region_id"]]
            self.queries += len(group["queries"])
            rejections += self._judge(group, region)
            if len(group["queries"]) >= LEAST:
                published.append(group)
            else:
                rejections += _too_few(group, region)
        self.queries += len(self._refused.rows(shard, key))
        self.groups += len(self._groups.rows(shard, key))
        return published, rejections

    def unanswered(self, key: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(refusal, provenance of its group) of each group of a picture whose replies were all bad."""
        shard = self.written[key]
        groups = {row["group_id"]: row["group"] for row in self._groups.rows(shard, key)}
        for row in self._refused.rows(shard, key):
            if row["check"] == "served":
                yield row, json.loads(groups[row["group_id"]])["provenance"]

    def _judge(self, group: dict[str, Any], region: dict[str, Any]) -> list[Rejection]:
        """Take out the queries that the barrier has turned away."""
        refused = [query for query in group["queries"] if query["query_id"] in self._verdicts]
        group["queries"] = [query for query in group["queries"] if query["query_id"] not in self._verdicts]
        return [
            _rejection("query", self._verdicts[query["query_id"]], region, json.dumps(query, ensure_ascii=False))
            for query in refused
        ]

    def accounts(self, funnel: Funnel) -> dict[str, int]:
        """Queries = published + rejected; groups = published + rejected."""
        return {
            "queries": self.queries,
            "queries_published": sum(funnel.facets.values()),
            "queries_rejected": funnel.kinds["query"],
            "groups": self.groups,
            "groups_published": funnel.groups,
            "groups_rejected": funnel.kinds["group"],
            "pictures_without_questions": self.unasked,
        }

    def save_verdicts(self, verdicts: list[dict[str, str]]) -> None:
        """Keep what the barrier said, in place of what it said before."""
        path = self._work / "query-verdicts.parquet"
        temporary = path.with_name(f".{path.name}.tmp")
        with disk_errors(f"writing {path}"):
            pq.write_table(pa.Table.from_pylist(verdicts, schema=VERDICTS), temporary, compression="zstd")
            replace_synced(temporary, path)
        self._verdicts = self._load_verdicts()

    def _load_verdicts(self) -> dict[str, dict[str, Any]]:
        path = self._work / "query-verdicts.parquet"
        if not path.exists():
            return {}
        try:
            return {row["query_id"]: row for row in read_parquet(path).to_pylist()}
        except (pa.ArrowException, OSError) as error:
            refuse_unreadable(error, path)
            cure = "remove it, and run slvr-data build-multiquery again, which checks the questions anew"
            raise RunError(f"{path} is damaged ({error}): {cure}") from None


def _too_few(group: dict[str, Any], region: dict[str, Any]) -> list[Rejection]:
    """The rejection of a group, and of each query that survived in it."""
    left = len(group["queries"])
    if group["reference"] is None and not left:
        reason, evidence = "no-unique-reference", "no words single this region out among all that the picture shows"
    else:
        reason, evidence = "too-few-queries", f"{left} of at least {LEAST} queries are left"
    fault = {"check": "group", "reason": reason, "evidence": evidence}
    survivors = [
        _rejection("query", fault, region, json.dumps(query, ensure_ascii=False)) for query in group["queries"]
    ]
    return [_rejection("group", fault, region, json.dumps(group, ensure_ascii=False)), *survivors]


def _rejection(kind: str, fault: dict[str, Any], region: dict[str, Any], record: str) -> Rejection:
    ref = region["source_refs"][0]
    return Rejection.model_validate(
        {
            "kind": kind,
            "stage": "multiquery",
            "check": fault["check"],
            "reason": fault["reason"],
            "evidence": fault["evidence"],
            "source": ref["source"],
            "file": ref["file"],
            "line": ref["line"],
            "image_id": region["image_id"],
            "region_id": region["region_id"],
            "record": record,
        }
    )
