"""The page of cases: whole without a network, escaped, and it shows what the rows hold."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slvr_data.errors import UsageError
from slvr_model.mgrpo.cases import Cases
from slvr_model.mgrpo.cases_page import page_of, show_cases
from tests.html_tree import Element, Tree
from tests.slvr_model.mgrpo.case_support import REGIONS, earned, rollouts, written
from tests.slvr_model.test_train_cli import WITHOUT, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine & yours"
    written(folder / "cases", range(6))
    return folder


def cards_of(page: str) -> list[Element]:
    return Tree(page).root.every("article", "card")


def test_a_region_shows_each_rollout_with_what_it_earned(run: Path) -> None:
    page = page_of(run, "slvr-train cases RUN --html PAGE")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page), "nothing is loaded from elsewhere"
    assert "Cases of mine & yours" in Tree(page).root.text and "mine &amp; yours" in page
    cards = cards_of(page)
    assert len(cards) == 6 * len(REGIONS)
    of = rollouts(0, "r1")
    terms, advantages, reward = earned(of)
    (card,) = [card for card in cards if "Step 0" in card.text and of.shown.group.region_id in card.text]
    assert len(card.every("image")) == 1
    x1, y1, x2, y2 = of.shown.group.box
    frame = [float(str(card.every("rect", "stroke")[0].attrs[name])) for name in ("x", "y", "width", "height")]
    assert frame == [x1, y1, x2 - x1, y2 - y1]
    queries = card.every("tbody", "query")
    assert [query.every("h3")[0].text for query in queries] == [sample.question for sample in of.shown.group.samples]
    for i, query in enumerate(queries):
        seen: list[int] = []
        gains = []
        for line in query.every("tr")[1:]:
            cells = line.every("td")
            here = [int(n) for n in re.findall(r"\d+", str(cells[1].every("svg")[0].attrs["aria-label"]))]
            assert int(cells[1].every("b")[0].text) == len(here)
            g = here[0]
            assert (of.answers[3 * i + g] or "no answer") in cells[0].text
            assert ("broken reply" in cells[0].text) == (not of.formed[3 * i + g])
            unsure = float(terms["brief"][i, g])
            assert (
                (cells[3].text == "–") if unsure != unsure else float(cells[3].text) == pytest.approx(unsure, abs=6e-3)
            )
            assert float(cells[4].text) == pytest.approx(float(reward[i, g]), abs=6e-3)
            gains.append(float(cells[-1].text.strip()))
            assert gains[-1] == pytest.approx(float(advantages[i, g]), abs=6e-3)
            seen += here
        assert sorted(seen) == [0, 1, 2], "every rollout once"
        assert gains == sorted(gains, reverse=True)


def test_many_groups_are_drawn_evenly_and_counted_all(run: Path) -> None:
    page = page_of(run, "", most=3)
    cards = cards_of(page)
    steps = [card.every("h2")[0].text for card in cards]
    assert len(steps) == 3 and (steps[0], steps[-1]) == ("Step 0", "Step 5")
    tree = Tree(page).root
    facts = {name.text: value.text for name, value in zip(tree.every("dt"), tree.every("dd"), strict=True)}
    assert facts["regions shown"] == "3 of 12" and facts["rollouts in all"] == "72" and facts["steps"] == "0 to 5"
    assert page == page_of(run, "", most=3)


def test_a_part_of_the_steps_has_its_pictures_too(run: Path) -> None:
    cards = cards_of(page_of(run, "", steps=(2, 2)))
    assert len(cards) == 2 and all(len(card.every("image")) == 1 for card in cards)
    with pytest.raises(UsageError, match="no cases of steps 7 to 9: there are those of steps 0 to 5"):
        page_of(run, "", steps=(7, 9))


def test_what_a_model_writes_is_text(tmp_path: Path) -> None:
    of = rollouts(0, "r1")
    nasty = "</td><script>alert(1)</script>"
    samples = tuple(replace(one, question=f"{nasty}?", wordings=(f"{nasty}?",)) for one in of.shown.group.samples)
    shown = replace(of.shown, group=replace(of.shown.group, samples=samples, region_id=nasty))
    odd = replace(of, shown=shown, answers=(nasty,) * 5 + ("\u202eolleh",))
    terms, advantages, _ = earned(of)
    cases = Cases(tmp_path)
    cases.add(0, odd, terms, advantages)
    cases.flush()
    page = page_of(tmp_path, nasty)
    assert page.count("<script>") == 1 and nasty in Tree(page).root.text
    (card,) = cards_of(page)
    assert "reward" not in [cell.text for cell in card.every("th")], "no whole reward was given"


def test_a_reply_is_shown_where_it_says_more_than_its_answer(tmp_path: Path) -> None:
    (path,) = (written(tmp_path, [0], ["r1"]).folder).iterdir()
    rows, schema = pq.read_table(path).to_pylist(), pq.read_schema(path)
    said = ["<a> blue  one <e>", "Blue one", "A cup. Answer: blue one<e>", "word " * 40, "blue one", "cut <e"]
    for row, reply in zip(rows, said, strict=True):
        row |= {"reply": reply, "answer": "blue one", "formed": reply != "cut <e"}
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    (card,) = cards_of(page_of(tmp_path, ""))
    shown = sorted(code.text for cell in card.every("td") for code in cell.every("code"))
    assert shown == ["A cup. Answer: blue one", "Blue one", "cut <e", ("word " * 40).strip()]
    assert [each.every("summary")[0].text for each in card.every("details")] == ["word " * 8 + "word…"]


def test_the_command_needs_no_torch(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = trained("cases", str(run), "--html", str(page), "--steps", "1:3", "--groups", "2", script=WITHOUT)
    assert [line.split()[0] for line in said.splitlines()] == ["steps", "1", "2", "3", "written:"]
    text = page.read_text(encoding="utf-8")
    assert len(cards_of(text)) == 2
    (command,) = [line.text for line in Tree(text).root.every("code") if line.text.startswith("slvr-train")]
    assert shlex.split(command)[1:] == ["cases", str(run), "--steps", "1:3", "--groups", "2", "--html", str(page)]


def test_what_cannot_be_shown_is_said(run: Path, tmp_path: Path) -> None:
    for odd in ("3:1", "x", "1:", "-1"):
        with pytest.raises(UsageError, match=f"--steps {odd}"):
            show_cases(run, None, odd, 2)
    with pytest.raises(UsageError, match="no folder"):
        show_cases(run, tmp_path / "no" / "page.html", None, 2)
    assert not (tmp_path / "no").exists()
