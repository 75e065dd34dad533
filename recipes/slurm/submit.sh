#!/usr/bin/env bash
# A set in PARTS independent jobs, and a job that joins them when all have ended well.
#   submit.sh OUT PARTS SOURCE [OPTION...]
# What sbatch should know besides (account, partition) stands in its own variables, as SBATCH_ACCOUNT.
set -euo pipefail
if [[ $# -lt 3 || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: submit.sh OUT PARTS SOURCE [OPTION...]" >&2
    exit 2
fi
if [[ $1 == *://* ]]; then
    echo "submit.sh: OUT $1 is an address: name a folder that all nodes share (slvr-data merge joins parts at an address too)" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "$1") parts=$2
shift 2
job=$(sbatch --parsable --array="0-$((parts - 1))" "$here/part.sbatch" "$out" "$parts" "$@")
sbatch --dependency="afterok:${job%%;*}" --kill-on-invalid-dep=yes "$here/merge.sbatch" "$out" "$parts"
