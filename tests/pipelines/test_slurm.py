"""The Slurm recipe, its own scripts run as processes of this machine: the same bytes as one machine makes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.builds import BIN, coco, environment, of_coco, published, run

RECIPE = Path(__file__).parent.parent.parent / "recipes/slurm"
PARTS = 2
SBATCH = """#!/usr/bin/env bash
# What `sbatch` does of an array, one process for each task, and of a job that waits for others: run it.
set -euo pipefail
for word in "$@"; do
    case $word in
        --array=0-*) tasks=$(seq 0 "${word#--array=0-}") ;;
        --dependency=afterok:7 | --parsable | --kill-on-invalid-dep=yes) ;;
        *) break ;;
    esac
    shift
done
basename "$1" >> "$ASKED"
for task in ${tasks:-none}; do
    [ "$task" = none ] || export SLURM_ARRAY_TASK_ID=$task SLURM_CPUS_PER_TASK=1
    bash "$@" >> "$ASKED.log" 2>&1 &
    jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job"; done
echo "7;cluster"
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a login node."""
    command = tmp_path / "bin/sbatch"
    command.parent.mkdir()
    command.write_text(SBATCH)
    command.chmod(0o755)
    path = os.pathsep.join((str(command.parent), str(BIN), os.environ["PATH"]))
    return environment(PATH=path, ASKED=str(tmp_path / "asked"))


def submit(slurm: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [RECIPE / "submit.sh", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=slurm, timeout=600, check=False)


def test_an_array_of_jobs_gives_the_same_bytes(slurm: dict[str, str], tmp_path: Path) -> None:
    """Also where a task was killed on another node, which its lock names, and starts again."""
    file = coco(tmp_path, 8)
    source = of_coco(file)[1:]
    lock = tmp_path / "set.parts" / f"1-of-{PARTS}" / ".work/lock"
    lock.parent.mkdir(parents=True)
    (lock.parent / "slvr").touch()
    lock.write_text(json.dumps({"host": "a-node-that-is-gone", "pid": 7}))
    done = submit(slurm | {"SLURM_RESTART_COUNT": "1"}, tmp_path / "set", PARTS, *source)
    log = (tmp_path / "asked.log").read_text()
    assert done.returncode == 0, done.stderr + log
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["part.sbatch", "merge.sbatch"]
    assert f"part 0/{PARTS} is finished" in log and f"part 1/{PARTS} is finished" in log
    run(*of_coco(file, "--workers", 1, "--out", tmp_path / "alone"))
    assert published(tmp_path / "set") == published(tmp_path / "alone")


def test_a_part_that_fails_fails_its_job(slurm: dict[str, str], tmp_path: Path) -> None:
    """Slurm then never starts the job that joins the parts."""
    done = submit(slurm, tmp_path / "set", PARTS, "scenes:none")
    assert done.returncode != 0
    assert "unknown source 'scenes:none'" in (tmp_path / "asked.log").read_text()
    assert "merge" not in (tmp_path / "asked").read_text()
    assert "usage: submit.sh" in submit(slurm, tmp_path / "set", "many", "scenes").stderr


def test_an_address_is_no_folder(slurm: dict[str, str], tmp_path: Path) -> None:
    """As a path, it would be a folder of this machine that is named s3:."""
    done = submit(slurm, "s3://bucket/set", PARTS, "scenes", "--limit", 1)
    assert done.returncode == 2 and "OUT s3://bucket/set is an address" in done.stderr
    assert not (tmp_path / "asked").exists()
