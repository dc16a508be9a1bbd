#!/usr/bin/env bash
# Stage 2 on every GPU of this machine, or on its CPU:  bash scripts/stage2.sh --preset NAME [--field value …]
# GPUS=2 in front uses two of them; with --deepspeed scripts/zero2.json behind it their memory is shared.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/launching.sh
LAUNCH=$([ "$GPUS" -gt 1 ] && echo "accelerate.commands.launch --multi_gpu --num_processes $GPUS -m" || true)
exec "$PYTHON" -m $LAUNCH llmga.diffusers.train.train "$@"
