#!/usr/bin/env bash
# From words only, SD1.5 paints (give its folder with --sdmodel_id). More flags may follow: bash scripts/test-llmga2-sd15.sh --seed 7
cd "$(dirname "$0")/.." && exec .venv/bin/python -m llmga.serve.cli2-sd15 "$@"
