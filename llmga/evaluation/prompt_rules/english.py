"""An English text read by rule: what stands before a noun belongs to it, up to the next boundary."""

from collections.abc import Iterator
from dataclasses import replace

from llmga.evaluation.prompt_rules import words as lexicon
from llmga.evaluation.prompt_rules.english_positions import Positions
from llmga.evaluation.prompt_rules.english_words import COLOURED, is_verb, tokens
from llmga.evaluation.prompt_rules.reading import Grammar, Mention, Token
from llmga.evaluation.prompt_rules.words import MANY, Noun

_NO_HEADS = {  # what follows a noun without being what it describes: verbs, and words for pictures
    *lexicon.WHOLE, "portrait", "poster", "painting", "style", "stands", "parks", "stops", "lights", "covers", "seats",
    "frames", "tracks", "shadows", "shelters", "stores", "shops", "faces", "heads", "eyes", "houses", "boxes", "peels",
    "views", "shades", "glows", "bears", "trains", "books", "parrots", "ducks", "hands", "rims", "labels",
}  # fmt: skip
_MADE = {"of", "from"}
_FARTHEST = 4  # unknown words between a noun and what belongs to it
_TOTAL = {("in", "total"), ("of", "them"), ("in", "all"), ("all", "told"), ("altogether",)}


def _mentions(found: list[Token]) -> Iterator[Mention]:
    sentence, before = 0, None
    for index, token in enumerate(found):
        sentence += token.kind == "stop"
        if token.kind == "noun" and not _is_modifier(found, index):
            mention = _mention(found, index, sentence)
            if before is not None and before.negated and _listed(found, before.end, index):
                mention = replace(mention, negated=True)
            yield mention
            before = mention


def _is_modifier(found: list[Token], index: int) -> bool:
    """Of a "dog house", the dog is none."""
    following = found[index + 1] if index + 1 < len(found) else None
    if following is None or following.kind != "noun" or following.word in _NO_HEADS:
        return False
    return found[index].value.plural is not True


def _listed(found: list[Token], start: int, end: int) -> bool:
    """Whether one noun follows the other in a list, as in "no cat or dog"."""
    between = found[start:end]
    return any(token.kind == "and" for token in between) and all(
        token.kind in ("and", "comma", "a", "word", "attr") for token in between
    )


def _mention(found: list[Token], index: int, sentence: int) -> Mention:
    noun: Noun = found[index].value
    phrase = _Phrase(found, index)
    number = phrase.number
    if number is None:
        number = MANY if noun.plural else None
    attributes = frozenset(phrase.attributes) | frozenset(_said_after(found, index + 1))
    number = _total(found, index + 1) or number
    return Mention(noun.thing, index, index + 1, sentence, number, phrase.definite, phrase.another, phrase.negated,
                   attributes)  # fmt: skip


class _Phrase:
    """What stands before a noun and belongs to it."""

    def __init__(self, found: list[Token], index: int):
        self.found, self.noun = found, found[index].value
        self.number: int | None = None
        self.definite = self.another = self.negated = False
        self.attributes: list[tuple[str, str]] = []
        self._read(index - 1)

    def _read(self, at: int) -> None:
        unknown = 0
        while at >= 0 and unknown <= _FARTHEST:
            token = self.found[at]
            if token.kind == "attr":
                self.attributes.append(token.value)
            elif token.kind in ("and", "comma"):
                if not self._joins(at):
                    return
            elif token.kind == "noun" and at == self._modifier_before(at):
                pass
            elif token.kind == "word" and not is_verb(token.word):
                unknown += 1
            else:
                self._begin(at)
                return
            at -= 1

    def _modifier_before(self, at: int) -> int:
        return at if _is_modifier(self.found, at) else -1

    def _joins(self, at: int) -> bool:
        """Whether a comma or "and" stands between two adjectives."""
        before = self.found[at - 1] if at else None
        after = self.found[at + 1]
        if before is None or after.kind not in ("attr", "word"):
            return False
        return before.kind == "attr" and (after.kind == "attr" or self.found[at].kind == "comma")

    def _begin(self, at: int) -> None:
        """The first word of the phrase, which may say how many."""
        token, before = self.found[at], self.found[at - 1] if at else Token("stop", None, "")
        if token.kind == "of" and before.kind == "group":
            self._group(at - 1)
        elif token.kind in ("a", "number"):
            self.number = token.value if token.kind == "number" else 1
            self.definite = before.kind == "the" or before.word == "all"
            self.another = before.kind == "another"
            self._negation(at - 1)
        elif token.kind == "the":
            self.definite = True
            self._negation(at - 1)
        elif token.kind == "another":
            self.another = before.kind != "the" and not self.noun.plural
            self.definite = before.kind == "the"
            self.number = 1 if self.another else None
        elif token.kind == "neg":
            self.negated = True
        elif token.kind == "group" and token.value != MANY:  # "a dozen eggs"
            self.number = token.value

    def _group(self, at: int) -> None:
        """ "a pair of", "two pairs of", "a group of"."""
        number = self.found[at].value
        times = next((token.value for token in self.found[max(0, at - 2) : at] if token.kind == "number"), 1)
        paired = number == 2 and self.noun.thing in lexicon.PAIRED
        self.number = times if paired else MANY if MANY in (number, times) else number * times
        self.definite = at > 0 and self.found[at - 1].kind == "the"

    def _negation(self, at: int) -> None:
        """ "without a dog", "not the dog"."""
        self.negated = at >= 0 and self.found[at].kind == "neg"


def _said_after(found: list[Token], at: int) -> Iterator[tuple[str, str]]:
    """Attributes that follow a noun: "is red", "painted red", "made of wood", "with stripes"."""
    at += at < len(found) and found[at].kind in ("comma", "that") and _follows(found, at + 1)
    if at >= len(found) or not _follows(found, at):
        return
    only_patterns = found[at].word == "with"
    made = found[at].word == "made" or (found[at].kind == "be" and at + 1 < len(found) and found[at + 1].word == "made")
    at += found[at].kind != "attr"
    while at < len(found) and (found[at].kind in ("word", "attr", "and") or (made and found[at].word in _MADE)
                               or found[at].word in ("out", "painted", "with")):  # fmt: skip
        if found[at].kind == "attr" and not only_patterns and (made or not _before_noun(found, at)):
            yield found[at].value
        elif found[at].word == "and" and (at + 1 >= len(found) or found[at + 1].kind != "attr"):
            return
        at += 1
    if at < len(found) and found[at].word in lexicon.PATTERNED_WITH:
        yield "pattern", lexicon.PATTERNED_WITH[found[at].word]


def _follows(found: list[Token], at: int) -> bool:
    """Whether a word begins what is said of the noun before."""
    return at < len(found) and (found[at].kind == "be" or found[at].word in (*COLOURED, "made", "with", "carved")
                                or found[at].kind == "attr")  # fmt: skip


def _before_noun(found: list[Token], at: int) -> bool:
    """Whether an attribute belongs to a noun that comes yet: "in red light"."""
    for token in found[at + 1 : at + 4]:
        if token.kind == "noun":
            return True
        if token.kind not in ("word", "attr", "and") or (token.kind == "word" and is_verb(token.word)):
            return False
    return False


def _total(found: list[Token], at: int) -> int | None:
    """ "cats, four in total"."""
    at += at < len(found) and found[at].kind == "comma"
    if at >= len(found) or found[at].kind != "number":
        return None
    ahead = [word for token in found[at + 1 : at + 3] for word in token.word.split(" ")]
    return found[at].value if tuple(ahead[:2]) in _TOTAL or tuple(ahead[:1]) in _TOTAL else None


read = Grammar(tokens, _mentions, Positions).read
