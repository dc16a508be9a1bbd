#!/usr/bin/env bash
# Read altered files as strangers could send them, such as `bash scripts/fuzz.sh --cases 1000000 --seed 7`; see
# tests/fuzz/strangers.py.  Prints what was found, and exits with 1 when it is something.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 PYTHONPATH=$PWD
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # the files are tiny: more threads only wait for each other

exec .venv/bin/python tests/fuzz/strangers.py "$@"
