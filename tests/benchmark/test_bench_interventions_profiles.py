"""Profiles of the regions of a benchmark, from a published set with and without embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.interventions.profiles import Profiles, open_profiles
from slvr_data.embeddings import local_embedding
from slvr_data.errors import UsageError
from slvr_data.manifest import load_manifest
from slvr_data.reader import rows_of
from slvr_data.schema import AttributeProfile
from tests.builds import run


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profiles") / "set"
    run(
        "build-attributes",
        "scenes:easy",
        "--annotator",
        "exact",
        "--limit",
        5,
        "--seed",
        2,
        "--workers",
        1,
        "--out",
        folder,
    )
    return folder


def rows(folder: Path) -> dict[str, Any]:
    manifest = load_manifest(folder)
    return {row["region_id"]: row["profile"] for row in rows_of(folder, manifest, "attributes", None)}


def test_profiles_come_first_without_and_then_with_embeddings(published: Path) -> None:
    known = rows(published)
    ids = sorted(known)
    found = open_profiles(published, ids[:3])
    assert sorted(found.known) == ids[:3] and ids[3] not in found
    profile = AttributeProfile.model_validate(known[ids[0]])
    assert found.model(64) == "local-hash-1:64"
    assert np.array_equal(found.embedding(ids[0], 64), local_embedding(profile, 64).astype(np.float32))
    facts = found.facts(ids[0])
    assert facts["entity"] == profile.appearance.entity and facts["count"] == str(profile.peers.same_label_count)
    assert facts["color"] == profile.appearance.colors[0]  # type: ignore[index]
    with pytest.raises(UsageError, match="none of the regions"):
        open_profiles(published, ["somewhere else"])
    embedded(published, found)


def embedded(published: Path, before: Profiles) -> None:
    """The set says what its embeddings are of, and a model of another size is refused."""
    run("embed", published, "--dim", 32)
    found = open_profiles(published, before.known)
    assert found.source != before.source
    assert found.model(32) == "local-hash-1:32"
    for region_id, profile in found.known.items():
        assert np.array_equal(found.embedding(region_id, 32), local_embedding(profile, 32).astype(np.float32))
    with pytest.raises(UsageError, match=r"32 numbers \(local-hash-1:32\), the model's semantic latent has 256"):
        found.model(256)


def test_what_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published set"):
        open_profiles(tmp_path, [])
