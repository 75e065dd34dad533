"""The Slurm recipes, their own scripts run as processes of this machine: the same bytes as one machine makes."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builds import BIN, coco, environment, of_coco, published, run, wait_for

ROOT = Path(__file__).parent.parent.parent
RECIPE = ROOT / "recipes/slurm"
PARTS = 2
STAND_INS = {
    "sbatch": """
# It returns at once. A job runs when the one that it depends on has ended well, each task of an array as a process.
echo "$*" >> "$SLURM/asked"
job=$(($(wc -l < "$SLURM/asked") + 6)) tasks=none after=
while [[ $1 == --* ]]; do
    case $1 in
        --array=0-*) tasks=$(seq 0 "${1#--array=0-}") ;;
        --array=*) tasks=${1#--array=} ;;
        --dependency=afterok:*) after=${1##*:} ;;
    esac
    shift
done
export SLURM_JOB_ID=$job SLURMD_NODENAME=here SLURM_CLUSTER_NAME=cluster SLURM_CPUS_PER_TASK=1
{
    ended=0 started=()
    if [[ -n $after ]]; then
        until [[ -s $SLURM/$after.ended ]]; do sleep 0.05; done
        [[ $(< "$SLURM/$after.ended") == 0 ]] || ended=cancelled
    fi
    for task in $tasks; do
        [[ $ended == 0 ]] || break
        [[ $task == none ]] || export SLURM_ARRAY_JOB_ID=$job SLURM_ARRAY_TASK_ID=$task
        bash "$@" &
        started+=($!)
    done
    for one in "${started[@]}"; do wait "$one" || ended=$?; done
    echo "$ended" > "$SLURM/$job.ended"
} >> "$SLURM/log" 2>&1 < /dev/null &
echo "$job;cluster"
""",
    "squeue": """
# It lists the jobs that SLURM/listed names, and has forgotten all others.
[[ $1 == --noheader && $2 == --jobs=* ]]
grep -qsx "${2#--jobs=}" "$SLURM/listed" && exec echo "${2#--jobs=} R 1:00 a-node"
echo "slurm_load_jobs error: Invalid job id specified" >&2
exit 1
""",
    "scontrol": "echo node-a; echo node-b\n",
    "srun": """
# A task on each of two nodes, with as many processors as it is told: a job's own --cpus-per-task is not.
[[ $1 == --kill-on-bad-exit=1 ]]
shift
for node in 0 1; do
    SLURM_NODEID=$node GIVEN=${SRUN_CPUS_PER_TASK:-1} "$@"
done
""",
    "torchrun": 'echo "$GIVEN processors: $*"\n',
}


@dataclass
class Slurm:
    """Where a login node of it keeps what was asked for and what became of it."""

    folder: Path
    environment: dict[str, str]

    def call(self, *line: object, **more: str) -> subprocess.CompletedProcess[str]:
        words, env = [str(word) for word in line], self.environment | more
        return subprocess.run(words, capture_output=True, text=True, env=env, cwd=ROOT, timeout=600, check=False)

    def submit(self, *arguments: object, **more: str) -> None:
        done = self.call(RECIPE / "submit.sh", *arguments, **more)
        assert done.returncode == 0, done.stderr

    def ended(self, job: int) -> str:
        """How a job has ended."""
        return str(wait_for(lambda: self.read(f"{job}.ended"), 600, 0.05)).strip()

    def read(self, name: str) -> str:
        file = self.folder / name
        return file.read_text() if file.exists() else ""


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, code in STAND_INS.items():
        command = folder / name
        command.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{code}")
        command.chmod(0o755)
    path = os.pathsep.join((str(folder), str(BIN), os.environ["PATH"]))
    return Slurm(folder, environment(PATH=path, SLURM=str(folder)))


def leave_lock(out: Path, job: str) -> None:
    """What a process of that job leaves where it is killed on a node that is gone."""
    lock = out / ".work/lock"
    lock.parent.mkdir(parents=True)
    (lock.parent / "slvr").touch()
    mine = {"id": job, "restarts": 0, "cluster": "cluster", "user": os.getuid()}
    lock.write_text(json.dumps({"host": "a-node-that-is-gone", "pid": 7, "job": mine}))


def test_an_array_of_jobs_gives_the_same_bytes(slurm: Slurm, tmp_path: Path) -> None:
    """Also where a task, and the job that joins the parts, were killed with their nodes and are started again."""
    file, out = coco(tmp_path, 8), tmp_path / "set"
    leave_lock(tmp_path / "set.parts" / f"1-of-{PARTS}", "7_1")
    leave_lock(out, "8")
    slurm.submit(out, PARTS, *of_coco(file)[1:], SLURM_RESTART_COUNT="1")
    assert (slurm.ended(7), slurm.ended(8)) == ("0", "0"), slurm.read("log")
    array, joining = slurm.read("asked").splitlines()
    assert array.startswith(f"--parsable --array=0-{PARTS - 1} {RECIPE}/part.sbatch {out} {PARTS} coco ")
    assert joining == f"--dependency=afterok:7 --kill-on-invalid-dep=yes {RECIPE}/merge.sbatch {out} {PARTS}"
    log = slurm.read("log")
    assert f"part 0/{PARTS} is finished" in log and f"part 1/{PARTS} is finished" in log
    run(*of_coco(file, "--workers", 1, "--out", tmp_path / "alone"))
    assert published(out) == published(tmp_path / "alone")


def test_a_part_that_is_submitted_again(slurm: Slurm, tmp_path: Path) -> None:
    """Its lock holds as long as Slurm lists the job that left it, and no longer."""
    out, part = tmp_path / "set", tmp_path / "set.parts" / f"1-of-{PARTS}"
    leave_lock(part, "3_1")
    (slurm.folder / "listed").write_text("3_1\n")
    slurm.submit(out, PARTS, "scenes", "--limit", 2)
    assert (slurm.ended(7), slurm.ended(8)) == ("2", "cancelled")
    assert f"{part} is locked by process 7 on a-node-that-is-gone (Slurm job 3_1), another host" in slurm.read("log")
    (slurm.folder / "listed").write_text("3_0\n")
    again = slurm.call("sbatch", "--array=1", RECIPE / "part.sbatch", out, PARTS, "scenes", "--limit", 2)
    assert (again.stdout, slurm.ended(9)) == ("9;cluster\n", "0"), slurm.read("log")
    assert "taking over from process 7 on a-node-that-is-gone (Slurm job 3_1), which is gone" in slurm.read("log")
    slurm.call("sbatch", "--dependency=afterok:9", RECIPE / "merge.sbatch", out, PARTS)
    assert slurm.ended(10) == "0", slurm.read("log")
    assert "manifest.json" in published(out)


def test_a_part_that_fails_fails_its_job(slurm: Slurm, tmp_path: Path) -> None:
    """Slurm then never starts the job that joins the parts."""
    slurm.submit(tmp_path / "set", PARTS, "scenes:none")
    assert (slurm.ended(7), slurm.ended(8)) == ("2", "cancelled")
    assert "unknown source 'scenes:none'" in slurm.read("log")
    assert "usage: submit.sh" in slurm.call(RECIPE / "submit.sh", tmp_path / "set", "many", "scenes").stderr


def test_an_address_is_no_folder(slurm: Slurm) -> None:
    """As a path, it would be a folder of this machine that is named s3:."""
    done = slurm.call(RECIPE / "submit.sh", "s3://bucket/set", PARTS, "scenes", "--limit", 1)
    assert done.returncode == 2 and "OUT s3://bucket/set is an address" in done.stderr
    assert not slurm.read("asked")


def test_training_has_the_processors_of_its_job(slurm: Slurm) -> None:
    job = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_GPUS_ON_NODE": "4"}
    done = slurm.call(ROOT / "recipes/torchrun/slurm.sh", "sft", "--resume", SLURM_CPUS_PER_TASK="64", **job)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"64 processors: --nnodes 2 --node-rank {node} --nproc-per-node 4 --master-addr node-a --master-port 29500 "
        "-m slvr_model.sft --resume"
        for node in (0, 1)
    ]
