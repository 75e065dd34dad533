"""A set of any number of regions, grown from a small one: what has been worked on, without the work.

`grow` copies the pictures of a small built set under new ids: its plan, its stages' shards and its questions. Each copy
has its own ids and perceptual hash, and a small picture of one colour that its likes share. Nothing is annotated: what
comes after the stages is what is looked at.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from pipelines.partitions import load_partitions, save_partitions
from pipelines.plan import PLAN_SCHEMA, Plan
from pipelines.settings import load_settings
from pipelines.stages import attributes, check, crop, multiquery
from pipelines.store import StageStore
from slvr_data.ids import region_id
from slvr_data.manifest import load_manifest
from slvr_data.reader import published_pictures

SHARD = 64
"""Pictures of a shard, as builds of many pictures cut them."""
PARTITION = 1 << 14
"""Pictures of an annotation file."""
SCHEMAS = {
    "crop": {"images": crop.IMAGES, "crops": crop.CROPS, "dropped": crop.DROPPED},
    "attributes": {"profiles": attributes.PROFILES, "pictures": attributes.PICTURES},
    "check": {"verdicts": check.VERDICTS, "pictures": attributes.PICTURES},
    "multiquery": {"groups": multiquery.GROUPS, "refused": multiquery.REFUSED, "pictures": multiquery.PICTURES},
}
Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Template:
    """A picture of the small set: all its rows as JSON, and the ids in them."""

    text: str
    image_id: str
    regions: list[tuple[str, list[float], str | None]]
    """Id, box and label."""
    others: list[str]
    """Ids of groups and queries."""
    picture: bytes


def templates(seed: Path) -> list[Template]:
    """Of the pictures of a set that was built and asked about, those that were published whole."""
    rows = _rows_by_picture(seed)
    found = []
    for published in published_pictures(seed, load_manifest(seed)):
        image_id = published.image["image_id"]
        own = rows[image_id] | {"published": published.regions}
        if len(published.regions) < len(own["plan"]):
            continue
        own["image"] = [published.image]
        text = json.dumps(own)
        regions = [(row["region_id"], row["bbox"], row["label"]) for row in published.regions]
        known = {image_id, *(region for region, _, _ in regions)}
        others = sorted(set(re.findall(r'(?:group|query)_id\\*": ?\\*"([0-9a-f]{32})', text)) - known)
        out = io.BytesIO()
        size = published.image["width"], published.image["height"]
        Image.new("RGB", size, f"#{image_id[:6]}").save(out, "JPEG")
        found.append(Template(text, image_id, regions, others, out.getvalue()))
    return found


def _rows_by_picture(seed: Path) -> dict[str, Rows]:
    """image_id -> table -> rows."""
    found: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
    picture_of: dict[str, str] = {}
    for table in load_partitions(seed / ".work/plan").values():
        for row in table.to_pylist():
            found[row["image_id"]]["plan"].append(row)
            picture_of[row["region_id"]] = row["image_id"]
    for stage, table_name in (("crop", "images"), ("attributes", "profiles"), ("check", "verdicts"),
                              ("multiquery", "groups"), ("multiquery", "refused"), ("crop", "crops")):  # fmt: skip
        store = StageStore(seed / ".work", stage)
        columns = [name for name in SCHEMAS[stage][table_name].names if name not in ("data", "thumbnail")]
        for shard in store.shards():
            for row in store.load(shard, table_name, columns).to_pylist():
                image_id = row["image_id"] if "image_id" in row else picture_of[row["region_id"]]
                found[image_id][table_name].append(row)
    return found


def grow(seed: Path, out: Path, regions: int) -> int:
    """Make the working folder of a set of about so many regions in `out`; how many it has."""
    work = out / ".work"
    work.mkdir(parents=True)
    (work / "slvr").touch()
    shutil.copyfile(seed / ".work/settings.json", work / "settings.json")
    settings = load_settings(work)
    assert settings is not None
    known = templates(seed)
    mean = sum(len(template.regions) for template in known) / len(known)
    ids = sorted(hashlib.sha256(f"{number}".encode()).hexdigest() for number in range(round(regions / mean)))
    made = 0
    for first in range(0, len(ids), PARTITION):
        plan: list[pa.Table] = []
        for start in range(first, min(first + PARTITION, len(ids)), SHARD):
            some = ids[start : min(start + SHARD, first + PARTITION)]
            copies = [_copy(known[(start + n) % len(known)], image_id, made) for n, image_id in enumerate(some)]
            plan.append(_shard(work, copies, f"file-{first // PARTITION:05d}.json", settings.question_writer or ""))
            made += plan[-1].num_rows
        table = pa.concat_tables(plan)
        save_partitions(work / "plan", {(table["source"][0].as_py(), table["file"][0].as_py()): table}, set())
    return made


def _copy(template: Template, image_id: str, line: int) -> tuple[Template, Rows]:
    """The rows of a copy under its own ids."""
    text = template.text.replace(template.image_id, image_id)
    for old, box, label in template.regions:
        text = text.replace(old, region_id(image_id, box, label))
    for old in template.others:
        text = text.replace(old, hashlib.sha256(f"{image_id}{old}".encode()).hexdigest()[:32])
    rows: Rows = json.loads(text)
    for number, row in enumerate(rows["plan"]):
        row["line"] = line + number
    return template, rows


def _shard(work: Path, copies: list[tuple[Template, Rows]], file: str, writer: str) -> pa.Table:
    """Write the shard of all stages; the rows of its plan."""
    plan = pa.Table.from_pylist([r | {"file": file} for _, rows in copies for r in rows["plan"]], schema=PLAN_SCHEMA)
    keys = {p.image_id: p.key for p in Plan([plan], 0, (1.0, 0.0, 0.0), {}, set()).pictures()}
    tables: dict[str, Rows] = {stage: {name: [] for name in schemas} for stage, schemas in SCHEMAS.items()}
    for template, rows in copies:
        _take(template, rows, keys, writer, tables)
    name = hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:16]
    for stage, schemas in SCHEMAS.items():
        made = {n: pa.Table.from_pylist(tables[stage][n], schema=schema) for n, schema in schemas.items()}
        StageStore(work, stage).commit(name, made)
    return plan


def _take(template: Template, rows: Rows, keys: dict[str, str], writer: str, tables: dict[str, Rows]) -> None:
    image = rows["images"][0]
    key = keys[image["image_id"]]
    image |= {
        "phash": hashlib.sha256(image["image_id"].encode()).hexdigest()[:16],
        "data": template.picture,
        "thumbnail": template.picture,
        "content_sha256": hashlib.sha256(template.picture).hexdigest(),
        "byte_size": len(template.picture),
    }
    tables["crop"]["images"].append(image)
    tables["crop"]["crops"] += [row | {"data": template.picture} for row in rows["crops"]]
    picture = {"image_id": image["image_id"], "picture_key": key}
    for stage, name in (("attributes", "profiles"), ("check", "verdicts")):
        tables[stage][name] += [row | {"picture_key": key} for row in rows[name]]
        tables[stage]["pictures"].append(picture)
    published = sorted(rows["published"], key=lambda row: row["region_id"])
    asked = multiquery.picture_key(rows["image"][0], published, writer)
    tables["multiquery"]["pictures"].append({"picture_key": asked})
    for name in ("groups", "refused"):
        tables["multiquery"][name] += [row | {"picture_key": asked} for row in rows.get(name, [])]
