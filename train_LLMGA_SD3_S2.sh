#!/usr/bin/env bash
# Stage 2, text to image: low-rank weights for Stable Diffusion 3.5, learnt on detailed prompts.
# Any setting can be changed behind it, for example --tune full (list: --help); GPUS=2 uses two GPUs.
set -euo pipefail
exec bash "$(dirname "$0")/scripts/stage2.sh" --preset sd3 "$@"
