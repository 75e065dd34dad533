#!/bin/sh
# Training on the GPUs of one machine. The first argument is the stage, sft or mgrpo; the others are those of slvr-train.
#
#     recipes/torchrun/one-node.sh sft --config 7b --set data.set=SET --set out=RUN
#     recipes/torchrun/one-node.sh mgrpo --config mgrpo-7b --init RUN/checkpoint --set data.set=SET --set out=RL
#
# The same command with --resume goes on after whatever stopped it, also with another number of GPUS.
#
#     GPUS    processes to start, one for each GPU; unless told, as many as CUDA_VISIBLE_DEVICES names, or without that
#             as nvidia-smi lists
set -eu

stage=${1:?the stage comes first: sft or mgrpo}
shift
. "$(dirname "$0")/gpus.sh"

exec torchrun --standalone --nproc-per-node "$GPUS" -m "slvr_model.$stage" "$@"
