"""The stage `publish`: everything that is finished, in picture order, as a Hugging Face data set.

A publication appears beside the one before it: data files carry their hash in their name, then the
manifest is replaced, then the card (which `load_dataset` reads), then files that the manifest no longer
names are removed. At every moment a reader finds one whole set.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines import barrier
from pipelines.config import BuildConfig
from pipelines.embeddings import Embeddings
from pipelines.finished import Finished
from pipelines.history import History, remember_splits
from pipelines.matches import Matches
from pipelines.outcome import Kept, Outcome, Outcomes, Reason, with_global
from pipelines.plan import REMEMBERED, Plan, PlannedPicture, PlannedRegion
from pipelines.progress import Progress
from pipelines.questions import Questions
from pipelines.worker import Worker
from slvr_data.audit.summary import load_summary
from slvr_data.card import Funnel
from slvr_data.errors import RunError
from slvr_data.release import Release, published_name
from slvr_data.schema import AttributeProfile, Link, Rejection
from slvr_data.spilled import IdMap
from slvr_data.text import profile_text


class Publisher:
    """Reads the stage stores in picture order and writes a `Release`."""

    def __init__(
        self,
        config: BuildConfig,
        work: Path,
        plan: Plan,
        finished: Finished,
        questions: Questions | None,
        embeddings: Embeddings | None,
        matches: Matches | None = None,
    ) -> None:
        """`questions` are what `build-multiquery` has written, `embeddings` those of `embed`, `matches` what was found
        of avoided pictures; None without.
        """
        self.config, self.plan, self.finished, self.questions = config, plan, finished, questions
        self.embeddings, self.matches = embeddings, matches
        self.funnel = Funnel()
        self._work, self._worker = work, Worker(config, work)
        self._splits = IdMap()
        self._lost: list[str] = []
        self._unfinished = 0
        self._images = finished.cache("crop", "images", "image_id")
        self._crops = finished.cache("crop", "crops", "image_id")
        self._outcomes = Outcomes(finished, config.annotator, config.publish.licenses)

    def publish(
        self,
        out: Path,
        staging: Path,
        progress: Progress,
        configuration: dict[str, Any],
        history: History,
    ) -> dict[str, int]:
        """Write and commit the publication; the accounts, which balance.

        Raises:
            RunError: the accounts do not balance: a fault of the program, not of the input.
        """
        shutil.rmtree(staging, ignore_errors=True)
        with progress.phase("comparing", "pictures", len(self.plan.image_ids)) as counting:
            small = self.plan.region_count <= REMEMBERED  # the second pass then need not read and parse again
            first = ((picture, self._outcomes.of(picture)) for picture in self.plan.pictures())
            seen = list(first) if small else first
            found = barrier.look(self.plan, self.finished, seen, history, counting)
        release = self._release(staging)
        for rejection in self.plan.malformed_rejections():
            self._reject(release, rejection)
        with progress.phase("publishing", "pictures", len(self.plan.image_ids)) as counting:
            again = seen if small else ((picture, self._outcomes.of(picture)) for picture in self.plan.pictures())
            for picture, outcome in again:
                placed = replace(picture, split=found.splits.get(picture.image_id, picture.split))
                outcome = with_global(outcome, found.reasons)
                outcome = self.matches.applied(placed, outcome) if self.matches else outcome
                self._add(placed, outcome, release, history)
                counting.advance(1)
        accounts = self._accounts()
        self.funnel.audit = load_summary(self._work)
        self.funnel.rows = {name: dict(rows) for name, rows in self.plan.rows_per_source().items()}
        self._notice(progress)
        release.commit(out, configuration, accounts, self.funnel)
        remember_splits(self._work, history, self._splits)  # where it was killed before, the publication tells them
        shutil.rmtree(staging, ignore_errors=True)
        return accounts

    def _release(self, staging: Path) -> Release:
        form = self.config.publish
        extra = {"crops"} if form.crops else set()
        extra |= {"multiquery"} if self.questions else set()
        dimension = self.embeddings.model.dimension if self.embeddings else None
        return Release(staging, form.max_group_mb << 20, form.max_file_mb << 20, form.embed, extra, dimension)

    def _reject(self, release: Release, rejection: Rejection) -> None:
        release.add_rejection(rejection)
        self.funnel.rejected[rejection.stage, rejection.check, rejection.reason] += 1
        self.funnel.kinds[rejection.kind] += 1

    def _accounts(self) -> dict[str, int]:
        accounts = dict(self.plan.accounts)
        accounts["rejected"] = self.funnel.kinds["rejected"]
        accounts["published"] = self.funnel.published
        accounts["pictures_published"] = self.funnel.pictures
        balanced = accounts["rows"] == accounts["malformed"] + accounts["merged"] + accounts["regions"]
        if self._unfinished:
            accounts["regions_unfinished"] = self._unfinished
        ended = accounts["published"] + accounts["rejected"] + self._unfinished
        balanced = balanced and accounts["regions"] == ended
        if self.matches is not None:
            accounts |= self.matches.accounts()
        if self.questions is not None:
            accounts |= self.questions.accounts(self.funnel)
            balanced = balanced and accounts["queries"] == accounts["queries_published"] + accounts["queries_rejected"]
            balanced = balanced and accounts["groups"] == accounts["groups_published"] + accounts["groups_rejected"]
        if self.embeddings is not None:
            accounts |= self.embeddings.accounts()
            ended = accounts["embeddings"] + accounts["embeddings_rejected"] + accounts["regions_without_embedding"]
            balanced = balanced and accounts["published"] == ended
        if not balanced:
            raise RunError(f"the accounts do not balance: {accounts}; nothing was published, please report this")
        return accounts

    def _add(self, picture: PlannedPicture, outcome: Outcome, release: Release, history: History) -> None:
        """One picture with everything on it."""
        for region, reason in outcome.gone:
            self._reject(release, _rejection(region, reason))
            if reason.stage != "publish" and region.region.region_id in history.regions:
                self._lost.append(region.region.region_id)
        self._unfinished += len(outcome.unfinished)
        if not outcome.kept:
            return
        complete = picture.complete and not outcome.gone
        image, data = self._image(picture, complete=complete)
        release.add_image(picture.split, image)
        published = {kept.planned.region.region_id for kept in outcome.kept}
        rows = [_attribute_row(kept, published) for kept in outcome.kept]
        for row in rows:
            release.add_attributes(picture.split, row, image["image"])
        if self.questions is not None:
            self._ask(self.questions, picture, image, rows, release)
        if self.embeddings is not None:
            self._embed(self.embeddings, picture, rows, release)
        if self.config.publish.crops:
            for crop in self._crop_rows(picture, published):
                release.add_crop(picture.split, crop)
        if image["image"] is not None:
            release.add_sample(data, [(row["bbox"], row["label"]) for row in rows])
        self._count(picture, outcome.kept)

    def _ask(
        self,
        questions: Questions,
        picture: PlannedPicture,
        image: dict[str, Any],
        rows: list[dict[str, Any]],
        release: Release,
    ) -> None:
        groups, rejections = questions.of(image, rows)
        for rejection in rejections:
            self._reject(release, rejection)
        for group in groups:
            release.add_group(picture.split, group)
            self.funnel.groups += 1
            self.funnel.facets.update(query["facet"] for query in group["queries"])

    def _embed(
        self, embeddings: Embeddings, picture: PlannedPicture, rows: list[dict[str, Any]], release: Release
    ) -> None:
        found, rejections = embeddings.of(rows)
        for rejection in rejections:
            self._reject(release, rejection)
        for row in found:
            release.add_embedding(picture.split, row)

    def _notice(self, progress: Progress) -> None:
        """Say it where a region that was published is not any more (its source has been changed), and where one has
        no embedding.
        """
        missing = self.embeddings.notice(self.config.out) if self.embeddings else None
        if missing:
            progress.say(missing)
        if self._lost:
            progress.say(
                f"{len(self._lost)} regions that were published are rejected now: their sources or files have changed "
                f"(the first: {min(self._lost)}): see `slvr-data rejections`"
            )

    def _count(self, picture: PlannedPicture, kept: list[Kept]) -> None:
        self._splits[picture.image_id] = picture.split
        self.funnel.published += len(kept)
        self.funnel.pictures += 1
        for region in kept:
            self.funnel.sources.update({ref.source for ref in region.planned.region.source_refs})
        self.funnel.licenses[picture.license or "not stated"] += 1

    def _image(self, picture: PlannedPicture, *, complete: bool) -> tuple[dict[str, Any], bytes]:
        row = self._images.rows(self.finished.prepared[picture.image_id], picture.image_id)[0]
        embed = self.config.publish.pictures == "embed"
        data = b"" if not embed else row["data"] if row["data"] is not None else self._worker.source_bytes(picture)
        return {
            "image_id": picture.image_id,
            "image": {"bytes": data, "path": published_name(picture.files[0][1], data)} if embed else None,
            "content_sha256": row["content_sha256"],
            "byte_size": row["byte_size"],
            "path": picture.files[0][1],
            "width": row["width"],
            "height": row["height"],
            "source": picture.source,
            "license": picture.license,
            "complete": complete,
            "phash": row["phash"],
        }, data

    def _crop_rows(self, picture: PlannedPicture, published: set[str]) -> list[dict[str, Any]]:
        rows = {
            row["region_id"]: {
                "region_id": row["region_id"],
                "image_id": row["image_id"],
                "crop": {"bytes": row["data"], "path": f"{row['region_id']}.jpg"},
                "crop_box": row["box"],
            }
            for shard in self.finished.crop_shards(picture.image_id)
            for row in self._crops.rows(shard, picture.image_id)
            if row["region_id"] in published
        }  # merged parts may overlap: two shards then hold the same crop
        return [rows[region_id] for region_id in sorted(rows)]


def _attribute_row(kept: Kept, published: set[str]) -> dict[str, Any]:
    attributes = _without_dangling(kept.profile, published)
    return kept.planned.region.model_dump() | {
        "profile": attributes.model_dump(),
        "profile_text": profile_text(attributes),
        "provenance": json.loads(kept.provenance),
        "verdicts": kept.verdicts,
    }


def _without_dangling(profile: str, published: set[str]) -> AttributeProfile:
    """The profile; links to regions that are not published keep their words and lose the id."""
    attributes = AttributeProfile.model_validate_json(profile)

    def mended(links: list[Link] | None) -> list[Link] | None:
        if links is None:
            return None
        return [
            link if link.target_region_id in published else link.model_copy(update={"target_region_id": None})
            for link in links
        ]

    attributes.interaction = mended(attributes.interaction)
    attributes.spatial.relations = mended(attributes.spatial.relations)
    return attributes


def _rejection(planned: PlannedRegion, reason: Reason) -> Rejection:
    region = planned.region
    ref = region.source_refs[0]
    return Rejection(
        kind="rejected",
        stage=reason.stage,
        check=reason.check,
        reason=reason.reason,
        evidence=reason.evidence,
        source=ref.source,
        file=ref.file,
        line=ref.line,
        image_id=region.image_id,
        region_id=region.region_id,
        record=region.model_dump_json(),
    )
