"""The `exact` annotator: the ground truth of the embedded world."""

from __future__ import annotations

from collections.abc import Sequence

from slvr_data.annotators.base import AnnotatedPicture, Failure, Profile
from slvr_data.schema import Provenance, Region
from slvr_data.sources.base import PictureMissingError
from slvr_data.sources.scenes_source import scene_at


class Exact:
    """Looks the profile up in the scene that the region was drawn in."""

    name = "exact"

    async def annotate(self, picture: AnnotatedPicture, regions: Sequence[Region]) -> list[Profile | Failure]:
        """A region that no scene drew is a failure."""
        return [self._look_up(region) for region in regions]

    def _look_up(self, region: Region) -> Profile | Failure:
        for ref in region.source_refs:
            try:
                scene = scene_at(f"{ref.file}/{ref.line - 1:08d}.ppm")
            except PictureMissingError:
                continue
            for drawn in scene.regions:
                if drawn.region_id == region.region_id:
                    return Profile(drawn.profile, Provenance(annotator=self.name))
        return Failure("no-truth", "no scene drew this region: only the source scenes has exact profiles")
