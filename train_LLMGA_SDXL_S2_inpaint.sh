#!/usr/bin/env bash
# Stage 2, inpainting and outpainting: finetune the UNet of Stable Diffusion XL inpainting on detailed prompts.
# Any setting can be changed behind it, for example --batch-size 8 (list: --help); GPUS=2 uses two GPUs.
set -euo pipefail
exec bash "$(dirname "$0")/scripts/stage2.sh" --preset sdxl_inpaint "$@"
