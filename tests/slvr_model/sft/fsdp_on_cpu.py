"""Run by two processes: `slvr-train sft` with FSDP2 through accelerate and the public Trainer, on CPUs.

accelerate takes FSDP2 for GPUs alone and would quietly make DDP of it here. Told that these processes are FSDP's, all
else is its own: what is gathered, cast, summed, saved and taken up again.

    python -m tests.slvr_model.sft.fsdp_on_cpu CONFIG --set ... [--resume]
"""

from __future__ import annotations

import sys
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from slvr_model.sft import run
from slvr_model.sft.settings import load_config

begun = AcceleratorState.__init__


def sharing(self: Any, *arguments: Any, **options: Any) -> None:
    """As on GPUs."""
    begun(self, *arguments, **options)
    plugin = options.get("fsdp_plugin")
    if plugin is not None:
        PartialState._shared_state["distributed_type"] = self.distributed_type = DistributedType.FSDP
        if self._mixed_precision != "no":
            plugin.set_mixed_precision(self._mixed_precision)
        self.fsdp_plugin = plugin


if __name__ == "__main__":
    AcceleratorState.__init__ = sharing
    run.check = lambda config: None  # that GPUs are there
    name, *told = sys.argv[1:]
    config = load_config(name, [one for one in told if not one.startswith("--")])
    run.train_sft(config, "--resume" in told)
