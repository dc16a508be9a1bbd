"""Whole conversations: requests, follow-ups, small talk, and talk about a picture."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from llmga.toyworld import requests, smalltalk
from llmga.toyworld.captions import PLACE_WORDS, SIZE_WORDS, detailed
from llmga.toyworld.requests import Request
from llmga.toyworld.scenes import ATTRIBUTES, Scene, is_held_out, random_scene

LEADS = ("Here it is.", "With pleasure.", "Of course.", "Gladly.", "Here you are.")
CHANGED = ("Changed.", "Here is the new version.", "As you like.")
MARKER = "<image>\n"
SHOUTING = 0.08  # conversations all in capitals: more than there are, because capitals are spelt letter by letter
# The instruction pools speak in whole sentences; people also type these.
DESCRIBE = ("describe this picture", "describe this", "what is this?", "what do you see?", "what is in this picture?",
            "describe the image", "describe it", "tell me what you see", "what does this show?")  # fmt: skip
SIMILAR = ("generate a similar image", "make one like this", "another one like this", "draw this again", "similar",
           "a similar picture please", "paint something like this", "copy it", "one more like that")  # fmt: skip

QUESTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "shape": (("what shape is it?", "which shape do you see?", "which figure is it?", "what form does it have?"),
              "It is a {shape}."),
    "colour": (("what colour is it?", "which color does the {shape} have?", "what colour is the {shape}?"),
               "The {shape} is {colour}."),
    "size": (("how big is it?", "what size is the {shape}?", "is it big or small?"), "The {shape} is {size}."),
    "place": (("where is it?", "where is the {shape}?", "in which part of the picture is it?"),
              "The {shape} is {place}."),
    "background": (("what is the background?", "what colour is the background?", "which background is it?"),
                   "The background is {background}."),
}  # fmt: skip
# The same questions with a guess, "{x}", to be answered by yes or no.
GUESSES: dict[str, tuple[str, ...]] = {
    "shape": ("is it a {x}?", "is this a {x}?", "is that a {x}?"),
    "colour": ("is it {x}?", "is the {shape} {x}?", "is that {x}?"),
    "size": ("is it {x}?", "is the {shape} {x}?"),
    "place": ("is it {x}?", "is the {shape} {x}?"),
    "background": ("is the background {x}?", "is it on {x}?", "is the {shape} on {x}?"),
}


def wrapped(prompt: str) -> str:
    """The form in which a generation prompt is spoken (the published models' training target)."""
    return f"<gen_image> {prompt} </gen_image>"


def trainable(make: Callable[[], Request]) -> Request:
    """The first of many requests whose picture is not held out."""
    while is_held_out((request := make()).scene):
        pass
    return request


def painted(request: Request, rng: random.Random, leads: tuple[str, ...]) -> tuple[str, str]:
    """A request, and the answer that paints it."""
    return request.text, f"{rng.choice(leads)} {wrapped(detailed(request.scene, rng))}"


def from_words(rng: random.Random, turns: int | None = None) -> list[tuple[str, str]]:
    """A conversation that starts with words; pairs of (person, assistant)."""
    turns = turns or rng.choices((1, 2, 3, 4), (46, 34, 14, 6))[0]
    said: list[tuple[str, str]] = []
    scene: Scene | None = None
    shouts = rng.random() < SHOUTING
    while len(said) < turns:
        (person, answer), scene = _next(scene, rng, first=not said)
        said.append((person.upper() if shouts else person, answer))
    return said


def _next(scene: Scene | None, rng: random.Random, first: bool) -> tuple[tuple[str, str], Scene | None]:
    form = rng.random()
    if form < 0.2:
        # after a picture, a bare "a dragon" is easily taken for a change to it
        return (smalltalk.talk if scene is None or rng.random() < 0.5 else smalltalk.bare_wish)(rng), scene
    if scene is not None and form < 0.24:
        return question(scene, rng), scene
    if scene is None or first or form < 0.3:
        # a new wish in mid-conversation has to be told from a change to the last picture: it names everything
        complete = scene is not None
        request = trainable(lambda: requests.request(random_scene(rng), rng, complete=complete))
        return painted(request, rng, LEADS), request.scene
    if form < 0.35:
        return painted(requests.again(scene, rng), rng, LEADS), scene
    change = requests.two_changes if form > 0.92 else requests.follow_up
    request = trainable(lambda: change(scene, rng))
    return painted(request, rng, CHANGED), request.scene


def question(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """A question about one attribute of a picture, answered in words."""
    name, attributes = rng.choice(list(QUESTIONS)), scene.attributes
    asked, answer = QUESTIONS[name]
    words = {**attributes, "size": SIZE_WORDS[attributes["size"]], "place": PLACE_WORDS[attributes["place"]]}
    text, reply = rng.choice(asked).format(**words), answer.format(**words)
    if rng.random() < 0.4:
        guess = attributes[name] if rng.random() < 0.5 else rng.choice(ATTRIBUTES[name])
        text = rng.choice(GUESSES[name]).format(x=requests.say(name, guess, rng), shape=attributes["shape"])
        reply = f"{'Yes' if guess == attributes[name] else 'No'}, {reply[:1].lower()}{reply[1:]}"
    return (text[:1].upper() + text[1:] if rng.random() < 0.4 else text), reply


def about_picture(
    scene: Scene, rng: random.Random, describe: tuple[str, ...], similar: tuple[str, ...]
) -> list[tuple[str, str]]:
    """A conversation about a given picture, of one to three turns; the first message carries the picture marker.

    Args:
        describe: the instruction pool for "describe this".
        similar: the instruction pool for "make one like it".
    """
    said: list[tuple[str, str]] = []
    for _ in range(rng.choices((1, 2, 3), (60, 30, 10))[0]):
        form = rng.random()
        if form < 0.25:
            exchange = (_typed(describe + DESCRIBE, rng), detailed(scene, rng))
        elif form < 0.45:
            exchange = (_typed(similar + SIMILAR, rng), wrapped(detailed(scene, rng)))
        elif form < 0.7:
            exchange = question(scene, rng)
        elif form < 0.76:
            exchange = smalltalk.talk(rng)
        else:
            request = trainable(partial(requests.follow_up, scene, rng))
            exchange, scene = painted(request, rng, CHANGED), request.scene
        said.append(exchange)
    (first, answer), *rest = said
    return [(MARKER + first, answer), *rest]


def about_hole(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """A conversation about a picture whose one thing is hidden: what is to stand there, and perhaps a change to it."""
    request = trainable(lambda: requests.into_hole(scene, rng))
    (wish, answer), *rest = [painted(request, rng, LEADS)]
    if rng.random() < 0.3:
        rest.append(painted(trainable(lambda: requests.follow_up(request.scene, rng)), rng, CHANGED))
    return [(MARKER + wish, answer), *rest]


def _typed(sentences: tuple[str, ...], rng: random.Random) -> str:
    """A sentence, half of the time without the capital and the full stop that people leave out."""
    text = rng.choice(sentences)
    return text[:1].lower() + text[1:].rstrip(".") if rng.random() < 0.5 else text


def as_record(said: list[tuple[str, str]], **more: str) -> dict[str, Any]:
    """LLaVA's record: {image?, conversations: [{from: human|gpt, value}]}."""
    turns = [{"from": who, "value": text} for pair in said for who, text in zip(("human", "gpt"), pair, strict=True)]
    return {**more, "conversations": turns}


def corpus(rng: random.Random, size: int) -> Iterator[str]:
    """Plain text of the world for the base language model: dialogues as a book would print them, and captions."""
    for _ in range(size):
        if rng.random() < 0.2:
            yield detailed(random_scene(rng), rng)
        else:
            yield "\n".join(f"{person}\n{answer}" for person, answer in from_words(rng))
