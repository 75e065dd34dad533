"""The records of the benchmark: SV-QA items, what is asked, what is replied, and the lines of a run log.

An item is a region with two to four queries on different facets, or one of an imported file. An *ask* is one query put
to a model in one variant; a run is a set of asks, and its log holds one line per ask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

BENCH_VERSION = 1
"""Version of the form of a benchmark folder and of a run log."""

CANNOT_SEE = "cannot be seen"
"""The further choice in the family of evidence transforms, offered last; right where `LogLine.expected` is null."""

Form = Literal["lettered", "open"]
"""How a query is put: with lettered choices, or openly."""

Outcome = Literal["answer", "unparsed", "refused", "failed"]
"""What became of an ask: a reply that names an answer; one that names none by the rules; one that declines; or no
reply, or one that was cut or broken."""


class Record(BaseModel):
    """Base of all records: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ItemQuery(Record):
    """A question of an item."""

    query_id: str
    """As in SLV-Set, or a hash of item and question."""
    facet: str
    """One of `slvr_data.schema.FACETS`; an imported file's own class of questions; or "other" where it tells none."""
    template: str
    """The question's form, without the words that are this region's own: what the balance is kept within."""
    question: str
    """As it is asked."""
    answer: str
    """The right answer; one of the choices, where there are any."""
    choices: tuple[str, ...]
    """In the order that is asked, fixed by the seed of the build; empty for an open question."""
    answer_index: int | None
    """Place of the answer among the choices; null for an open question."""
    chance: float | None
    """Share of right answers that guessing among the choices gives; null for an open question."""
    paraphrases: tuple[str, ...] = ()
    """The same question in other words."""
    evidence: tuple[str, ...] = ()
    """The profile fields that decide the answer."""


class Item(Record):
    """A region and its queries: what SV-QA scores as one."""

    item_id: str
    """The group's id in SLV-Set, or the id in an imported file."""
    image_id: str
    """The picture: the cluster of all statistics."""
    region_id: str
    """The region, or the item's id where an imported file names none."""
    bbox: tuple[float, float, float, float] | None
    """[x1, y1, x2, y2] in pixels of the upright picture; null where an imported file names none."""
    label: str | None = None
    """The source's word for the region."""
    width: int
    """Of the picture, in pixels."""
    height: int
    queries: tuple[ItemQuery, ...]
    """Two to four; one where an imported file has no more, which is in no score over regions."""


@dataclass(frozen=True)
class Ask:
    """One query put to a model in one variant."""

    ask_id: str
    """item id + query id + variant + seed, joined by "/" ("/" in a query id escaped): the key of a log line."""
    item: Item
    query: ItemQuery
    variant: str
    """"plain"; "rotation-1", ...; "paraphrase-1", ...; "intact", "masked", "blurred", "cropped-out", "only-region",
    "swapped", "blank"; "latents-zeroed", "latents-noise-visual", ... (`benchmark.interventions.names`)."""
    seed: int
    question: str
    """The words asked: the query's, or a paraphrase."""
    choices: tuple[str, ...]
    """In the order shown; empty for an open question."""
    prompt: str
    """The whole text that the model is sent, question, choices and instruction."""
    picture: bytes = field(repr=False)
    """The encoded picture, as the variant changed it."""
    donor: Ask | None = field(default=None, repr=False)
    """The plain ask whose latents are put in the place of this one's, where the variant takes those of another."""


@dataclass(frozen=True)
class Reply:
    """What a model gave back to one ask."""

    text: str | None
    """The reply, whole; None where none came."""
    finish: str = "stop"
    """"stop", "length" (cut at the limit), "too-long" (its end was not kept), "refused" (the server says that the model
    declined) or "error"."""
    error: str | None = None
    """Why none came, in words."""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seconds: float | None = None
    """From the ask to the whole reply."""
    picture_tokens: int | None = None
    """Visual tokens that the picture became; None where the model does not tell."""


class LogLine(Record):
    """A line of a run log: an ask and what became of it. `pandas.read_json(FILE, lines=True)` reads them."""

    ask_id: str
    item_id: str
    image_id: str
    query_id: str
    position: int
    """Of the query in its item, from 0."""
    facet: str
    variant: str
    seed: int
    question: str
    choices: tuple[str, ...]
    expected: str | None
    """The right answer in this variant; null where the transform leaves no right answer but "cannot be seen"."""
    reply: str | None
    """The model's words; of more than 64 KiB the beginning and the end, with `reply_length` telling the whole."""
    reply_length: int
    outcome: Outcome
    answer: str | None
    """The choice that the reply names, or the words of an open answer."""
    correct: bool
    chance: float | None
    finish: str
    error: str | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seconds: float | None = None
    donor: str | None = None
    """Where the latents of another query were fed: its item and its id, joined by "/"."""
    donor_answer: str | None = None
    """What that query's answer would be here, where it is another one and this query could have it."""
    picture_tokens: int | None = None
    """Visual tokens that the picture became; null where the model does not tell, as a served one."""


class Header(BaseModel):
    """The first line of a run log: everything that two runs must share to be compared, and what may differ."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: Literal["slvr-bench run"] = "slvr-bench run"
    bench_version: int = BENCH_VERSION
    model: str
    """The specification that was given."""
    model_details: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """What may differ: weights hash, revision, chat template hash, dtype, versions of libraries."""
    data: str
    """Name of the benchmark folder's set."""
    data_revision: str
    """sha256 over its items and pictures."""
    items: int
    asks: int
    form: Form
    protocol: str
    """Name and version of the prompt's form."""
    prompt_sha256: str
    """Of the template of the prompt."""
    extraction: str
    """Version of the extraction rules."""
    variants: list[str]
    seeds: list[int]
    max_pixels: int | None
    """The option `--max-pixels`; null: none was given."""
    least_pixels: int | None = None
    """Pixels that the model scales a smaller picture up to; null where that is not known, as of a served model."""
    most_pixels: int | None = None
    """Pixels that a larger picture is scaled down to, by the option or by the model; null where that is not known."""
    smallest_picture: int | None = None
    """Pixels of the smallest picture that is asked about; null in logs that are older than this field."""
    largest_picture: int | None = None
    """Of the largest."""
    max_new_tokens: int
    sampling: dict[str, float]
    """Temperature and such; empty for greedy."""
    shard: str | None = None
    """"i/n" for a part of a run, whose `items` and `asks` are its own; null for a run, also of joined parts."""
    whole_items: int | None = None
    """Of a shard: the items of all of them."""
    whole_asks: int | None = None
    """Of a shard: the asks of all of them."""
