#!/usr/bin/env bash
# Grow a picture to both sides, SDXL paints. More flags may follow: bash scripts/test-llmga-sdxl-inpainting.sh --seed 7
cd "$(dirname "$0")/.." && exec .venv/bin/python -m llmga.serve.cli-sdxl-inpainting --image-file data/demo/scene.jpg \
    --outpaint "left=25%,right=25%" "$@"
