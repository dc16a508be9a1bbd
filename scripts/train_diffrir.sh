#!/usr/bin/env bash
# DiffRIR on every GPU of this machine, or on its CPU:  bash scripts/train_diffrir.sh --preset x1-s1 [--field value …]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/launching.sh
LAUNCH=$([ "$GPUS" -gt 1 ] && echo "accelerate.commands.launch --multi_gpu --num_processes $GPUS -m" || true)
exec "$PYTHON" -m $LAUNCH llmga.diffrir.train.train "$@"
