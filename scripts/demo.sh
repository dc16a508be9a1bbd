#!/usr/bin/env bash
# Set up, then the main job on the bundled models: bash scripts/demo.sh [words...]
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh </dev/null
exec .venv/bin/python -m llmga.serve.demo "$@"
