"""What a planner answered to a turn, marked claim by claim: number of prompts, what was asked in each, the words."""

import re

from llmga.llava.generation_prompt import GenerationPrompt, Spoken, parse
from llmga.toyworld.world import captions
from llmga.toyworld.world.talk.asking import as_reading, verdict
from llmga.toyworld.world.talk.turns import Turn

_CHINESE = re.compile("[\u4e00-\u9fff]")
# How an answer begins that says yes or no, in either language.
_BEGINS = {"yes": re.compile("yes\\b|[是对有]", re.IGNORECASE), "no": re.compile("no\\b|[不没]", re.IGNORECASE)}


def marks(turn: Turn, answer: str) -> dict[str, bool]:
    """Claims and whether an answer holds them.

    Returns:
        `prompts` (as many as there should be), for each by its number, from 1 on, `read 1` (it states a scene) and the
        claims of `asking.verdict` as `1: kind 1` …; `language` and, for a question, `truth`.
    """
    events = list(parse([answer]))
    prompts = [event.text for event in events if isinstance(event, GenerationPrompt)]
    words = "".join(event.text for event in events if isinstance(event, Spoken)).strip()
    found = {"prompts": len(prompts) == len(turn.painted)}
    for number, (asked, text) in enumerate(zip(turn.asked, prompts, strict=False), 1):
        scene = captions.read(text)
        found[f"read {number}"] = scene is not None
        if scene is not None:
            claims = verdict(as_reading(scene), asked)
            found |= {f"{number}: {claim}": held for claim, held in claims.items()}
    if words and not turn.kind.startswith("book characters"):
        found["language"] = bool(_CHINESE.search(words)) == (turn.language == "zh")
    return found | ({"truth": is_true(turn, words)} if turn.truth else {})


def is_true(turn: Turn, words: str) -> bool:
    """Whether the words answer the question of a turn rightly."""
    if turn.truth in _BEGINS:
        return bool(_BEGINS[turn.truth].match(words))
    if turn.kind.endswith("describe"):
        stated = captions.read(words) if turn.language == "en" and turn.kind != "two describe" else None
        return stated == captions.read(turn.truth) if stated else _plain(words) == _plain(turn.truth)
    said = words.lower()
    return turn.truth.lower() in said and not any(other.lower() in said for other in turn.others)


def _plain(words: str) -> str:
    return re.sub(r"\s", "", words).lower()
