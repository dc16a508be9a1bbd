#!/usr/bin/env bash
# What the launch lines share, read with `source`: the Python, how many GPUs, and numbers in the environment that are none.
PYTHON=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)

die() { echo "error: $*" >&2; exit 2; }

# whole NAME WHAT: the variable must be a whole number; WHAT says what it stands for.
whole() { [[ ${!1:-} =~ ^(0|[1-9][0-9]{0,4})$ ]] || die "$1 is '${!1:-}', but must be a whole number: $2."; }

GPUS=${GPUS:-$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')}
whole GPUS "how many GPUs to train on"
