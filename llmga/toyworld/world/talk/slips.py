"""How people type: capitals, marks left out, slips of the finger and of the ear."""

import random
import string

from llmga.toyworld.world.talk.voice import Voice

SLIPPED = 0.12  # how often a text has a slip
LONG = 4  # letters from which a word is misspelt
# Chinese is typed by its sound: what is taken for what.
HOMOPHONES = {
    "蓝": "兰",
    "圆": "园",
    "象": "像",
    "帆": "凡",
    "颗": "棵",
    "座": "坐",
    "的": "得",
    "边": "变",
    "再": "在",
}


def typed(text: str, voice: Voice) -> str:
    """A text as it may come from a keyboard; what it means stays."""
    if voice.chance(SLIPPED):
        text = slipped(text, voice.rng, voice.language)
    return _english(text, voice) if voice.is_english else _chinese(text, voice)


def slipped(text: str, rng: random.Random, language: str = "en") -> str:
    """A text with one slip, where there is room for one."""
    if language == "zh":
        found = [letter for letter in HOMOPHONES if letter in text]
        letter = rng.choice(found) if found else ""
        return text.replace(letter, HOMOPHONES[letter], 1) if letter else text
    words = text.split(" ")
    long = [number for number, each in enumerate(words) if len(each) >= LONG and each.isalpha()]
    if long:
        number = rng.choice(long)
        words[number] = _slip(words[number], rng)
    return " ".join(words)


def _slip(word: str, rng: random.Random) -> str:
    """A letter within a word swapped with the next, doubled, dropped, or another."""
    at = rng.randrange(1, len(word) - 1)
    before, letter, after = word[:at], word[at], word[at + 1 :]
    return rng.choice((
        f"{before}{after[0]}{letter}{after[1:]}", f"{before}{letter}{letter}{after}", f"{before}{after}",
        f"{before}{rng.choice(string.ascii_lowercase)}{after}",
    ))  # fmt: skip


def _english(text: str, voice: Voice) -> str:
    luck = voice.rng.random()
    if luck < 0.35:
        text = text[:1].upper() + text[1:]
    elif luck < 0.38:
        text = text.upper()
    if text[-1:] not in "?!." and voice.chance(0.3):
        text += voice.rng.choice((".", ".", "!"))
    return text


def _chinese(text: str, voice: Voice) -> str:
    if text[-1:] not in "？！。吗" and voice.chance(0.5):
        text += voice.rng.choice(("。", "。", "！"))
    return text
