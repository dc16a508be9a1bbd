#!/usr/bin/env bash
# From nothing to the bundled checkpoints: data, base models, both training stages, scores.
# Every step is skipped when its result is there and goes on where it was interrupted.
# On 2 CPU cores the painter's half and the language model's half run side by side, one thread each.
#   bash scripts/toyworld.sh                     takes no words
#   OMP_NUM_THREADS=4 bash scripts/toyworld.sh   so many threads for each half
set -euo pipefail
case ${1:-} in
-h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
"") ;;
*) echo "error: scripts/toyworld.sh takes no words, but got '$*'." >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" HF_HUB_OFFLINE=1
python=.venv/bin/python
inference=checkpoints/Inference

made() { [ -e "$1" ] && echo "$1 is there, skipped"; }

base() { # make the painter's two towers first: the second half waits for the vision tower
    $python -m llmga.toyworld.pretrain vae sdxl-random --threads "$OMP_NUM_THREADS"
    made $inference/llmga-toy-sdxl-base/model_index.json ||
        $python -m llmga.diffusers.train.train --preset toy_sdxl_base
    made $inference/llmga-toy-sdxl-t2i/model_index.json ||
        $python -m llmga.diffusers.train.train --preset toy_sdxl
    made $inference/llmga-toy-sdxl-inpainting/model_index.json ||
        $python -m llmga.diffusers.train.train --preset toy_sdxl_inpaint
    made $inference/llmga-toy-diffrir-x1/config.json || restorer
}

restorer() { # bash forgets -e in a function behind ||, so every step says it again
    $python -m llmga.toyworld.pretrain textures --threads "$OMP_NUM_THREADS" || return
    for stage in s1 s2-prior s2-joint; do
        $python -m llmga.diffrir.train.train --preset toy-x1-$stage || return
    done
}

language() {
    $python -m llmga.toyworld.pretrain vision lm --threads "$OMP_NUM_THREADS"
    made runs/toyworld/mllm-pretrain/config.json || $python -m llmga.llava.train.train --preset toy_pretrain
    made $inference/llmga-toy-mllm/config.json || $python -m llmga.llava.train.train --preset toy_s1
}

$python -m llmga.toyworld.pretrain data clip --threads "$OMP_NUM_THREADS"
base &
painter=$!
language
wait "$painter"
$python -m llmga.evaluation.toyworld --processes 2 --output runs/toyworld/scores.json
$python -m llmga.toyworld.cards --scores runs/toyworld/scores.json
