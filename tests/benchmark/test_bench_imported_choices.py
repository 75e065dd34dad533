"""Choices in the words of a question are read as a person reads them, or not at all."""

from __future__ import annotations

import pytest

from benchmark.imported_choices import choices_in, chosen
from benchmark.imported_rows import FaultError


@pytest.mark.parametrize(
    ("text", "question", "choices"),
    [
        ("What?\nA. red\nB. blue", "What?", ["red", "blue"]),
        ("What?\n\nA. red\n\n \nB. blue\n", "What?", ["red", "blue"]),
        ("What?\nA.red\nB.blue", "What?", ["red", "blue"]),
        ("What?\nA: the (B) one\nB: blue", "What?", ["the (B) one", "blue"]),
        ("What?\nA. St. Bernard. Yes\nB. A. J. Smith. No", "What?", ["St. Bernard. Yes", "A. J. Smith. No"]),
        ("What?\n(A) red\n(B) blue\nAnswer with the letter.", "What?\nAnswer with the letter.", ["red", "blue"]),
        ("A. red\nB. blue\nWhich is it?", "Which is it?", ["red", "blue"]),
        ("What animal? (A) cat (B) dog", "What animal?", ["cat", "dog"]),
        ("What animal? (A)cat (B)dog", "What animal?", ["cat", "dog"]),
        ("What animal? A. cat, B. dog or C. St. Bernard", "What animal?", ["cat", "dog", "St. Bernard"]),
        ("What animal?\nA) cat B) dog", "What animal?", ["cat", "dog"]),
        ("What? (A) cat (B) dog\n(C) cow (D) hen", "What?", ["cat", "dog", "cow", "hen"]),
        ("What? (A) cat (B) dog. Answer with the letter.", "What?\nAnswer with the letter.", ["cat", "dog"]),
        ("What? (A) cat (B) dog Please answer. Now", "What?\nPlease answer. Now", ["cat", "dog"]),
        ("Where? (A) Maine (B) New York State", "Where?", ["Maine", "New York State"]),
        ("What? (A) cat (B) dog\nLook closely.", "What?\nLook closely.", ["cat", "dog"]),
        ("Is (A) larger than (B) here?", "Is (A) larger than (B) here?", []),
        ("What did A. B. Smith write?", "What did A. B. Smith write?", []),
        ("What?\nA. red", "What?\nA. red", []),
    ],
)
def test_choices_are_taken_out_and_all_else_stays(text: str, question: str, choices: list[str]) -> None:
    found = choices_in(text)
    assert (found.question, found.choices) == (question, choices)
    assert found.question.startswith(found.head)


@pytest.mark.parametrize(
    "text",
    [
        "What?\nA. red\nand dark\nB. blue",
        "What?\nA. red\nB. blue\nand dark\nC. green",
        "What? (A) cat (B) dog. Look closely",
        "What? (A) cat or (B) dog?",
        "A. red\nB. blue",
    ],
)
def test_choices_whose_end_cannot_be_told(text: str) -> None:
    with pytest.raises(FaultError) as fault:
        choices_in(text)
    assert fault.value.reason == "choices-unclear"


@pytest.mark.parametrize(
    ("answer", "choice"),
    [("B", "blue"), ("(B)", "blue"), ("B.", "blue"), ("B)", "blue"), ("blue", "blue"), ("B. blue", "blue"),
     ("(B) Blue.", "blue"), ("A: a red one", "a red one")],
)  # fmt: skip
def test_a_letter_is_its_choice(answer: str, choice: str) -> None:
    assert chosen(answer, ["a red one", "blue"]) == choice


@pytest.mark.parametrize("answer", ["A dog", "A cat", "B. red", "B blue", "C", "(A) blue", "a"])
def test_what_only_begins_like_a_letter_is_none(answer: str) -> None:
    with pytest.raises(FaultError) as fault:
        chosen(answer, ["cat", "blue"])
    assert fault.value.reason == "answer-not-in-choices"


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "B."])
def test_a_lone_letter_without_choices_is_a_fault(answer: str) -> None:
    with pytest.raises(FaultError) as fault:
        chosen(answer, [])
    assert fault.value.reason == "letter-without-choices"
    assert chosen("A dog", []) == "A dog" and chosen("7", []) == "7"
