"""Model cards of the bundled checkpoints: what they are, how they were made, how they score.

`python -m llmga.toyworld.cards --scores runs/toyworld/scores.json` writes a README.md beside the weights, and keeps the
scores themselves beside the language model, where a test compares them with what the weights do.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmga.command_line import Parser
from llmga.errors import UserError, command_line

INFERENCE = Path("checkpoints/Inference")
NOTES = Path("runs/toyworld")
SCORES = "scores.json"

ABOUT: dict[str, tuple[str, str, tuple[str, ...]]] = {  # what it is, how it was made, its claims
    "llmga-toy-mllm": (
        "A tiny multimodal language model in the LLMGA-2024 layout (`llava_Qwen2`): it chats about the toy world, with "
        "or without a picture, and writes detailed prompts between `<gen_image>` and `</gen_image>`.",
        "`python -m llmga.toyworld.pretrain data clip vision lm`, then `llmga.llava.train.train` with the presets "
        "`toy_pretrain` (projector) and `toy_s1` (everything but the vision tower). The preset does it in one run; "
        "the bundled weights had thirteen, each from the one before, while the requests were being rewritten: 2,500 "
        "steps at a learning rate of 1e-3, 1,100 at 6e-4, 220 at 5e-4, 300 at 8e-4, 1,800 and 3,600 at 1e-3, 1,000 at "
        "5e-4, 1,300 at 8e-4, 360 at 5e-4 (from here on from the mean of the last two), and, with holes in pictures "
        "listed three times, 1,500 at 6e-4, 3,200 at 8e-4 and, another thing being seen in half of them, 1,500 and "
        "1,000 at 6e-4.",
        ("request.prompt", "unseen_phrasing", "small_talk", "follow_up.prompt", "describe", "hole.prompt"),
    ),
    "llmga-toy-sdxl-t2i": (
        "A tiny SDXL that paints 64x64 pictures of the toy world from detailed prompts: the base beside it after "
        "stage 2.",
        "`llmga.diffusers.train.train --preset toy_sdxl`, from `llmga-toy-sdxl-base`.",
        ("request.picture", "follow_up.picture", "similar", "stage2"),
    ),
    "llmga-toy-sdxl-base": (
        "The painter before stage 2, trained on captions of a few words; kept to show what stage 2 adds and to start "
        "stage 2 from.",
        "`python -m llmga.toyworld.pretrain data vae clip sdxl-random`, then `llmga.diffusers.train.train --preset "
        "toy_sdxl_base`.",
        ("stage2.base",),
    ),
    "llmga-toy-sdxl-inpainting": (
        "The painter after stage 2, taught to fill holes and to grow pictures: its UNet also sees a mask and what is "
        "kept of the picture (nine channels).",
        "`llmga.diffusers.train.train --preset toy_sdxl_inpaint`, from `llmga-toy-sdxl-t2i`.",
        ("inpaint", "hole.picture"),
    ),
}


def card(name: str, report: dict[str, Any], notes: dict[str, dict[str, Any]]) -> str:
    """The text of one card."""
    about, made, claims = ABOUT[name]
    rows = [
        f"| {claim} | {value:.3f} | {_bar(report, claim)} |"
        for claim, value in report["figures"].items()
        if claim.startswith(claims)
    ]
    facts = "\n".join(f"* {step}: {json.dumps(note)}" for step, note in notes.items())
    return "\n".join([
        f"# {name}", "", about, "", "## How it was made", "",
        f"`bash scripts/toyworld.sh` makes all toy checkpoints. This one: {made}", "", facts, "",
        "## How it scores", "",
        "`python -m llmga.evaluation.toyworld` on held-out combinations of attributes, judged from pixels by an "
        f"oracle; seed {report['seed']}, cases {json.dumps(report['cases'])}.", "",
        "| claim | measured | bar |", "|---|---|---|", *rows, "",
        "It knows one thing on a plain background: six shapes, eight colours, three sizes, nine places, six "
        "backgrounds. Anything else is answered in words. Licence: Apache-2.0.", "",
    ])  # fmt: skip


def _bar(report: dict[str, Any], claim: str) -> str:
    bar = report["bars"].get(claim)
    return "" if bar is None else f"{bar:.2f}"


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m llmga.toyworld.cards", description="Write the model cards of the toy checkpoints.")
    parser.add_argument("--scores", type=Path, required=True, help="what llmga.evaluation.toyworld --output wrote")
    options = parser.parse_args(argv)
    report = _read(options.scores)
    notes = {file.parent.name: json.loads(file.read_text()) for file in sorted(NOTES.glob("*/done.json"))}
    for name in ABOUT:
        (INFERENCE / name / "README.md").write_text(card(name, report, notes))
        print(f"wrote {INFERENCE / name / 'README.md'}")
    (INFERENCE / "llmga-toy-mllm" / SCORES).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _read(scores: Path) -> dict:
    if not scores.is_file():
        raise UserError(f"scores {str(scores)!r} do not exist; make them with llmga.evaluation.toyworld --output.")
    return json.loads(scores.read_text())


if __name__ == "__main__":
    sys.exit(main())
