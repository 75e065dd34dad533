"""What latents are like: how many directions they use, how far they lie apart, how near to their targets.

N queries, K slots, D width, X = K * D or E numbers of a query's latents

    effective_rank    exp(-sum p ln p), p = s / sum s, s the singular values of the centred latents (Roy and Vetterli
                      2007): the number of directions that are used, of at most D
    spread_slots      sqrt(mean |z_nk - mean_k z_nk|^2 / mean |z_nk|^2): 0 where all slots of a query are the same
    spread_pictures   sqrt(mean |m_pk - m_k|^2 / mean |z_nk|^2), m_pk the mean over the queries of picture p: 0 where
                      all pictures are the same
    cosine_pictures   mean cosine of latents of queries about two pictures: 1 where all are the same
    within_region     mean distance |z_n - z_m| of two queries about one region
    within_picture    the same of two regions of one picture
    between_pictures  the same of two pictures
    within_over_...   the first over the others: well below 1 where latents tell regions apart and not questions
    target_r2         1 - sum |z - t|^2 / sum |t - mean_k t|^2 over slots with a target t, mean_k over the queries
    target_cosine     mean cosine of a semantic latent and its target
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmark.agreement import Key, Row, summed
from benchmark.interventions.latents import Survey
from benchmark.metrics import Columns, Statistic, divided
from benchmark.scores import Estimate, estimate, rounded
from benchmark.stats import Resampled, jackknife_error, t_interval

Array = npt.NDArray[np.float64]
PARTNERS = 4
"""Queries of other pictures that each query is held against, drawn by hash."""
ROWS = 2048
"""Latents that an effective rank is found of, at most."""
GROUPS = 20
"""Groups of pictures that are left out in turn, to see how much an effective rank varies."""
FEWEST = 20
"""Pictures below which no interval is given: as of scores."""
DRAWS = 2_000
_COLUMNS = tuple(f"{name}{end}" for name in ("region", "picture", "pictures") for end in ("", "_n"))


def keys_of(survey: Survey) -> list[Key]:
    """Picture, item, query, 0 of each query."""
    return [(item.image_id, item.item_id, query.query_id, 0) for item, query in survey.asked]


def measures_of(survey: Survey) -> dict[str, Estimate]:
    """Every measure of the visual and the semantic latents, by "visual/effective_rank", ..."""
    keys = keys_of(survey)
    found: dict[str, Estimate] = {}
    if survey.visual_nkd is not None:
        visual_nkx = survey.visual_nkd.astype(np.float64)
        found = _named("visual", _of_kind(keys, visual_nkx))
        if survey.visual_target_nkd is not None:
            found |= _named("visual", {"target_r2": _r2(keys, visual_nkx, survey.visual_target_nkd.astype(np.float64))})
    if survey.semantic_ne is not None:
        semantic_nkx = survey.semantic_ne.astype(np.float64)[:, None]
        found |= _named("semantic", _of_kind(keys, semantic_nkx))
        if survey.semantic_target_ne is not None:
            target_nx = survey.semantic_target_ne.astype(np.float64)
            found |= _named("semantic", {"target_cosine": _cosine(keys, semantic_nkx[:, 0], target_nx)})
    return found


def _named(prefix: str, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {f"{prefix}/{name}": value for name, value in found.items()}


def _of_kind(keys: Sequence[Key], latents_nkx: Array) -> dict[str, Estimate]:
    found = {"effective_rank": rank_of(keys, latents_nkx)}
    if latents_nkx.shape[1] > 1:
        found["spread_slots"] = _spread(keys, latents_nkx, latents_nkx.mean(1, keepdims=True))
    found["spread_pictures"] = _between(keys, latents_nkx)
    return found | _distances(keys, latents_nkx.reshape(len(keys), -1))


def rank_of(keys: Sequence[Key], latents_nkx: Array) -> Estimate:
    """The effective rank, with the t interval of a jackknife that leaves out one of `GROUPS` groups of pictures.

    The error is sqrt((G - 1) / G sum (v_g - mean)^2). Pictures drawn with replacement would not do: of rows that are
    there twice the rank is too small.
    """
    picture_m = np.repeat([key[0] for key in keys], latents_nkx.shape[1])
    rows_mx = latents_nkx.reshape(-1, latents_nkx.shape[-1])
    if len(rows_mx) > ROWS:
        kept = np.linspace(0, len(rows_mx) - 1, ROWS).astype(int)
        picture_m, rows_mx = picture_m[kept], rows_mx[kept]
    value, items = effective_rank(rows_mx), len({key[1] for key in keys})
    order = sorted(set(picture_m.tolist()), key=lambda picture: hashlib.sha256(picture.encode()).digest())
    if len(order) < FEWEST:
        return single(value, items, len(order), f"{len(order)} pictures are too few")
    group = {picture: place % GROUPS for place, picture in enumerate(order)}
    group_m = np.array([group[picture] for picture in picture_m.tolist()])
    without_g = np.array([effective_rank(rows_mx[group_m != g]) for g in range(GROUPS)])
    error = jackknife_error(without_g)
    low, high = t_interval(value, error, GROUPS)
    return Estimate(
        value=rounded(value), low=rounded(max(0.0, low)), high=rounded(high), n_items=items, n_clusters=len(order),
        method="jackknife", error=rounded(error),
    )  # fmt: skip


def effective_rank(rows_nx: Array) -> float:
    """The exponential of the entropy of the singular values of centred rows; 0 where all rows are the same."""
    centred_nx = rows_nx - rows_nx.mean(0)
    small = centred_nx @ centred_nx.T if len(centred_nx) < centred_nx.shape[1] else centred_nx.T @ centred_nx
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(small), 0.0))
    largest = values.max(initial=0.0)
    if largest < 1e-6 * (np.abs(rows_nx).max(initial=0.0) + 1e-12):
        return 0.0
    shares = values[values > 1e-7 * largest]
    shares = shares / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _spread(keys: Sequence[Key], latents_nkx: Array, middle_nkx: Array) -> Estimate:
    """Root of the mean squared distance from `middle`, over the root of the mean squared length."""
    apart_n = ((latents_nkx - middle_nkx) ** 2).sum(-1).mean(1)
    length_n = (latents_nkx**2).sum(-1).mean(1)
    rows = [
        (key, {"above": a, "below": b}) for key, a, b in zip(keys, apart_n.tolist(), length_n.tolist(), strict=True)
    ]
    return over_pictures(rows, Statistic("spread", "difference", _root, "below", "accuracy"))


def _root(c: Columns) -> Array:
    return np.sqrt(divided(c["above"], c["below"]))


def _between(keys: Sequence[Key], latents_nkx: Array) -> Estimate:
    places: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key[0]].append(place)
    grand_kx = latents_nkx.mean(0)
    rows: list[tuple[Key, Row]] = []
    for own in places.values():
        apart = ((latents_nkx[own].mean(0) - grand_kx) ** 2).sum(-1).mean()
        length_n = (latents_nkx[own] ** 2).sum(-1).mean(1)
        rows += [(keys[n], {"above": float(apart), "below": float(v)}) for n, v in zip(own, length_n, strict=True)]
    return over_pictures(rows, Statistic("spread", "difference", _root, "below", "accuracy"))


def _distances(keys: Sequence[Key], latents_nx: Array) -> dict[str, Estimate]:
    """Distances within regions, between regions of a picture, and between pictures; their ratios; the cosine."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key[0]].append(place)
    rows: list[tuple[Key, Row]] = []
    for place, key in enumerate(keys):
        beside = [other for other in places[key[0]] if other != place]
        groups = {
            "region": [other for other in beside if keys[other][1] == key[1]],
            "picture": [other for other in beside if keys[other][1] != key[1]],
            "pictures": partners(keys, place),
        }
        row: Row = {}
        for name, others in groups.items():
            if others:
                apart = np.linalg.norm(latents_nx[others] - latents_nx[place], axis=1)
                row |= {name: float(apart.mean()), f"{name}_n": 1.0}
        if others := groups["pictures"]:
            row["cosine"] = float(_cosines(latents_nx[others], latents_nx[place]).mean())
        rows.append((key, row))
    names = {"within_region": "region", "within_picture": "picture", "between_pictures": "pictures"}
    told = {name: mean_of(column, f"{column}_n") for name, column in names.items()}
    told["cosine_pictures"] = mean_of("cosine", "pictures_n")
    told["within_over_picture"] = _over("region", "picture")
    told["within_over_pictures"] = _over("region", "pictures")
    return {name: over_pictures(rows, statistic) for name, statistic in told.items()}


def partners(keys: Sequence[Key], place: int) -> list[int]:
    """Queries about other pictures, drawn by hash; fewer where there are fewer."""
    own, found = keys[place], list[int]()
    for turn in range(4 * PARTNERS):
        digest = hashlib.sha256(f"{own[1]} {own[2]} {turn}".encode()).digest()
        other = int.from_bytes(digest[:8], "big") % len(keys)
        if keys[other][0] != own[0] and other not in found:
            found.append(other)
        if len(found) == PARTNERS:
            break
    return found


def mean_of(above: str, below: str) -> Statistic:
    """The mean `above` / `below` of a quantity that is no share: where it has no spread, it has no interval."""
    return Statistic("mean", "difference", lambda c: divided(c[above], c[below]), below, "accuracy", (above, below))


def _over(above: str, below: str) -> Statistic:
    """The ratio of two mean distances."""

    def formula(c: Columns) -> Array:
        return divided(divided(c[above], c[f"{above}_n"]), divided(c[below], c[f"{below}_n"]))

    return Statistic("ratio", "difference", formula, f"{above}_n", "accuracy")


def _cosines(rows_mx: Array, one_x: Array) -> Array:
    lengths = np.linalg.norm(rows_mx, axis=-1) * np.linalg.norm(one_x, axis=-1)
    found: Array = np.divide((rows_mx * one_x).sum(-1), lengths, out=np.zeros(len(rows_mx)), where=lengths > 0)
    return found


def _r2(keys: Sequence[Key], latents_nkx: Array, targets_nkx: Array) -> Estimate:
    known = [n for n in range(len(keys)) if np.isfinite(targets_nkx[n]).all()]
    middle_kx = targets_nkx[known].mean(0) if known else 0.0
    rows: list[tuple[Key, Row]] = []
    for n in known:
        missed = float(((latents_nkx[n] - targets_nkx[n]) ** 2).sum())
        rows.append((keys[n], {"above": missed, "below": float(((targets_nkx[n] - middle_kx) ** 2).sum())}))
    return over_pictures(
        rows, Statistic("r2", "coefficient", lambda c: 1 - divided(c["above"], c["below"]), "below", "")
    )


def _cosine(keys: Sequence[Key], latents_nx: Array, targets_nx: Array) -> Estimate:
    known = [n for n in range(len(keys)) if np.isfinite(targets_nx[n]).all()]
    values = _cosines(latents_nx[known], targets_nx[known]).tolist()
    rows: list[tuple[Key, Row]] = [(keys[n], {"above": v, "below": 1.0}) for n, v in zip(known, values, strict=True)]
    return over_pictures(rows, mean_of("above", "below"))


def over_pictures(rows: Iterable[tuple[Key, Row]], statistic: Statistic, share: bool = False) -> Estimate:
    """A measure with the interval of the cluster bootstrap over pictures; `share`: one whose coverage was simulated."""
    told = list(rows)
    names = {name for _, row in told for name in row} | {statistic.base, *(statistic.over or ()), *_COLUMNS}
    sums = summed(told, sorted(names))
    if not sums.items[statistic.base]:
        return single(None, 0, 0, "nothing to compute it from")
    resampled = Resampled.of(sums, DRAWS)
    if share:
        return estimate(resampled, statistic)
    found = resampled.interval(statistic)
    items, pictures = sums.items[statistic.base], sums.clusters[statistic.base]
    why = found.why_none or (f"{pictures} pictures are too few" if pictures < FEWEST else None)
    if why is not None:
        return single(found.value, items, pictures, why)
    return Estimate(
        value=rounded(found.value), low=rounded(found.low), high=rounded(found.high), n_items=items,
        n_clusters=pictures, method=found.method, error=rounded(found.error),
    )  # fmt: skip


def single(value: float | None, items: int, pictures: int, why: str) -> Estimate:
    """A measure without an interval."""
    return Estimate(
        value=rounded(value), low=None, high=None, n_items=items, n_clusters=pictures, method="none", withheld=why
    )
