#!/usr/bin/env bash
# Set up, then run the tests offline; arguments go to pytest, such as `bash scripts/test.sh tests/llava -x`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/setup.sh"
cd "$root"

export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 NO_ALBUMENTATIONS_UPDATE=1 TOKENIZERS_PARALLELISM=false
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # the test models are tiny: more threads only wait for each other

# The whole suite takes a process a core; with arguments, or where a GPU is shared, one process.
# What is marked long runs only when it is asked for: bash scripts/test.sh -m long
select=(-m "not long")
if ! nvidia-smi -L >/dev/null 2>&1; then
    select=(-m "not gpu and not long")
    (($#)) || select+=(-n logical --maxprocesses 8 --dist worksteal)
fi
exec .venv/bin/python -m pytest "${select[@]}" "$@"
