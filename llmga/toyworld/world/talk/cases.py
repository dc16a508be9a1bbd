"""Evaluation cases of every bar as JSON lines: `python -m llmga.toyworld.world.talk.cases --output cases.jsonl`.

A case: `{"bar": "change colour", "id": "change colour-17", "language": "en", "judged": [1], "turns": [{"person": …,
"answer": …, "kind": …, "shown": [caption …], "hidden": null, "painted": [caption …], "asked": [{…}], "before": caption,
"truth": "", "others": []}]}`.  Scenes are canonical captions, which `captions.read` reads; `judged` are the turns that
count, the others lead there.  `answer` and `painted` are what a faultless planner says.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmga.toyworld.world import captions
from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.bars import BARS, Case
from llmga.toyworld.world.talk.changes import CHANGES
from llmga.toyworld.world.talk.turns import Turn
from llmga.toyworld.world.talk.voice import Voice

FEW = {"long conversation": 0.1, **dict.fromkeys((f"change {kind}" for kind in (*CHANGES, "both")), 0.12)}


def cases(bar: str, count: int, seed: int = 0) -> Iterator[Case]:
    """Cases of a bar; the same seed gives the same, drawn from other seeds than the records of training."""
    for number in range(count):
        yield BARS[bar](Voice("en", random.Random(f"case {seed} {bar} {number}")))


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "person": turn.person, "answer": turn.answer, "kind": turn.kind, "language": turn.language,
        "shown": [captions.canonical(scene) for scene in turn.shown], "hidden": turn.hidden,
        "painted": [captions.canonical(scene) for scene in turn.painted],
        "asked": [asked.as_json() for asked in turn.asked],
        "before": captions.canonical(turn.before) if turn.before else "", "truth": turn.truth,
        "others": list(turn.others),
    }  # fmt: skip


def as_json(bar: str, number: int, case: Case) -> dict[str, Any]:
    """Plain values of a case."""
    return {"bar": bar, "id": f"{bar}-{number}", "language": case.turns[-1].language, "judged": list(case.judged),
            "turns": [_turn(turn) for turn in case.turns]}  # fmt: skip


def from_json(said: dict[str, Any]) -> Case:
    """What `as_json` gave."""
    return Case([_read(turn) for turn in said["turns"]], tuple(said["judged"]))


def _read(turn: dict[str, Any]) -> Turn:
    scenes = {name: tuple(map(_scene, turn[name])) for name in ("shown", "painted")}
    before = _scene(turn["before"]) if turn["before"] else None
    return Turn(turn["person"], turn["answer"], turn["kind"], turn["language"], scenes["shown"], scenes["painted"],
                tuple(map(Asked.from_json, turn["asked"])), before, turn["hidden"], turn["truth"],
                tuple(turn["others"]))  # fmt: skip


def _scene(text: str) -> Scene:
    scene = captions.read(text)
    assert scene is not None, text
    return scene


def write(file: Path, count: int, *, seed: int = 0, bars: tuple[str, ...] = tuple(BARS)) -> None:
    """Write the cases of these bars; of those in `FEW` a part of the number."""
    with file.open("w", encoding="utf-8") as opened:
        for bar in bars:
            for number, case in enumerate(cases(bar, max(1, round(FEW.get(bar, 1.0) * count)), seed)):
                opened.write(json.dumps(as_json(bar, number, case), ensure_ascii=False) + "\n")


def main() -> None:
    """Write evaluation cases of the larger world."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a JSONL file")
    parser.add_argument(
        "--count", type=int, default=500, help="cases of a bar; of changes and long conversations fewer"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bars", nargs="+", choices=BARS, default=tuple(BARS))
    options = parser.parse_args()
    write(options.output, options.count, seed=options.seed, bars=tuple(options.bars))


if __name__ == "__main__":
    main()
