"""What the scripts about GPUs share: peaks of devices, models of random weights, samples, a clock, a process a way."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2VLImageProcessorPil, TrainerCallback
from transformers.utils import logging as reports

from slvr_data.errors import RunError, SlvrError, UsageError
from slvr_model.checkpoints.precision import hold
from slvr_model.data import Sample
from slvr_model.efficiency.estimate import GIB, Setup, estimate
from slvr_model.efficiency.shapes import SHAPES, VISION, shape_config
from slvr_model.latents import KEY, LatentConfig
from slvr_model.memory import SIGNS
from slvr_model.modeling import SlvrModel
from slvr_model.tiny import TEMPLATE, StillProcessor, tiny_config, tiny_processor, tiny_tokenizer
from slvr_model.tokens import LatentTokens

PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
"""TFLOP/s of a chip in bfloat16, dense, by the makers' data sheets; of the two Hopper chips, in the form SXM."""
OTHER_FORMS = {"PCIe", "NVL", "MIG"}
"""Forms of a chip with other peaks, and parts of one."""
SIDES = {"tiny": 8}
"""Visual tokens of a picture's side; of the public shapes, 24."""
TINY, SLOTS = "tiny", 4
SEMANTIC = {"tiny": 256}
"""Dimension of the semantic latent; of the public shapes, 1024."""


def options(summary: str | None, ways: tuple[str, ...]) -> argparse.ArgumentParser:
    """What both scripts take."""
    parser = argparse.ArgumentParser(description=(summary or "").splitlines()[0])
    parser.add_argument("--shape", choices=(TINY, *SHAPES), default="3b")
    parser.add_argument("--recipe", help="a configuration of slvr-train, instead of the shape's own")
    parser.add_argument("--side", type=int, help="visual tokens of a picture's side (24; tiny: 8)")
    parser.add_argument("--steps", type=int, default=6, help="of the optimiser that are timed")
    parser.add_argument("--warmup", type=int, default=2, help="and those before them that are not")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="a GPU, unless told, where there is one")
    parser.add_argument("--ways", nargs="+", choices=ways, default=list(ways))
    parser.add_argument("--way", choices=ways, help="measure this one alone and print JSON")
    return parser


def check(given: argparse.Namespace) -> None:
    """Whether what was asked can be measured here; fills in device and side.

    Raises:
        UsageError: it cannot, with the cure.
    """
    found = torch.cuda.is_available()
    if given.device is None:
        given.device = "cuda" if found else "cpu"
    if given.device == "cuda" and not found:
        raise UsageError(
            "--device cuda: torch sees no CUDA device; see torch.cuda.is_available(), or take --shape tiny"
        )
    if given.device == "cpu" and given.shape != TINY:
        raise UsageError(f"--shape {given.shape} needs a CUDA device, and none is used; on a CPU take --shape tiny")
    for name, least in (("steps", 1), ("warmup", 1), ("side", 1)):
        if (value := getattr(given, name)) is not None and value < least:
            raise UsageError(f"--{name} {value}: at least {least} is needed")
    if "trl" in given.ways and importlib.util.find_spec("trl") is None:
        own = " ".join(way for way in given.ways if way != "trl")
        raise UsageError(f"trl is missing: pip install '.[dev]' in a clone; or without it, --ways {own}")
    given.side = given.side or SIDES.get(given.shape, 24)


def peak_of(name: str, told: float | None = None) -> float:
    """The peak of a device, TFLOP/s in bfloat16: what was told, or what is known of its name.

    Raises:
        UsageError: it is not known.
    """
    words = set(re.split(r"[\s-]+", name))
    known = [peak for chip, peak in PEAKS.items() if chip in words]
    other = words & OTHER_FORMS and not ("A100" in words and "MIG" not in words)
    if told is None and (not known or other):
        raise UsageError(
            f'the peak of "{name}" is not known (of {", ".join(PEAKS)} it is, whole and as SXM): give --peak TFLOPS, '
            "dense in bfloat16, from its data sheet"
        )
    if told is not None and told <= 0:
        raise UsageError(f"--peak {told:g}: TFLOP/s are more than 0")
    return known[0] if told is None else told


def check_memory(shape: str, device: str, setup: Setup, cure: str) -> None:
    """Whether a training fits into the GPU, by the estimate of `slvr_model.efficiency`.

    Raises:
        UsageError: it does not.
    """
    if device == "cpu":
        return
    needed, there = estimate(shape_of(shape)[0], setup).total, torch.cuda.get_device_properties(0).total_memory
    if needed > there:
        raise UsageError(
            f"--shape {shape} takes about {needed / GIB:.0f} GiB with {setup.step.rows} rows of {setup.step.length} "
            f"positions at once, and this GPU has {there / GIB:.0f}: {cure}"
        )


def place(given: argparse.Namespace) -> str:
    """Device and versions, for the record."""
    held = []
    for package in ("torch", "transformers", "trl"):
        with contextlib.suppress(PackageNotFoundError):
            held.append(f"{package} {version(package)}")
    if given.device == "cpu":
        return f"{machine()}; {', '.join(held)}"
    size = torch.cuda.get_device_properties(0).total_memory / GIB
    return f"{torch.cuda.get_device_name()}, {size:.0f} GiB; {', '.join(held)}"


# Models


def shape_of(shape: str) -> tuple[Qwen2_5_VLConfig, StillProcessor]:
    """The configuration of a shape with latents, and a processor for its pictures.

    Words are the embedded model's, as no public tokenizer need be there: a shape's special tokens get its ids, the
    vocabulary keeps its size. There is no end token, so that no reply ends early.
    """
    tokenizer = tiny_tokenizer()
    if shape == TINY:
        config, processor = tiny_config(), tiny_processor()
    else:
        config = shape_config(shape)
        sizes = {name: VISION[f"{name}_size"] for name in ("patch", "temporal_patch")}
        pictures = Qwen2VLImageProcessorPil(
            patch_size=sizes["patch"], temporal_patch_size=sizes["temporal_patch"], merge_size=2
        )
        processor = StillProcessor(pictures, tokenizer, chat_template=TEMPLATE)
    for name in ("image_token", "video_token", "vision_start_token", "vision_end_token"):
        word = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}.get(name, f"<|{name[:-6]}|>")
        setattr(config, f"{name}_id", tokenizer.convert_tokens_to_ids(word))
    text: Any = config.get_text_config(decoder=True)
    text.eos_token_id, text.bos_token_id, text.pad_token_id = None, None, tokenizer.pad_token_id
    latents = LatentConfig(LatentTokens.of(tokenizer), SLOTS, SEMANTIC.get(shape, 1024))
    setattr(config, KEY, latents.to_dict())
    return config, processor


def new_model(config: Qwen2_5_VLConfig, dtype: str, device: str) -> SlvrModel:
    """Random weights, held as `sft.start.open_start` holds those of a checkpoint: the latents' maps in float32."""
    torch.manual_seed(0)
    with torch.device(device):
        model = SlvrModel(config)
    for name, part in model.named_children():
        hold(part, torch.float32 if name == "latents" else getattr(torch, dtype))
    model.generation_config.eos_token_id = None
    if device == "cuda":  # what it took to make it is not what it takes to train it
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return model.eval()


def samples(
    config: Qwen2_5_VLConfig, pictures: int, questions: int, side: int, words: int, answer: int
) -> list[Sample]:
    """Questions of as many words, with answers of as many, about noise of side x side visual tokens.

    Args:
        config: of the shape.
        pictures: how many.
        questions: about each.
        side: visual tokens of a picture's side.
        words: of a question, a token each.
        answer: words of an answer.
    """
    vision: Any = config.vision_config
    pixels, dice = side * vision.patch_size * vision.spatial_merge_size, np.random.default_rng(0)
    found = []
    for number in range(pictures):
        shown = Image.fromarray(dice.integers(0, 256, (pixels, pixels, 3), np.uint8))
        for place in range(questions):
            vector = dice.standard_normal(LatentConfig.of(config).semantic_dim).astype(np.float32)
            asked = " ".join(dice.choice(["red", "blue", "green"], words))
            found.append(
                Sample(
                    query_id=f"{number}-{place}",
                    group_id=str(number),
                    region_id=str(number),
                    image_id=str(number),
                    picture=shown,
                    box=(0.0, 0.0, pixels / 2, pixels / 2),
                    facet="color",
                    question=asked,
                    wordings=(asked,),
                    choices=(),
                    answer=" ".join(dice.choice(["red", "blue", "green"], answer)),
                    profile_text="red",
                    embedding=vector / np.linalg.norm(vector),
                )
            )
    return found


# Time


def now(device: str) -> float:
    """Seconds of the wall's clock, when all that was given to the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock(TrainerCallback):
    """When each step of a public `Trainer` was done."""

    def __init__(self, device: str) -> None:
        self.device, self.stamps = device, list[float]()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Before the first."""
        self.stamps = [now(self.device)]

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Behind each."""
        self.stamps.append(now(self.device))

    def seconds(self, warmup: int) -> list[float]:
        """Of each step but the first ones."""
        return list(np.diff(self.stamps)[warmup:])


def most_memory(device: str) -> float | None:
    """GiB that tensors of this process took at their most, on a GPU."""
    return torch.cuda.max_memory_allocated() / GIB if device == "cuda" else None


# A process a way


def quiet() -> None:
    """Nothing but errors is said."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    reports.set_verbosity_error()


def tell(measure: Callable[[], dict[str, Any]]) -> None:
    """Print what was measured as a line of JSON; or that memory was short."""
    quiet()
    try:
        found = measure()
    except (RunError, RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in SIGNS):
            raise
        found = {"failed": "out of memory"}
    print(json.dumps(found))


def measured(ways: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """This script once more for each way, in a process of its own on one GPU: memory is that of the way alone.

    Raises:
        RunError: one of them fails.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    for way in ways:
        call = [sys.executable, *sys.argv, "--way", way]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": visible}
        done = subprocess.run(call, stdout=subprocess.PIPE, text=True, env=environment)
        if done.returncode:
            raise RunError(f"{way}: its process ended with exit code {done.returncode}; what it said stands above")
        yield way, json.loads(done.stdout.splitlines()[-1])


def ended(main: Callable[[], None]) -> None:
    """Run a script; what its user can cure is one line."""
    try:
        main()
    except SlvrError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
