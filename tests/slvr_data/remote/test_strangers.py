"""A set of a stranger at an address writes below the folder it is fetched into, and nowhere else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from slvr_data.errors import UsageError
from slvr_data.manifest import FORMAT, NAME
from slvr_data.remote.artefacts import MARK
from slvr_data.remote.fetching import WHOLE, fetch_published
from slvr_data.remote.place import Place
from slvr_data.schema import SCHEMA_VERSION
from tests.slvr_data.remote.copies import Copy

EVIL = b"evil\n"


@pytest.mark.parametrize("above", ["", "../../"], ids=["absolute", "relative"])
def test_a_manifest_cannot_name_a_file_of_the_user(place: Place, tmp_path: Path, above: str) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    path = f"{above}mine" if above else str(mine)
    file = {"path": path, "sha256": hashlib.sha256(EVIL).hexdigest(), "bytes": len(EVIL), "rows": 0}
    tree = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "versions": {}, "configuration": {}, "accounts": {}}
    tree["files"] = [file | {"config": "attributes", "split": "train"}]
    place.write(NAME, json.dumps(tree).encode())
    place.write(path, EVIL)
    with pytest.raises(UsageError, match="names the file"):
        fetch_published(place, tmp_path / "cache" / "set", None, print)
    assert mine.read_text() == "mine"


def test_a_unit_lies_below_the_working_folder(copy: Copy, tmp_path: Path) -> None:
    digest = hashlib.sha256(EVIL).hexdigest()
    whole = json.dumps({"files": {"x.parquet": [len(EVIL), digest]}}).encode()
    copy.place.write(f".work/{MARK}", b"")
    for name in ("../beside", "crop/sound"):
        copy.place.write(f".work/{name}/x.parquet", EVIL)
        copy.place.write(f".work/{name}/{WHOLE}", whole)
    copy.fetch()
    assert (copy.work / "crop/sound/x.parquet").read_bytes() == EVIL
    assert not (copy.folder / "beside").exists()
