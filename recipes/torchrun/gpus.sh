# Sets GPUS where it is not told: how many GPUs this machine shows. Read by one-node.sh and several-nodes.sh.
if [ -z "${GPUS:-}" ]; then
    if [ -n "${CUDA_VISIBLE_DEVICES+told}" ]; then
        GPUS=$(printf '%s\n' "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c '^[^-]' || :)
    elif command -v nvidia-smi >/dev/null; then
        GPUS=$(nvidia-smi --list-gpus | grep -c '^GPU ' || :)
    fi
fi
case ${GPUS:-0} in
*[!0-9]* | 0)
    echo "GPUS '${GPUS:-}': no GPU is found; tell how many processes to start, for example GPUS=8" >&2
    exit 2
    ;;
esac
