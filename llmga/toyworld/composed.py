"""Wordings put together from small parts, so that no phrase of the tables is met so often that it is learned by heart.

The tables of `phrases` hold whole phrasings; a language model that saw only those would look for a colour where they
have it.  Here every part of a sentence varies by itself.  None of these can become a held-out phrasing.
"""

import random

ARTICLES = ("a", "a", "a", "one", "the", "some", "a single", "just one", "this", "my")
FINISHES = ("painted", "filled", "coloured", "colored", "dyed", "tinted", "drawn", "done", "made", "shown", "covered",
            "sprayed", "printed", "dressed", "washed", "shaded", "rendered", "finished")  # fmt: skip
MANNERS = ("in", "all in", "entirely in", "fully in", "completely in", "wholly in", "only in", "mostly in", "evenly in",
           "over in", "using", "by using", "up in", "out in", "totally")  # fmt: skip
COLOUR_WORDS = ("hue", "tone", "shade", "paint", "fill", "tint", "look")
SIZE_WORDS = ("dimension", "scale", "format", "extent", "proportion")
JOINS = (", ", ", ", " and ", " ", ", and ", " but ", "; ")

GROUND_WORDS = ("background", "background", "backdrop", "canvas", "ground", "wall", "field", "sheet", "surface",
                "screen", "bg")  # fmt: skip
GROUND_PREPOSITIONS = ("on", "on", "against", "in front of", "before", "over", "upon", "with", "having", "across")

SEATS = ("", "", "", "it sits", "placed", "positioned", "found", "seen", "which is", "being", "set", "have it",
         "with it", "please", "preferably", "standing", "hanging", "exactly", "to be seen", "shown",
         "drawn")  # fmt: skip
WHOLES = ("", "", "", "all", "everything", "the whole thing", "the scene", "and it is", "do it", "drawn", "shown",
          "painted", "the picture is", "please")  # fmt: skip
LINKS = (", ", ", ", " ", " ", ". ", "; ", " and ", " - ", ", then ", ", also ", " / ", ", plus ", ": ")

CALLS = ("please", "kindly", "hey", "hi", "hello", "ok", "so", "well", "now", "", "", "", "", "my friend,", "dear,")
ASKS = ("can you", "could you", "would you", "will you", "i want you to", "i'd like you to", "let's", "you should",
        "try to", "it is time to", "help me", "i need you to", "may i ask you to", "maybe you can", "", "",
        "")  # fmt: skip
VERBS = ("draw", "draw", "paint", "paint", "make", "create", "generate", "show", "render", "sketch", "produce",
         "design", "compose", "prepare", "depict", "illustrate", "do")  # fmt: skip
GIFTS = ("", "", "", "me", "us", "for me", "a picture of", "an image with", "a picture with", "a drawing of",
         "an illustration of", "a scene with")  # fmt: skip
IDEAS = ("how about", "consider", "i suggest", "what about", "think about", "start", "do you feel like", "try")
DOINGS = ("drawing", "painting", "making", "creating", "sketching", "showing")

PEOPLE = ("mother", "father", "sister", "brother", "teacher", "boss", "kids", "dog", "friend", "neighbour", "team",
          "garden", "door", "desk", "birthday", "office", "class", "club", "party", "book", "room",
          "phone")  # fmt: skip
WISHES = ("that would please me", "that would cheer her up", "that would delight us", "it would surprise them",
          "it would amuse my kids", "and have fun", "and enjoy it", "and relax", "and do not rush", "and be quick",
          "and be careful", "and smile", "we like it a lot", "i need it soon", "we want it now", "i love it",
          "i expect much of it", "as my sister said", "if you want", "if you like", "when you are ready",
          "you will see why", "it will look good", "it has to be nice", "nobody will mind")  # fmt: skip

SIGHS = ("no", "oh no", "sorry", "wait", "hmm", "actually", "oops", "ah", "or", "but", "well", "my mistake", "pardon",
         "hold on", "stop", "erm", "you know what", "forget it", "not that", "on reflection", "i was wrong",
         "i changed it", "excuse me", "rather")  # fmt: skip
BREAKS = (", ", ", ", ". ", " - ", "... ", " ", "; ")

FILLERS = ("really", "just", "kind of", "maybe", "like", "uh", "well", "you know", "basically", "preferably", "simply",
           "say", "perhaps", "quite", "indeed", "honestly", "um", "if i may", "please", "also", "then")  # fmt: skip


def noun_phrase(words: dict[str, str], rng: random.Random) -> str:
    """A thing in words.

    Args:
        words: `size`, `colour` and `shape` as they are said; an open one is empty, the shape is not.
    """
    before, after = [rng.choice(ARTICLES)], list[str]()
    for name, piece in (("size", _sized), ("colour", _coloured)):
        if words[name]:
            early = rng.random() < 0.4
            (before if early else after).append(words[name] if early else piece(words[name], rng))
    rng.shuffle(after)
    text = " ".join([*before, words["shape"]])
    for words_after in after:
        text += rng.choice(JOINS) + words_after
    return text


def _coloured(colour: str, rng: random.Random) -> str:
    word, form = rng.choice(COLOUR_WORDS), rng.randrange(6)
    if form < 2:
        return f"{rng.choice(FINISHES)} {rng.choice(MANNERS)} {colour}"
    return (f"{colour} in {word}", f"with {colour} {word}", f"whose {word} is {colour}", f"having a {colour} {word}")[
        form - 2
    ]


def _sized(size: str, rng: random.Random) -> str:
    word = rng.choice(SIZE_WORDS)
    return rng.choice((f"{size} in {word}", f"of {size} {word}", f"whose {word} is {size}", f"that is {size}", size))


def ground(background: str, rng: random.Random) -> str:
    """A background in words, given how its colour is said."""
    word, form = rng.choice(GROUND_WORDS), rng.randrange(6)
    if form < 3:
        return f"{rng.choice(GROUND_PREPOSITIONS)} {rng.choice(('a', 'the', 'some', ''))} {background} {word}"
    being = rng.choice(("is", "being", "in", "should be", "must be", "=", "shall be", "painted"))
    return (f"the {word} {being} {background}", f"{background} for the {word}", f"all around it {background}")[form - 3]


def sentence(thing: str, place: str, behind: str, rng: random.Random) -> str:
    """The clauses of a wish in any order; an open clause is empty."""
    clauses = [thing]
    if place:
        clauses.append(f"{rng.choice(SEATS)} {place}")
    if behind:
        clauses.append(f"{rng.choice(WHOLES)} {behind}")
    rng.shuffle(clauses)
    text = clauses[0]
    for clause in clauses[1:]:
        text += rng.choice(LINKS) + clause
    return text


def opener(rng: random.Random) -> str:
    """How a wish begins."""
    if rng.random() < 0.2:
        return f"{rng.choice(CALLS)} {rng.choice(IDEAS)} {rng.choice(DOINGS)}".strip()
    return " ".join(part for part in map(rng.choice, (CALLS, ASKS, VERBS, GIFTS)) if part)


def closer(rng: random.Random) -> str:
    """What is added to a wish without meaning anything for the picture."""
    if rng.random() < 0.5:
        return rng.choice(WISHES)
    return f"{rng.choice(('it is', 'this is', 'because it is', ''))} for {rng.choice(('my', 'our', 'the', 'her'))} " + (
        rng.choice(PEOPLE)
    )


def correction(fix: str, rng: random.Random) -> str:
    """What is added when a person takes a part of the wish back."""
    return f"{rng.choice(BREAKS)}{rng.choice(SIGHS)}{rng.choice((', ', ': ', ' '))}{fix}"


def hesitant(text: str, rng: random.Random) -> str:
    """The text with one or two words that mean nothing somewhere between its words."""
    words = text.split(" ")
    for _ in range(rng.choice((1, 1, 2))):
        words.insert(rng.randrange(len(words) + 1), rng.choice(FILLERS))
    return " ".join(words)
