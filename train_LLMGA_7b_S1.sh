#!/usr/bin/env bash
# Stage 1 of LLMGA-7b (Vicuna): language model and projector, the vision tower frozen; settings in
# llmga/llava/train/config.py, any of them changed by a flag:  bash train_LLMGA_7b_S1.sh --batch 2 --accumulation 8
set -euo pipefail
bash "$(dirname "$0")/scripts/stage1.sh" --preset llmga_7b_s1 "$@"
