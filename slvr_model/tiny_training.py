"""Training of the embedded model from nothing, on drawn scenes.

A run is a folder: `settings.json` (what it depends on), `log.jsonl` (its curve) and `state.pt`. What a step does
depends on settings and state alone, so a run that was killed goes on to the same bits on the same machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from slvr_data.errors import RunError, UsageError
from slvr_data.settings import flat
from slvr_data.stats import wilson
from slvr_model.memory import memory
from slvr_model.muon import optimizers
from slvr_model.teaching import Scores, Settings
from slvr_model.together import ALONE, Group


def rate_at(step: int, settings: Settings) -> float:
    """Factor of the learning rates: linear warm-up, constant, linear fall to 3 %."""
    falling = max(1, int(settings.decay * settings.steps))
    left = (settings.steps - step) / falling
    return min(1.0, (step + 1) / settings.warmup, max(0.03, left))


class Run:
    """A training run in a folder, begun or gone on with.

    Args:
        folder: where it is kept.
        model: the model to start from; a state that is there replaces its weights.
        loss: step -> loss; it may depend on nothing else but the model.
        settings: steps, learning rates and seed.
        depends: what else the run depends on, e.g. the hash of its lessons; other values are another run.
        group: the processes that train it; the first of them writes.

    Raises:
        UsageError: the folder holds a run with other settings.
        RunError: its state cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        loss: Callable[[int], Tensor],
        settings: Settings,
        depends: dict[str, Any],
        group: Group = ALONE,
    ) -> None:
        self.folder, self.model, self.loss, self.settings, self.group = folder, model, loss, settings, group
        self.optimizers = optimizers(model, settings.muon_lr, settings.adam_lr, settings.new)
        self._rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.step, self.log = 0, list[dict[str, Any]]()
        self.counts: dict[str, float] = {}
        """What `loss` counts, kept with the state."""
        self._begin({"settings": asdict(settings), **depends})

    def _begin(self, depends: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept, state = self.folder / "settings.json", self.folder / "state.pt"
        text = json.dumps(depends, indent=1, sort_keys=True) + "\n"
        if self.group.rank == 0:
            if kept.exists() and kept.read_text(encoding="utf-8") != text:
                was = json.loads(kept.read_text(encoding="utf-8"))
                other = sorted(flat(was).items() ^ flat(depends).items())
                raise UsageError(
                    f"{self.folder} holds another run ({other}): give another folder, or the same settings"
                )
            kept.write_text(text, encoding="utf-8")
        if state.exists():
            try:
                found = torch.load(state, map_location="cpu", weights_only=True)
                self.model.load_state_dict(found["model"])
                for optimizer, was in zip(self.optimizers, found["optimizers"], strict=True):
                    optimizer.load_state_dict(was)
                self.step, self.log = found["step"], found["log"]
                self.counts = found.get("counts", {})
            except (OSError, EOFError, KeyError, ValueError, RuntimeError, UnpicklingError) as error:
                first = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise RunError(f"{state} cannot be read ({first}): remove it to begin anew") from None

    def train(self, until: int, save_every: int = 100, tell: Callable[[str], None] = print) -> None:
        """Go on to step `until`, and keep the state every `save_every` steps and at the end."""
        self.model.train()
        total, first, begun = 0.0, self.step, time.monotonic()
        while self.step < until:
            total += self._one_step()
            if self.step % save_every == 0 or self.step == until:
                since = (self.step - 1) % save_every + 1
                self.log.append({"step": self.step, "loss": round(total / since, 6)})
                left = (until - self.step) * (time.monotonic() - begun) / (self.step - first)
                tell(f"step {self.step} of {until}: loss {total / since:.4f}, {left / 60:.0f} min left")
                total = 0.0
                if self.group.rank == 0:
                    self.save()

    def _one_step(self) -> float:
        factor = rate_at(self.step, self.settings)
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        with memory("training", "the number of pictures or questions per step"):
            loss = self.loss(self.step)
            loss.backward()  # type: ignore[no-untyped-call]
            value = self.group.mean(self.model.parameters(), loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if value != value:
            raise RunError(f"the loss is not a number at step {self.step}: lower muon_lr or adam_lr")
        return value

    def save(self) -> None:
        """Write the state whole or not at all, and the log beside it."""
        state = {
            "step": self.step,
            "log": self.log,
            "counts": self.counts,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        temporary = self.folder / ".state.tmp"
        torch.save(state, temporary)
        temporary.replace(self.folder / "state.pt")
        lines = "".join(json.dumps(entry) + "\n" for entry in self.log)
        (self.folder / "log.jsonl").write_text(lines, encoding="utf-8")


def table_of(scores: Scores) -> str:
    """A line for all questions and one per facet: share right, Wilson's 95 % interval, number."""
    rows = [("all", sum(r for r, _ in scores.values()), sum(n for _, n in scores.values()))]
    rows += [(facet, right, number) for facet, (right, number) in scores.items()]
    lines = []
    for name, right, number in rows:
        low, high = wilson(right, number)
        share = right / number if number else 0.0
        lines.append(f"{name:<14} {share:6.1%}  [{low:.1%}, {high:.1%}]  {right}/{number}")
    return "\n".join(lines)
