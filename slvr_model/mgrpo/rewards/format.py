"""Is the reply whole (it ended, and an answer could be cut out of it): 1 or 0."""

from __future__ import annotations

from slvr_model.mgrpo.rewards.facts import Facts, Term


def formed(facts: Facts) -> Term:
    """The term, [k, G]."""
    return Term.of(facts.table(facts.formed))
