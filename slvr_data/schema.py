"""The records of SLV-Set, once.

Everything else is derived from these models: the Arrow schema and the Hugging Face features
(`slvr_data.arrow`), the documentation (`docs/data-format.md`) and, for served annotators, the JSON schema.

`None` always means *unknown*: nobody has determined the value. A value that is known to be absent is
stated: the word "none" for a single value, the empty list for a list. No field is ever invented.
Boxes are absolute pixels of the upright picture, `[x1, y1, x2, y2]`, floats, x2 and y2 exclusive.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
"""Version of the published layout. A reader of version N also reads N-1."""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

FACETS = (
    "entity", "color", "shape", "material", "size", "position", "orientation",
    "depth", "relation", "action", "interaction", "visible_text", "count",
)  # fmt: skip
"""The closed list of semantic angles a question can take."""


class Record(BaseModel):
    """Base of all records: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Picture(Record):
    """An encoded picture, in the struct that Hugging Face's `Image` feature decodes."""

    bytes: bytes | None
    """The encoded file."""
    path: str | None
    """A file name."""


class SourceRef(Record):
    """Where a region came from: one row of one annotation file."""

    source: str
    """Name of the source."""
    file: str
    """Name of its annotation file."""
    line: int
    """1-based: the line of a JSON-lines file, the position in COCO's `annotations` or in a JSON array, the row of a
    Parquet file, the scene's index + 1."""
    id: str | None
    """The source's own identifier, where it has one."""


class Mask(Record):
    """COCO run-length encoding of a binary mask over the whole upright picture (column-major)."""

    size: list[int]
    """[height, width]."""
    counts: str
    """Compressed counts, as pycocotools writes them."""


class QuestionAnswer(Record):
    """A question that the source itself asks about a region."""

    question: str
    """As the source words it."""
    answer: str
    """As the source words it."""


class Link(Record):
    """A relation or an interaction of this region with another thing."""

    kind: str
    """For relations: "left of", "right of", "above", "below"; for interactions: a verb phrase."""
    target: str
    """The other thing in words: its label."""
    target_region_id: str | None
    """Its region, where it is a published region of the same picture."""


class Appearance(Record):
    """What the thing looks like."""

    entity: str | None = None
    """What it is."""
    colors: list[str] | None = None
    """Basic colour terms, the most frequent first."""
    shape: str | None = None
    """Of its outline."""
    material: str | None = None
    """What it is made of, or its pattern ("striped")."""
    size: str | None = None
    """Relative to the picture: "small", "medium" or "large" (`slvr_data.geometry.size_of`)."""


class Spatial(Record):
    """Where the thing is and how it lies."""

    position: str | None = None
    """One of nine cells of the picture (`slvr_data.geometry.position_of`)."""
    orientation: str | None = None
    """Of the principal axis: "horizontal", "vertical", "diagonal rising" or "diagonal falling"; "none"
    for a thing without a main axis."""
    depth: str | None = None
    """Occlusion order among its neighbours: "front", "middle", "back"; "none" where nothing overlaps it."""
    relations: list[Link] | None = None
    """To other things, in the plane of the picture (`slvr_data.geometry.relation_of`)."""


class Peers(Record):
    """The thing among others of its kind."""

    same_label_count: int | None = None
    """How many regions of the picture carry this label, this one included."""


class AttributeProfile(Record):
    """The region semantic profile of the SLVR paper, every field of which may be unknown (`None`)."""

    appearance: Appearance = Field(default_factory=Appearance)
    """What it looks like."""
    action: str | None = None
    """What it does, or its pose."""
    interaction: list[Link] | None = None
    """What it does with other things, or they with it."""
    spatial: Spatial = Field(default_factory=Spatial)
    """Where it is and how it lies."""
    visible_text: list[str] | None = None
    """Text that can be read on it."""
    peers: Peers = Field(default_factory=Peers)
    """Others of its kind."""


class Provenance(Record):
    """Who wrote a profile. The fields of a model are null for annotators that are not one."""

    annotator: str
    """Name of the annotator."""
    model: str | None = None
    """Name of the model."""
    revision: str | None = None
    """Its revision."""
    prompt_version: str | None = None
    """Version of the prompt templates."""
    sampling: str | None = None
    """The configured sampling parameters, as JSON."""
    request_keys: list[str] = Field(default_factory=list)
    """Keys of the requests that it was made from."""


class Verdict(Record):
    """What one check said of one record."""

    check: str
    """Name of the check."""
    verdict: Literal["pass", "fail", "not applicable"]
    """What is published has no "fail"."""
    reason: str | None = None
    """The reason code, where it failed."""
    evidence: str | None = None
    """What the check saw, in words."""


class ImageRow(Record):
    """A row of the config `images`: each distinct picture once."""

    image_id: str
    """sha256 of the source file."""
    image: Picture | None
    """The published picture: upright, 8-bit, without metadata. Null in a reference-only publication."""
    content_sha256: str
    """sha256 of the published picture's bytes; equal to `image_id` where the source bytes are published."""
    byte_size: int
    """Length of the published picture in bytes."""
    path: str
    """Path of the source file, relative to its source's picture root."""
    width: int
    """In pixels, upright."""
    height: int
    """In pixels, upright."""
    source: str
    """Names of the sources it came from, joined by "+"."""
    license: str | None
    """Licences under which the sources give it, joined by " AND "; null where none is stated."""
    complete: bool
    """Everything that it shows is annotated, and all of that is published."""
    phash: str
    """64-bit perceptual hash (DCT of a 32x32 grey picture), 16 hexadecimal digits."""


class Region(Record):
    """A box in a picture that somebody annotated."""

    region_id: str
    """Hash of (image_id, box rounded to 0.01 px, label)."""
    image_id: str
    """The picture: its row in `images`."""
    bbox: list[float]
    """Absolute pixels of the upright picture: [x1, y1, x2, y2]."""
    mask: Mask | None = None
    """Null where the source gives none."""
    label: str | None = None
    """The source's word for what it is."""
    iscrowd: bool = False
    """COCO's flag: the region covers a crowd of things, not one."""
    source_refs: list[SourceRef] = Field(default_factory=list)
    """All rows that told of this region."""
    references: list[str] = Field(default_factory=list)
    """Referring expressions that single this region out."""
    original_questions: list[QuestionAnswer] = Field(default_factory=list)
    """Questions that the source itself asks about it."""


class AttributeRow(Region):
    """A row of the config `attributes`: a region and its profile."""

    profile: AttributeProfile
    """What is known of the region."""
    profile_text: str
    """The one canonical sentence form of `profile` (`slvr_data.text.profile_text`)."""
    provenance: Provenance
    """Who wrote the profile."""
    verdicts: list[Verdict]
    """What each local check said."""


class EmbeddedAttributeRow(AttributeRow):
    """An attribute row that carries its picture (`publish --embed`)."""

    image: Picture
    """The published picture of the region."""


class Query(Record):
    """A question about a region, on one facet."""

    query_id: str
    """Hash of the group, the facet and the question."""
    facet: str
    """One of `FACETS`."""
    question: str
    """Names the region by a reference that is unique in the picture."""
    answer: str
    """The right answer; one of the choices, where there are any."""
    choices: list[str]
    """In seeded order: two for yes/no, otherwise as many as the facet has values, at most four. Empty for an
    open question that a source asks."""
    answer_index: int | None
    """Place of the answer among the choices; null for an open question."""
    chance: float | None
    """Share of right answers that guessing among the choices gives; null for an open question."""
    pass_rate: float | None = None
    """Share of a model's answers, with the picture and sampled, that were right: how easy it is; null where none was
    asked (`slvr_data.checks.model`)."""
    paraphrases: list[str]
    """The same question in other words."""
    evidence: list[str]
    """The profile fields that decide the answer, e.g. "appearance.colors"."""
    origin: Literal["generated", "source"]
    """Whether the source asks it, or it was written for the set."""


class QueryGroup(Record):
    """A row of the config `multiquery`: 2-4 questions about one region, each on another facet."""

    group_id: str
    """Hash of the region and the source's question, where the group has one."""
    region_id: str
    """The region: its row in `attributes`."""
    image_id: str
    """Its picture: the row in `images`."""
    reference: str | None
    """The words that single the region out, as questions on most facets use them."""
    queries: list[Query]
    """2 to 4."""
    provenance: Provenance
    """Who wrote the questions."""


class CropRow(Record):
    """A row of the config `crops` (published on request): the padded crop of a region."""

    region_id: str
    """The region."""
    image_id: str
    """Its picture."""
    crop: Picture
    """JPEG of the region with its context."""
    crop_box: list[int]
    """Pixels of the upright picture that the crop shows: [x1, y1, x2, y2]."""


class EmbeddingRow(Record):
    """A row of the config `embeddings` (made by `slvr-data embed`): the embedding of a region's `profile_text`."""

    region_id: str
    """The region: its row in `attributes`."""
    image_id: str
    """Its picture: the row in `images`."""
    model: str
    """Name of the embedding model; "local-hash-1:N" for the local one (`slvr_data.embeddings`)."""
    embedding: list[float]
    """A list of fixed length of float16 numbers; the manifest's configuration tells the length."""


class Rejection(Record):
    """A row or a region that was not published, and why. Nothing disappears."""

    kind: Literal["malformed", "rejected", "query", "group", "embedding"]
    """"malformed": the row never became a region; "rejected": the region exists; "embedding": the region is published,
    but the server refused to embed its text."""
    stage: str
    """The stage that turned it away: read, crop, attributes, check, publish, multiquery or embed."""
    check: str
    """What of that stage."""
    reason: str
    """A stable code, e.g. "bbox-outside"."""
    evidence: str
    """The offending value and the cure, in words."""
    source: str
    """Name of the source."""
    file: str
    """Name of the annotation file."""
    line: int
    """As in `SourceRef`."""
    image_id: str | None
    """The picture, where it could be read."""
    region_id: str | None
    """The region; null for a malformed row."""
    record: str
    """The record itself: the source's row for a malformed one, the region as JSON for a rejected one."""
