"""Checks that ask the model again, on what it has just written: second looks at profiles, readers of questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from slvr_data.annotators.base import Failure, Profile, Unfinished
from slvr_data.annotators.served.asking import Asks
from slvr_data.annotators.served.profiles import SentPictureTask, SentRegion
from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.checks.model.questions import check_group
from slvr_data.checks.model.readers import together
from slvr_data.checks.model.second_look import second_look
from slvr_data.checks.queries import QUERY_CHECKS, CheckedGroup
from slvr_data.prompts import Prompts
from slvr_data.queries.generate import WrittenGroup
from slvr_data.queries.served import AskedRegion, QuestionsTask
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import UnfinishedError
from slvr_data.schema import Verdict


@dataclass(frozen=True)
class Looking:
    """Who is asked again, and about what."""

    client: Asks
    prompts: Prompts
    served: ServedConfig
    checks: ModelChecksConfig

    async def at_profiles(
        self, task: SentPictureTask, answers: Sequence[Profile | Failure | Unfinished]
    ) -> list[Verdict | Unfinished | None]:
        """What a second look says of each region's profile; None for one without a profile, and where it is off."""
        pairs = list(zip(task.regions, answers, strict=True))
        return await together([self._at_profile(task, region, answer) for region, answer in pairs])

    async def _at_profile(
        self, task: SentPictureTask, region: SentRegion, answer: Profile | Failure | Unfinished
    ) -> Verdict | Unfinished | None:
        if self.checks.second_look == "off" or not isinstance(answer, Profile):
            return None
        try:
            return await second_look(
                self.client, self.prompts, task, region, answer.attributes, self.checks, self.served
            )
        except UnfinishedError as error:
            return Unfinished(str(error))

    async def at_questions(
        self,
        task: QuestionsTask,
        view: PictureView,
        complete: bool,
        written: Sequence[list[WrittenGroup] | Unfinished],
    ) -> list[list[WrittenGroup] | Unfinished]:
        """The groups of each region, with what readers say of their questions.

        Questions that fail a check without a model are left to it: asking about them would be of no use.
        """
        regions = list(zip(task.regions, view.regions, written, strict=True))
        return await together([self._at_region(task, view, complete, *region) for region in regions])

    async def _at_region(
        self,
        task: QuestionsTask,
        view: PictureView,
        complete: bool,
        asked: AskedRegion,
        region: RegionView,
        written: list[WrittenGroup] | Unfinished,
    ) -> list[WrittenGroup] | Unfinished:
        if isinstance(written, Unfinished):
            return written
        try:
            return await together([self._at_group(task, view, complete, asked, region, group) for group in written])
        except UnfinishedError as error:
            return Unfinished(str(error))

    async def _at_group(
        self,
        task: QuestionsTask,
        view: PictureView,
        complete: bool,
        asked: AskedRegion,
        region: RegionView,
        written: WrittenGroup,
    ) -> WrittenGroup:
        group = written.group
        checked = CheckedGroup(view, region, group, complete)
        sound = [
            query for query in group.queries if all(check(checked, query).verdict != "fail" for check in QUERY_CHECKS)
        ]
        if not sound:
            return written
        said = await check_group(
            self.client, self.prompts, task, asked, group.model_copy(update={"queries": sound}),
            region.row.profile, self.checks, self.served,
        )  # fmt: skip
        judged = {one.query.query_id: one for one in said.judged}
        queries = [judged[q.query_id].query if q.query_id in judged else q for q in group.queries]
        failed = {key: one.failure for key, one in judged.items() if one.failure is not None}
        return replace(written, group=group.model_copy(update={"queries": queries}), failed=failed)
