"""Slurm, asked whether a job has ended: a process of one that has is gone, on whatever node it ran."""

from __future__ import annotations

import os
import subprocess
from typing import Any

_ASK_SECONDS = 60.0


def job_here() -> dict[str, Any] | None:
    """The job that this process is part of; None outside of Slurm, and in a shell that only waits for one."""
    told = os.environ
    if not told.get("SLURM_JOB_ID") or not told.get("SLURMD_NODENAME"):
        return None
    name = told["SLURM_JOB_ID"]
    if told.get("SLURM_ARRAY_JOB_ID") and told.get("SLURM_ARRAY_TASK_ID"):
        name = f"{told['SLURM_ARRAY_JOB_ID']}_{told['SLURM_ARRAY_TASK_ID']}"
    restarts = told.get("SLURM_RESTART_COUNT", "")
    return {
        "id": name,
        "restarts": int(restarts) if restarts.isdigit() else 0,
        "cluster": told.get("SLURM_CLUSTER_NAME"),
        "user": os.getuid(),
    }


def has_ended(job: Any) -> bool:
    """Whether it is certain that no process of `job` (what `job_here` told there) runs any more.

    Slurm runs a job once at a time, so an earlier start of this process's own job has ended. Of another one `squeue`
    is asked, which knows only jobs of its cluster and may hide those of other users: of them its word is not taken.
    """
    ours = job_here()
    if ours is None or not isinstance(job, dict) or any(job.get(key) != ours[key] for key in ("cluster", "user")):
        return False
    name, restarts = job.get("id"), job.get("restarts")
    if not isinstance(name, str) or not isinstance(restarts, int):
        return False
    return restarts < ours["restarts"] if name == ours["id"] else _unknown(name)


def _unknown(job: str) -> bool:
    """Whether `squeue` lists no such job, neither running nor waiting; where it does not answer, nobody knows."""
    line = ["squeue", "--noheader", f"--jobs={job}"]
    try:
        said = subprocess.run(line, capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if said.returncode:
        return "Invalid job id" in said.stderr  # it ended so long ago that Slurm has forgotten it
    return not said.stdout.strip()
