"""The report: one page that stands alone, in which nothing that a model said is markup; and the files beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.opened import Run, open_runs
from benchmark.pages.view import Page, ShownPicture, render_page
from benchmark.records import Item
from benchmark.report import files_of, gather, page_of, write_report
from benchmark.sampled import browser
from benchmark.scores import scores_of
from benchmark.wording import between, written
from tests.benchmark.bench_logs import FACETS, HOSTILE, able, items, picture, write_run
from tests.html_tree import Element, Tree

VARIANTS = ("plain", "paraphrase-1", "intact", "masked")


def shown(root: Element, css_class: str) -> list[str]:
    return [
        " ".join(e.text.split()) for tag in ("div", "p", "section", "article", "td") for e in root.every(tag, css_class)
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder / name, name, able(skill, name), items(), VARIANTS) for name, skill in (("a", 0.8), ("b", 0.4))
    ]


@pytest.fixture(scope="module")
def written_files(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "report"
    assert write_report(folders, None, out, 20, "slvr-bench report a b")[0] == out / "report.html"
    return out


@pytest.fixture(scope="module")
def page(written_files: Path) -> str:
    return (written_files / "report.html").read_text(encoding="utf-8")


def test_the_files(written_files: Path) -> None:
    names = {"report.html", "scores.json", "scores.csv", "table.md", "table.tex", "leaderboard.jsonl"}
    assert {path.name for path in written_files.iterdir()} == names
    assert len((written_files / "leaderboard.jsonl").read_text().splitlines()) == 2
    tree = json.loads((written_files / "scores.json").read_text())
    assert {row["score"] for row in tree["comparisons"]} == {"accuracy", "both", "all_right", "lift"}


def test_replaced_latents_have_a_curve_over_slots_and_a_map_by_facet(tmp_path: Path) -> None:
    variants = ("plain", "latents-picture", "latents-slots-0", "latents-slots-3")
    details = {"visual_slots": 2}
    run = write_run(tmp_path / "run", "m", able(0.7, "m"), items(), variants, model_details=details)
    page = page_of(gather(open_runs([run]), None), 2, "")
    assert page.slots is not None and [words for _, words in page.slots.x_ticks] == ["0", "2", "3"]
    assert [point.own for point in page.slots.lines[0].points] == [False, True, False]
    (panel,) = page.latents
    assert list(panel.facets) == sorted(FACETS) and [row.name for row in panel.by_facet] == [
        "picture",
        "slots 0",
        "slots 3",
    ]
    assert {cell.words for row in panel.by_facet for cell in row.cells} == {"0.0"}, "this model has no latents"
    tree = Tree(render_page(page)).root
    assert len([path for path in tree.every("path") if path.attrs.get("class") == "curve"]) == 1
    plain = page_of(gather(open_runs([write_run(tmp_path / "plain", "m", able(0.7, "m"))]), None), 2, "")
    assert plain.slots is None and not plain.latents


def test_the_same_runs_give_the_same_bytes(folders: list[Path], written_files: Path, tmp_path: Path) -> None:
    for path in write_report(folders, None, tmp_path, 20, "slvr-bench report a b"):
        assert path.read_bytes() == (written_files / path.name).read_bytes(), path.name


def test_the_page_stands_alone(page: str) -> None:
    root = Tree(page).root
    for tag in ("link", "iframe", "object", "embed", "base"):
        assert not root.every(tag)
    for tag, attribute in (("script", "src"), ("img", "src"), ("image", "href")):
        assert all((e.attrs.get(attribute) or "data:").startswith("data:") for e in root.every(tag))
    assert not re.search(r"(?:url\(|@import|https?://)", page.replace("http://www.w3.org", ""))
    assert "content=\"default-src 'none'" in page
    assert all(not name.startswith("on") for e in _all(root) for name in e.attrs)


def _all(root: Element) -> list[Element]:
    children = [child for child in root.children if isinstance(child, Element)]
    return children + [e for child in children for e in _all(child)]


def test_scores_stand_with_their_intervals(page: str, folders: list[Path]) -> None:
    sections = {
        measure.every("h3")[0].text: measure
        for measure in reversed(Tree(page).root.every("section", "measure"))
        if len(measure.every("span", "value")) == 2
    }
    for title, name in (("Accuracy", "accuracy"), ("Both", "both"), ("All right", "all_right"), ("CS(3)", "cs_3")):
        estimates = [scores_of(run.lines)[name] for run in open_runs(folders)]
        values = [e.text for e in sections[title].every("span", "value")]
        intervals = [e.text for e in sections[title].every("span", "interval")]
        assert values == [written(e.value) for e in estimates]
        for text, estimate in zip(intervals, estimates, strict=True):
            assert text.split(" ")[0] == (between(estimate.low, estimate.high) or "withheld").split(" ")[0]
        circles = [e.attrs["x"] for e in sections[title].every("svg") if "x" in e.attrs]
        assert [float((x or "").rstrip("%")) for x in circles] == [round(100 * (e.value or 0), 2) for e in estimates]


def test_the_comparison_names_the_better_one(page: str) -> None:
    verdicts = [" ".join(e.text.split()) for e in Tree(page).root.every("span", "verdict")]
    assert len(verdicts) == 4
    assert verdicts[0].startswith("Accuracy: b is lower; p < 0.0001, after Holm")


def test_the_panels_are_there(page: str) -> None:
    root = Tree(page).root
    ids = {e.attrs.get("id") for e in root.every("h2")}
    assert {"scores", "beyond", "together", "facet", "facets", "evidence", "samples", "stamps", "wordings"} <= ids
    targets = {(e.attrs.get("href") or "")[1:] for e in root.every("nav")[0].every("a")}
    assert targets <= {e.attrs.get("id") for e in _all(root)}
    assert len(root.every("table", "facets-grid")) == 2
    assert len(root.every("svg", "parts")) == 4


def test_samples_carry_what_the_filters_ask(page: str) -> None:
    root = Tree(page).root
    articles = root.every("article", "item")
    (script,) = [s for s in root.every("script") if s.attrs.get("id") == "told"]
    told = json.loads(script.text)
    assert len(told) == len(articles) == 20
    buttons = [e.attrs["data-class"] for e in root.every("button")]
    assert buttons == ["", "all-right", "mixed", "all-wrong", "unparsed"]
    seen = {name for entry in told for name in entry["classes"]}
    assert seen == set(buttons[1:])
    options = {e.attrs["value"] for e in root.every("select")[-1].every("option")}
    assert options == {"", *FACETS}
    for entry, article in zip(told, articles, strict=True):
        pills = [e.text for e in article.every("header")[0].every("span", "pill")]
        assert pills == entry["classes"]


def hostile_page(tmp_path: Path, text: str) -> str:
    """A page of which everything that can come from elsewhere is `text`: replies, names, labels, questions, errors."""
    all_items = [
        item.model_copy(
            update={
                "label": text,
                "queries": tuple(
                    query.model_copy(
                        update={
                            "facet": text, "question": text, "answer": text, "paraphrases": (text,),
                            "choices": (text, *query.choices), "answer_index": 0,
                        }
                    )
                    for query in item.queries
                ),
            }
        )
        for item in items(12, 6)
    ]  # fmt: skip
    counted = iter(range(10**6))

    def say(item: Item, query: object, variant: str) -> str | None:
        return (text + " ", None, text)[next(counted) % 3]

    run = write_run(
        tmp_path / "r", text, say, all_items, VARIANTS, model_details={text: text}, data=text, protocol=text
    )
    gathered = gather(open_runs([run]), None)
    page = page_of(gathered, 12, text)
    with_pictures = browser(gathered.runs, {item.item_id: item for item in all_items}, picture, 12)
    return render_page(
        Page(**{**page.__dict__, "samples": with_pictures.samples, "pictures": with_pictures.pictures,
                "warnings": [text], "title": text})
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", [HOSTILE, "{{ 7 * 7 }}{% raw %}${7 * 7}", "--></style></title></svg><!--", "\u202eabc\u2028x"]
)
def test_nothing_that_was_said_is_markup(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").mkdir()
    plain, hostile = hostile_page(tmp_path / "x", "words"), hostile_page(tmp_path, text)
    skeleton = [(e.tag, sorted(e.attrs)) for e in _all(Tree(plain).root)]
    assert [(e.tag, sorted(e.attrs)) for e in _all(Tree(hostile).root)] == skeleton
    hostile.encode("utf-8")
    assert text in Tree(hostile).root.text


def test_a_run_that_is_not_whole_is_shown_as_such(tmp_path: Path, folders: list[Path]) -> None:
    cut = write_run(tmp_path / "cut", "c", able(0.5), items(), VARIANTS, missing=50)
    files = files_of(gather(open_runs([folders[0], cut]), None), 5, "x")
    root = Tree(files["report.html"]).root
    warnings = shown(root, "warning")
    assert warnings[0].startswith("c is not whole: 670 of 720 replies")
    assert warnings[1].startswith("No comparison: c is not whole")
    assert not root.every("span", "verdict")
    assert len(files["leaderboard.jsonl"].splitlines()) == 1


def test_runs_that_may_not_be_compared_are_still_shown(tmp_path: Path, folders: list[Path]) -> None:
    other = write_run(tmp_path / "other", "c", able(0.5), items(), protocol="letter-1")
    gathered = gather(open_runs([folders[0], other]), None)
    assert gathered.warnings == ["No comparison: a and c cannot be compared: protocol bare-1 and letter-1."]
    assert not gathered.differences and len(gathered.scores) == 2


def test_extreme_runs_make_pages(tmp_path: Path) -> None:
    def none(item: Item, query: object, variant: str) -> str | None:
        return None

    oracle: Callable[..., str | None] = lambda item, query, variant: query.answer  # noqa: E731
    for name, say, number in (("nothing", none, 5), ("oracle", oracle, 1), ("two", oracle, 2)):
        run = write_run(tmp_path / name, name, say, items(number))
        Tree(files_of(gather(open_runs([run]), None), 0 if number == 2 else 10, "x")["report.html"])


def test_pictures_without_a_size_are_refused(folders: list[Path]) -> None:
    page = page_of(gather(open_runs(folders[:1]), None), 1, "x")
    with pytest.raises(ValueError, match="0 x 5"):
        render_page(Page(**{**page.__dict__, "pictures": [ShownPicture(0, 5, b"")]}))


def test_a_large_run_makes_a_page_of_bounded_size(tmp_path: Path) -> None:
    def long(item: Item, query: object, variant: str) -> str:
        return "<b>" * 30_000

    run: Run = open_runs([write_run(tmp_path / "r", "m", long, items(400, 200))])[0]
    text = files_of(gather([run], None), 400, "x")["report.html"]
    assert len(text.encode()) < 20_000_000
    assert "400 regions of 400" in text or "dealt in turn" in text
