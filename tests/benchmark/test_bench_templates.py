"""The form of a question, and which templates can be answered unseen."""

from __future__ import annotations

import math
import random

import pytest

from benchmark.stats import holm
from benchmark.templates import Guess, form_of, template_tests

LABELS = {"cup", "wine glass", "dog"}


@pytest.mark.parametrize(
    ("question", "template", "own", "nouns"),
    [
        ("What color is the leftmost cup?", "what color is {}?", "leftmost cup", "cup"),
        ("What color is the wine glass?", "what color is {}?", "wine glass", "wine glass"),
        ("How many wine glasses are there in the picture?", "how many {} are there in the picture?",
         "wine glasses", "wine glasses"),
        ("How large is the cup in the picture?", "how large is {} in the picture?", "cup", "cup"),
        ("Where is the red and blue cup, seen from the dog?", "where is {}, seen from {}?",
         "red and blue cup | dog", "cup | dog"),
        ("What color is the cup at the top left of the picture?", "what color is {}?",
         "cup at the top left of the picture", "cup"),
        ("What color is the cup left of the dog?", "what color is {}?", "cup left of the dog", "cup | dog"),
        ("Which of these is at the top of the picture?", "which of these is at {}?", "top of the picture", ""),
        ("Which large part is it?", "which large part is it?", "", ""),
        ('Is "EXIT" written on 2 doors?', "is {} written on {} doors?", '"exit" | 2', '"exit" | 2'),
        ("Is it hotdog?", "is it hotdog?", "", ""),
    ],
)  # fmt: skip
def test_forms(question: str, template: str, own: str, nouns: str) -> None:
    form = form_of(question, LABELS)
    assert (form.template, form.own, form.nouns) == (template, own, nouns)


def test_known_references_are_the_pictures_own_words() -> None:
    form = form_of("What does the man in a (red) hat hold?", set(), ["the man in a (red) hat"])
    assert form.template == "what does {} hold?"


def test_text_that_no_pattern_may_break() -> None:
    assert form_of("a\x000\x01 b\x00?", {"(", "a+"}).template
    assert form_of("", set()).template == ""


def guesses(template: str, number: int, accuracy: float, seed: int, per_picture: int = 1) -> list[Guess]:
    rng = random.Random(f"{template}{seed}")
    return [
        Guess("color", template, f"{template}{i // per_picture}", rng.random() < accuracy, 0.25) for i in range(number)
    ]


def test_a_template_that_is_answered_unseen_is_refused() -> None:
    found = {t.template: t for t in template_tests([*guesses("leak", 400, 0.4, 1), *guesses("fair", 400, 0.25, 1)])}
    assert found["leak"].refused and not found["fair"].refused
    assert found["leak"].queries == 400 and found["leak"].chance == 0.25
    assert found["leak"].tree()["refused"] is True


def test_worse_than_chance_is_not_refused() -> None:
    [found] = template_tests(guesses("bad", 400, 0.05, 1))
    assert found.p > 0.99 and not found.refused


def test_pictures_are_what_is_independent() -> None:
    """40 pictures that answer ten queries each alike are 40 observations, not 400."""
    alike = [Guess("color", "t", f"p{i // 10}", i // 10 < 14, 0.25) for i in range(400)]
    single = [Guess("color", "t", f"p{i}", i < 140, 0.25) for i in range(400)]
    [one], [two] = template_tests(alike), template_tests(single)
    assert one.accuracy == two.accuracy == 0.35
    variance = 14 * 7.5**2 + 26 * 2.5**2
    assert one.p == pytest.approx(math.erfc(40 / math.sqrt(2 * variance)) / 2)
    assert one.p > 0.05 > two.p


def test_few_fair_templates_are_refused() -> None:
    refused = 0
    for seed in range(100):
        tests = template_tests([g for t in range(8) for g in guesses(f"t{t}", 60, 0.25, seed)])
        refused += any(test.refused for test in tests)
    assert refused <= 12  # 5 expected; more than 12 of 100 happens once in 1,000 times


def test_holm_is_over_templates() -> None:
    own = [*guesses("a", 200, 0.3, 3), *guesses("b", 200, 0.33, 3)]
    alone = [template_tests([g for g in own if g.template == t])[0].p for t in "ab"]
    assert [t.p for t in template_tests(own)] == pytest.approx(holm(alone))
