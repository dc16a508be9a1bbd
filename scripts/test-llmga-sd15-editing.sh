#!/usr/bin/env bash
# Change a picture, SD1.5 paints (give its folder with --sdmodel_id). More flags may follow: bash scripts/test-llmga-sd15-editing.sh --seed 7
cd "$(dirname "$0")/.." && exec .venv/bin/python -m llmga.serve.cli-sd15-editing --image-file data/demo/scene.jpg "$@"
