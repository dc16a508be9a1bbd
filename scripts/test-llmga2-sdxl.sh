#!/usr/bin/env bash
# From words only, SDXL paints. More flags may follow: bash scripts/test-llmga2-sdxl.sh --seed 7
cd "$(dirname "$0")/.." && exec .venv/bin/python -m llmga.serve.cli2-sdxl "$@"
