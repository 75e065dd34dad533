"""What can be read from latents: by a line, and by the nearest profile.

N queries, X numbers of a query's latents, C classes

A *linear probe* of a word (the region's colour, by its profile; without profiles, the right answer to questions on that
facet) is ridge regression onto one column per class, fitted on the pictures of four folds and tested on the fifth. The
*interpreter probe* takes the profile whose embedding is nearest to a semantic latent, of all profiles of the run, and
counts which fields it has right (after Heima, 2501.19201, whose interpreter is a language model). Each is held against
the same with zero latents (the most frequent word; any profile) and with the latents of other pictures.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmark.agreement import Key, Row
from benchmark.interventions.latents import Survey
from benchmark.interventions.measures import keys_of, over_pictures
from benchmark.interventions.profiles import Profiles
from benchmark.metrics import ratio
from benchmark.scores import Estimate

Array = npt.NDArray[np.float64]
FOLDS = 5
RIDGE = 0.1
"""Times the mean squared length of the centred latents: what is added to the diagonal."""
FEWEST = 20
"""Queries with a word, below which it is not probed."""
CONTROLS = ("own", "zero", "shuffled")
"""The model's latents, none, those of queries about other pictures."""


def probes_of(survey: Survey, profiles: Profiles | None) -> dict[str, Estimate]:
    """Every probe, by "linear/visual/color/own", "interpreter/color/shuffled", "interpreter/region/own", ..."""
    found: dict[str, Estimate] = {}
    words = words_of(survey, profiles)
    for kind, latents_nx in survey.flat().items():
        for name, told in words.items():
            for control, estimate in linear_probe(keys_of(survey), latents_nx.astype(np.float64), told).items():
                found[f"linear/{kind}/{name}/{control}"] = estimate
    return found | (interpreter_probe(survey, profiles) if profiles is not None else {})


def words_of(survey: Survey, profiles: Profiles | None) -> dict[str, list[str | None]]:
    """Name -> the word [N] that latents should tell; None where it is unknown. What has one word only is left out."""
    told: dict[str, list[str | None]] = defaultdict(lambda: [None] * len(survey))
    for place, (item, query) in enumerate(survey.asked):
        if profiles is None:
            told[query.facet][place] = query.answer
        elif item.region_id in profiles:
            for name, value in profiles.facts(item.region_id).items():
                told[name][place] = value
    known = {name: [word for word in words if word is not None] for name, words in told.items()}
    return {name: told[name] for name in sorted(told) if len(known[name]) >= FEWEST and len(set(known[name])) > 1}


def linear_probe(keys: Sequence[Key], latents_nx: Array, words: Sequence[str | None]) -> dict[str, Estimate]:
    """Share of words that a line finds, on pictures that it was not fitted on, with each of `CONTROLS`."""
    known = [n for n, word in enumerate(words) if word is not None]
    own_keys = [keys[n] for n in known]
    truth = np.array([words[n] for n in known])
    folds_m = np.array([_fold(key[0]) for key in own_keys])
    latents_mx = latents_nx[known]
    given = {"own": latents_mx, "zero": np.zeros((len(known), 1)), "shuffled": latents_mx[shuffled(own_keys)]}
    found = {}
    for control in CONTROLS:
        right_m = _told(given[control], truth, folds_m) == truth
        rows: list[tuple[Key, Row]] = [
            (key, {"right": float(right), "replies": 1.0}) for key, right in zip(own_keys, right_m, strict=True)
        ]
        found[control] = over_pictures(rows, ratio("probe", "right", "replies"), share=True)
    return found


def _fold(picture: str) -> int:
    return int.from_bytes(hashlib.sha256(picture.encode()).digest()[:4], "big") % FOLDS


def _told(latents_mx: Array, truth: npt.NDArray[np.str_], folds_m: npt.NDArray[np.int64]) -> npt.NDArray[np.str_]:
    """The word that a line fitted on the other folds tells for each query."""
    told = np.full(len(truth), "", truth.dtype)
    for fold in range(FOLDS):
        fit_m, test_m = folds_m != fold, folds_m == fold
        if not test_m.any() or not fit_m.any():
            continue
        classes, code = np.unique(truth[fit_m], return_inverse=True)
        goal_mc = np.eye(len(classes))[code]
        base_c = goal_mc.mean(0)
        middle_x = latents_mx[fit_m].mean(0)
        fit_mx, test_mx = latents_mx[fit_m] - middle_x, latents_mx[test_m] - middle_x
        scale = float((fit_mx**2).sum(1).mean())
        scores_mc = np.tile(base_c, (int(test_m.sum()), 1))
        if scale > 0:
            square_mm = fit_mx @ fit_mx.T + RIDGE * scale * np.eye(len(fit_mx))
            scores_mc = scores_mc + test_mx @ (fit_mx.T @ np.linalg.solve(square_mm, goal_mc - base_c))
        told[test_m] = classes[scores_mc.argmax(1)]
    return told


def shuffled(keys: Sequence[Key]) -> npt.NDArray[np.int64]:
    """For each query another one, of another picture as far as no picture has half of them; each is taken once."""
    order = sorted(range(len(keys)), key=lambda n: (hashlib.sha256(keys[n][0].encode()).digest(), keys[n]))
    most = max(Counter(key[0] for key in keys).values(), default=0)
    step = max(most, len(keys) // 2)
    taken = np.zeros(len(keys), np.int64)
    for place, n in enumerate(order):
        taken[n] = order[(place + step) % len(order)]
    return taken


def interpreter_probe(survey: Survey, profiles: Profiles) -> dict[str, Estimate]:
    """Which fields the nearest profile has right, and whether it is that of a region with the same embedding.

    With zero latents every profile is as near, so that a field counts by the share of profiles that have it right.
    """
    if survey.semantic_ne is None or survey.semantic_target_ne is None:
        return {}
    keys = keys_of(survey)
    known = [n for n, (item, _) in enumerate(survey.asked) if np.isfinite(survey.semantic_target_ne[n]).all()]
    first: dict[str, int] = {}
    for n in known:
        first.setdefault(survey.asked[n][0].region_id, n)
    facts = {region_id: profiles.facts(region_id) for region_id in first}
    book_rx = _unit(survey.semantic_target_ne[list(first.values())].astype(np.float64))
    regions = list(first)
    same_rr = book_rx @ book_rx.T > 1 - 1e-6
    own_keys = [keys[n] for n in known]
    latents_mx = survey.semantic_ne[known].astype(np.float64)
    nearest = {
        "own": (_unit(latents_mx) @ book_rx.T).argmax(1),
        "shuffled": (_unit(latents_mx[shuffled(own_keys)]) @ book_rx.T).argmax(1),
    }
    place_of = {region_id: r for r, region_id in enumerate(regions)}
    rows: dict[tuple[str, str], list[tuple[Key, Row]]] = defaultdict(list)
    shares = _shares(facts)
    for m, n in enumerate(known):
        region_id = survey.asked[n][0].region_id
        own = place_of[region_id]
        for control, taken in nearest.items():
            other = facts[regions[taken[m]]]
            rows["region", control].append((keys[n], _row(float(same_rr[own, taken[m]]))))
            for name, value in facts[region_id].items():
                rows[name, control].append((keys[n], _row(float(other.get(name) == value))))
        rows["region", "zero"].append((keys[n], _row(float(same_rr[own].mean()))))
        for name, value in facts[region_id].items():
            rows[name, "zero"].append((keys[n], _row(shares[name, value])))
    values = {name: {own[name] for own in facts.values() if name in own} for name, _ in rows}
    named = sorted(name for name, told in values.items() if len(told) > 1)
    return {
        f"interpreter/{name}/{control}": over_pictures(
            rows[name, control], ratio("probe", "right", "replies"), share=True
        )
        for name in ("region", *named)
        for control in CONTROLS
        if len(rows[name, control]) >= FEWEST
    }


def _row(right: float) -> Row:
    return {"right": right, "replies": 1.0}


def _shares(facts: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, str], float]:
    """Share of all profiles that have a value in a field."""
    counts = Counter((name, value) for own in facts.values() for name, value in own.items())
    return {key: number / len(facts) for key, number in counts.items()}


def _unit(rows_nx: Array) -> Array:
    lengths = np.linalg.norm(rows_nx, axis=1, keepdims=True)
    found: Array = np.divide(rows_nx, lengths, out=np.zeros_like(rows_nx), where=lengths > 0)
    return found
