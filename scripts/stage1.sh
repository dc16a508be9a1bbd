#!/usr/bin/env bash
# Stage 1 on every GPU of this machine, or on its CPU:  bash scripts/stage1.sh --preset NAME [--field value …]
#   GPUS=2                         so many processes (default: one per GPU)
#   LAUNCHER=torchrun|deepspeed    how several are started (default: torchrun; deepspeed with HOSTFILE)
#   HOSTFILE=hosts                 several nodes over ssh (needs pdsh): lines such as "node1 slots=8"
#   NODES=2 NODE_RANK=0 MASTER_ADDR=node1    several nodes without ssh: torchrun, started on each of them
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/launching.sh
TRAIN=llmga.llava.train.train
GPUS=$((GPUS > 0 ? GPUS : 1))
NODES=${NODES:-1}
whole NODES "how many machines train together"
if [ -n "${HOSTFILE:-}" ]; then
    [ -f "$HOSTFILE" ] || die "HOSTFILE '$HOSTFILE' does not exist; docs/train/stage1.md says what it holds."
    NODES=$(grep -c '^[^#]*slots=' "$HOSTFILE") || die "HOSTFILE '$HOSTFILE' has no line such as 'node1 slots=8'."
fi
LAUNCHER=${LAUNCHER:-$([ -n "${HOSTFILE:-}" ] && echo deepspeed || echo torchrun)}

if [ "$LAUNCHER" = torchrun ] && [ "$NODES" -gt 1 ]; then
    whole NODE_RANK "which of the $NODES machines this is, from 0 to $((NODES - 1))"
    [ "$NODE_RANK" -lt "$NODES" ] || die "NODE_RANK is $NODE_RANK, but the $NODES machines are 0 to $((NODES - 1))."
    [ -n "${MASTER_ADDR:-}" ] || die "MASTER_ADDR is missing: give the name or address of machine 0."
    MASTER_PORT=${MASTER_PORT:-29500}
    whole MASTER_PORT "a free port of machine 0"
fi

if [ -z "${HOSTFILE:-}" ] && [ "$GPUS" -le 1 ] && [ "$NODES" -le 1 ]; then
    exec "$PYTHON" -m $TRAIN "$@"
fi
[[ " $* " == *" --help "* || " $* " == *" -h "* ]] || PROCESSES=$GPUS NODES=$NODES "$PYTHON" -m llmga.llava.train.preflight "$@"
case $LAUNCHER in
torchrun)
    where=(--standalone)
    [ "$NODES" -gt 1 ] && where=(--nnodes "$NODES" --node_rank "$NODE_RANK" --master_addr "$MASTER_ADDR"
        --master_port "$MASTER_PORT")
    exec "$PYTHON" -m torch.distributed.run "${where[@]}" --nproc_per_node "$GPUS" -m $TRAIN "$@"
    ;;
deepspeed)
    where=(--num_gpus "$GPUS")
    [ -n "${HOSTFILE:-}" ] && where=(--hostfile "$HOSTFILE")
    exec "$PYTHON" -m llmga.training.launch "${where[@]}" --no_local_rank --module $TRAIN "$@"
    ;;
*)
    die "LAUNCHER is '$LAUNCHER', but must be torchrun or deepspeed."
    ;;
esac
