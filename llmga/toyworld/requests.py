"""What a person types: requests for a picture, composed of many independent parts.

A request is its text and what it demands: for each attribute it speaks about, the values that satisfy it.  "Red" allows
one colour, "not red" all but one, "in a corner" four places.
"""

import random
import re
import string
from dataclasses import dataclass, field, replace

from llmga.toyworld import composed, phrases
from llmga.toyworld.phrases import Phrases
from llmga.toyworld.scenes import ATTRIBUTES, PLACES, Scene

CORNERS = frozenset(place for place, (x, y) in PLACES.items() if x and y)
Demands = dict[str, frozenset[str]]
# What a person expects who leaves it open; the shape and its colour are the model's choice.
UNSAID = {"size": "medium", "place": "center", "background": "white"}


@dataclass(frozen=True)
class Request:
    """A sentence and its demands; `scene` is one picture that satisfies them."""

    text: str
    scene: Scene
    demands: Demands = field(default_factory=dict)
    kind: str = "request"

    def satisfied_by(self, attributes: dict[str, str]) -> dict[str, bool]:
        """For every demanded attribute whether `attributes` (from a prompt or a picture) meet it."""
        return {name: attributes.get(name) in allowed for name, allowed in self.demands.items()}


def say(name: str, value: str, rng: random.Random, held_out: bool = False) -> str:
    """One way to say an attribute's value."""
    if name == "place":
        return phrases.PLACES[value].pick(rng, held_out)
    return rng.choice(phrases.SYNONYMS[name][value])


def request(scene: Scene, rng: random.Random, *, held_out: bool = False, complete: bool = False) -> Request:
    """A request for `scene`.

    Args:
        held_out: use the phrasings that training never sees.
        complete: name all five attributes plainly (no corrections, no open attributes).
    """
    if not complete and rng.random() < 0.02:
        return Request(_dressed(phrases.FREE.pick(rng, held_out), rng), scene)
    if not complete and not held_out and rng.random() < 0.15:
        return _plain(scene, rng)
    named = set(ATTRIBUTES) if complete or rng.random() < 0.5 else _some(rng)
    told = scene.attributes
    wrong = None
    if not complete and named and rng.random() < 0.15:
        wrong = rng.choice(sorted(named))
        told[wrong] = _other(wrong, told[wrong], rng)
    demands = {name: frozenset((scene.attributes[name],)) for name in named}
    corner = wrong != "place" and "place" in named and scene.attributes["place"] in CORNERS and rng.random() < 0.04
    if corner and not complete:
        demands["place"] = CORNERS
        told["place"] = "a corner"
    text = _sentence({name: told[name] for name in ATTRIBUTES if name in named}, rng, held_out)
    if wrong:
        fix = rng.choice(phrases.FIXES[wrong]).format(x=say(wrong, scene.attributes[wrong], rng, held_out))
        if _composes(rng, held_out):
            text += composed.correction(fix, rng)
        else:
            text += phrases.CORRECTIONS.pick(rng, held_out).format(fix=fix)
    elif not complete and rng.random() < 0.15:
        name = rng.choice(list(ATTRIBUTES))
        unwanted = _other(name, scene.attributes[name], rng)
        if name not in named and name in UNSAID and rng.random() < 0.5:
            unwanted = UNSAID[name]
            scene = scene if scene.attributes[name] != unwanted else scene.with_(**{name: _other(name, unwanted, rng)})
        text += rng.choice((", ", " ", ". ")) + _negation(name, unwanted, rng, held_out)
        demands[name] = demands.get(name, frozenset(ATTRIBUTES[name])) - {unwanted}
    return Request(_dressed(text, rng), _with_defaults(scene, demands), demands)


def _with_defaults(scene: Scene, demands: Demands) -> Scene:
    """`scene` with the expected value wherever the demands allow it and do not say which one."""
    return scene.with_(**{
        name: usual for name, usual in UNSAID.items() if name not in demands or (usual in demands[name])
    })  # fmt: skip


def _plain(scene: Scene, rng: random.Random) -> Request:
    """The most ordinary wish, "a big red circle on a blue background": colour and shape, perhaps size and ground.

    It is worded as wishes for paints that do not exist are (`smalltalk`), so that only the colour tells them apart.
    """
    told = {name: value for name, value in scene.attributes.items() if name != "place"}
    told = {name: value for name, value in told.items() if name in ("shape", "colour") or rng.random() < 0.6}
    words = [phrases.OPENERS.pick(rng), rng.choice(("a", "a", "the", ""))]
    words += [
        rng.choice(phrases.SYNONYMS[name][told[name]][:2]) for name in ("size", "colour", "shape") if name in told
    ]
    words.append(f"on a {told['background']} background" if "background" in told else "")
    text = " ".join(word for word in words if word)
    demands = {name: frozenset((value,)) for name, value in told.items()}
    return Request(_dressed(text, rng), _with_defaults(scene, demands), demands)


def _some(rng: random.Random) -> set[str]:
    """Attributes a person happens to mention; nearly always a shape."""
    named = {name for name in ATTRIBUTES if rng.random() < 0.55}
    return named | {"shape"} if rng.random() < 0.9 else named or {"colour"}


def _other(name: str, value: str, rng: random.Random) -> str:
    return rng.choice([v for v in ATTRIBUTES[name] if v != value])


def _negation(name: str, value: str, rng: random.Random, held_out: bool) -> str:
    return phrases.NEGATIONS[name].pick(rng, held_out).format(x=say(name, value, rng))


def _sentence(told: dict[str, str], rng: random.Random, held_out: bool) -> str:
    form = rng.random()
    if held_out or form < 0.72:
        return _framed(told, rng, held_out)
    if form < 0.84:
        return _listed(told, rng)
    if form < 0.92:
        return _keyed(told, rng)
    return _in_sentences(told, rng, held_out)


def _framed(told: dict[str, str], rng: random.Random, held_out: bool) -> str:
    thing = _noun_phrase(told, rng, held_out)
    place = _place(told["place"], rng, held_out) if "place" in told else ""
    ground = _ground(told["background"], rng, held_out) if "background" in told else ""
    if _composes(rng, held_out):
        text = composed.sentence(thing, place, ground, rng)
    else:
        text = phrases.FRAMES.pick(rng, held_out).format(np=thing, place=place, ground=ground)
    text = _between_courtesies(tidy(text), rng, held_out)
    if not held_out and rng.random() < 0.08:
        text = composed.hesitant(text, rng)
    return text


def _between_courtesies(text: str, rng: random.Random, held_out: bool) -> str:
    """A wish with what people say before and after it."""
    opener = composed.opener(rng) if _composes(rng, held_out) else phrases.OPENERS.pick(rng, held_out)
    if _composes(rng, held_out) and rng.random() < 0.3:
        closer = composed.closer(rng)
    else:
        closer = phrases.CLOSERS.pick(rng, held_out and rng.random() < 0.5)
    text = f"{opener} {text}".strip()
    if closer:
        text += rng.choice((" ", ", ", ". ")) + closer.strip()
    if rng.random() < 0.06:
        text = f"{phrases.CHATTER.pick(rng, held_out)} {text}"
    return text


def _composes(rng: random.Random, held_out: bool) -> bool:
    return not held_out and rng.random() < 0.4


def _ground(background: str, rng: random.Random, held_out: bool) -> str:
    said = say("background", background, rng)
    if _composes(rng, held_out):
        return _articles(composed.ground(said, rng))
    return phrases.GROUNDS.pick(rng, held_out and rng.random() < 0.5).format(x=said)


def _place(place: str, rng: random.Random, held_out: bool) -> str:
    if place == "a corner":
        return phrases.CORNER.pick(rng, held_out)
    return say("place", place, rng, held_out and rng.random() < 0.5)


def _noun_phrase(told: dict[str, str], rng: random.Random, held_out: bool) -> str:
    words = {name: say(name, told[name], rng) if name in told else "" for name in ("size", "colour", "shape")}
    if not words["shape"]:
        text = phrases.NOTHINGS.pick(rng, held_out)
    elif _composes(rng, held_out):
        text = composed.noun_phrase(words, rng)
    elif words["size"] and words["colour"]:
        text = phrases.NOUNS.pick(rng, held_out)
    else:  # what joins two adjectives would be left hanging
        text = rng.choice(phrases.COLOURED if words["colour"] else phrases.SIZED if words["size"] else ("a {shape}",))
    return _articles(tidy(text.format(**words)))


def _listed(told: dict[str, str], rng: random.Random) -> str:
    said = {name: _place(v, rng, False) if name == "place" else say(name, v, rng) for name, v in told.items()}
    pieces = [said[name] for name in ("size", "place") if name in said]
    pieces.append(" ".join(said[name] for name in ("colour", "shape") if name in said))
    if "background" in said:
        pieces.append(rng.choice(("{x} background", "on {x}", "{x} bg", "background {x}")).format(x=said["background"]))
    pieces = [piece for piece in pieces if piece]
    rng.shuffle(pieces)
    return rng.choice((", ", ", ", ". ", " / ", " ", "; ")).join(pieces)


def _keyed(told: dict[str, str], rng: random.Random) -> str:
    items = [
        f"{rng.choice(phrases.KEYS[name])}{rng.choice((': ', ' = ', ' '))}"
        f"{_place(value, rng, False) if name == 'place' else say(name, value, rng)}"
        for name, value in told.items()
    ]
    rng.shuffle(items)
    return rng.choice((", ", "; ", " ", ". ")).join(items)


def _in_sentences(told: dict[str, str], rng: random.Random, held_out: bool) -> str:
    names = list(told)
    if "shape" in names:  # "it" needs something to stand for
        names.remove("shape")
        rng.shuffle(names)
        names.insert(0, "shape")
    said = []
    for name in names:
        value = _place(told[name], rng, False) if name == "place" else say(name, told[name], rng)
        said.append(_articles(phrases.SENTENCES[name].pick(rng, held_out).format(x=value)))
    return rng.choice((". ", ". ", ", ", " and ")).join(said)


def _articles(text: str) -> str:
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def tidy(text: str) -> str:
    """Remove what open attributes leave behind: doubled spaces, hanging commas, empty clauses."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.;:])", r"\1", text)
    text = re.sub(r"([,.;:])(?:\s*[,.;:])+", r"\1", text)
    return text.strip(" ,.;:")


def _dressed(text: str, rng: random.Random) -> str:
    """Typing: capitals, a final mark, slips of the finger."""
    if rng.random() < 0.18:
        text = misspelt(text, rng)
    style = rng.random()
    if style < 0.3:
        text = text[:1].upper() + text[1:]
    elif style < 0.33:
        text = text.upper()
    elif style < 0.36:
        text = string.capwords(text)
    if rng.random() < 0.25 and text[-1:] not in "?!.":
        text += rng.choice((".", ".", "!", "?"))
    return text


def misspelt(text: str, rng: random.Random, slips: int | None = None) -> str:
    """One or two words of four letters or more with a letter swapped, doubled, dropped or replaced."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word.strip(string.punctuation)) >= 4]
    for i in rng.sample(long, min(len(long), slips or rng.choice((1, 1, 2)))):
        words[i] = _slip(words[i], rng)
    return " ".join(words)


def _slip(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1 :]
    return word[:at] + rng.choice(string.ascii_lowercase) + word[at + 1 :]


def follow_up(before: Scene, rng: random.Random, *, held_out: bool = False, name: str | None = None) -> Request:
    """A second turn that changes one attribute of the last picture and keeps the others.

    Its demands cover all five attributes: the change, and what has to stay.
    """
    form = rng.random()
    name = name or rng.choice(list(ATTRIBUTES))
    old = before.attributes
    if name == "size" and form < 0.5:
        return _resized(before, rng, held_out)
    if name == "place" and form < 0.12 and old["place"] not in CORNERS:
        return _changed(before, {"place": CORNERS}, phrases.TO_CORNER, rng, held_out)
    if name == "place" and form < 0.4:
        return _moved(before, rng)
    value = _other(name, old[name], rng)
    x = say(name, value, rng, held_out and rng.random() < 0.5)
    text = phrases.CHANGES[name].pick(rng, held_out).format(x=x, old=old[name], old_shape=_shape_word(before, rng))
    return _finished(before, text, {name: frozenset((value,))}, rng)


def _shape_word(scene: Scene, rng: random.Random) -> str:
    return scene.attributes["shape"] if rng.random() < 0.7 else say("shape", scene.attributes["shape"], rng)


def _resized(before: Scene, rng: random.Random, held_out: bool) -> Request:
    """`bigger` is one step up; at the end of the scale it stays there."""
    scale = ATTRIBUTES["size"]
    now = scale.index(before.attributes["size"])
    step = rng.choice((-1, 1)) if 0 < now < len(scale) - 1 else (1 if now == 0 else -1)
    row = phrases.BIGGER if step > 0 else phrases.SMALLER
    return _changed(before, {"size": frozenset((scale[now + step],))}, row, rng, held_out)


_DIRECTIONS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0), "higher": (0, -1), "lower": (0, 1)}
_MOVES = ("move it {x}", "{x} please", "further {x}", "a bit {x}", "shift it {x}", "move the {old_shape} {x}",
          "a little {x}", "put it {x}")  # fmt: skip


def _moved(before: Scene, rng: random.Random) -> Request:
    """`up` is one step on the 3x3 grid; directions that would leave it are not asked for."""
    at = PLACES[before.attributes["place"]]
    where = {spot: place for place, spot in PLACES.items()}
    possible = {
        word: where[spot]
        for word, (dx, dy) in _DIRECTIONS.items()
        if (spot := (at[0] + dx, at[1] + dy)) in where
    }  # fmt: skip
    word = rng.choice(list(possible))
    move = rng.choice(_MOVES)
    if word in ("higher", "lower"):
        move = move.replace("further {x}", "{x}")
    text = move.format(x=word, old_shape=_shape_word(before, rng))
    return _finished(before, text, {"place": frozenset((possible[word],))}, rng)


def _changed(before: Scene, change: Demands, row: Phrases, rng: random.Random, held_out: bool) -> Request:
    text = row.pick(rng, held_out).format(old_shape=_shape_word(before, rng))
    return _finished(before, text, change, rng)


def into_hole(before: Scene, rng: random.Random, *, held_out: bool = False) -> Request:
    """A wish for what is to stand where the one thing of a scene is hidden.

    Words tell the shape, the colour, and most often the size; place and background are seen in the picture.
    """
    after = before.with_(**{name: rng.choice(ATTRIBUTES[name]) for name in ("shape", "colour", "size")})
    if rng.random() < 0.3:
        after = after.with_(size=before.attributes["size"])
    demands = {name: frozenset((value,)) for name, value in after.attributes.items()}
    if not held_out and rng.random() < 0.2:
        return replace(request(after, rng, complete=True), kind="hole")
    named = {name: after.attributes[name] for name in ("shape", "colour", "size")}
    if named["size"] == before.attributes["size"]:
        del named["size"]
    thing = _noun_phrase(named, rng, held_out)
    form = phrases.HOLES.pick(rng, held_out)
    text = _articles(tidy(form.format(np=thing)))
    if form.startswith("{np}"):  # what opens a wish has a verb, as the other forms have
        text = _between_courtesies(text, rng, held_out)
    return Request(_dressed(text, rng), after, demands, kind="hole")


def two_changes(before: Scene, rng: random.Random) -> Request:
    """A second turn that changes two attributes of the last picture: "a green star instead"."""
    names = rng.choice(list(phrases.PAIRS))
    told = {name: _other(name, before.attributes[name], rng) for name in names}
    text = rng.choice(phrases.PAIRS[names]).format(**{name: say(name, value, rng) for name, value in told.items()})
    return _finished(before, text, {name: frozenset((value,)) for name, value in told.items()}, rng)


def _finished(before: Scene, text: str, change: Demands, rng: random.Random) -> Request:
    kept = {name: frozenset((value,)) for name, value in before.attributes.items()}
    after = before.with_(**{name: rng.choice(sorted(values)) for name, values in change.items()})
    return Request(_dressed(_articles(text), rng), after, {**kept, **change}, kind=" and ".join(change))


def again(before: Scene, rng: random.Random) -> Request:
    """The same picture once more."""
    kept = {name: frozenset((value,)) for name, value in before.attributes.items()}
    return Request(_dressed(phrases.AGAIN.pick(rng), rng), before, kept, kind="again")
