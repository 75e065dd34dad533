"""What scores are called, what they mean, and how they are written: one place for the page, tables and the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Word:
    """A score in words."""

    label: str
    meaning: str
    """One sentence."""
    percent: bool = True
    """Written in percent (or points); otherwise as a coefficient from -1 to 1."""


_WORDS = {
    "accuracy": Word("Accuracy", "Share of all queries that are answered rightly."),
    "accuracy_of_answered": Word("Accuracy where answered", "The same over the replies that name an answer."),
    "accuracy_per_item": Word("Accuracy per region", "Mean over regions of the share of their queries that are right."),
    "both": Word("Both", "Share of regions whose first and second query are both answered rightly."),
    "all_right": Word("All right", "Share of regions all of whose queries are answered rightly."),
    "any_right": Word("Any right", "Share of regions with at least one query answered rightly."),
    "mixed": Word("Mixed", "Share of regions with some queries right and some not."),
    "worst_of_k": Word("Worst of k", "Share of regions right in every query and in every seed."),
    "p_q2_given_q1": Word("P(q2 | q1)", "Share right in the second query, of regions right in the first."),
    "p_q1_given_q2": Word("P(q1 | q2)", "Share right in the first query, of regions right in the second."),
    "p_other_given_one": Word("P(other | one)", "Share right in another query of the region, of right ones."),
    "over_chance": Word("Over chance", "Accuracy less the mean chance of the queries, in points."),
    "all_right_over_chance": Word(
        "All right over chance", "All right less what guessing at every query gives, in points."
    ),
    "lift": Word("Lift", "Both less the product of the two accuracies, in points: 0 where they are independent."),
    "lift_of_all": Word("Lift of all", "All right less the product of the accuracies of all places, in points."),
    "phi": Word("Phi", "Correlation of right and wrong between the first and the second query.", False),
    "kappa": Word("Kappa", "Cohen's agreement of right and wrong between the two queries, beyond chance.", False),
    "correlation": Word("Correlation", "Correlation of right and wrong between any two queries of a region.", False),
    "unparsed": Word("Unparsed", "Share of replies that name no answer by the rules."),
    "refused": Word("Refused", "Share of replies that decline to answer."),
    "incomplete": Word("Incomplete", "Share of regions left out of region scores: some of their replies are missing."),
    "failed": Word("Failed", "Share of queries without a whole reply."),
    "flip_rate": Word("Flip rate", "Share of pairs of wordings (a query's own and another) with different answers."),
    "pairwise_agreement": Word("Agreement of wordings", "Share of pairs of wordings of a query with the same answer."),
    "flip_right_to_wrong": Word("Flips, right to wrong", "Share of such pairs right in the query's own words only."),
    "flip_wrong_to_right": Word("Flips, wrong to right", "Share of such pairs that are right in the other words only."),
    "flip_wrong_to_wrong": Word("Flips, wrong to wrong", "Share of such pairs with two different wrong answers."),
    "lost": Word("Lost", "Share of all pairs whose answer is gone in other words."),
    "gained": Word("Gained", "Share of all pairs that have an answer in other words only."),
    "right_in_all": Word("Right in all words", "Share of queries answered rightly in every wording."),
    "alpha_of_right": Word("Alpha of right", "Krippendorff's alpha of right and wrong over wordings.", False),
    "all_right_strict": Word("Strict all right", "Share of regions right in every query and every rotation."),
    "said_unseen": Word("“Cannot be seen”", "Share of replies that say so."),
    "alpha": Word("Krippendorff's alpha", "Agreement over wordings beyond chance.", False),
    "circular_strict": Word("Strict circular", "Share of queries right in every rotation of their choices."),
    "contradiction_rate": Word(
        "Contradictions", "Share of pairs of replies about one region that cannot both be true."
    ),
    "hallucination_rate": Word("Hallucination", "Share that name an answer although the evidence is gone."),
    "declined": Word("Declined", "Share that decline to answer where the evidence is gone."),
    "sensitivity": Word("Sensitivity", "Drop from the intact picture to the changed one, in points."),
    "changed": Word("Answers changed", "Share of queries answered otherwise with these latents."),
    "edit_changed": Word("Changed with the thing", "Share of scenes answered otherwise when the thing's colour is."),
    "edit_followed": Word("Followed the edit", "Share right before and after the edit, of those right before."),
    "edit_stayed": Word("Stayed", "Share of scenes answered alike when another thing is edited."),
    "edit_place_stayed": Word("Place stayed", "Share of scenes whose place is told alike when the colour is edited."),
    "accuracy_lost": Word("Accuracy lost", "Accuracy with the model's own latents less that with these, in points."),
    "text_changed": Word("Words changed", "Share of replies that differ in any word: a guard that latents were fed."),
    "follows": Word("Follows the donor", "Share naming the donor's answer, where that is another one of the choices."),
    "followed_plainly": Word("Donor's answer anyway", "The same share with the model's own latents."),
}


def word_of(name: str) -> Word:
    """The words of a score, by the last part of its name; a score without words is called by its name."""
    last = name.rsplit("/", 1)[-1]
    if last in _WORDS:
        return _WORDS[last]
    if last.startswith("cs_"):
        k = last.removeprefix("cs_")
        return Word(f"CS({k})", f"Share of sets of {k} queries of a region that are all right, mean over regions.")
    return Word(last.replace("_", " ").capitalize(), "")


def kind_of(name: str) -> Literal["share", "points", "coefficient"]:
    """How a score is written: a share in percent, a difference in points, or a coefficient from -1 to 1."""
    if not word_of(name).percent:
        return "coefficient"
    return "points" if name.rsplit("/", 1)[-1] in _DIFFERENCES else "share"


_DIFFERENCES = frozenset({
    "over_chance", "all_right_over_chance", "lift", "lift_of_all", "sensitivity", "accuracy_lost",
})  # fmt: skip


def titled(name: str) -> tuple[str, str]:
    """The title of a score and its meaning, where it stands among others of its family.

    "facet/color/accuracy" is "color", "evidence/masked/hallucination_rate" "masked: Hallucination".
    """
    family, *middle = name.split("/")[:-1] or [""]
    word = word_of(name)
    where = facet_name(" ".join(middle)).replace("-", " ")
    if where and name.endswith("/accuracy") and family in ("facet", "position"):
        return where, ""
    if where:
        return f"{where}: {word.label}", ""
    if family and word.label == "Accuracy":
        return {"paraphrase": "Accuracy over all wordings", "circular": "Accuracy over all rotations"}[family], ""
    return word.label, word.meaning


def written(value: float | None, percent: bool = True, signed: bool = False) -> str:
    """A score as it is printed: 61.3 (percent, points), or 0.21; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    shown = round(100 * value, 1) + 0.0 if percent else round(value, 2) + 0.0
    digits = 1 if percent else 2
    sign = "+" if signed and shown > 0 else ""
    return f"{sign}{shown:.{digits}f}".replace("-", "−")


def between(low: float | None, high: float | None, percent: bool = True, signed: bool = False) -> str:
    """An interval as it is printed; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{written(low, percent, signed)} to {written(high, percent, signed)}"


def facet_name(facet: str) -> str:
    """A facet in words."""
    return facet.replace("_", " ")


def plural(count: int, noun: str, many: str | None = None) -> str:
    """`3 items`, `1 query`."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
