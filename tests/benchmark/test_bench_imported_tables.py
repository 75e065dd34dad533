"""Benchmarks of others as they are downloaded: VLMEvalKit's TSV, Parquet, saved data sets, the list of V*."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from benchmark.folder import open_bench
from benchmark.importing import ImportReport, import_file
from slvr_data.errors import UsageError
from tests.builds import photograph
from tests.inside import inside

FIRST, SECOND = photograph(1)[0], photograph(2)[0]
HEAD = ("index", "question", "A", "B", "C", "D", "answer", "category", "cycle_category", "image")
CHOICES = ("red", "blue", "green", "white")


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def row(index: object, image: str, answer: str = "B", **changed: Any) -> dict[str, Any]:
    told = dict(zip("ABCD", CHOICES, strict=True))
    plain = {"index": index, "question": f"What color is thing {index}?", **told, "answer": answer}
    return plain | {"category": "single", "cycle_category": "0", "image": image} | changed


def tsv(path: Path, rows: Sequence[dict[str, Any]], head: Sequence[str] = HEAD) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, head, delimiter="\t", restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def accounts(report: ImportReport) -> dict[int, str]:
    """Row -> why it is left out; holds that no row is lost."""
    assert report.rows == report.kept + len(report.faults)
    return {fault.row: fault.reason for fault in report.faults}


def test_a_tsv_of_vlmevalkit(tmp_path: Path) -> None:
    """HR-Bench: each question in four orders of its choices, the picture in base64 or by the index of another row."""
    turned = {"A": "blue", "B": "green", "C": "white", "D": "red"}
    rows = [
        row(0, text_of(FIRST)),
        row(1, "0", "A", **turned, cycle_category="1"),
        row(2, text_of(SECOND), "D", category="cross", hint="Look twice."),
        row(3, text_of(FIRST), "C", D=""),
    ]
    report = import_file(tsv(tmp_path / "hr_bench_4k.tsv", rows, (*HEAD, "hint")), tmp_path / "out")
    assert accounts(report) == {} and report.kept == 4 and report.unused == {"cycle_category"}
    bench = open_bench(tmp_path / "out")
    items = {item.item_id: item for item in bench.items}
    answers = {name: item.queries[0].answer for name, item in items.items()}
    assert answers == {"0": "blue", "1": "blue", "2": "white", "3": "green"} and bench.name == "hr_bench_4k"
    assert items["1"].queries[0].choices == ("blue", "green", "white", "red") and items["3"].queries[0].chance == 1 / 3
    assert items["0"].image_id == items["1"].image_id == items["3"].image_id != items["2"].image_id
    assert bench.picture(items["0"].image_id) == bench.picture(items["1"].image_id)
    assert items["2"].queries[0].question == "Look twice.\nWhat color is thing 2?"
    assert [items[name].queries[0].facet for name in "02"] == ["single", "cross"]
    printed = "\n".join(report.lines())
    assert "4 items have one query: accuracy is over all; both, all right and lift have nothing to be over" in printed
    assert "columns that are left aside: cycle_category" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr_bench_4k.tsv", "out"], "the scratch is gone"


def test_a_row_may_refer_to_a_later_one_and_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.jpg").write_bytes(SECOND)
    rows = [row(7, "9"), row(8, "", image_path="a.jpg"), row(9, text_of(FIRST)), row(10, "11"), row(11, "10")]
    path = tsv(tmp_path / "in.tsv", rows, (*HEAD, "image_path"))
    report = import_file(path, tmp_path / "out", images=tmp_path / "pictures")
    assert accounts(report) == {5: "picture-missing", 6: "picture-missing"}, "rows that name each other"
    items = {item.item_id: item for item in open_bench(tmp_path / "out").items}
    assert items["7"].image_id == items["9"].image_id != items["8"].image_id


def test_a_bad_row_costs_that_row(tmp_path: Path) -> None:
    rows = [
        row(0, text_of(FIRST)),
        row(1, text_of(FIRST), "E"),
        row(2, text_of(b"no picture" * 20)),
        row(3, "%" * 9000),
        row(4, ""),
        row(5, text_of(FIRST), A=""),
        row(6, text_of(FIRST), question=""),
        row(0, text_of(SECOND)),
        row(8, f"['{text_of(FIRST)[:80]}', 'x']"),
        row(9, text_of(FIRST[: len(FIRST) // 2])),
        row(10, "0"),
    ]
    report = import_file(tsv(tmp_path / "in.tsv", rows), tmp_path / "out")
    found = accounts(report)
    assert found.pop(11) in ("picture-truncated", "picture-unreadable")
    assert found == {
        3: "answer-not-in-choices", 4: "picture-unreadable", 5: "picture-unreadable",
        6: "row-invalid", 7: "choices-invalid", 8: "row-invalid", 9: "duplicate-id", 10: "picture-unreadable",
    }  # fmt: skip
    assert {item.item_id for item in open_bench(tmp_path / "out").items} == {"0", "10"}
    left = [json.loads(line) for line in (tmp_path / "out/left-out.jsonl").read_text().splitlines()]
    assert [one["line"] for one in left] == [3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_fields_longer_than_csv_takes_by_itself(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    padded = FIRST + bytes(13 << 20)
    report = import_file(tsv(tmp_path / "in.tsv", [row(0, text_of(padded))]), tmp_path / "out")
    assert accounts(report) == {} and csv.field_size_limit() == before
    broken = tmp_path / "broken.tsv"
    broken.write_text('index\tquestion\timage\n0\t"open\t0\n')
    with pytest.raises(UsageError, match="as TSV in UTF-8 after line 1: unexpected end"):
        import_file(broken, tmp_path / "other")


STRUCT = {"bytes": SECOND, "path": "b.jpg"}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", [{"bytes": FIRST, "path": None}, STRUCT]),
        ("image", [text_of(FIRST), text_of(SECOND)]),
        ("image", [FIRST, SECOND]),
        ("images", [[{"bytes": FIRST, "path": None}], [STRUCT]]),
        ("decoded", [FIRST, SECOND]),
    ],
)
def test_parquet_with_pictures_in_any_form(tmp_path: Path, column: str, values: list[Any]) -> None:
    told = {"question": ["Which?", "What?"], "options": [["a", "b"], ["c", "d"]], "answer": ["B", "c"]}
    pq.write_table(pa.table({"index": [0, 1], **told, column: values, "split": ["x", "x"]}), tmp_path / "in.parquet")
    report = import_file(tmp_path / "in.parquet", tmp_path / "out")
    assert accounts(report) == {} and report.unit == "row" and report.unused == {"split"}
    items = {item.item_id: item for item in open_bench(tmp_path / "out").items}
    assert [items[name].queries[0].answer for name in "01"] == ["b", "c"]
    assert items["0"].image_id != items["1"].image_id


def test_saved_data_sets_and_their_parts(tmp_path: Path) -> None:
    told = {"question": ["Which?"], "choices": [["a", "b"]], "answer": ["A"]}
    test = Dataset.from_dict({**told, "image": [STRUCT]})
    train = Dataset.from_dict({**told, "image": [{"bytes": FIRST, "path": None}]})
    DatasetDict({"test": test, "train": train}).save_to_disk(tmp_path / "parts")
    with pytest.raises(UsageError, match=r"several parts \(test, train\): name one with --split"):
        import_file(tmp_path / "parts", tmp_path / "out")
    with pytest.raises(UsageError, match=r"--split dev: .* has test, train"):
        import_file(tmp_path / "parts", tmp_path / "out", split="dev")
    assert import_file(tmp_path / "parts", tmp_path / "out", split="test").kept == 1
    test.save_to_disk(tmp_path / "whole")
    import_file(tmp_path / "whole", tmp_path / "again")
    found = [open_bench(tmp_path / name) for name in ("out", "again")]
    assert found[0].revision == found[1].revision and found[1].name == "whole"
    assert found[0].items[0].item_id == "row-1" and found[0].about["made"] == {"from": "parts", "split": "test"}


def test_a_downloaded_data_set_in_shards(tmp_path: Path) -> None:
    folder = tmp_path / "set/data"
    folder.mkdir(parents=True)
    for number, data in enumerate((FIRST, SECOND)):
        table = pa.table({"question": ["Which?"], "choices": [["a", "b"]], "answer": ["A"], "image": [data]})
        pq.write_table(table, folder / f"test-{number:05d}-of-00002.parquet")
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    report = import_file(tmp_path / "set", tmp_path / "out", split="test")
    assert accounts(report) == {}
    assert sorted(item.item_id for item in open_bench(tmp_path / "out").items) == ["row-1", "row-2"]
    tsv(folder / "test.tsv", [row(0, text_of(FIRST))])
    with pytest.raises(UsageError, match=r"has test in several forms .*test\.tsv"):
        import_file(tmp_path / "set", tmp_path / "other", split="test")


def test_the_list_of_vstar(tmp_path: Path) -> None:
    """Its ids count within the category, its answers are called label, and choices stand in the text."""
    (tmp_path / "direct").mkdir()
    (tmp_path / "direct/a.jpg").write_bytes(FIRST)
    (tmp_path / "b.jpg").write_bytes(SECOND)
    ask = "What is the material of the glove?\n(A) rubber\n(B) cotton\nAnswer with the option's letter directly."
    rows = [
        {"image": "direct/a.jpg", "text": ask, "category": "direct_attributes", "label": "B", "question_id": "0"},
        {"image": "b.jpg", "text": ask, "category": "relative_position", "label": "A", "question_id": "0"},
    ]
    path = tmp_path / "test_questions.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    report = import_file(path, tmp_path / "out")
    assert accounts(report) == {}
    items = {item.item_id: item.queries[0] for item in open_bench(tmp_path / "out").items}
    assert {name: query.answer for name, query in items.items()} == {
        "direct_attributes-0": "cotton", "relative_position-0": "rubber",
    }  # fmt: skip
    assert items["direct_attributes-0"].facet == "direct_attributes"
    assert items["direct_attributes-0"].choices == ("rubber", "cotton")


def test_a_letter_is_a_column_even_where_choices_are_letters(tmp_path: Path) -> None:
    path = tsv(tmp_path / "in.tsv", [row(0, text_of(FIRST), "A", A="B", B="A", C="", D="")])
    import_file(path, tmp_path / "out")
    [item] = open_bench(tmp_path / "out").items
    assert item.queries[0].choices == ("B", "A") and item.queries[0].answer == "B"


def test_what_cannot_be_read_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match=r"in\.parquet cannot be read as Parquet"):
        import_file(tmp_path / "in.parquet", tmp_path / "out")
    pq.write_table(pa.table({"question": ["Which?"], "a": [FIRST], "b": [FIRST]}), tmp_path / "in.parquet")
    with pytest.raises(UsageError, match=r"several columns of pictures \(a, b\).*call the one .* image"):
        import_file(tmp_path / "in.parquet", tmp_path / "out")
    tsv(tmp_path / "in.tsv", [{"index": 0, "question": "Which?"}], ("index", "question"))
    with pytest.raises(UsageError, match="no column of pictures among index, question"):
        import_file(tmp_path / "in.tsv", tmp_path / "out")
    for name in ("gone.tsv", "gone.parquet", "gone.arrow"):
        with pytest.raises(UsageError, match="is not a file"):
            import_file(tmp_path / name, tmp_path / "out")
    with pytest.raises(UsageError, match="--split x names a part of a folder"):
        import_file(tmp_path / "in.tsv", tmp_path / "out", split="x")
    (tmp_path / "list").mkdir()
    (tmp_path / "list/test_questions.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match=r"no Parquet, Arrow or TSV files: name one of its files \(test_questions"):
        import_file(tmp_path / "list", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_single_questions_are_asked_compared_and_reported(tmp_path: Path) -> None:
    """V* has one question per picture: accuracy is over all, and what is said of regions has nothing to stand on."""
    rows = [row(number, text_of(photograph(number)[0]), "ABCD"[number % 4]) for number in range(24)]
    import_file(tsv(tmp_path / "vstar.tsv", rows), tmp_path / "bench")
    for model in ("oracle", "random"):
        inside("slvr-bench", "run", "--model", model, "--data", tmp_path / "bench")
    runs = sorted((tmp_path / "bench/runs").iterdir())
    told = json.loads(inside("slvr-bench", "compare", *runs, "--json"))
    found = {one["score"]: one for one in told["comparisons"]}
    assert found["accuracy"]["difference"] < -0.3 and found["accuracy"]["n_items"] == 24
    assert all(found[name]["difference"] is None and found[name]["p"] is None for name in ("both", "all_right", "lift"))
    inside("slvr-bench", "report", *runs, "--out", tmp_path / "report")
    [oracle] = [line for line in (tmp_path / "report/table.md").read_text().splitlines() if line.startswith("| oracle")]
    cells = [cell.strip() for cell in oracle.strip("|").split("|")]
    assert cells[1].startswith("100.0") and cells[3] == cells[4] == "–", "both and all right of no region are no figure"
