#!/usr/bin/env bash
# Stage 1 on every GPU of this machine, or on its CPU:  bash scripts/stage1.sh --preset NAME [--field value …]
#   GPUS=2                         so many processes (default: one per GPU)
#   LAUNCHER=torchrun|deepspeed    how several are started (default: torchrun; deepspeed with HOSTFILE)
#   HOSTFILE=hosts                 several nodes over ssh (needs pdsh): lines such as "node1 slots=8"
#   NODES=2 NODE_RANK=0 MASTER_ADDR=node1    several nodes without ssh: torchrun, started on each of them
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
TRAIN=llmga.llava.train.train
GPUS=${GPUS:-$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')}
GPUS=$((GPUS > 0 ? GPUS : 1))
NODES=${NODES:-1}
if [ -n "${HOSTFILE:-}" ]; then
    [ -f "$HOSTFILE" ] || { echo "error: HOSTFILE '$HOSTFILE' does not exist; see README.md for what it holds." >&2; exit 2; }
    NODES=$(grep -c '^[^#]*slots=' "$HOSTFILE") ||
        { echo "error: HOSTFILE '$HOSTFILE' has no line such as 'node1 slots=8'." >&2; exit 2; }
fi
LAUNCHER=${LAUNCHER:-$([ -n "${HOSTFILE:-}" ] && echo deepspeed || echo torchrun)}

if [ -z "${HOSTFILE:-}" ] && [ "$GPUS" -le 1 ] && [ "$NODES" -le 1 ]; then
    exec "$PYTHON" -m $TRAIN "$@"
fi
[[ " $* " == *" --help "* || " $* " == *" -h "* ]] || PROCESSES=$GPUS NODES=$NODES "$PYTHON" -m llmga.llava.train.preflight "$@"
case $LAUNCHER in
torchrun)
    where=(--standalone)
    [ "$NODES" -gt 1 ] && where=(--nnodes "$NODES" --node_rank "${NODE_RANK:?which of the nodes this is, from 0}"
        --master_addr "${MASTER_ADDR:?name of node 0}" --master_port "${MASTER_PORT:-29500}")
    exec "$PYTHON" -m torch.distributed.run "${where[@]}" --nproc_per_node "$GPUS" -m $TRAIN "$@"
    ;;
deepspeed)
    where=(--num_gpus "$GPUS")
    [ -n "${HOSTFILE:-}" ] && where=(--hostfile "$HOSTFILE")
    exec "$PYTHON" -m llmga.training.launch "${where[@]}" --no_local_rank --module $TRAIN "$@"
    ;;
*)
    echo "error: LAUNCHER is '$LAUNCHER', but must be torchrun or deepspeed." >&2
    exit 2
    ;;
esac
