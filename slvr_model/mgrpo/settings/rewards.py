"""Settings of rewards. Each term declares its range; a threshold that its values cannot cross is an error."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from slvr_model.mgrpo.settings.ranges import DISTANCES, Range
from slvr_model.section import Section

Term = Literal["answer", "format", "all_right", "consistency", "stability"]
TERMS: tuple[Term, ...] = ("answer", "format", "all_right", "consistency", "stability")
_GATES: dict[Term, Term] = {"answer": "format", "all_right": "format"}


class AnswerConfig(Section):
    """Is the answer right: 0 to 1."""

    weight: float = Field(1.0, ge=0)
    """Of the term."""
    kind: Literal["exact", "graded", "contained", "judge"] = "exact"
    """Open answers: equal to the right one; partly right where near it; half right where they contain it (released
    code); or as a judge says."""
    lettered: Literal["letter", "as_open"] = "letter"
    """Lettered questions: the letter alone counts; or they are scored as open ones are (released code)."""
    unknown: Literal["missing", "contained"] = "missing"
    """Where a judge does not know: there is no reward; or kind `contained` replaces it (released code), which
    changes the scale in the middle of a run."""
    right_from: float = Field(1.0, gt=0, le=1)
    """From which value on an answer counts as right, for the share of right answers that is logged."""
    query_weights: list[float] | None = None
    """With `joint`: what the first, second, ... query weigh (released code: 0.7, 0.3); unless told, all the same."""

    def range(self, queries: int = 2) -> Range:
        """Of values, not weighted."""
        return Range(0.0, 1.0)

    @model_validator(mode="after")
    def _weighed(self) -> AnswerConfig:
        weights = self.query_weights
        if weights is not None and (min(weights, default=-1.0) < 0 or abs(sum(weights) - 1) > 1e-6):
            raise ValueError(f"query_weights {weights}: weights of at least 0 that add up to 1 are needed")
        return self


class FormatConfig(Section):
    """Is the reply whole: 0 or 1."""

    weight: float = Field(0.2, ge=0)
    """Of the term."""

    def range(self, queries: int = 2) -> Range:
        """Of values, not weighted."""
        return Range(0.0, 1.0)


class AllRightConfig(Section):
    """Own correctness times that of the region's other queries: 0 to 1."""

    weight: float = Field(1.0, ge=0)
    """Of the term."""
    others: Literal["mean", "product"] = "mean"
    """Of the other queries' mean correctness, where there are several."""

    def range(self, queries: int = 2) -> Range:
        """Of values, not weighted."""
        return Range(0.0, 1.0)


class ConsistencyConfig(Section):
    """Minus the distance between a rollout's latents and those of the other queries' rollouts of the same number."""

    weight: float = Field(0.0, ge=0)
    """Of the term."""
    distance: Literal["cosine", "l2"] = "cosine"
    """Cosine: 1 - cos, 0 to 2. L2: the norm of the difference (the paper)."""
    semantic: float = Field(0.01, ge=0)
    """Weight of the distance between semantic latents."""
    visual: float = Field(0.01, ge=0)
    """Weight of the mean distance between visual latents of one slot."""

    def range(self, queries: int = 2) -> Range:
        """Of values, not weighted."""
        return DISTANCES[self.distance].times(-(self.semantic + self.visual) * (queries - 1))

    @model_validator(mode="after")
    def _acts(self) -> ConsistencyConfig:
        if self.weight and not (self.semantic or self.visual):
            raise ValueError(f"weight {self.weight:g}, but semantic and visual are 0: nothing is compared")
        return self


class StabilityConfig(Section):
    """Minus what a rollout's latents are further from the reference's than a margin."""

    weight: float = Field(0.0, ge=0)
    """Of the term."""
    distance: Literal["cosine", "l2"] = "cosine"
    """Cosine: 1 - cos, 0 to 2. L2: the norm of the difference (the paper)."""
    semantic_margin: float = Field(0.1, ge=0)
    """Distance between semantic latents up to which nothing is lost."""
    visual_margin: float = Field(0.1, ge=0)
    """Mean distance between visual latents up to which nothing is lost."""
    most: float | None = Field(None, gt=0)
    """Largest loss of each of the two (released code: 1); unless told, what the distance allows."""
    inert: bool = False
    """Allow margins that no distance exceeds, as the released code's 15 on 1 - cos: the term is then always 0."""

    def range(self, queries: int = 2) -> Range:
        """Of values, not weighted."""
        highest = DISTANCES[self.distance].high
        beyond = [max(0.0, highest - margin) for margin in (self.semantic_margin, self.visual_margin)]
        return Range(-sum(min(one, self.most) if self.most is not None else one for one in beyond) + 0.0, 0.0)

    @model_validator(mode="after")
    def _reachable(self) -> StabilityConfig:
        known = DISTANCES[self.distance]
        for name in ("semantic_margin", "visual_margin"):
            margin = getattr(self, name)
            if margin >= known.high and not self.inert:
                raise ValueError(
                    f"{name} {margin:g}: a {self.distance} distance is {known}, so the term would always be 0; "
                    f"take a margin below {known.high:g}, or inert true to have it all the same"
                )
        return self


class CostParityConfig(Section):
    """Among the best rollouts of a query, dearer ones lose: factor = least cost among the best / own cost, 0 to 1."""

    within: float = Field(0.0, ge=0)
    """Rollouts are among the best whose reward is at most so much below the best."""

    def range(self, queries: int = 2) -> Range:
        """Of the factor."""
        return Range(0.0, 1.0)


class RewardConfig(Section):
    """What a rollout earns: the sum of weighted terms. The defaults are preset `ours`."""

    answer: AnswerConfig = Field(default_factory=AnswerConfig)
    """Is the answer right."""
    format: FormatConfig = Field(default_factory=FormatConfig)
    """Is the reply whole."""
    all_right: AllRightConfig = Field(default_factory=AllRightConfig)
    """Are the region's other queries answered as well."""
    consistency: ConsistencyConfig = Field(default_factory=ConsistencyConfig)
    """Are the latents of a region's queries alike. Constant among a query's rollouts unless latents are drawn."""
    stability: StabilityConfig = Field(default_factory=StabilityConfig)
    """Have the latents stayed near the reference's. Constant among a query's rollouts unless latents are drawn."""
    cost_parity: CostParityConfig | None = None
    """Prefer the cheaper of equally good rollouts."""
    gates: dict[Term, Term] = Field(default_factory=lambda: {**_GATES})
    """A term counts only where its gate is above 0."""
    joint: bool = False
    """One reward for rollout g of all queries together (released code), in place of one for each."""
    missing: Literal["error", "zero", "redistribute", "drop"] = "drop"
    """Where a term cannot be told: end the run; count 0; give its weight to the others, which changes the scale; or
    leave the rollout out."""
    constant_share: float = Field(0.95, gt=0, le=1)
    """Say that a term does nothing where it is constant in this share of groups."""
    constant_after: int = Field(20, ge=1)
    """Groups that have to be seen before."""

    def weights(self) -> dict[Term, float]:
        """Terms that weigh something."""
        named = {name: float(getattr(self, name).weight) for name in TERMS}
        return {name: weight for name, weight in named.items() if weight > 0}

    def needed(self) -> tuple[Term, ...]:
        """Terms that have to be computed: weighed, or a gate of one that is."""
        weighed = self.weights()
        gates = {self.gates[name] for name in weighed if name in self.gates}
        return tuple(name for name in TERMS if name in weighed or name in gates)

    @property
    def asks_judge(self) -> bool:
        """Whether a term is computed from what a judge says of answers."""
        return self.answer.kind == "judge" and not {"answer", "all_right"}.isdisjoint(self.needed())

    def range(self, queries: int = 2) -> Range:
        """Of the whole reward."""
        total = Range(0.0, 0.0)
        for name, weight in self.weights().items():
            one = getattr(self, name).range(queries).times(weight)
            gated = Range(min(one.low, 0.0), max(one.high, 0.0)) if name in self.gates else one
            total = total.plus(gated)
        return total

    @model_validator(mode="after")
    def _fits(self) -> RewardConfig:
        if not self.weights():
            raise ValueError("all weights are 0: nothing is rewarded")
        for name, gate in self.gates.items():
            if name == gate or gate in self.gates:
                raise ValueError(f"gates: {name} has gate {gate}, which is gated itself")
            if getattr(self, gate).range().high <= 0:
                raise ValueError(f"gates: {name} has gate {gate}, whose values are never above 0: it would never open")
        width = self.range().width
        if self.cost_parity and self.cost_parity.within >= width:
            raise ValueError(
                f"cost_parity.within {self.cost_parity.within:g}: rewards differ by {width:g} at most, so all would "
                "be among the best; take less"
            )
        if self.answer.query_weights is not None and not self.joint:
            raise ValueError("answer.query_weights without joint: each query has its own reward; set joint to true")
        if self.joint and self.all_right.weight:
            raise ValueError("joint already rewards all queries together: set all_right.weight to 0")
        return self
