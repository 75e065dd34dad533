"""Bad rows of `visual-cot`, `refcoco` and `parquet`, through the real command: each costs itself and is listed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conversions import patchwork
from tests.support import Published, build, encoded, refused_here, slvr_data, write_jsonl, write_pictures

WIDTH, HEIGHT = 100, 80
SIZE = {"width": WIDTH, "height": HEIGHT}
MARKUP = "<b onclick=\"alert('q')\">What</b> is <script>alert('question')</script> & this?"
HEBREW = "מה הצבע של הכלב משמאל?"
EMOJI = "Is the 🐕‍🦺 left of the 🧑🏽‍🚀?"
LONG = ("why " * 2500).strip() + "?"
REQUEST = "Please provide the bounding box coordinate of the region that can help you answer the question better."
Line = dict[str, Any] | bytes


def asks(**columns: Any) -> dict[str, Any]:
    tree = {"question": "What is it?", "answer": "a cat", "image": "a.png", "bboxs": [[10, 10, 50, 40]]}
    return tree | SIZE | {"dataset": "gqa", "split": "train"} | columns


def talks(box: str = "[10, 10, 50, 40]", **columns: Any) -> dict[str, Any]:
    turns = [f"<image>\nWho is it? {REQUEST}", "[0.1, 0.1, 0.5, 0.5]", "<image>", "a dog"]
    talk = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(turns)]
    tree = {"split": "train", "question_id": 3, "image": ["a.png", f"a.png###{box}"], "conversations": talk}
    return tree | columns


def refers(**columns: Any) -> dict[str, Any]:
    return {"img_path": "a.png", "expression": "the cat", "bbox": [10, 10, 50, 40], **SIZE, "sent_id": 1} | columns


def text(tree: dict[str, Any], box: str) -> bytes:
    """A row with the box (or list of boxes) `"BOX"` as it would not come out of a JSON encoder."""
    return json.dumps(tree).replace('"BOX"', box).encode()


def boxes(make: Any, key: str, wrap: bool) -> list[tuple[str, Line, str]]:
    """Every box that issues no region, in the form of a source: (name, row, reason)."""

    def row(box: list[Any]) -> dict[str, Any]:
        found: dict[str, Any] = make(**{key: [box] if wrap else box})
        return found

    def raw(box: str) -> bytes:
        return text(make(**{key: "BOX"}), f"[{box}]" if wrap else box)

    return [
        ("inverted", row([90, 70, 40, 30]), "bbox-inverted"),
        ("NaN", raw("[NaN, 2, 30, 40]"), "bbox-not-finite"),
        ("Infinity", raw("[1, 2, 30, Infinity]"), "bbox-not-finite"),
        ("1e400", raw("[1, 2, 1e400, 40]"), "bbox-not-finite"),
        ("no area", row([20, 20, 20, 60]), "bbox-empty"),
        ("normalised", row([0.1, 0.2, 0.5, 0.6]), "bbox-normalized"),
        ("xywh", row([60, 50, 30, 20]), "bbox-xywh"),
        ("three numbers", row([1, 2, 30]), "bbox-invalid"),
        ("words", row(["a", "b", "c", "d"]), "bbox-invalid"),
        ("truth values", row([True, 2, 30, 40]), "bbox-invalid"),
        ("outside", row([200, 20, 260, 60]), "bbox-outside"),
        ("far beyond", row([50, 50, 300, 71]), "bbox-beyond"),
        ("too small", row([10, 10, 14, 40]), "region-too-small"),
    ]


def common(make: Any, path: str, own: dict[str, Any]) -> list[tuple[str, Line, str]]:
    """What can be wrong with a line of any source; `own` is a box that no good row has."""
    return [
        ("broken JSON", b'{"image": "a.png", "bbox', "not-json"),
        ("not UTF-8", b'{"image": "caf\xe9"}', "not-utf8"),
        ("a list", b'["a.png"]', "not-an-object"),
        ("nested deeply", b"[" * 200_000, "not-json"),
        ("lone surrogate in the path", make(**{path: "\ud83d.png"}), "path-invalid"),
        ("missing", make(**{path: "gone.png"}), "picture-missing"),
        ("absolute", make(**{path: "/etc/passwd"}), "path-absolute"),
        ("climbs", make(**{path: "../a.png"}), "path-climbs"),
        ("linked", make(**{path: "linked.png"}), "path-link"),
        ("address", make(**{path: "https://example.org/a.png"}), "path-address"),
        ("a text", make(**{path: "text.png"}), "picture-unreadable"),
        ("nothing", make(**{path: "empty.png"}), "picture-empty"),
        ("half", make(**{path: "half.png"}), "picture-truncated"),
        ("other size", make(width=640, height=480, **own), "size-mismatch"),
        ("negative size", make(width=-1), "width-invalid"),
        ("unknown split", make(split="holdout"), "split-unknown"),
    ]


VISUAL_COT: list[tuple[str, Line, str]] = [
    *boxes(asks, "bboxs", True),
    *common(asks, "image", {"bboxs": [[5, 5, 60, 60]]}),
    ("number of 5,000 digits", text(asks(bboxs="BOX"), "[[1, 2, 30, " + "4" * 5000 + "]]"), "not-json"),
    ("empty answer", asks(answer=""), "answer-empty"),
    ("blank question", asks(question=" \n"), "question-empty"),
    ("no boxes", asks(bboxs=[]), "bboxs-invalid"),
    ("answer is a number", asks(answer=3), "answer-invalid"),
    ("lone surrogate in the answer", asks(answer="half \ud83d"), "text-invalid"),
    *[(f"talk, {name}", talks(box), reason) for name, box, reason in (
        ("inverted", "[90, 70, 40, 30]", "bbox-inverted"),
        ("NaN", "[NaN, 2, 30, 40]", "bbox-not-finite"),
        ("normalised", "[0.1, 0.2, 0.5, 0.6]", "bbox-normalized"),
        ("no box", "", "bbox-invalid"),
        ("outside", "[201, 20, 260, 60]", "bbox-outside"),
    )],
    ("talk, missing", talks(image=["gone.png", "gone.png###[1, 2, 30, 40]"]), "picture-missing"),
    ("talk, lone surrogate", json.loads(json.dumps(talks()).replace("a dog", "half \\ud83d")), "text-invalid"),
    ("talk, no conversation", talks(conversations=None), "question-absent"),
]  # fmt: skip
REFCOCO = [
    *boxes(refers, "bbox", False),
    *common(refers, "img_path", {"bbox": [5, 5, 60, 60]}),
    ("empty expression", refers(expression=""), "expression-empty"),
    ("no expression", refers(expression=None), "expression-invalid"),
    ("lone surrogate in the expression", refers(expression="half \ud83d"), "text-invalid"),
]
PARQUET: list[tuple[str, dict[str, Any], str]] = [
    ("NaN", {"bbox": [math.nan, 2, 30, 40]}, "bbox-not-finite"),
    ("infinite", {"bbox": [1, 2, math.inf, 40]}, "bbox-not-finite"),
    ("inverted", {"bbox": [90, 70, 40, 30]}, "bbox-inverted"),
    ("no area", {"bbox": [20, 20, 20, 60]}, "bbox-empty"),
    ("normalised", {"bbox": [0.1, 0.2, 0.5, 0.6]}, "bbox-normalized"),
    ("xywh", {"bbox": [60, 50, 30, 20]}, "bbox-xywh"),
    ("three numbers", {"bbox": [1, 2, 30]}, "bbox-invalid"),
    ("no box", {"bbox": None}, "bbox-absent"),
    ("no picture", {"image": None}, "image-absent"),
    ("missing", {"image": "gone.png"}, "picture-missing"),
    ("climbs", {"image": "../a.png"}, "path-climbs"),
    ("linked", {"image": "linked.png"}, "path-link"),
    ("half", {"image": "half.png"}, "picture-truncated"),
    ("id again", {"id": 1}, "id-duplicate"),
    ("width 0", {"width": 0}, "width-invalid"),
    ("unknown split", {"split": "holdout"}, "split-unknown"),
    ("question without answer", {"original_questions": [{"question": "?", "answer": None}]},
     "original-questions-invalid"),
    ("outside", {"bbox": [200, 20, 260, 60]}, "bbox-outside"),
]  # fmt: skip


@dataclass
class Case:
    """A source with good rows, then bad ones of which each must be listed for its reason."""

    published: Published
    first: int
    bad: list[tuple[str, Any, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    sound = encoded(patchwork(6))
    files = {f"{name}.png": encoded(patchwork(n)) for n, name in enumerate("abc")}
    files["many.png"] = encoded(patchwork(9, 600, 600))
    files |= {"text.png": b"no picture", "empty.png": b"", "half.png": encoded(patchwork(7))[:-60]}
    write_pictures(folder / "pictures", files | {"../elsewhere.png": sound})
    (folder / "pictures" / "linked.png").symlink_to(folder / "elsewhere.png")
    return folder


def built(root: Path, kind: str, *files: Path, **changes: Any) -> Published:
    options = [part for file in files for part in ("--annotations", file)]
    out = root / f"set-{kind}"
    return Published(out, build(kind, out, "--images", root / "pictures", *options).stderr)


MANY = [asks(image="many.png", bboxs=[[x, y, x + 20, y + 20]], **SIZE | {"width": 600, "height": 600})
        for x in range(0, 500, 20) for y in range(0, 400, 20)]  # fmt: skip
GOOD_COT = [
    asks(question=MARKUP, answer="<i>a cat</i>"),
    asks(question=HEBREW, answer="חום", image="b.png"),
    asks(question=EMOJI, answer="no 😀", image="b.png"),
    asks(question=LONG),
    asks(),
    asks(bboxs=[[10, 10, 50, 40], [20, 20, 60, 70], [30, 30]]),
    talks(split="val", image=["c.png", "c.png###[10, 10, 50, 40]", "c.png###[20, 20, 60, 70]"]),
]


@pytest.fixture(scope="module")
def cot(root: Path) -> Case:
    file = write_jsonl(root / "cot.jsonl", [*GOOD_COT, *(line for _, line, _ in VISUAL_COT)])
    array = root / "more.json"
    array.write_text(json.dumps([*MANY, 5, None, asks(image="c.png", split="train")]))
    return Case(built(root, "visual-cot", file, array), len(GOOD_COT), VISUAL_COT)


@pytest.fixture(scope="module")
def coco_references(root: Path) -> Case:
    good = [
        refers(),
        refers(expression=" the left one ", sent_id=2),
        refers(expression=MARKUP),
        refers(img_path="b.png", split="testB"),
        refers(img_path="c.png", split="validation"),
        refers(img_path="c.png", split="train", bbox=[1, 1, 40, 40]),
    ]
    file = write_jsonl(root / "refer.jsonl", [*good, *(line for _, line, _ in REFCOCO)])
    return Case(built(root, "refcoco", file), len(good), REFCOCO)


@pytest.fixture(scope="module")
def table(root: Path) -> Case:
    plain = {"image": "a.png", "bbox": [10, 10, 50, 40]}
    asked = [{"question": EMOJI, "answer": HEBREW}, {"question": LONG, "answer": MARKUP}]
    good = [plain | {"id": 1, "original_questions": asked}, plain | {"image": "b.png", "split": "test"}]
    rows = [*good, *(plain | columns for _, columns, _ in PARQUET)]
    names = ["image", "bbox", "id", "width", "split", "original_questions"]
    pq.write_table(pa.Table.from_pylist([{n: row.get(n) for n in names} for row in rows]), root / "rows.parquet")
    return Case(built(root, "parquet", root / "rows.parquet"), len(good), PARQUET)


def listed(case: Case, file: str) -> None:
    """Each bad row stands in the list under its line, for its reason, with what cures it; and nothing else does."""
    by_line: dict[int, list[dict[str, Any]]] = {}
    for rejection in case.published.rejections:
        if rejection["file"] == file:
            by_line.setdefault(rejection["line"], []).append(rejection)
    for index, (name, line, reason) in enumerate(case.bad):
        (found,) = by_line.pop(case.first + index + 1)
        assert found["reason"] == reason, (name, found)
        assert 10 < len(found["evidence"]) < 1000, name
        if isinstance(line, bytes) and found["kind"] == "malformed":
            assert found["record"] == line.decode("utf-8", "backslashreplace"), name
    # The one bad box among the good rows of `visual-cot`.
    assert [(line, r["reason"]) for line, found in by_line.items() for r in found] in ([], [(6, "bbox-invalid")])


def test_bad_rows_of_visual_cot_are_listed(cot: Case) -> None:
    listed(cot, "cot.jsonl")
    others = {(r["line"], r["reason"]) for r in cot.published.rejections if r["file"] == "more.json"}
    assert others == {(501, "not-an-object"), (502, "not-an-object")}


def test_bad_rows_of_the_others_are_listed(coco_references: Case, table: Case) -> None:
    listed(coco_references, "refer.jsonl")
    listed(table, "rows.parquet")


def test_the_accounts_balance(cot: Case, coco_references: Case, table: Case) -> None:
    """Rows of `visual-cot` count once for each of their boxes."""
    cot.published.check(rows=5 + 3 + 2 + len(VISUAL_COT) + 500 + 3)
    coco_references.published.check(rows=6 + len(REFCOCO))
    table.published.check(rows=2 + len(PARQUET))


def region(published: Published, path: str, box: list[float]) -> dict[str, Any]:
    images = {row["image_id"]: row["path"] for row in published.rows("images")}
    return next(r for r in published.rows("attributes") if images[r["image_id"]] == path and r["bbox"] == box)


def test_questions_on_one_box_are_one_region(cot: Case) -> None:
    """Whatever they hold; several boxes of a row are several regions with the same question."""
    found = region(cot.published, "a.png", [10, 10, 50, 40])
    assert found["label"] is None
    questions = [(q["question"], q["answer"]) for q in found["original_questions"]]
    assert questions == [(MARKUP, "<i>a cat</i>"), (LONG, "a cat"), ("What is it?", "a cat")]
    assert [ref["line"] for ref in found["source_refs"]][:3] == [1, 4, 5]
    other = region(cot.published, "a.png", [20, 20, 60, 70])
    assert [q["question"] for q in other["original_questions"]] == ["What is it?"]
    foreign = region(cot.published, "b.png", [10, 10, 50, 40])
    assert [q["question"] for q in foreign["original_questions"]] == [HEBREW, EMOJI]


def test_a_conversation_is_a_question_too(cot: Case) -> None:
    found = region(cot.published, "c.png", [20, 20, 60, 70])
    assert found["original_questions"] == [{"question": "Who is it?", "answer": "a dog"}]
    assert [ref["id"] for ref in found["source_refs"]] == ["3"]


def test_one_picture_may_have_500_boxes(cot: Case) -> None:
    images = {row["image_id"]: row["path"] for row in cot.published.rows("images")}
    found = [row for row in cot.published.rows("attributes") if images[row["image_id"]] == "many.png"]
    assert len(found) == 500


def test_expressions_on_one_box_are_its_references(coco_references: Case) -> None:
    found = region(coco_references.published, "a.png", [10, 10, 50, 40])["references"]
    assert found == ["the cat", "the left one", MARKUP]


def split_of(published: Published, path: str) -> str:
    rows = {
        row["image_id"]: file["split"]
        for file in published.manifest["files"]
        if file["config"] == "images"
        for row in pq.read_table(published.folder / file["path"], columns=["image_id"]).to_pylist()
    }
    (image_id,) = (row["image_id"] for row in published.rows("images") if row["path"] == path)
    return str(rows[image_id])


def test_what_a_source_keeps_from_training_stays_out_of_it(cot: Case, coco_references: Case, table: Case) -> None:
    assert split_of(cot.published, "c.png") == "validation"
    assert split_of(coco_references.published, "b.png") == "test"
    assert split_of(coco_references.published, "c.png") == "validation"
    assert split_of(table.published, "b.png") == "test"


def test_questions_in_a_table(table: Case) -> None:
    found = region(table.published, "a.png", [10, 10, 50, 40])
    assert [q["question"] for q in found["original_questions"]] == [EMOJI, LONG]


def test_texts_cannot_run_in_the_preview(cot: Case, coco_references: Case) -> None:
    for case in (cot, coco_references):
        page = case.published.folder / "../page.html"
        slvr_data("preview", case.published.folder, "--html", page)
        assert "<script>alert" not in page.read_text() and 'onclick="alert' not in page.read_text()


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("visual-cot", b'[{"question": "What?"},\n{"question" "Who?"}]', "line 2, column 13"),
        ("visual-cot", b'[{"question": "caf\xe9"}]', "byte 19 is not UTF-8"),
        ("visual-cot", b'[{"question": "What?"}', "the array does not end"),
        ("visual-cot", b" [ ]", "the source is empty"),
        ("refcoco", b"\n", "the source is empty"),
        ("parquet", b'{"image": "a.png", "bbox": [1, 2, 30, 40]}', "not a Parquet file that can be read"),
    ],
)
def test_a_file_that_is_broken_or_empty_as_a_whole_ends_the_run_in_one_line(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, content: bytes, says: str
) -> None:
    (tmp_path / "rows").write_bytes(content)
    options = ("--out", tmp_path / "set", "--images", root / "pictures", "--annotations", tmp_path / "rows")
    found = refused_here(capfd, "build-attributes", kind, *options, "--workers", 1)
    assert says in found and len(found) < 400
    assert not (tmp_path / "set" / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["visual-cot", "refcoco"])
def test_rows_without_any_picture_are_all_listed(tmp_path: Path, kind: str) -> None:
    make, key = (asks, "image") if kind == "visual-cot" else (refers, "img_path")
    file = write_jsonl(tmp_path / "rows.jsonl", [make(**{key: f"{n // 2}.png"}) for n in range(40)])
    (tmp_path / "pictures").mkdir()
    build(kind, tmp_path / "set", "--images", tmp_path / "pictures", "--annotations", file)
    found = Published(tmp_path / "set")
    found.check(rows=40)
    assert {(r["line"], r["reason"]) for r in found.rejections} == {(n, "picture-missing") for n in range(1, 41)}
