"""What can be painted, said in a sentence of both languages."""

from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.talk.lexicon import WORDS
from llmga.toyworld.world.talk.nouns import plural
from llmga.toyworld.world.words import listed

_ENGLISH = [plural(WORDS["en"][kind][0]) for kind in KINDS]
_CHINESE = [WORDS["zh"][kind][0] for kind in KINDS]
# Some of them, so that an answer stays short; the whole list is for those who ask.
FEW = {
    "en": listed([*_ENGLISH[3:5], *_ENGLISH[10:16], "the like"]),
    "zh": "、".join([*_CHINESE[3:5], *_CHINESE[10:16]]),
}
ALL = {"en": listed(_ENGLISH), "zh": "、".join(_CHINESE)}
PAINTS = {"en": listed(list(COLOURS)), "zh": "、".join(WORDS["zh"][colour][0] for colour in COLOURS)}
EXAMPLE = {"en": "Try: a big red boat at sunset.", "zh": "试试：夕阳下的一艘红色大船。"}
SETTINGS = {
    "en": "the sea, a meadow, a desert, snow, a night sky, a sunset, plain colours and gradients",
    "zh": "大海、草地、沙漠、雪地、夜空、日落、纯色和渐变",
}
