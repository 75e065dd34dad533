"""`torchrun --nproc-per-node N -m slvr_model.sft --config ...`: `slvr-train sft` in each of several processes."""

from __future__ import annotations

import sys

from slvr_data.console import train
from slvr_model.together import leave

if __name__ == "__main__":
    sys.argv = ["slvr-train", "sft", *sys.argv[1:]]
    try:
        train()
    finally:
        leave()
