"""Which checks by a model run, and what they let pass."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Looks = Literal["off", "whole", "crop", "both"]
LOOK = "second_look"
"""How settings of the check of profiles begin; the others are of questions."""
EYES = (
    "appearance.entity", "appearance.colors", "appearance.shape", "appearance.material", "action", "interaction",
    "visible_text", "spatial.orientation", "spatial.depth",
)  # fmt: skip
"""What only looking can tell: boxes decide size, position and relations, and checks without a model hold them."""


class ModelChecksConfig(BaseModel):
    """Checks that ask the model again. All are off unless told: each has its price in calls.

    For a region with q questions of c choices: `blind_samples` and `answer_samples` s cost at most q * s calls each
    (s rounded up to a multiple of c), `profile_samples` s at most q * s, and the second look one call, or two.
    Blind and profile readers see no picture: their calls are of about 150 tokens. They stop as soon as the
    calls left could not change what comes out, and a question that one check fails is asked no further.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)

    blind_samples: int = Field(0, ge=0, le=64)
    """Answers without the picture per question, at least; every choice stands in every place equally often. 0: off."""
    blind_margin: float = Field(0.4, ge=0, le=1)
    """A question fails that is so answered right more often than by chance plus this share."""
    blind_temperature: float = Field(1.0, ge=0, le=2)
    """Of these answers. At 0 the same guess comes each time, which is right in a quarter of all cases."""
    profile_samples: int = Field(0, ge=0, le=64)
    """Answers from the sentence form of the profile alone per question. 0: off."""
    profile_temperature: float = Field(0.2, ge=0, le=2)
    """Of these answers."""
    answer_samples: int = Field(0, ge=0, le=64)
    """Answers with pictures and box per question, at least: the share that is right is its `pass_rate`. 0: off."""
    answer_min_rate: float = Field(0.0, ge=0, le=1)
    """A question fails that is answered right less often than this."""
    answer_temperature: float = Field(0.7, gt=0, le=2)
    """Of these answers; above 0, or all would be the same."""
    second_look: Looks = "off"
    """Describe each region again and compare: with the same pictures and another seed ("whole"), with the crop alone
    ("crop"), or with each of them ("both")."""
    second_look_fields: list[str] = Field(default_factory=lambda: list(EYES))
    """Fields of the profile that are compared."""
    second_look_differences: int = Field(0, ge=0)
    """So many of them may differ in a look."""

    @field_validator("second_look_fields")
    @classmethod
    def _known(cls, fields: list[str]) -> list[str]:
        from slvr_data.checks.model.compare import COMPARED

        for name in fields:
            if name not in COMPARED:
                raise ValueError(f"{name!r} is no field that can be compared: use {', '.join(COMPARED)}")
        return fields

    @property
    def asks_about_questions(self) -> bool:
        """Whether any check of questions runs."""
        return bool(self.blind_samples or self.profile_samples or self.answer_samples)

    def affects_data(self) -> dict[str, Any]:
        """The settings that decide data: those of checks that run."""
        data = self.model_dump(mode="json")
        running = {
            "blind": self.blind_samples,
            "profile": self.profile_samples,
            "answer": self.answer_samples,
            "second": self.second_look != "off",
        }
        return {name: value for name, value in data.items() if running[name.split("_")[0]]}
