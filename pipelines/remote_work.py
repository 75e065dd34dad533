"""What the working files at an address tell of a set: shards that are whole there, and pictures that are left.

The set is not fetched, and neither is the work. Objects are listed; of the plan, ids of pictures are read, and of each
checked shard its small table of pictures. Totals are of pictures, because what is left over from a run that was killed
is cut into other shards.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.store import OLD
from slvr_data.errors import RunError
from slvr_data.ids import part_of
from slvr_data.remote.artefacts import WORK, artefact_of, is_unit
from slvr_data.remote.fetching import WHOLE
from slvr_data.remote.place import Place
from slvr_data.remote.reading import open_parquet
from slvr_data.remote.steady import StoreError, at_once
from slvr_data.spilled import IdSet

_STAGES = ("crop", "attributes", "check", "avoided", "compared", "multiquery", "embeddings")
_LAST = "check"
"""A picture that it has a row of has been through all stages of profiles."""
_TABLES_HELD = 256


def work_at(place: Place, listed: Mapping[str, int]) -> dict[str, Any]:
    """Stages with their shards, and pictures; of each nothing where there is nothing of it.

    Args:
        place: the address of the set.
        listed: name -> bytes of all objects in the working folder there, as `Place.names` gives them.

    Raises:
        RunError: the plan there was written anew meanwhile, or is damaged.
        StoreError, RefusedError: the place cannot be read.
    """
    names = {name.removeprefix(f"{WORK}/") for name in listed}
    whole = {name.removesuffix(f"/{WHOLE}") for name in names if name.endswith(f"/{WHOLE}")}
    units = {unit for name in names if (unit := artefact_of(name)) != name and is_unit(unit)}
    plan = sorted(name for name in names if name.startswith("plan/") and name.endswith(".parquet"))
    checked = (unit for unit in sorted(units & whole) if unit.startswith(f"{_LAST}/") and not _is_old(unit))
    tables = [(name, listed[name]) for unit in checked if listed.get(name := f"{WORK}/{unit}/pictures.parquet")]
    found: dict[str, Any] = {}
    if stages := _stages(units, whole):
        found["stages"] = stages
    if plan:
        found["pictures"] = _pictures(place, plan, tables)
    return found


def _is_old(unit: str) -> bool:
    """Whether it holds what pictures had before a retry opened them."""
    return unit.split("/")[-1].startswith(OLD)


def _stages(units: set[str], whole: set[str]) -> dict[str, dict[str, int]]:
    """Of each stage its finished shards, and if there are any, those whose last object is missing, and old ones."""
    counts: dict[str, Counter[str]] = {}
    for unit in units:
        kind = "not whole" if unit not in whole else "from before a retry" if _is_old(unit) else "shards"
        counts.setdefault(unit.split("/")[0], Counter(shards=0))[kind] += 1
    order = [*(stage for stage in _STAGES if stage in counts), *sorted(counts.keys() - set(_STAGES))]
    return {stage: dict(sorted(counts[stage].items(), reverse=True)) for stage in order}


def _pictures(place: Place, plan: Iterable[str], tables: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """How many the plan has, how many have been through all stages, and, of parts, where the others lie."""
    done, planned, parts = _checked(place, tables), IdSet(), _parts(place)
    for name in plan:
        for ids in _planned(place, name):
            planned.update(ids)
    open_in: Counter[int] = Counter(part_of(image_id, parts) for image_id in planned if image_id not in done)
    left = open_in.total()
    found: dict[str, Any] = {"planned": len(planned), "checked": len(planned) - left, "left": left}
    if parts > 1 and left:
        found["left in parts"] = ", ".join(f"{part}/{parts}" for part in sorted(open_in))
    return found


def _checked(place: Place, tables: Iterable[tuple[str, int]]) -> IdSet:
    """The pictures in these tables, which are told with their bytes.

    Those of a table that was removed meanwhile, or is damaged, are open.
    """
    done, rest = IdSet(), iter(tables)
    while some := list(islice(rest, _TABLES_HELD)):
        found: list[list[str]] = []

        def read(table: tuple[str, int], found: list[list[str]] = found) -> None:
            with suppress(FileNotFoundError, pa.ArrowException):
                data = place.read(table[0], 0, table[1])  # told where it ends, a store is asked once, not twice
                found.append(pq.read_table(io.BytesIO(data), columns=["image_id"])["image_id"].to_pylist())

        at_once(read, some)
        for ids in found:
            done.update(ids)
    return done


def _planned(place: Place, name: str) -> Iterator[list[str]]:
    """The pictures of one annotation file's rows, malformed ones apart."""
    try:
        with open_parquet(Path(place.address) / WORK / name) as parquet:
            for batch in parquet.iter_batches(batch_size=1 << 14, columns=["image_id", "malformed.reason"]):
                yield batch.filter(pc.is_null(batch["malformed"]))["image_id"].unique().to_pylist()
    except StoreError:
        raise
    except (RunError, pa.ArrowException, OSError) as error:
        raise RunError(
            f"{place.at(f'{WORK}/{name}')} cannot be read ({' '.join(str(error).split())[:200]}): if a run was just "
            "reading its sources, ask again; otherwise run the command that builds the set again"
        ) from None


def _parts(place: Place) -> int:
    """Of how many parts the last run did one; 1 without."""
    try:
        return int(json.loads(place.read(f"{WORK}/settings.json")).get("parts", 1))
    except (FileNotFoundError, ValueError, AttributeError):
        return 1
