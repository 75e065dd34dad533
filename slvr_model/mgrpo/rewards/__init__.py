"""Terms of the reward: pure functions of a group's rollouts, one file each; their ranges stand with their settings.

    facts = facts_of(rollouts, judged=..., reference=...)       # `facts.py`; or Facts(...) by hand
    rewards = composed(facts, config.rewards)                   # `slvr_model/mgrpo/composer.py`

Missing is not 0: a term says where it cannot be told, and the composer what then happens.
"""
