"""Checks of questions that a model answers: too easy without the picture, unsupported by the profile, or disputed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slvr_data.annotators.served.asking import Asks
from slvr_data.checks.base import failed, passed
from slvr_data.checks.model.choices import whole_turns
from slvr_data.checks.model.compare import COMPARED, value_of
from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.checks.model.readers import Reader, Tally, shown, together
from slvr_data.prompts import Prompts
from slvr_data.queries.served import AskedRegion, QuestionsTask
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.messages import Refusal
from slvr_data.schema import AttributeProfile, Query, QueryGroup, Verdict
from slvr_data.text import profile_text

BLIND, FROM_PROFILE, ANSWER = "blind", "from_profile", "answer"
"""Names of the checks, and purposes of their calls."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Judged:
    """What a model says of one question."""

    query: Query
    """With its pass rate, where that was measured."""
    verdicts: list[Verdict]
    """Of the checks that ran, in their order; a failure is the last."""

    @property
    def failure(self) -> Verdict | None:
        """The verdict for which the question is not published."""
        return next((verdict for verdict in self.verdicts if verdict.verdict == "fail"), None)


@dataclass(frozen=True)
class ModelVerdicts:
    """What a model says of the questions of a group, in their order."""

    judged: list[Judged]

    @property
    def kept(self) -> list[Query]:
        """Questions that no check has failed, with their pass rates."""
        return [one.query for one in self.judged if one.failure is None]

    @property
    def refused(self) -> list[tuple[Query, Verdict]]:
        """The others, each with its failure."""
        return [(one.query, one.failure) for one in self.judged if one.failure is not None]


async def check_group(
    client: Asks,
    prompts: Prompts,
    task: QuestionsTask,
    region: AskedRegion,
    group: QueryGroup,
    profile: AttributeProfile,
    config: ModelChecksConfig,
    served: ServedConfig,
) -> ModelVerdicts:
    """Ask about each question of a group that has passed the checks without a model.

    Fails with "answerable-blind", "not-supported-by-profile" or "model-disagrees". Questions of a source are
    never failed, only their pass rate is measured; a question without choices is not asked. A call that comes to
    nothing makes its check not applicable, which says why.

    Args:
        client: asks.
        prompts: `blind`, `from_profile` and `answer` are used.
        task: the picture.
        region: what is asked about.
        group: the questions about it.
        profile: what is known of it.
        config: which checks run.
        served: the model.

    Raises:
        UnfinishedError: transport, server or budget kept a check from being finished.
        ServerError: the server is plainly wrong.
    """
    readers = _readers(client, prompts, task, region, group, profile, config, served)
    return ModelVerdicts(await together([_judge(readers, query, profile, config) for query in group.queries]))


def _readers(
    client: Asks,
    prompts: Prompts,
    task: QuestionsTask,
    region: AskedRegion,
    group: QueryGroup,
    profile: AttributeProfile,
    config: ModelChecksConfig,
    served: ServedConfig,
) -> dict[str, Reader]:
    blind, from_profile, answer = config.blind_temperature, config.profile_temperature, config.answer_temperature
    told = {"profile": profile_text(profile)}
    place = group.image_id
    return {
        BLIND: Reader(client, served, BLIND, prompts.blind, blind, place),
        FROM_PROFILE: Reader(
            client, served, FROM_PROFILE, prompts.from_profile, from_profile, place, told, undecided=True
        ),
        ANSWER: Reader(client, served, ANSWER, prompts.answer, answer, place, **shown(task, region, served)),
    }


async def _judge(
    readers: dict[str, Reader], query: Query, profile: AttributeProfile, config: ModelChecksConfig
) -> Judged:
    """One check after the other, the cheap ones first, until one fails."""
    verdicts: list[Verdict] = []
    judged = Judged(query, verdicts)
    if not query.choices:
        return judged
    if config.blind_samples and query.origin == "generated":
        verdicts.append(await _blind(readers[BLIND], query, config))
    if config.profile_samples and query.origin == "generated" and judged.failure is None:
        verdicts.append(await _from_profile(readers[FROM_PROFILE], query, profile, config))
    if not config.answer_samples or judged.failure is not None:
        return judged
    tally = await readers[ANSWER].asked(query, whole_turns(config.answer_samples, len(query.choices)))
    verdicts.append(_agreed(tally, query, config))
    rate = None if tally.refused else tally.hits / tally.number
    return Judged(query.model_copy(update={"pass_rate": rate}), verdicts)


async def _blind(reader: Reader, query: Query, config: ModelChecksConfig) -> Verdict:
    samples = whole_turns(config.blind_samples, len(query.choices))
    most = (1 / len(query.choices) + config.blind_margin) * samples + _ROUNDING
    tally = await reader.asked(query, samples, settled_above(most, samples))
    if tally.refused:
        return without_reply(BLIND, tally.refused)
    if tally.hits > most:
        told = f"without the picture, {query.answer!r} was chosen in {tally.hits} of {tally.number} answers"
        return failed(BLIND, "answerable-blind", f"{told}; chance is {1 / len(query.choices):.0%}")
    return passed(BLIND)


async def _from_profile(reader: Reader, query: Query, profile: AttributeProfile, config: ModelChecksConfig) -> Verdict:
    untold = next((name for name in query.evidence if name in COMPARED and _left_out(profile, name)), None)
    if untold is not None:
        why = f"the sentence form of the profile does not tell {untold}"
        return Verdict(check=FROM_PROFILE, verdict="not applicable", evidence=why)
    samples = config.profile_samples
    tally = await reader.asked(query, samples, settled_by_half(samples))
    if tally.refused:
        return without_reply(FROM_PROFILE, tally.refused)
    if tally.number - tally.hits > samples / 2:
        told = f"from the profile alone: {tally}; the answer is {query.answer!r}"
        return failed(FROM_PROFILE, "not-supported-by-profile", told)
    return passed(FROM_PROFILE)


def _left_out(profile: AttributeProfile, name: str) -> bool:
    """Whether `profile_text` says nothing of a field: it is unknown, or known to be absent."""
    return value_of(profile, name) in (None, "none", [])


def _agreed(tally: Tally, query: Query, config: ModelChecksConfig) -> Verdict:
    if tally.refused:
        return without_reply(ANSWER, tally.refused)
    if query.origin == "generated" and tally.hits / tally.number < config.answer_min_rate - _ROUNDING:
        told = f"with the picture: {tally}; the answer is {query.answer!r}"
        return failed(ANSWER, "model-disagrees", told)
    return passed(ANSWER)


def settled_above(most: float, samples: int) -> Callable[[Tally], bool]:
    """Whether the samples left can still change that more than `most` of them are right."""
    return lambda tally: tally.hits > most or tally.hits + samples - tally.number <= most


def settled_by_half(samples: int) -> Callable[[Tally], bool]:
    """Whether the samples left can still change that more than half of them are wrong."""

    def settled(tally: Tally) -> bool:
        wrong = tally.number - tally.hits
        return wrong > samples / 2 or wrong + samples - tally.number <= samples / 2

    return settled


def without_reply(check: str, refusal: Refusal) -> Verdict:
    """Not applicable, because a call came to nothing: never a pass, never a failure."""
    why = f"no usable reply ({refusal.failure}): {refusal.evidence}"
    return Verdict(check=check, verdict="not applicable", evidence=why)
