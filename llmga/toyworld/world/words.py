"""The words of the world: how its values are said, and in what other ways."""

from llmga.toyworld.world.grounds import GRADIENTS, PLAIN
from llmga.toyworld.world.scene import Thing

PLACE_PHRASES = {
    "top left": "in the top left corner",
    "top": "at the top",
    "top right": "in the top right corner",
    "left": "on the left",
    "center": "in the center",
    "right": "on the right",
    "bottom left": "in the bottom left corner",
    "bottom": "at the bottom",
    "bottom right": "in the bottom right corner",
}
SETTING_PHRASES = {
    "sea": "the sea",
    "meadow": "a green meadow",
    "desert": "a sandy desert",
    "snow": "a snowy field",
    "night sky": "a starry night sky",
    "sunset": "a glowing sunset",
}
# What comes after "The background is".
GROUND_PHRASES = (
    {name: f"plain {name}" for name in PLAIN} | {name: f"fading from {name}" for name in GRADIENTS} | SETTING_PHRASES
)
RELATION_PHRASES = {"left of": "to the left of", "right of": "to the right of"}
NUMBERS = {2: "two", 3: "three"}
_PLURALS = {"cross": "crosses", "fish": "fish", "butterfly": "butterflies"}

# Other ways to say a value; the first of every row is the word that the canonical sentences use.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "medium-sized", "mid-sized"),
    "large": ("large", "big", "huge"),
    "striped": ("striped", "stripy", "streaked"),
    "dotted": ("dotted", "spotted", "polka-dot"),
    "turquoise": ("turquoise", "cyan", "teal"),
    "purple": ("purple", "violet"),
    "gray": ("gray", "grey"),
    "circle": ("circle", "disc"),
    "cross": ("cross", "plus sign"),
    "moon": ("moon", "crescent"),
    "diamond": ("diamond", "rhombus"),
    "tree": ("tree", "fir tree"),
    "house": ("house", "cottage"),
    "boat": ("boat", "sailing boat"),
    "flower": ("flower", "blossom"),
    "umbrella": ("umbrella", "parasol"),
    "sea": ("sea", "ocean", "open water"),
    "meadow": ("meadow", "green hills", "grass"),
    "desert": ("desert", "sand dunes", "sand"),
    "snow": ("snow", "winter", "snowy hills"),
    "night sky": ("night sky", "night", "starry sky"),
    "sunset": ("sunset", "evening sky", "dusk"),
    "flat": ("flat", "plain vector style"),
    "outlined": ("outlined", "with outlines", "cartoon style"),
    "sketched": ("sketched", "hand-drawn", "sketch"),
}


def ways_to_say(value: str) -> tuple[str, ...]:
    """All words for a value, the usual one first."""
    return SYNONYMS.get(value, (value,))


def plural(kind: str) -> str:
    """Several of a kind."""
    return _PLURALS.get(kind, f"{kind}s")


def noun_phrase(thing: Thing, several: bool = False) -> str:
    """Size, colour, pattern and kind without an article; `plain` goes without saying."""
    pattern = [] if thing.pattern == "plain" else [thing.pattern]
    return " ".join([thing.size, thing.colour, *pattern, plural(thing.kind) if several else thing.kind])


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def with_article(words: str) -> str:
    """`a star`, `an orange star`."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
