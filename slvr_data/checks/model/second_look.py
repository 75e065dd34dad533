"""`second_look`: a model that describes a region again says the same."""

from __future__ import annotations

from slvr_data.annotators.served.asking import Asks
from slvr_data.annotators.served.profiles import Look, SentPictureTask, SentRegion, profile_request
from slvr_data.checks.base import failed, not_applicable, passed
from slvr_data.checks.model.compare import SEEN_IN_CROP, differences, value_of
from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.checks.model.questions import without_reply
from slvr_data.checks.model.readers import SEED_STEP, together
from slvr_data.prompts import Prompts
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.messages import Refusal
from slvr_data.schema import AttributeProfile, Verdict

NAME = "second_look"
SCHEMA_NAME = "second_look"
_LOOKS: dict[str, tuple[Look, ...]] = {
    "off": (), "whole": ("whole",), "crop": ("crop",), "both": ("whole", "crop"),
}  # fmt: skip


async def second_look(
    client: Asks,
    prompts: Prompts,
    task: SentPictureTask,
    sent: SentRegion,
    profile: AttributeProfile,
    config: ModelChecksConfig,
    served: ServedConfig,
) -> Verdict:
    """Ask for the profile again and compare: with another seed, and as configured with the crop alone.

    Fails with "second-look-differs" where a look contradicts more of `config.second_look_fields` than
    `config.second_look_differences`. With the crop alone, only fields are compared that a crop can tell. Not
    applicable where it is off, where no compared field is known, and where a call came to nothing.

    Raises:
        UnfinishedError: transport, server or budget kept it from being finished.
        ServerError: the server is plainly wrong.
    """
    looks = [look for look in _LOOKS[config.second_look] if any(_known(profile, _fields(config, look)))]
    if not looks:
        return not_applicable(NAME)
    requests = [
        profile_request(task, sent, served, prompts.profile, NAME, SCHEMA_NAME, served.seed + SEED_STEP, look)
        for look in looks
    ]
    answers = await together([client.ask(request) for request in requests])
    refused: Refusal | None = None
    for look, answer in zip(looks, answers, strict=True):
        if isinstance(answer, Refusal):
            refused = refused or answer
            continue
        found = differences(profile, answer.value, _fields(config, look))
        if len(found) > config.second_look_differences:
            where = "with the crop alone" if look == "crop" else "with another seed"
            return failed(NAME, "second-look-differs", f"{where}, {'; '.join(found)}")
    return passed(NAME) if refused is None else without_reply(NAME, refused)


def _fields(config: ModelChecksConfig, look: Look) -> list[str]:
    return [name for name in config.second_look_fields if look == "whole" or name in SEEN_IN_CROP]


def _known(profile: AttributeProfile, fields: list[str]) -> list[bool]:
    return [value_of(profile, name) is not None for name in fields]
