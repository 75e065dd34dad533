"""What replies name: the conformance files, properties that hold for all replies, and bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.extract import VERSION, Extracted, extracted, open_answer
from benchmark.extract.clean import LONGEST, cleaned
from benchmark.extract.marks import choices_of
from benchmark.extract.rules import read as read_fully
from benchmark.extract.words import NUMBERS, bare
from slvr_data.stats import wilson
from tests.benchmark.labelled import (
    AUTHORS,
    INDEPENDENT,
    TINY,
    Labelled,
    first_contacts,
    labelled,
    read,
    sha256,
    tally,
)
from tests.builds import in_time

COLORS = ("red", "blue", "green", "white")
LETTERS = "ABCD"
MEGABYTE = 1 << 20


def outcome(reply: str, choices: tuple[str, ...] = COLORS) -> tuple[str, int | None]:
    found = extracted(reply, choices)
    return found.outcome, found.index


# The conformance files


@pytest.mark.parametrize("one", labelled(AUTHORS), ids=lambda one: f"{one.note}: {one.reply[:30]!r}")
def test_the_authors_replies(one: Labelled) -> None:
    if one.choices:
        assert outcome(one.reply, one.choices) == (one.outcome, one.index)
    else:
        found = open_answer(one.reply, one.expected)
        assert (found.outcome, bare(found.text or "")) == (one.outcome, bare(one.text or ""))


def test_the_files_are_large_and_mixed() -> None:
    assert len(labelled(AUTHORS)) >= 200
    assert all(len(labelled(file)) >= 150 for file in INDEPENDENT)
    assert {one.outcome for one in labelled(AUTHORS)} == {"answer", "unparsed", "refused"}


def test_the_independent_replies_are_those_of_the_first_contacts() -> None:
    contacts = first_contacts()
    assert [first["file"] for first in contacts] == [file.name for file in INDEPENDENT]
    for file, first in zip(INDEPENDENT, contacts, strict=True):
        assert sha256(file) == first["file_sha256"]
        assert first["right"] + first["misread"] + first["unread"] == first["replies"] == len(labelled(file))
        for part in ("right", "misread", "unread"):
            assert first["lettered"][part] + first["open"][part] == first[part]
        assert sum(first["lettered"]["named_choice"].values()) == first["lettered"]["replies"]


@pytest.mark.parametrize(
    ("file", "right", "misread"),
    [*zip((*INDEPENDENT, TINY), (335, 276, 446, 287, 106), (1, 0, 0, 6, 0), strict=True)],
)
def test_the_independent_replies_are_read_no_worse_than_they_were(file: Path, right: int, misread: int) -> None:
    now = tally(labelled(file))
    assert now["right"] >= right
    assert now["misread"] <= misread


def test_the_documentation_tells_the_figures_that_are_measured() -> None:
    text = (Path(__file__).parents[2] / "docs/extraction.md").read_text(encoding="utf-8")
    contacts = first_contacts()
    for file, first in zip(INDEPENDENT, contacts, strict=True):
        now = tally(labelled(file))
        low, high = wilson(first["right"], first["replies"])
        assert f"{first['right'] / first['replies']:.1%}".replace("%", " %") in text
        assert f"{low * 100:.1f} to {high * 100:.1f} %" in text
        assert f"{first['right']} of {first['replies']}" in text
        assert f"{now['right']} of {now.total()}" in text
        assert first["file_sha256"] in text and first["rules_sha256"] in text
    last = contacts[-1]
    assert f"**{last['right'] / last['replies']:.1%}**".replace("%", " %") in text
    assert f'"{VERSION}"' in text
    assert (f"Version {VERSION} has no first contact" in text) == (last["rules_version"] != VERSION)


def test_a_wrong_label_is_told_from_a_right_one() -> None:
    one = Labelled("C", COLORS, None, "answer", 1, "blue", "")
    assert read(one) == "misread"
    assert read(Labelled("hm", COLORS, None, "answer", 1, "blue", "")) == "unread"


# Properties

TALK = st.text(alphabet=st.characters(codec="utf-8"), max_size=200)


@given(TALK)
def test_any_text_has_an_outcome(reply: str) -> None:
    found = extracted(reply, COLORS)
    assert (found.index is None) == (found.outcome != "answer")
    assert found.index is None or found.index in range(4)
    assert open_answer(reply, "red", COLORS).outcome in ("answer", "unparsed", "refused")


@given(st.sampled_from(range(4)), st.sampled_from(range(4)))
def test_two_answers_are_none(first: int, second: int) -> None:
    for form in ("{} or {}", "The answer is {}. The answer is {}.", "{}/{}", "{}\n{}", "\\boxed{{{}}} \\boxed{{{}}}"):
        for words in (LETTERS, COLORS):
            found = outcome(form.format(words[first], words[second]))
            assert found == (("answer", first) if first == second else ("unparsed", None)), form


@given(st.permutations(COLORS), st.sampled_from(range(4)), st.booleans())
def test_the_order_of_choices_is_told_by_letters_and_not_by_words(
    choices: list[str], place: int, sentence: bool
) -> None:
    word = choices[place]
    said = f"The cup is {word}." if sentence else word
    assert outcome(said, tuple(choices)) == ("answer", place)
    assert outcome(f"The answer is {LETTERS[place]}.", tuple(choices)) == ("answer", place)
    assert outcome(f"{LETTERS[place]}. {word}", tuple(choices)) == ("answer", place)


DENIALS = (
    "not {}", "It isn't {}.", "The answer is not {}.", "{} is wrong.", "Neither {} nor more.",
    "I don't think it is {}.", "Anything but {}", "rather than {}", "{} can be ruled out.",
)  # fmt: skip


@pytest.mark.parametrize("form", DENIALS)
@pytest.mark.parametrize("named", [*LETTERS, *COLORS])
def test_a_denied_choice_is_never_named(form: str, named: str) -> None:
    assert outcome(form.format(named))[0] != "answer"


@pytest.mark.parametrize(
    "reply",
    ["A", "(B)", "C.", "**D**", " B) ", "B. blue", "C) green.", "blue", "Blue.", "WHITE", "A:", "E", "A. blue"],
)
def test_the_quick_way_and_the_full_one_agree(reply: str) -> None:
    full = read_fully(reply, choices_of(COLORS))
    assert outcome(reply) == (full.outcome, full.index)


def test_letters_that_are_choices_too_are_ambiguous_both_ways() -> None:
    assert outcome("B", ("B", "A", "D", "C"))[0] == "unparsed"
    assert outcome("option B", ("B", "A", "D", "C")) == ("answer", 1)
    assert outcome("B. A", ("B", "A", "D", "C")) == ("answer", 1)


def test_choices_that_differ_in_case_only_are_told_by_letters_alone() -> None:
    assert outcome("Stop", ("STOP", "stop"))[0] == "unparsed"
    assert outcome("B", ("STOP", "stop")) == ("answer", 1)


def test_a_choice_that_is_empty_or_odd_does_no_harm() -> None:
    odd = ("", "(a+b)*", "\\boxed{}", "C")
    assert outcome("option D", odd) == ("answer", 3)
    assert outcome("option A", odd) == ("answer", 0)


@pytest.mark.parametrize(
    ("reply", "choices", "expected"),
    [
        ("(A) No", ("Yes", "No"), None), ("A No", ("Yes", "No"), None), ("**A** No", ("Yes", "No"), None),
        ("(A) Yes", ("Yes", "No"), 0), ("(A) dog", ("a cat", "a dog"), None), ("A dog", ("a cat", "a dog"), 1),
        ("The answer is A. No, B. Hmm, A or B, I keep going back and forth.", COLORS, None),
        ("I keep going back and forth. The answer is A.", COLORS, 0),
        ("The answer is A. I cannot decide.", COLORS, None),
        ("A, because the swing is going back and forth.", COLORS, 0),
        ("The answer is A; I cannot choose B, it is dark.", COLORS, 0),
        ("12 cm", ("8cm", "10cm", "12cm"), 2), ("About 12cm", ("8 cm", "12 cm"), 1), ("112 cm", ("8cm", "12cm"), None),
        ("12 mm", ("8cm", "12cm"), None), ("The 5L bottle is red.", COLORS, 0),
        ("The door is outside the frame, it cannot be seen.", ("open", "closed", "it cannot be seen"), 2),
        ("If it cannot be seen, then open.", ("open", "closed", "it cannot be seen"), None),
        ("根据图片，正确的选项是 A。", ("cat", "dog"), 0), ("正确的选项不是 A。", ("cat", "dog"), None),
    ],
)  # fmt: skip
def test_what_the_second_first_contact_taught(reply: str, choices: tuple[str, ...], expected: int | None) -> None:
    assert outcome(reply, choices) == ("unparsed" if expected is None else "answer", expected)


@pytest.mark.parametrize("letter", LETTERS + "EZ")
@pytest.mark.parametrize("words", COLORS)
@pytest.mark.parametrize("form", ["{}. {}", "The answer is {}. {}", "{}) the {}", "**{}** {}", "({}) {}"])
def test_a_letter_with_words_is_that_choice_or_none(letter: str, words: str, form: str) -> None:
    """A letter that no choice has, too: it once ended in an error."""
    own = LETTERS.find(letter) == COLORS.index(words)
    assert outcome(form.format(letter, words)) == (("answer", COLORS.index(words)) if own else ("unparsed", None))


@settings(max_examples=50)
@given(st.integers(0, 99), st.integers(0, 99))
def test_number_words_are_their_numbers_and_no_others(said: int, offered: int) -> None:
    for word in (NUMBERS[said], NUMBERS[said].replace(" ", "-")):
        found = outcome(f"There are {word}.", (str(offered), "many"))
        assert found == (("answer", 0) if said == offered else ("unparsed", None)), word
    assert outcome(f"{NUMBERS[said]} hundred", (str(offered), "many"))[0] == "unparsed"


@settings(max_examples=25)
@given(st.integers(1000, 10**8), st.sampled_from([",", " ", ""]))
def test_separators_of_thousands_make_no_difference(value: int, mark: str) -> None:
    said = f"{value:,}".replace(",", mark)
    for choice in (str(value), f"{value:,}"):
        assert outcome(f"The value is {said}.", ("12", choice, str(value + 1))) == ("answer", 1)
    assert outcome(f"The value is {said}.", tuple(said.split(mark) if mark else ["7"]))[0] == "unparsed"


@pytest.mark.parametrize(
    ("one", "other"),
    [("dog", "dogs"), ("bench", "benches"), ("berry", "berries"), ("knife", "knives"), ("mouse", "mice"),
     ("box", "boxes"), ("woman", "women"), ("boy", "boys"), ("bus", "buses")],
)  # fmt: skip
def test_either_number_of_a_noun_is_read_and_denied_unless_both_are_choices(one: str, other: str) -> None:
    for choice, said in ((one, other), (other, one)):
        assert outcome(f"The picture shows {said}.", (choice, "a tree")) == ("answer", 0)
        assert outcome(f"There are no {said}.", (choice, "a tree"))[0] == "unparsed"
        assert outcome(f"I see {said} and a tree.", (choice, "a tree"))[0] == "unparsed"
        assert outcome(said, (choice, "a tree", said)) == ("answer", 2)


def test_json_without_an_answer_declines_where_it_says_so() -> None:
    assert outcome('{"answer": null, "reason": "I cannot see the cup."}')[0] == "refused"
    assert outcome('{"answer": null, "reason": "The cup is red."}')[0] == "unparsed"
    assert outcome('{"color": "red", "reason": "I cannot see the cup."}')[0] == "unparsed"
    assert outcome('{"answer": "A", "reason": "I cannot see the rest."}') == ("answer", 0)


# Long and hostile replies

HOSTILE = (
    "a", " ", "\n", "A ", "C", "(", "[", "{", "<", "<think>", "<answer>", "\\boxed{", '{"a":', "not ", "if ", "or red ",
    "red or ", "the answer is ", "is it red? ", "- ", "1", "word, ", "~~", "*", "`", "wait ", "红", "\u200b",
    "C because it is ", "no ", "1,000 ", "twenty ", "so the ", "is it C? Yes. ", "though it ", "1 + ",
)  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE, ids=repr)
def test_a_megabyte_is_read_in_little_time(part: str) -> None:
    in_time(5, lambda: extracted(part * (MEGABYTE // len(part)), COLORS))  # it takes a few tenths of a second


def test_the_end_of_a_long_reply_counts_and_its_beginning_may_contradict() -> None:
    filler = "Looking at the handle once more, I weigh what can be seen. " * (MEGABYTE // 60)
    assert outcome(f"{filler}\n\nThe answer is C.") == ("answer", 2)
    assert outcome(f"The answer is A. {filler}\n\nThe answer is C.") == ("unparsed", None)
    assert outcome("C" + " " * MEGABYTE) == ("answer", 2)
    assert outcome(filler) == ("unparsed", None)
    assert len(cleaned(filler).text) <= LONGEST + 10


def test_more_choices_than_letters_and_none_at_all() -> None:
    assert outcome("Z", tuple(f"thing {n}" for n in range(26))) == ("answer", 25)
    with pytest.raises(ValueError, match="27 choices"):
        extracted("the thing", [f"thing {n}" for n in range(27)])
    with pytest.raises(ValueError, match="open_answer"):
        extracted("A", [])


def test_signs_of_the_private_area_in_a_reply_mean_nothing() -> None:
    assert extracted("\ue002", COLORS) == Extracted("unparsed", None, "empty")
    assert outcome("\ue000 the answer is C \ue101") == ("answer", 2)


# Open answers


@pytest.mark.parametrize(
    ("reply", "expected", "correct"),
    [
        ("red", "red", True), ("It's red.", "red", True), ("not red", "red", None), ("crimson", "red", None),
        ("blue", "red", False), ("It is blue, not red.", "red", False), ("3", "three", True), ("4", "three", False),
        ("1,250", "1250", True), ("3/4", "0.75", True), ("-5", "5", False), ("17", "7", False), ("yes", "no", False),
        ("Nope.", "no", True), ("grey", "gray", True), ("red and white", "red", None), ("unhappy", "happy", None),
        ("5... wait, I missed one. 6.", "6", True), ("3 or 4", "3", None), ("", "red", None),
    ],
)  # fmt: skip
def test_open_answers(reply: str, expected: str, correct: bool | None) -> None:
    assert open_answer(reply, expected, ("blue", "green") if expected == "red" else ()).correct is correct


@pytest.mark.parametrize(
    ("reply", "expected", "correct"),
    [
        ("It is not red, it is blue.", "red", False), ("The car is dark blue.", "red", False), ("Blue.", "red", False),
        ("It is not blue, it is red.", "red", True), ("not red", "red", None), ("It might be blue", "red", None),
        ("light red", "pink", None), ("dark orange", "brown", None), ("dark gray", "black", None),
        ("The car next to the red one is blue.", "red", None), ("It is crimson; the wall is white.", "red", None),
        ("bluish green", "blue", None), ("blue and white", "red", None),
        ("One on the left, two on the right. In total there are 3 cups.", "2", False),
        ("Two red, one blue. In total there are 3 cups.", "2", None), ("There are 3 in total.", "3", True),
        ("The table has 2 red cups, and to the left of it are several others. In total there are 5 cups.", "2", None),
        ("In total there are 3 or 4 cups.", "2", None), ("The total is 3.5 meters.", "3", False),
        ("The answer is", "12", None), ("#### ####", "3", None), ("12 cm", "12cm", True), ("yes", "yes", True),
    ],
)  # fmt: skip
def test_open_answers_of_closed_kinds(reply: str, expected: str, correct: bool | None) -> None:
    assert open_answer(reply, expected).correct is correct


@pytest.mark.parametrize("reply", ["The answer is", "Answer:", "It is", "There are", "#### #### ####", "???"])
def test_a_reply_that_breaks_off_or_has_no_words_is_no_answer(reply: str) -> None:
    assert open_answer(reply, "12").outcome == "unparsed"


def test_an_open_answer_without_an_expected_one_is_never_right() -> None:
    found = open_answer("The cup is red.", None)
    assert (found.outcome, found.text, found.correct) == ("answer", "red", None)
