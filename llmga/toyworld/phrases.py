"""The words people use: synonyms, and phrasings in a seen and a held-out half.

A `Phrases` row keeps whole phrasings out of training, so that a score on them says whether the language model
understands requests or remembers sentences.  Held-out phrasings are built from words that occur elsewhere.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Phrases:
    """Alternatives for one part of a sentence."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def pick(self, rng: random.Random, held_out: bool = False) -> str:
        """One of them: of those kept from training where `held_out` and there are any."""
        return rng.choice(self.held_out if held_out and self.held_out else self.seen)


SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "size": {
        "small": ("small", "small", "little", "tiny", "mini", "miniature", "teeny", "wee", "smallish", "very small"),
        "medium": ("medium", "medium-sized", "medium size", "mid-sized", "middle-sized", "normal-sized",
                   "average-sized", "regular", "moderately sized"),
        "big": ("big", "big", "large", "large", "huge", "giant", "enormous", "gigantic", "massive", "great big",
                "very large", "really big", "oversized"),
    },
    "colour": {
        "red": ("red", "red", "red", "crimson", "scarlet", "bright red"),
        "orange": ("orange", "orange", "orange", "tangerine", "bright orange"),
        "yellow": ("yellow", "yellow", "yellow", "lemon yellow", "bright yellow", "lemon", "gold", "golden"),
        "green": ("green", "green", "green", "emerald", "bright green", "grass green", "lime"),
        "cyan": ("cyan", "cyan", "cyan", "turquoise", "aqua", "teal"),
        "blue": ("blue", "blue", "blue", "azure", "bright blue", "cobalt", "navy"),
        "purple": ("purple", "purple", "purple", "violet", "bright purple", "lavender", "lilac"),
        "pink": ("pink", "pink", "pink", "rosy", "bright pink", "hot pink"),
    },
    "shape": {
        "circle": ("circle", "circle", "circle", "disc", "disk", "ball", "dot", "round shape"),
        "square": ("square", "square", "square", "box", "block", "square shape"),
        "triangle": ("triangle", "triangle", "triangle", "triangular shape", "pyramid"),
        "star": ("star", "star", "star", "five-pointed star", "star shape"),
        "heart": ("heart", "heart", "heart", "heart shape", "love heart"),
        "cross": ("cross", "cross", "cross", "plus sign", "plus", "cross shape"),
    },
    "background": {
        "white": ("white", "white", "plain white", "pure white"),
        "black": ("black", "black", "plain black", "pitch black"),
        "gray": ("gray", "grey", "plain gray", "plain grey"),
        "blue": ("blue", "blue", "plain blue", "dark blue"),
        "green": ("green", "green", "plain green", "dark green"),
        "yellow": ("yellow", "yellow", "plain yellow", "pale yellow", "light yellow"),
    },
}  # fmt: skip

_ROWS = {"top": ("top", "upper"), "bottom": ("bottom", "lower")}


def _corner(row: str, side: str) -> Phrases:
    seen, held = [], []
    for word in _ROWS[row]:
        seen += [f"in the {word} {side} corner", f"in the {word} {side}", f"at the {word} {side}", f"{word} {side}",
                 f"in the {word}-{side} corner", f"in the {side} {word} corner", f"in the corner at the {word} {side}",
                 f"to the {word} {side}", f"on the {word} {side}", f"{word}-{side}"]  # fmt: skip
        held += [f"towards the {word} {side}", f"near the {word} {side} corner", f"over in the {word} {side} part",
                 f"in the {word} {side} hand corner"]  # fmt: skip
    return Phrases(tuple(seen), tuple(held))


def _edge(words: tuple[str, ...]) -> Phrases:
    seen, held = [], []
    for word in words:
        seen += [f"at the {word}", f"at the {word} edge", f"near the {word}", f"in the {word} center",
                 f"at the {word} center", f"{word} center", f"{word} middle", f"in the {word} middle",
                 f"at the {word} in the middle", f"centered at the {word}"]  # fmt: skip
        held += [f"close to the {word} edge", f"in the middle of the {word}", f"along the {word}"]
    return Phrases(tuple(seen), tuple(held))


def _side(word: str) -> Phrases:
    return Phrases(
        (f"on the {word}", f"at the {word}", f"on the {word} side", f"at the {word} edge", f"to the {word}",
         f"middle {word}", f"center {word}", f"in the middle {word}", f"in the middle on the {word}",
         f"on the {word} hand side", f"{word} side", f"halfway up on the {word}"),
        (f"over on the {word}", f"near the {word} edge", f"towards the {word} side", f"along the {word}"),
    )  # fmt: skip


PLACES: dict[str, Phrases] = {
    "top left": _corner("top", "left"),
    "top center": _edge(("top",)),
    "top right": _corner("top", "right"),
    "middle left": _side("left"),
    "center": Phrases(
        ("in the center", "in the middle", "in the centre", "at the center", "centered", "dead center", "center",
         "right in the middle", "in the very center", "middle", "in the middle of the picture"),
        ("exactly in the middle", "in the center of it all", "placed centrally in the middle"),
    ),
    "middle right": _side("right"),
    "bottom left": _corner("bottom", "left"),
    "bottom center": _edge(("bottom",)),
    "bottom right": _corner("bottom", "right"),
}  # fmt: skip
CORNER = Phrases(("in a corner", "in the corner", "in one of the corners", "in any corner"), ("tucked into a corner",))

GROUNDS = Phrases(
    ("on a {x} background", "on {x}", "on a {x} backdrop", "against a {x} background", "with a {x} background",
     "over {x}", "on a {x} canvas", "{x} background", "the background is {x}", "background {x}", "with {x} behind it",
     "on top of a {x} background", "and the background {x}", "in front of a {x} background", "on a {x} bg"),
    ("with everything behind it {x}", "set against {x}", "where the background is {x}", "using {x} as the background"),
)  # fmt: skip

# {size}, {colour}, {shape} are dropped with their space or comma when a request keeps them open
NOUNS = Phrases(
    ("a {size} {colour} {shape}", "a {size} {colour} {shape}", "a {size} {colour} {shape}", "{size} {colour} {shape}",
     "a {colour} {size} {shape}", "a {size} {shape} in {colour}", "a {colour} {shape}, {size}",
     "the {size} {colour} {shape}", "one {size} {colour} {shape}", "{shape}, {size}, {colour}",
     "a {shape} that is {size} and {colour}", "a {shape} which is {colour} and {size}", "{colour} {shape} {size}",
     "a {size} {shape} coloured {colour}", "a {size}, {colour} {shape}", "my {size} {colour} {shape}",
     "a {size} {shape} of {colour}", "a {size} {shape} with {colour} colour", "a {shape}, {size} and {colour}",
     "a {shape}, {colour} and {size}", "a {shape}, {colour}, {size}", "a {size} {shape} all in {colour}",
     "a {shape} ({colour}, {size})", "a {shape} which has a {colour} colour and is {size}",
     "a {shape}, in {colour} and {size}", "a {size} {shape}, {colour}", "a {shape} made {colour} and {size}",
     "some {shape} that is {colour}, {size}", "a single {shape}, it is {size} and {colour}",
     "a {shape} tinted {colour}, of {size} size", "{shape} {colour} {size}", "a {size} {shape} drawn in {colour}",
     "a {size} {shape} in {colour} colour", "a {size} {shape} in the colour {colour}",
     "a {size} {shape} painted in {colour}", "a {size} {shape}, filled in {colour}",
     "a {shape} with a {colour} fill, {size}", "only one {shape}, {colour} and {size}",
     "a {shape} of {size} size and {colour} colour", "a {shape}, the colour is {colour}, the size is {size}",
     "exactly one {size} {colour} {shape}", "a {shape} which is both {size} and {colour}",
     "a {shape} dyed {colour}, {size}", "a {size} {shape} that is filled {colour}",
     "a {colour} painted {shape}, {size}", "a {size} sized {shape}, {colour}",
     "one {shape}, which should be {colour} and {size}", "a {size} {shape} that has been given {colour} paint"),
    ("a {shape}, {colour} in colour and {size} in size", "a {size} {shape} painted {colour}",
     "a {shape} filled with {colour}, {size}", "exactly one {shape}, which is {size} and {colour}"),
)  # fmt: skip
COLOURED = ("a {colour} {shape}", "a {colour} {shape}", "a {shape} in {colour}", "a {shape} coloured {colour}",
            "{shape}, {colour}", "a {shape} which is {colour}", "a {shape} with {colour} colour",
            "a {shape} of {colour}", "a {shape} all in {colour}", "a {shape}, {colour}", "a {shape} that is {colour}",
            "a {shape} drawn in {colour}", "a {shape} in {colour} colour", "a {shape} in the colour {colour}",
            "a {shape} painted in {colour}", "a {shape} with a {colour} fill", "a {shape} filled in {colour}",
            "{colour} {shape}", "a {shape} tinted {colour}")  # fmt: skip
SIZED = ("a {size} {shape}", "a {size} {shape}", "{size} {shape}", "a {shape}, {size}", "a {shape} that is {size}",
         "a {shape} of {size} size", "a {shape} which is {size}", "one {size} {shape}",
         "a {size} sized {shape}", "only one {shape}, {size}", "a {shape}, the size is {size}")  # fmt: skip
# no noun named: "something red in the corner"
NOTHINGS = Phrases(("something {size} {colour}", "anything {colour} {size}", "a {size} {colour} thing",
                    "a {size} {colour} shape", "some {size} {colour} shape", "a {size} {colour} object"))  # fmt: skip

OPENERS = Phrases(
    ("", "", "", "", "draw", "paint", "please draw", "please paint", "can you draw", "can you paint", "could you draw",
     "could you please paint", "make", "create", "give me", "show me", "i want", "i'd like", "i would like to see",
     "i need", "generate", "make me", "paint me", "draw me", "how about", "let's have", "a picture of", "an image of",
     "draw a picture of", "create an image of", "please make a picture with", "hey, draw", "hi, can you paint",
     "hello! please draw", "please", "would you draw", "i want a picture of", "let me see", "what i need is",
     "my daughter wants", "my boss asks for", "it would be nice to see", "i am thinking about", "be so kind to paint",
     "put on the canvas", "i dream of", "would it be possible to get", "please prepare", "do you have time to draw",
     "i have to get", "we would love", "just", "simply", "start with", "go on and paint", "try", "render", "sketch",
     "produce an image with", "we need", "now", "ok, now draw", "next:", "picture:", "can i have", "may i get",
     "please give me", "i am looking for", "imagine", "would you mind to draw", "how about painting",
     "can you try painting", "my son wants to see", "my wife is thinking of", "i'd love to see", "go ahead:",
     "a favour please: draw", "what i'd like to see is", "put up a picture of", "come up with a picture of",
     "compose a picture of", "it would be good to get", "i was hoping for", "this time paint", "let there be",
     "could i see", "we want", "add", "there should be", "i want to have", "all i want is", "for my kid, draw"),
    ("would you mind painting", "my kid wants to see", "i was thinking of", "go ahead and draw",
     "it would be great to have", "do me a favour and paint", "what i want is", "put together a picture of"),
)  # fmt: skip
CLOSERS = Phrases(
    ("", "", "", "", "", "please", "thanks", "thank you", "thanks!", "if you can", "for my daughter", "for a card",
     "would be nice", "if possible", "for me", "for a poster", "that would be great", "ok?", "pls", "for my wall",
     "asap", "cheers", "it's for my wall", "i need it today", "and hurry up", "that is everything", "for kindergarten",
     "it's a gift", "no rush", "this makes me smile", "it is for work", "it makes me happy", "that would make my day",
     "i would be happy", "i'd be so glad", "for school", "it is for my school", "take as long as you need",
     "that is all", "nothing more", "that would make her smile", "my time is short", "nothing else needed", "no hurry",
     "i would love that", "as soon as you can", "it would help me a lot", "this is all i want"),
    ("and take your time", "that's all i need", "it's for school", "would make me happy"),
)  # fmt: skip
CHATTER = Phrases(
    ("it's my birthday today.", "i am making a poster.", "i like simple pictures.", "this is for a friend.",
     "i have an idea.", "ok so", "listen,", "let's try something.", "nice to meet you.", "my turn now.",
     "i have to make a card.", "hmm, let me think.", "we are painting the house.", "it is a good day.",
     "so, here is my wish:", "the thing is this:", "my kitchen needs a picture.", "i was decorating my room."),
    ("we are decorating the kitchen.", "today is a good day.", "so here is the thing:"),
)  # fmt: skip

# whole sentences; a clause goes when its attribute is open
FRAMES = Phrases(
    ("{np} {place} {ground}", "{np} {place} {ground}", "{np} {place}, {ground}", "{np} {ground}, {place}",
     "{np} {ground} {place}", "{ground}, {np} {place}", "{place}, {np} {ground}", "{ground}, {place} {np}",
     "{place} {np}, {ground}", "{np}, {place}, {ground}", "{np}. {place}. {ground}", "{np}. {ground}. {place}",
     "{ground}: {np} {place}", "{np}; {place}; {ground}", "{ground} and {np} {place}", "{place}: {np}, {ground}",
     "{np} should be {place}, {ground}", "there is {np} {place}, {ground}", "{place} i want {np}, {ground}",
     "{ground} there is {np}, {place}", "{np} {place} and it is {ground}", "{np}, sitting {place}, {ground}",
     "{np}, everything {ground}, {place}", "{np} that sits {place}, {ground}", "{ground}, with {np} {place}"),
    ("{ground}, and then {place} there is {np}", "{place} there should be {np}, and all of it {ground}",
     "{np}, located {place}, all of that {ground}", "{ground}; {np}; put it {place}"),
)  # fmt: skip
# short parts in any order
LISTS = ("{colour} {shape}", "{size}", "{place}", "{ground}")
KEYS: dict[str, tuple[str, ...]] = {
    "shape": ("shape", "form", "object"),
    "colour": ("colour", "color"),
    "size": ("size",),
    "place": ("place", "position", "where"),
    "background": ("background", "bg", "backdrop"),
}
SENTENCES = {
    "shape": Phrases(("i want a {x}", "there is a {x}", "draw a {x}", "use a {x}", "a {x}"), ("i'm after a {x}",)),
    "colour": Phrases(("it is {x}", "colour it {x}", "it should be {x}", "make it {x}", "in {x}"), ("paint that {x}",)),
    "size": Phrases(("it is {x}", "make it {x}", "it should be {x}", "the size is {x}"), ("as for size, {x}",)),
    "place": Phrases(("put it {x}", "it sits {x}", "place it {x}", "it is {x}", "it goes {x}"), ("i'd have it {x}",)),
    "background": Phrases(
        ("the background is {x}", "make the background {x}", "use a {x} background", "background: {x}"),
        ("behind it everything is {x}",),
    ),
}

CORRECTIONS = Phrases(
    (", no wait, {fix}", ", no, {fix}", " no wait {fix}", ", sorry, {fix}", ". sorry, i mean {fix}", ", i mean {fix}",
     ". actually, {fix}", ", actually {fix}", "... hmm, {fix} instead", ". wait, {fix}", ", oops, {fix}",
     ", or rather {fix}", ". no, make that {fix}", ". or better {fix}", " - no, {fix}", ", i meant {fix}",
     ". forget that, {fix}", ". i thought again, {fix}", ", correction: {fix}", ". new idea: {fix}",
     ", let me think, {fix}", ", better {fix}", ". my mind says {fix}", ". hold on, {fix}", ". that was wrong, {fix}"),
    (". scratch that, {fix}", ", let me correct that: {fix}", ". i changed my mind: {fix}",
     ". on second thought {fix}"),
)  # fmt: skip
FIXES: dict[str, tuple[str, ...]] = {
    "shape": ("a {x}", "make it a {x}", "{x}", "a {x} please"),
    "colour": ("{x}", "a {x} one", "make it {x}", "in {x}"),
    "size": ("{x}", "a {x} one", "make it {x}"),
    "place": ("{x}", "put it {x}"),
    "background": ("{x} background", "on a {x} background", "make the background {x}", "with a {x} background"),
}
NEGATIONS = {
    "shape": Phrases(("not a {x}", "but no {x}", "anything but a {x}", "just not a {x}", "avoid any {x}", "never a {x}",
                      "i don't like the {x}", "i do not want a {x}", "a {x} is forbidden"), ("a {x} is not allowed",)),
    "colour": Phrases(("not {x}", "but not {x}", "any colour but {x}", "it must not be {x}", "anything but {x}",
                       "don't make it {x}", "just not {x}", "never use {x}", "without {x}", "{x} is not allowed",
                       "no {x} please", "i hate {x}", "keep away from {x}"), ("i do not like {x}", "avoid {x}")),
    "size": Phrases(("not {x}", "but not {x}", "don't make it {x}", "not too {x}", "avoid {x} ones",
                      "i don't like {x} ones", "never {x} ones"), ("it must not be {x}",)),
    "place": Phrases(("not {x}", "but not {x}", "don't put it {x}", "anywhere but {x}", "it must not be {x}",
                       "avoid having it {x}", "i do not want it {x}", "never put it {x}"), ("never {x}",)),
    "background": Phrases(("not on a {x} background", "no {x} background", "but not on {x}",
                           "the background must not be {x}", "i do not like {x} backgrounds",
                            "never a {x} background", "without a {x} background", "the background is not {x}"),
                           ("avoid a {x} background",)),
}  # fmt: skip
FREE = Phrases(
    ("draw something", "surprise me", "paint anything you like", "draw anything", "make a picture", "paint something",
     "your choice", "draw whatever you want", "show me a picture", "give me a random picture", "a picture please",
     "generate an image", "another random picture", "can you draw something for me?", "paint something nice"),
    ("i leave it to you", "make up a picture"),
)  # fmt: skip

# follow-ups about the last picture
CHANGES = {
    "colour": Phrases(
        ("make it {x}", "make it {x} please", "now {x}", "{x} please", "{x}", "in {x}", "change the colour to {x}",
         "change it to {x}", "can it be {x}?", "turn it {x}", "a {x} one", "i'd like it in {x}", "colour it {x}",
         "i want it {x}", "make the {old_shape} {x}", "now make it {x}", "no, {x}", "no wait, a {x} one",
         "the same in {x}", "paint it {x}", "could you make it {x}?", "not {old}, {x}", "switch to {x}",
         "{x} instead", "the {old_shape} should be {x}", "change {old} to {x}"),
        ("i would prefer it {x}", "let's see that in {x}", "recolour the {old_shape} {x}", "how would it look in {x}?"),
    ),
    "shape": Phrases(
        ("make it a {x}", "a {x} instead", "now a {x}", "turn it into a {x}", "change it to a {x}", "a {x} please",
         "replace the {old_shape} with a {x}", "i want a {x} instead", "not a {old_shape}, a {x}", "no, a {x}",
         "change the {old_shape} to a {x}", "the same with a {x}", "make the {old_shape} a {x}",
         "could it be a {x}?", "use a {x} instead"),
        ("swap the {old_shape} for a {x}", "i would rather have a {x}", "let it become a {x}"),
    ),
    "size": Phrases(
        ("make it {x}", "{x} please", "a {x} one", "now {x}", "it should be {x}", "make the {old_shape} {x}", "{x}",
         "change the size to {x}", "can it be {x}?", "i want it {x}", "not {old}, {x}"),
        ("i would prefer it {x}", "let me have a {x} one"),
    ),
    "place": Phrases(
        ("move it {x}", "put it {x}", "now {x}", "{x} please", "place it {x}", "{x}", "move the {old_shape} {x}",
         "can you put it {x}?", "it should be {x}", "i want it {x}", "have it {x}", "no, {x}", "shift it {x}"),
        ("i would rather see it {x}", "relocate the {old_shape} {x}"),
    ),
    "background": Phrases(
        ("on a {x} background", "make the background {x}", "change the background to {x}", "with a {x} background",
         "{x} background please", "now on {x}", "put it on a {x} background", "the background should be {x}",
         "can the background be {x}?", "{x} background", "use a {x} background instead", "background {x}",
         "on {x} instead"),
        ("i would prefer a {x} background", "swap the background for {x}"),
    ),
}  # fmt: skip
PAIRS: dict[tuple[str, str], tuple[str, ...]] = {
    ("colour", "shape"): ("a {colour} {shape} instead", "now a {colour} {shape}", "make it a {colour} {shape}",
                          "turn it into a {colour} {shape}", "i want a {colour} {shape}", "draw a {colour} {shape}",
                          "and now a {colour} {shape}", "a {colour} {shape}", "can you paint a {colour} {shape}?"),
    ("size", "colour"): ("make it {size} and {colour}", "{size} and {colour} please", "now {colour} and {size}"),
    ("size", "shape"): ("a {size} {shape} instead", "now a {size} {shape}", "make it a {size} {shape}"),
    ("colour", "place"): ("make it {colour} and put it {place}", "now {colour} and {place}"),
    ("size", "place"): ("make it {size} and move it {place}", "{size} and {place} please"),
    ("colour", "background"): ("make it {colour} on a {background} background", "now {colour} on {background}"),
    ("shape", "background"): ("now a {shape} on a {background} background", "a {shape} on {background} instead"),
}  # fmt: skip
BIGGER = Phrases(("bigger", "make it bigger", "larger", "a bit bigger please", "bigger please", "make it larger",
                  "enlarge it", "can it be bigger?", "increase the size", "too small", "make the {old_shape} bigger",
                  "a larger one"), ("grow it a little", "i need it bigger"))  # fmt: skip
SMALLER = Phrases(("smaller", "make it smaller", "a bit smaller please", "smaller please", "shrink it", "reduce it",
                   "can it be smaller?", "decrease the size", "too big", "make the {old_shape} smaller", "tinier",
                   "a smaller one"), ("i need it smaller", "it is too large"))  # fmt: skip
TO_CORNER = Phrases(("now in the corner", "move it to a corner", "in the corner please", "put it in a corner",
                     "in a corner", "move it into the corner"), ("send it to some corner",))  # fmt: skip
# what is to stand in a marked part of a picture
HOLES = Phrases(
    ("{np}", "{np}", "{np} here", "{np} there", "put {np} there", "put {np} here", "paint {np} there", "add {np}",
     "paint {np} here", "I want {np} there", "there should be {np}", "fill it with {np}", "fill this with {np}",
     "fill the hole with {np}", "make it {np}", "make this {np}", "replace it with {np}", "place {np} there",
     "let there be {np} here", "{np} in this part", "in the marked part {np}", "here I would like {np}"),
    ("what about {np} in this spot", "I would like to see {np} there", "let it be filled with {np}",
     "{np} in the hole", "this should become {np}"),
)  # fmt: skip
AGAIN = Phrases(("again", "once more", "the same again", "do it again", "another one like that", "repeat that",
                 "paint it again", "one more time", "same picture again please"))  # fmt: skip
