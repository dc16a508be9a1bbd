#!/usr/bin/env bash
# Set up, then the main job on the bundled models: bash scripts/demo.sh [words...]
#   the words are the request, else a built-in one; flags of llmga.serve.demo may follow them
set -euo pipefail
case ${1:-} in
-h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
esac
cd "$(dirname "$0")/.."
bash scripts/setup.sh </dev/null
exec .venv/bin/python -m llmga.serve.demo "$@"
