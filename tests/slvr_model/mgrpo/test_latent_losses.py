"""Losses on latents: formulas on latents made by hand, directions of gradients, and the guards."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from slvr_data.errors import RunError, UsageError
from slvr_model.mgrpo.latent_losses import RegionLatents, effective_rank, latent_loss
from slvr_model.mgrpo.settings import LatentLossConfig
from tests.slvr_model.mgrpo.reward_support import slow_distance, slow_slots

REGION = torch.tensor([0, 0, 1, 1, 1, 2])


def latents(seed: int = 0, spread: float = 1.0, gradient: bool = False) -> RegionLatents:
    """Three regions with 2, 3 and 1 queries; queries of one region are near to each other."""
    drawn = torch.Generator().manual_seed(seed)
    centre_visual, centre_semantic = torch.randn(3, 4, 8, generator=drawn), torch.randn(3, 6, generator=drawn)
    visual = centre_visual[REGION] + 0.3 * spread * torch.randn(6, 4, 8, generator=drawn)
    semantic = centre_semantic[REGION] + 0.3 * spread * torch.randn(6, 6, generator=drawn)
    return RegionLatents(REGION, visual.requires_grad_(gradient), semantic.requires_grad_(gradient))


def config(**changed: Any) -> LatentLossConfig:
    return LatentLossConfig.model_validate({"together": 1, "apart": 1, "stability": 1, **changed})


def slow(one: RegionLatents, i: int, other: RegionLatents, j: int, said: LatentLossConfig) -> float:
    assert one.semantic_NE is not None
    assert other.semantic_NE is not None
    assert one.visual_NKD is not None
    assert other.visual_NKD is not None
    semantic = slow_distance(one.semantic_NE[i], other.semantic_NE[j], said.distance)
    visual = slow_slots(one.visual_NKD[i], other.visual_NKD[j], said.distance)
    return (said.semantic * semantic + said.visual * visual) / (said.semantic + said.visual)


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_losses_are_what_their_formulas_say(kind: str) -> None:
    said = config(distance=kind, semantic=0.5, visual=2, apart_margin=1.1, stability_margin=0.4, guard=False)
    held, reference = latents(), latents(7)
    terms = latent_loss(held, said, reference=reference)
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    within = [slow(held, i, held, j, said) for i, j in pairs if REGION[i] == REGION[j]]
    between = [slow(held, i, held, j, said) for i, j in pairs if REGION[i] != REGION[j]]
    moved = [slow(held, i, reference, i, said) for i in range(6)]
    assert len(within) == 4
    wanted = {
        "together": sum(within) / 4,
        "apart": sum(max(0.0, 1.1 - one) for one in between) / len(between),
        "stability": sum(max(0.0, one - 0.4) for one in moved) / 6,
    }
    for name, value in wanted.items():
        assert float(terms.named[name]) == pytest.approx(value, abs=1e-5), name
    assert float(terms.total) == pytest.approx(sum(wanted.values()), abs=1e-5)
    numbers = terms.numbers()
    assert numbers["ratio"] == pytest.approx((sum(within) / 4) / (sum(between) / len(between)), abs=1e-5)
    assert numbers["moved"] == pytest.approx(sum(moved) / 6, abs=1e-5)


def stepped(held: RegionLatents, loss: Tensor, size: float = 0.05) -> RegionLatents:
    """After one step of gradient descent."""
    assert held.visual_NKD is not None
    assert held.semantic_NE is not None
    gradients = torch.autograd.grad(loss, [held.visual_NKD, held.semantic_NE])
    assert all(bool(one.abs().max() > 0) for one in gradients), "both kinds are reached"
    moved = [one.detach() - size * g for one, g in zip((held.visual_NKD, held.semantic_NE), gradients, strict=True)]
    return RegionLatents(held.region_N, *moved)


@pytest.mark.parametrize(("weighed", "number", "sign"), [("together", "within", -1), ("apart", "between", 1)])
def test_gradients_pull_queries_of_a_region_together_and_regions_apart(weighed: str, number: str, sign: int) -> None:
    said = config(**{"together": 0, "apart": 0, "stability": 0, weighed: 1, "apart_margin": 2, "guard": False})
    held = latents(gradient=True)
    before = latent_loss(held, said)
    after = latent_loss(stepped(held, before.total, 0.5), said)
    assert sign * (after.numbers()[number] - before.numbers()[number]) > 1e-4


def test_stability_pulls_back_only_beyond_its_margin() -> None:
    reference = latents(7)
    near = latents(7, gradient=True)
    said = config(together=0, apart=0, stability_margin=0.2, guard=False)
    assert latent_loss(near, said, reference=reference).total.item() == 0
    far = latents(3, gradient=True)
    before = latent_loss(far, said, reference=reference)
    after = latent_loss(stepped(far, before.total, 0.5), said, reference=reference)
    assert after.numbers()["moved"] < before.numbers()["moved"]


def test_the_reward_has_no_gradient_into_latents_and_the_loss_has() -> None:
    """What the released form lacks: its consistency weighs text tokens by a number, and no latent ever sees it."""
    from slvr_model.mgrpo.rewards.consistency import consistency
    from slvr_model.mgrpo.settings.rewards import ConsistencyConfig
    from tests.slvr_model.mgrpo.reward_support import facts

    held = facts()
    assert held.visual_kGKD is not None
    held.visual_kGKD.requires_grad_()
    assert not consistency(held, ConsistencyConfig(weight=1)).values_kG.requires_grad
    assert latent_loss(latents(gradient=True), config(stability=0, guard=False)).total.requires_grad


def test_effective_rank_counts_directions() -> None:
    rows = torch.zeros(8, 5)
    assert float(effective_rank(rows + 3)) == 0, "all the same"
    for axis in range(3):
        rows[2 * axis, axis], rows[2 * axis + 1, axis] = 1, -1
    assert float(effective_rank(rows)) == pytest.approx(3)
    torch.manual_seed(0)
    noise = torch.randn(6, 4).double()
    values = torch.linalg.svdvals(noise - noise.mean(0))
    share = (values / values.sum()).tolist()
    assert float(effective_rank(noise)) == pytest.approx(math.exp(-sum(p * math.log(p) for p in share)))


def squeezed(held: RegionLatents, share: float, centres: bool) -> RegionLatents:
    """Latents nearer to their mean: all of them, or (`centres`) each region's to its own."""
    out = []
    for part in (held.visual_NKD, held.semantic_NE):
        assert part is not None
        mean = part.mean(0, keepdim=True).expand_as(part)
        if centres:
            mean = torch.stack([part[held.region_N == region].mean(0) for region in held.region_N])
        out.append((mean + share * (part - mean)).detach().requires_grad_())
    return RegionLatents(held.region_N, *out)


def test_a_guard_leaves_pulling_together_out_where_latents_collapse() -> None:
    reference, said = latents(), config(apart=0, stability=0, distance="l2", apart_margin=0.5)
    good = squeezed(reference, 0.5, centres=True)
    found = latent_loss(good, said, reference=reference)
    assert found.numbers()["guarded"] == 0
    assert found.total.item() > 0
    # regions fall together while queries of one region stay as they are
    assert reference.visual_NKD is not None
    assert reference.semantic_NE is not None
    parts = []
    for part in (reference.visual_NKD, reference.semantic_NE):
        centre = torch.stack([part[region == REGION].mean(0) for region in REGION])
        parts.append((part - 0.95 * centre).requires_grad_())
    fallen = RegionLatents(REGION, *parts)
    found = latent_loss(fallen, said, reference=reference)
    assert (
        found.numbers()["ratio"]
        > 1.1 * latent_loss(reference, config(guard=False), reference=reference).numbers()["ratio"]
    )
    assert found.numbers()["guarded"] == 1
    assert found.total.item() == 0
    gradients = torch.autograd.grad(found.total, parts, allow_unused=True)
    assert all(one is None or float(one.abs().max()) == 0 for one in gradients)
    open_loss = latent_loss(fallen, said.model_copy(update={"guard": False}), reference=reference)
    assert open_loss.total.item() > 0, "switchable"


def test_a_guard_sees_latents_that_keep_one_direction_only() -> None:
    reference = latents()
    parts = []
    for part in (reference.visual_NKD, reference.semantic_NE):
        assert part is not None
        flat = part.flatten(1)
        values, axis = flat.mean(1, keepdim=True), torch.ones(1, flat.shape[1])
        parts.append((5 * values * axis).view_as(part))
    found = latent_loss(RegionLatents(REGION, *parts), config(distance="l2"), reference=reference).numbers()
    assert found["rank/visual"] == pytest.approx(1, abs=0.8)
    assert found["rank/semantic"] == pytest.approx(1, abs=0.8)
    assert found["guarded"] == 1


@pytest.mark.parametrize("kind", ["semantic", "visual"])
def test_a_guard_sees_the_collapse_of_one_kind_of_latents(kind: str) -> None:
    """Visual latents as long as real ones, sqrt(K D), beside semantic ones of length 1."""
    reference = latents()
    assert reference.visual_NKD is not None and reference.semantic_NE is not None
    held = {
        "semantic": torch.nn.functional.normalize(reference.semantic_NE, dim=-1),
        "visual": 30 * reference.visual_NKD,
    }
    then = RegionLatents(REGION, held["visual"], held["semantic"])
    held[kind] = torch.stack([(1 + 0.01 * row) * held[kind][0] for row in range(6)])
    now = RegionLatents(REGION, held["visual"], held["semantic"])
    said = config(apart=0, stability=0, most_ratio=100)
    found = latent_loss(now, said, reference=then).numbers()
    other = "visual" if kind == "semantic" else "semantic"
    before = latent_loss(then, said, reference=then).numbers()
    assert found[f"rank/{kind}"] < 0.5 * before[f"rank/{kind}"] and before["guarded"] == 0
    assert found[f"rank/{other}"] == before[f"rank/{other}"] and found["guarded"] == 1
    unweighed = said.model_copy(update={kind: 0.0})
    assert latent_loss(now, unweighed, reference=then).numbers()["guarded"] == 0, "what weighs nothing guards nothing"


def test_a_policy_at_its_reference_is_not_guarded() -> None:
    assert latent_loss(latents(), config(), reference=latents()).numbers()["guarded"] == 0


def test_objectives_with_one_kind_of_latents_use_that_one() -> None:
    both = latents()
    for kept in ("visual_NKD", "semantic_NE"):
        one = RegionLatents(REGION, **{kept: getattr(both, kept)})
        assert float(latent_loss(one, config(guard=False, stability=0)).named["together"]) > 0


def test_one_region_alone_is_only_pulled_together() -> None:
    both = latents()
    assert both.semantic_NE is not None
    one = RegionLatents(torch.tensor([4, 4]), None, both.semantic_NE[:2].requires_grad_())
    terms = latent_loss(one, config(stability=0, guard=False))
    assert terms.named["apart"].item() == 0
    assert "ratio" not in terms.numbers()
    terms.total.backward()


def test_equal_latents_have_gradients_that_are_numbers() -> None:
    for kind in ("cosine", "l2"):
        semantic = torch.ones(4, 6, requires_grad=True)
        held = RegionLatents(torch.tensor([0, 0, 1, 1]), None, semantic)
        latent_loss(held, config(distance=kind), reference=held).total.backward()
        assert semantic.grad is not None
        assert semantic.grad.isfinite().all()


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="set these weights to 0"):
        latent_loss(RegionLatents(REGION), config())
    with pytest.raises(UsageError, match="keep a reference"):
        latent_loss(latents(), config())
    held = latents()
    assert held.semantic_NE is not None
    held.semantic_NE[0, 0] = float("nan")
    with pytest.raises(RunError, match="not finite"):
        latent_loss(held, config(), reference=latents())
    for section, told in (
        ({"apart_margin": 2.5}, "a cosine distance is 2 at most"),
        ({"stability_margin": 2}, "the loss would always be 0"),
        ({"semantic": 0, "visual": 0}, "set one above 0"),
    ):
        with pytest.raises(ValidationError) as raised:
            LatentLossConfig.model_validate(section)
        assert told in str(raised.value)
    assert not LatentLossConfig(together=0, apart=0, stability=0).active
    assert not LatentLossConfig(together=1, apart=0, stability=0, guard=False).needs_reference


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_nothing_is_held_of_the_size_of_all_pairs_of_latents(kind: str) -> None:
    """Queries times queries times slots times width would be gigabytes; their products are enough."""
    queries, slots, width = 40, 4, 64
    dice = torch.Generator().manual_seed(0)
    visual = torch.randn(queries, slots, width, generator=dice).requires_grad_()
    held = RegionLatents(torch.arange(queries) // 3, visual)
    most = [0]

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            most[0] = max(
                [most[0], *(one.numel() for one in torch.utils._pytree.tree_leaves(out) if hasattr(one, "numel"))]
            )
            return out

    with Sizes():
        latent_loss(
            held, config(distance=kind), reference=RegionLatents(held.region_N, visual.detach() + 1)
        ).total.backward()
    assert visual.grad is not None and float(visual.grad.abs().max()) > 0
    assert 0 < most[0] <= queries * slots * max(queries, width)
