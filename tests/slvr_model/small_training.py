"""A training of two processes that takes seconds; a test kills it.

python -m tests.slvr_model.small_training FOLDER
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from slvr_model.lessons import lessons
from slvr_model.teaching import Settings, Teacher, plain_loss
from slvr_model.tiny import new_tiny
from slvr_model.tiny_training import Run
from slvr_model.together import Group, together
from tests.slvr_model.preloaded import spawned

SETTINGS = Settings(steps=8, pictures=2, questions=3, profiles=1, drills=1, warmup=2)


def quiet(line: str) -> None:
    """Of a process that does not speak."""


def trained(folder: Path, tell: Callable[[str], None] = quiet) -> None:
    """To its end, from where it stopped."""
    with spawned(), together(2, partial(share, folder)) as group:
        share(folder, group, tell)


def share(folder: Path, group: Group, tell: Callable[[str], None] = quiet) -> None:
    """What one of the processes does."""
    torch.set_num_threads(1)
    model, processor = new_tiny(0)
    learnt = list(lessons("easy", 5, 12))
    loss = partial(plain_loss, model, Teacher(processor.tokenizer, SETTINGS, group), learnt)
    Run(folder, model, loss, SETTINGS, {}, group).train(SETTINGS.steps, save_every=2, tell=tell)


def held(line: str) -> None:
    """Of one that is killed before its third state is kept."""
    print(line, flush=True)
    if line.startswith("step 6 "):
        signal.pause()


if __name__ == "__main__":
    trained(Path(sys.argv[1]), held)
