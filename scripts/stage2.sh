#!/usr/bin/env bash
# Launch stage 2: one process, or one for each GPU when PROCESSES is more than 1.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}"
launch=(); [ "${PROCESSES:-1}" -gt 1 ] && launch=(-m accelerate.commands.launch --multi_gpu --num_processes "$PROCESSES")
exec "$python" "${launch[@]}" -m llmga.diffusers.train.train "$@"
