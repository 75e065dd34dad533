"""What a published set knows of the regions of a benchmark: their profiles, and the embeddings of these.

A benchmark folder holds questions, not profiles: a model must not be able to find them there. They are read beside
it, by region id, which is the same in both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slvr_data.embeddings import EmbeddingModel, local_embedding, local_model
from slvr_data.errors import UsageError
from slvr_data.manifest import load_manifest
from slvr_data.reader import rows_of
from slvr_data.schema import SPLITS, AttributeProfile
from slvr_data.shards import files_of

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Profiles:
    """Profiles by region id, with their embeddings."""

    source: str
    """sha256 of the manifest of the set that they are from."""
    published: EmbeddingModel | None
    """What the set's embeddings are of; None for a set without any: the local ones are made, of the size asked for."""
    known: dict[str, AttributeProfile]
    vectors: dict[str, Vector] = field(repr=False)
    """The published embeddings."""

    def __contains__(self, region_id: str) -> bool:
        return region_id in self.known

    def model(self, dimension: int) -> str:
        """The name of what the embeddings are of.

        Raises:
            UsageError: the set's embeddings have another dimension.
        """
        told = self.published or local_model(dimension=dimension)
        if told.dimension != dimension:
            raise UsageError(
                f"the set of --profiles has embeddings of {told.dimension} numbers ({told.model}), the model's "
                f"semantic latent has {dimension}: name the set with the embeddings that the model was trained on"
            )
        return told.model

    def embedding(self, region_id: str, dimension: int) -> Vector:
        """The embedding of a region that is known, [dimension]."""
        if self.published is None:
            return local_embedding(self.known[region_id], dimension).astype(np.float32)
        return self.vectors[region_id]

    def facts(self, region_id: str) -> dict[str, str]:
        """The known fields of a profile that have one value each, by name."""
        profile = self.known[region_id]
        look, place = profile.appearance, profile.spatial
        count = profile.peers.same_label_count
        told = {
            "entity": look.entity,
            "color": " and ".join(look.colors) if look.colors else None,
            "shape": look.shape,
            "material": look.material,
            "size": look.size,
            "action": profile.action,
            "position": place.position,
            "orientation": place.orientation,
            "depth": place.depth,
            "count": None if count is None else str(count),
        }
        return {name: value for name, value in told.items() if value is not None}


def open_profiles(folder: Path, region_ids: Iterable[str]) -> Profiles:
    """The profiles of these regions, as far as the published set in `folder` has them.

    Where the set has embeddings, a region without one counts as unknown.

    Raises:
        UsageError: there is no such set, or it has none of the regions.
    """
    manifest = load_manifest(folder)
    wanted = set(region_ids)
    known: dict[str, AttributeProfile] = {}
    vectors: dict[str, Vector] = {}
    told = manifest.configuration.get("embeddings")
    for split in SPLITS:
        for row in rows_of(folder, manifest, "attributes", split, ("region_id", "profile")):
            if row["region_id"] in wanted:
                known[row["region_id"]] = AttributeProfile.model_validate(row["profile"])
        if told is not None and files_of(manifest.files, "embeddings", split):
            for row in rows_of(folder, manifest, "embeddings", split, ("region_id", "embedding")):
                if row["region_id"] in wanted:
                    vectors[row["region_id"]] = np.asarray(row["embedding"], np.float32)
    if told is not None:
        known = {region_id: profile for region_id, profile in known.items() if region_id in vectors}
    if not known:
        raise UsageError(f"--profiles {folder}: it has none of the regions that are asked about; name the set of them")
    source = hashlib.sha256(manifest.to_bytes()).hexdigest()
    return Profiles(source, None if told is None else EmbeddingModel.model_validate(told), known, vectors)
