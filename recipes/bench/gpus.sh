#!/bin/sh
# A model asked with one process for each GPU of this machine; the shards are then joined to one run.
#
#     recipes/bench/gpus.sh RUN --model slvr:CHECKPOINT --data BENCH --variants circular,paraphrase,evidence
#     slvr-bench report RUN
#
# RUN is the folder of the run; the other arguments are those of slvr-bench run, without --out, --shard and --judge. The
# same command with the same GPUS goes on after whatever stopped it. What a process says lies in RUN/shard-I-of-N.txt.
#
#     GPUS    processes to start, one for each GPU; unless told, as many as CUDA_VISIBLE_DEVICES names, or without that
#             as nvidia-smi lists
set -eu

run=${1:?the folder of the run comes first}
shift
. "$(dirname "$0")/../torchrun/gpus.sh"
if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
    named=$(printf '%s\n' "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c .)
    if [ "$named" -lt "$GPUS" ]; then
        echo "CUDA_VISIBLE_DEVICES '$CUDA_VISIBLE_DEVICES' names fewer than GPUS=$GPUS" >&2
        exit 2
    fi
fi
mkdir -p "$run"

processes=
trap 'kill $processes 2>/dev/null || :; exit 130' INT
trap 'kill $processes 2>/dev/null || :; exit 143' TERM
shard=0
while [ "$shard" -lt "$GPUS" ]; do
    gpu=$shard
    if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
        gpu=$(printf '%s' "$CUDA_VISIBLE_DEVICES" | cut -d , -f $((shard + 1)))
    fi
    CUDA_VISIBLE_DEVICES=$gpu slvr-bench run "$@" --shard "$shard/$GPUS" --out "$run" \
        >"$run/shard-$shard-of-$GPUS.txt" 2>&1 &
    processes="$processes $!"
    shard=$((shard + 1))
done

shard=0
worst=0
for process in $processes; do
    code=0
    wait "$process" || code=$?
    if [ "$code" -ne 0 ]; then
        echo "shard $shard ended with code $code: $(tail -n 1 "$run/shard-$shard-of-$GPUS.txt")" >&2
        worst=$code
    fi
    shard=$((shard + 1))
done
[ "$worst" -eq 0 ] || exit "$worst"
exec slvr-bench join "$run"
