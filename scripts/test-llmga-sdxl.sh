#!/usr/bin/env bash
# Talk about a picture, SDXL paints. More flags may follow: bash scripts/test-llmga-sdxl.sh --seed 7
cd "$(dirname "$0")/.." && exec .venv/bin/python -m llmga.serve.cli-sdxl --image-file data/demo/scene.jpg "$@"
