#!/bin/sh
#SBATCH --job-name=slvr
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
#SBATCH --output=slvr-%j.log
# Training as a Slurm job: one task per machine, which starts a process for each of its GPUs.
#
#     sbatch recipes/torchrun/slurm.sh sft --config 7b --set data.set=SET --set out=RUN --resume
#     sbatch --nodes=4 recipes/torchrun/slurm.sh sft --config 7b --set data.set=SET --set out=RUN --resume
#
# With --resume a job that was requeued goes on, and one that finds no run begins it. Start it from the folder that holds
# `recipes`; the environment with slvr has to be active, or to be activated here.
set -eu

NODES=$SLURM_JOB_NUM_NODES
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
GPUS=${GPUS:-${SLURM_GPUS_ON_NODE:-8}}
export NODES HEAD GPUS
# srun takes the processors of a task from here alone (since Slurm 22.05)
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"

exec srun --kill-on-bad-exit=1 sh -c 'NODE=$SLURM_NODEID exec recipes/torchrun/several-nodes.sh "$@"' train "$@"
