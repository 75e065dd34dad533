"""Held-out questions during training: a cheap look by this package, and whatever evaluator is given from outside.

`HeldOut` asks greedily, with the model's own latents, and needs no file. An `Evaluator` gets a checkpoint's folder: a
function by its dotted name, or commands that leave their scores as JSON, e.g.

    slvr-bench run --model slvr:{checkpoint} --data BENCH --out {out} && slvr-bench report {out} --out {out}
"""

from __future__ import annotations

import importlib
import json
import math
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from slvr_data.errors import RunError, UsageError
from slvr_model.decoding import decode
from slvr_model.mgrpo.types import Evaluator, Shown
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective
from slvr_model.right import is_right
from slvr_model.rows import Row

SCORES = "scores.json"
"""What a command may leave in `{out}`; else the last line that it prints is read."""


class HeldOut:
    """Held-out groups, asked greedily.

    Args:
        shown: the groups of this process, each asked for once and let go of; those of all processes are summed up.
        objective: lays out replies and cuts out answers.
        tokenizer: of the model.
        rows: questions at once.
        new_tokens: positions of a reply, latents included.
    """

    def __init__(
        self, shown: Sequence[Shown], objective: Objective, tokenizer: Any, rows: int, new_tokens: int
    ) -> None:
        self.shown, self.objective, self.tokenizer = shown, objective, tokenizer
        self.rows, self.new_tokens = rows, new_tokens

    @torch.no_grad()
    def scores(self, model: SlvrModel, device: torch.device) -> dict[str, float]:
        """Scores by name, over all processes.

        `accuracy`: share of questions answered rightly (`is_right`); `all_right`: share of regions all of whose
        questions are; `ended`: share of replies that were not cut off; `groups`: regions that were asked about.
        """
        was, asked = model.training, self._asked()
        model.train(False)
        right: dict[int, list[bool]] = {}
        counts = torch.zeros(5, dtype=torch.float64)
        while some := list(islice(asked, self.rows)):
            batch = self.objective.collate([row for _, row, _, _ in some], "left").to(device)
            decoded = decode(model, batch, max_new_tokens=self.new_tokens, **self.objective.form.options())
            counts[3] += float(decoded.finished_B.sum())
            for (number, _, answer, lettered), ids in zip(some, decoded.replies(), strict=True):
                right.setdefault(number, []).append(is_right(self._text(ids), answer, lettered))
        model.train(was)
        for flags in right.values():
            counts += torch.tensor([len(flags), sum(flags), all(flags), 0, 1], dtype=torch.float64)
        if distributed.is_initialized():
            counts = counts.to(device)
            distributed.all_reduce(counts)
        questions, rightly, whole, ended, groups = counts.tolist()
        return {
            "accuracy": rightly / max(questions, 1),
            "all_right": whole / max(groups, 1),
            "ended": ended / max(questions, 1),
            "groups": groups,
        }

    def _asked(self) -> Iterator[tuple[int, Row, str, bool]]:
        """(number of its group, question, what is right, whether that is a letter)."""
        for number, one in enumerate(self.shown):
            for row, answer, lettered in zip(one.asked, one.answers, one.lettered, strict=True):
                yield number, row, answer, lettered

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(self.objective.answer(ids)), skip_special_tokens=True)).strip()


class Commands:
    """An evaluator outside of this process: commands, one after another, without a shell.

    Args:
        text: the commands, joined by `&&`, with `{checkpoint}`, and if wanted `{step}` and `{out}`.
        out: below it each evaluation has a folder of its own.
    """

    def __init__(self, text: str, out: Path) -> None:
        words = shlex.split(text)
        self.commands = [list(part) for joint, part in groupby(words, lambda word: word == "&&") if not joint]
        self.out = out
        if "{checkpoint}" not in text or not self.commands:
            raise UsageError(f"evaluation.evaluator {text!r}: a command needs {{checkpoint}}, the folder to be asked")

    def __call__(self, checkpoint: str, step: int) -> dict[str, float]:
        """Its scores.

        Raises:
            RunError: a command fails, or leaves no scores.
        """
        folder = self.out / f"step-{step}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        told = {"{checkpoint}": checkpoint, "{step}": str(step), "{out}": str(folder)}
        printed = ""
        for words in self.commands:
            filled = [_filled(word, told) for word in words]
            try:
                done = subprocess.run(filled, capture_output=True, text=True, check=False)
            except OSError as error:
                raise RunError(f"the evaluator cannot be started: {error}") from None
            if done.returncode:
                said = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()[-1]
                raise RunError(f"the evaluator failed at step {step} ({shlex.join(filled)}): {said}")
            printed = done.stdout.strip() or printed
        file = folder / SCORES
        last = printed.splitlines()[-1] if printed else ""
        try:
            return scores_in(json.loads(file.read_bytes() if file.exists() else last))
        except (ValueError, OSError) as error:
            raise RunError(
                f"the evaluator left no scores at step {step}: neither {file} nor a last line that is JSON ({error})"
            ) from None


def evaluator_of(name: str | None, out: Path) -> Evaluator | None:
    """What a configuration names: commands with `{checkpoint}`, or `package.module:function`.

    Raises:
        UsageError: there is no such function.
    """
    if name is None:
        return None
    if "{" in name or " " in name:
        return Commands(name, out)
    module, colon, function = name.partition(":")
    if not colon:
        raise UsageError(
            f"evaluation.evaluator {name!r}: give package.module:function, or a command with {{checkpoint}}"
        )
    sys.path.insert(0, "")
    try:
        found: Evaluator = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"evaluation.evaluator {name!r}: {error}") from None
    finally:
        sys.path.remove("")
    return found


def scores_in(tree: Any) -> dict[str, float]:
    """Numbers by name: of a plain object, or of the last run of an `slvr-bench report`, whose estimates hold `value`.

    Raises:
        ValueError: there is none.
    """
    if isinstance(tree, Mapping) and isinstance(tree.get("runs"), list) and tree["runs"]:
        tree = tree["runs"][-1].get("scores", {})
    found = {}
    for name, value in tree.items() if isinstance(tree, Mapping) else ():
        number = value.get("value") if isinstance(value, Mapping) else value
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            found[str(name)] = float(number)
    if not found:
        raise ValueError("no numbers in it")
    return found


def _filled(word: str, told: Mapping[str, str]) -> str:
    for mark, value in told.items():
        word = word.replace(mark, value)
    return word
