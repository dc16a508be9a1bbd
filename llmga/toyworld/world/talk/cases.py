"""Evaluation cases of every bar as JSON lines: `python -m llmga.toyworld.world cases --output cases.jsonl`.

A case: `{"bar": "change colour", "id": "change colour-17", "language": "en", "judged": [1], "turns": [{"person": …,
"answer": …, "kind": …, "shown": [caption …], "hidden": null, "painted": [caption …], "asked": [{…}], "before": caption,
"truth": "", "others": []}]}`.  Scenes are canonical captions, which `captions.read` reads; `judged` are the turns that
count, the others lead there.  `answer` and `painted` are what a faultless planner says.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmga.errors import UserError
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
    """Write the cases of these bars; of those in `FEW` a part of the number.

    Raises:
        UserError: a bar is not known.
    """
    if unknown := [bar for bar in bars if bar not in BARS]:
        raise UserError(f"bar {unknown[0]!r} is unknown; known are {', '.join(BARS)}.")
    with file.open("w", encoding="utf-8") as opened:
        for bar in bars:
            for number, case in enumerate(cases(bar, max(1, round(FEW.get(bar, 1.0) * count)), seed)):
                opened.write(json.dumps(as_json(bar, number, case), ensure_ascii=False) + "\n")
