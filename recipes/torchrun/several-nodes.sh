#!/bin/sh
# Training on several machines: run it on each of them, with the same arguments and with the number of the machine.
#
#     NODES=2 NODE=0 HEAD=node-a recipes/torchrun/several-nodes.sh sft --config 7b --set data.set=SET --set out=RUN
#     NODES=2 NODE=1 HEAD=node-a recipes/torchrun/several-nodes.sh sft --config 7b --set data.set=SET --set out=RUN
#
# SET and RUN lie on a disk that all machines see. The same commands with --resume go on, also with other NODES.
#
#     NODES   machines
#     NODE    the number of this one, from 0
#     HEAD    name or address of machine 0
#     PORT    a free port of machine 0; 29500 unless told
#     GPUS    processes on each machine; unless told, as many as CUDA_VISIBLE_DEVICES names, or without that as
#             nvidia-smi lists
set -eu

stage=${1:?the stage comes first: sft or mgrpo}
shift
: "${NODES:?how many machines}" "${NODE:?the number of this machine, from 0}" "${HEAD:?name or address of machine 0}"
. "$(dirname "$0")/gpus.sh"

exec torchrun --nnodes "$NODES" --node-rank "$NODE" --nproc-per-node "$GPUS" \
    --master-addr "$HEAD" --master-port "${PORT:-29500}" -m "slvr_model.$stage" "$@"
