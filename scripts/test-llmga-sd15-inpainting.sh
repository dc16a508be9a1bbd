#!/usr/bin/env bash
# Grow a picture to both sides, SD1.5 paints (give its folder with --sdmodel_id). More flags may follow: bash scripts/test-llmga-sd15-inpainting.sh --seed 7
cd "$(dirname "$0")/.." && exec .venv/bin/python -m llmga.serve.cli-sd15-inpainting --image-file data/demo/scene.jpg \
    --outpaint "left=25%,right=25%" "$@"
