#!/usr/bin/env bash
# Stage 1 on every GPU of this machine, or on its CPU:  bash scripts/stage1.sh --preset NAME [--field value …]
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
GPUS=${GPUS:-$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')}
LAUNCH=$([ "$GPUS" -gt 1 ] && echo "torch.distributed.run --nproc_per_node $GPUS -m" || true)
exec "$PYTHON" -m $LAUNCH llmga.llava.train.train "$@"
