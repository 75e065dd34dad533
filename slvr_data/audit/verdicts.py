"""What a person says of a drawn item, and the file in which the page of `slvr-data audit` keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from slvr_data.errors import UsageError

FORMAT = "slv-audit"
VERSION = 1

ERROR_CLASSES = {
    "color": "a color that is named is not that of the thing",
    "action/pose": "it does something else, or is in another pose",
    "spatial": "wrong place, side, order, orientation, size, or number",
    "hallucinated attribute": "an attribute that nothing in the picture shows: a material, a shape, text",
    "invisible object": "something that is named cannot be seen in the picture",
    "held object": "what it holds, touches, wears or carries, or what holds it, is another thing",
    "ambiguous reference": "the words fit several things in the picture, or none",
    "vague": "true, but of anything: it says nothing, or two choices are right",
    "other": "any other error: the wrong entity, broken English, a wrong answer of another kind",
}
"""The nine classes of errors of the SLVR paper (arXiv 2605.19342), each with what it means here."""

Kind = Literal["profile", "question"]
KINDS: tuple[Kind, ...] = ("profile", "question")


class Judgement(BaseModel):
    """What one person says of one item."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    id: str
    """The region's id for its profile, the query's for a question."""
    kind: Kind
    region_id: str
    verdict: Literal["right", "wrong", "cannot tell"] | None
    """None where there is only a note."""
    error: str | None = Field(alias="class")
    """One of `ERROR_CLASSES` for what is wrong."""
    note: str = ""
    time: str = ""

    @model_validator(mode="after")
    def _class_goes_with_wrong(self) -> Judgement:
        if (self.verdict == "wrong") != (self.error is not None):
            raise ValueError(f'{self.id}: a class goes with the verdict "wrong", and only with it')
        if self.error is not None and self.error not in ERROR_CLASSES:
            raise ValueError(f"{self.id}: unknown class {self.error!r}; known are {', '.join(ERROR_CLASSES)}")
        return self

    @property
    def decided(self) -> bool:
        """Whether it says right or wrong."""
        return self.verdict in ("right", "wrong")


class VerdictFile(BaseModel):
    """`audit-HASH.json`, as the page's button Save writes it."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    format: Literal["slv-audit"]
    version: Literal[1]
    set: str
    """`slvr_data.audit.sample.set_hash` of the set that was judged."""
    seed: int
    n: int = Field(ge=1)
    """The size of the sample that was asked for."""
    judge: str = Field(min_length=1, max_length=100)
    saved: str = ""
    items: list[Judgement]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> VerdictFile:
        if len({(item.kind, item.id) for item in self.items}) != len(self.items):
            raise ValueError("an item is judged twice")
        return self


def load_verdicts(path: Path, of_set: str) -> VerdictFile:
    """The verdicts in a file.

    Raises:
        UsageError: it cannot be read, is not such a file, or its verdicts are of another set.
    """
    try:
        tree: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--read {path} cannot be read: {error}") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise UsageError(f"--read {path} is not a file that the audit page saved")
    if tree.get("set") != of_set:
        raise UsageError(
            f"--read {path} judges the set {str(tree.get('set'))[:80]!r}, this is {of_set!r}: read it with the folder "
            "that its page was made from; a set that has changed since needs a new audit"
        )
    try:
        return VerdictFile.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"--read {path} is damaged: {where} {first['msg']}") from None
