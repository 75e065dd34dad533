"""Peak memory and time of the loss at a vocabulary of 152K: every position projected, labels alone, and in chunks.

    OMP_NUM_THREADS=1 python perf/vocabulary_loss.py [--device cpu|cuda] [--width 256] [--positions 1024] [--labels 512]

Each way runs in a process of its own, forward and backward. Memory is the peak above what is there before, less one
gradient of the head, which every way has to make. The bar: the chunked loss takes at most 20 % of the naive projection,
also of that at labels alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import machine
from torch import Tensor
from torch.nn import functional

from slvr_model.efficiency.vocabulary_loss import label_losses

VOCABULARY = 152_064
BAR = 0.2
WAYS = ("every position", "labels alone", "in chunks")


def loss_of(way: str, hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """The mean loss of the labels."""
    if way == "in chunks":
        return label_losses(hidden, head, labels).loss_N.mean()
    before, wanted = hidden[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    if way == "labels alone":
        before, wanted = before[wanted >= 0], wanted[wanted >= 0]
    return functional.cross_entropy((before @ head.T).float(), wanted)


def peak(device: str) -> int:
    """Bytes of this process at their most since the last reset."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


def measure(way: str, given: argparse.Namespace) -> dict[str, float]:
    """In this process."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if given.device == "cuda" else torch.float32
    options = {"device": given.device, "dtype": dtype, "requires_grad": True}
    hidden = torch.randn(1, given.positions, given.width, **options)
    head = torch.randn(VOCABULARY, given.width, **options)
    labels = torch.full((1, given.positions), -100, device=given.device)
    labels[:, -given.labels :] = torch.randint(VOCABULARY, (given.labels,), device=given.device)
    few = torch.full_like(labels, -100)
    few[:, 1:3] = 0
    loss_of("labels alone", hidden, head, few).backward()  # gradients exist, kernels are loaded
    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")
    before, started = peak(given.device), time.process_time()
    loss = loss_of(way, hidden, head, labels)
    loss.backward()
    if given.device == "cuda":
        torch.cuda.synchronize()
    assert hidden.grad is not None
    spent = time.process_time() - started
    taken = peak(given.device) - before - head.numel() * head.element_size()
    return {"bytes": taken, "seconds": spent, "loss": float(loss)}


def main() -> None:
    """Print the table; exit code 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--labels", type=int, default=512)
    parser.add_argument("--way", choices=WAYS, help="measure this one alone and print JSON")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given)))
        return
    place = torch.cuda.get_device_name() if given.device == "cuda" else machine()
    print(f"{given.positions} positions, {given.labels} labels, width {given.width}, {VOCABULARY:,} tokens; {place}\n")
    print(f"{'':18}{'peak MiB':>10}{'CPU s':>8}{'loss':>10}")
    taken = {}
    for way in WAYS:
        call = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        found = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
        taken[way] = found["bytes"]
        print(f"{way:18}{found['bytes'] / 2**20:10.0f}{found['seconds']:8.2f}{found['loss']:10.4f}", flush=True)
    shares = [taken["in chunks"] / taken[way] for way in WAYS[:2]]
    print(f"\nin chunks: {shares[0]:.1%} of every position, {shares[1]:.1%} of labels alone; the bar is {BAR:.0%}")
    raise SystemExit(max(shares) > BAR)


if __name__ == "__main__":
    main()
