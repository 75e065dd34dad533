"""The chunked loss: equal to the naive one with its gradient, in a fraction of its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from slvr_data.errors import UsageError
from slvr_model.batches import collate
from slvr_model.efficiency import vocabulary_loss
from slvr_model.efficiency.vocabulary_loss import label_losses, token_losses
from slvr_model.rows import Row
from tests.slvr_model.support import config, layout, model, picture, prefix, taught

VOCABULARY, WIDTH = 5000, 24


def inputs(rows: int = 37, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, head, ids and what each loss weighs; some ids at the ends of chunks."""
    dice = torch.Generator().manual_seed(0)
    states, head = (torch.randn(n, WIDTH, generator=dice).to(dtype) for n in (rows, VOCABULARY))
    ids = torch.randint(VOCABULARY, (rows,), generator=dice)
    ids[:4] = torch.tensor([0, 1023, 1024, VOCABULARY - 1])[:rows]
    return states.requires_grad_(), head.requires_grad_(), ids, torch.randn(rows, generator=dice)


def naive(states: Tensor, head: Tensor, ids: Tensor) -> Tensor:
    return functional.cross_entropy((states @ head.T).float(), ids, reduction="none")


@pytest.mark.parametrize("chunk", [1, 2**16, 2**23])  # 5 chunks, 3, and one
def test_losses_and_gradients_are_the_naive_ones(chunk: int) -> None:
    states, head, ids, weights = inputs()
    found = token_losses(states, head, ids, chunk)
    expected = naive(states, head, ids)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), (states, head)),
        torch.autograd.grad((expected * weights).sum(), (states, head)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_gradients_are_exact_in_double() -> None:
    states, head, ids, _ = (one.detach() for one in inputs(5))
    states, head = states.double().requires_grad_(), head[:1100].double()
    assert torch.autograd.gradcheck(lambda h: token_losses(h, head, ids % 1100, 1), (states,))


def test_bf16_is_as_near_to_the_truth_as_the_naive_loss() -> None:
    truth_in = inputs()
    truth = naive(*truth_in[:3])
    exact = torch.autograd.grad(truth.mean(), truth_in[:2])
    errors = []
    for way in (token_losses, naive):
        states, head, ids, _ = inputs(dtype=torch.bfloat16)
        losses = way(states, head, ids)
        assert losses.dtype == torch.float32
        gradients = torch.autograd.grad(losses.mean(), (states, head))
        assert [one.dtype for one in gradients] == [torch.bfloat16] * 2
        pairs = [(losses.detach(), truth.detach()), *zip(gradients, exact, strict=True)]
        errors.append([float((one.float() - other).norm() / other.norm()) for one, other in pairs])
    for ours, theirs in zip(*errors, strict=True):
        assert ours < 0.02 and ours < 1.2 * theirs


def test_autocast_computes_as_a_linear_layer_does() -> None:
    states, head, ids, _ = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = token_losses(states, head, ids), naive(states, head, ids)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    for one, other in zip(
        torch.autograd.grad(found.sum(), (states, head)),
        torch.autograd.grad(expected.sum(), (states, head)),
        strict=True,
    ):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.01 * other.norm()


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_learns_the_same_from_it(tied: bool) -> None:
    """Through a whole model: with tied embeddings both uses of the weight add up."""
    rows = [Row(prefix(), (taught(0), taught(1, 6)), (picture(),)), Row(prefix(), (taught(4),), (picture(1, 2, 3),))]
    batch = collate(rows, layout())
    gradients = []
    for chunked in (True, False):
        of = model(config(tied=tied))
        if chunked:
            hidden = of.latent_forward(batch).hidden_BLD
            found = label_losses(hidden, of.lm_head.weight, batch.labels_BL)
            loss = found.loss_N.mean()
            assert torch.equal(batch.labels_BL[found.row_N, found.at_N], batch.labels_BL[batch.labels_BL >= 0])
        else:
            logits = of.lm_head(of.latent_forward(batch).hidden_BLD)
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels_BL[:, 1:].flatten())
        loss.backward()
        gradients.append({name: weight.grad for name, weight in of.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert ("lm_head.weight" in gradients[0]) != tied and "model.language_model.embed_tokens.weight" in gradients[0]
    for name, found_grad in gradients[0].items():
        torch.testing.assert_close(found_grad, gradients[1][name], atol=1e-5, rtol=1e-5, msg=name)


def test_only_what_is_trained_gets_a_gradient() -> None:
    states, head, ids, _ = inputs()
    token_losses(states, head.detach(), ids).sum().backward()
    assert states.grad is not None and head.grad is None
    token_losses(states.detach(), head, ids).sum().backward()
    assert head.grad is not None


def test_large_logits_do_not_overflow() -> None:
    states, head, ids, _ = inputs()
    losses = token_losses(states * 1000, head, ids, 1)
    assert torch.isfinite(losses).all() and torch.isfinite(torch.autograd.grad(losses.sum(), states)[0]).all()
    torch.testing.assert_close(losses, naive(states * 1000, head, ids), rtol=1e-5, atol=1e-2)


def test_no_labels_and_wrong_labels() -> None:
    states, head, _, _ = inputs()
    empty = token_losses(states[:0], head, torch.zeros(0, dtype=torch.long))
    assert empty.shape == (0,)
    empty.sum().backward()
    assert head.grad is not None and not head.grad.any()
    with pytest.raises(UsageError, match="labels from -1 to 5000, but the vocabulary has 5000 tokens"):
        token_losses(states[:2], head, torch.tensor([-1, 5000]))


MEMORY = """
import json, sys, torch
from torch.nn import functional
from slvr_model.efficiency.vocabulary_loss import token_losses

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

def naive(states, head, ids):
    return functional.cross_entropy((states @ head.T).float(), ids, reduction="none")

torch.manual_seed(0)
states, head = torch.randn(512, 16, requires_grad=True), torch.randn(152_064, 16, requires_grad=True)
ids = torch.randint(152_064, (512,))
taken = []
for way in (token_losses, naive):
    token_losses(states[:1], head, ids[:1]).sum().backward()  # gradients exist, kernels are loaded
    open("/proc/self/clear_refs", "w").write("5")  # the peak is counted from here
    before = peak()
    way(states, head, ids).mean().backward()
    taken.append(peak() - before)
print(json.dumps(taken))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is read from Linux's /proc")
def test_its_memory_is_a_fifth_of_the_naive_one_at_most() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    ours, theirs = json.loads(done.stdout)
    assert theirs > 2 * 512 * 152_064 * 4  # logits, and their gradient
    assert ours <= 0.2 * theirs, f"{ours / 2**20:.0f} MiB of {theirs / 2**20:.0f}"


def test_chunks_cover_the_vocabulary_once() -> None:
    for rows in (0, 1, 100, 100_000):
        parts = list(vocabulary_loss._chunks(152_064, rows, vocabulary_loss.CHUNK))
        assert [n for part in parts for n in (part.start, part.stop)][1:-1:2] == [part.start for part in parts[1:]]
        assert parts[0].start == 0 and parts[-1].stop == 152_064
