"""What models that run in this process share: where and in which numbers, what is said of them, and batches."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice

import torch
from torch import nn
from transformers.utils import logging as reports

from benchmark.models.base import Detail, ModelOptions
from benchmark.records import Ask
from slvr_data.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def no_bars() -> None:
    """Leave progress of loading to a terminal."""
    if not sys.stderr.isatty():
        reports.disable_progress_bar()  # type: ignore[no-untyped-call]


def device_of(options: ModelOptions) -> torch.device:
    """The device that is asked for.

    Raises:
        UsageError: there is none of that name.
    """
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {options.device}: {str(error).splitlines()[0]}") from None
    return device


def dtype_of(options: ModelOptions, device: torch.device, kept: torch.dtype) -> torch.dtype:
    """The numbers that a model calculates with, whose weights are kept in `kept`.

    "auto" is float32 on a CPU, and bfloat16 on CUDA for weights that are kept in float32: training writes such files,
    and calculates in bfloat16 itself. It takes half the memory, and a tenth of the time or less.

    Raises:
        UsageError: the name is unknown.
    """
    if options.dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if device.type == "cuda" and kept == torch.float32 else kept
    if options.dtype not in DTYPES:
        raise UsageError(f"--dtype {options.dtype}: give auto, {', '.join(DTYPES)}")
    return DTYPES[options.dtype]


@torch.no_grad()
def weights_sha256(model: nn.Module) -> str:
    """sha256 over all tensors of a model by name, as they are in memory: the same however they were stored."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def details_of(model: nn.Module, template: str | None, options: ModelOptions) -> dict[str, Detail]:
    """What a header says of a model; `template` is its chat template."""
    some = next(model.parameters())
    return {
        "weights_sha256": weights_sha256(model),
        "chat_template_sha256": hashlib.sha256((template or "").encode()).hexdigest(),
        "revision": options.revision,
        "dtype": str(some.dtype).removeprefix("torch."),
        "device": some.device.type,
        "torch": version("torch"),
        "transformers": version("transformers"),
    }


def batches_of(asks: Iterable[Ask], size: int) -> Iterator[list[Ask]]:
    """Asks in batches of `size`, in their order: those about one picture stand together.

    Raises:
        UsageError: `size` is not positive.
    """
    if size < 1:
        raise UsageError(f"--batch-size {size}: at least 1 is needed")
    todo = iter(asks)
    while batch := list(islice(todo, size)):
        yield batch
