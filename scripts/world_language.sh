#!/usr/bin/env bash
# The larger world's planner from nothing: base language model, vision tower, records, stage 1, scores; one seed.
# Every step is skipped when its result is there and goes on where it was interrupted.
#   bash scripts/world_language.sh                     takes no words
#   OMP_NUM_THREADS=2 bash scripts/world_language.sh   so many threads
set -euo pipefail
case ${1:-} in
-h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
"") ;;
*) echo "error: scripts/world_language.sh takes no words, but got '$*'." >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" HF_HUB_OFFLINE=1
PYTHON=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
world="$PYTHON -m llmga.toyworld.world"
runs=runs/toyworld/world
planner=checkpoints/Inference/llmga-toy-world-mllm

made() { [ -e "$1" ] && echo "$1 is there, skipped"; }

made $runs/lm/config.json || $world language --output $runs/lm
made $runs/eyes/config.json || $world eyes --output $runs/eyes
made data/toyworld/world/t2i.json || $world records --output data/toyworld/world --count 30000 --turns 6
made $runs/mllm-pretrain/config.json || bash train_LLMGA_7b_S1.sh --preset toy_world_pretrain
made $planner/config.json || bash train_LLMGA_7b_S1.sh --preset toy_world_s1
made $runs/planner-scores.json ||
    $PYTHON -m llmga.evaluation.world --model-path $planner --output $runs/planner-scores.json
