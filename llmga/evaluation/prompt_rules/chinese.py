"""A Chinese text read by rule: what stands before a noun belongs to it, up to the next boundary."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from llmga.evaluation.prompt_rules import words as lexicon
from llmga.evaluation.prompt_rules.reading import Grammar, Mention, Reading, Token

_STOPS = "。；！？\n.;!?"
_COMMAS = "，,：:、（）()——"
_AT = ("位于", "处于", "停在", "站在", "坐在", "放在", "躺在", "摆在", "在")
_HAVE = ("有", "是", "放着", "站着", "坐着", "停着", "摆着", "挂着", "为", "呈现", "呈")
_AND = ("和", "与", "跟", "以及", "还有", "及", "或")
_MADE = ("制成", "做成", "制作", "构成", "打造")
_DEFINITE = ("这", "那", "其中", "每", "该")
_FARTHEST = 14  # unknown characters between a noun and what belongs to it
_PICTURE = ("画面", "图片", "照片", "画", "图像", "背景")


@lru_cache(maxsize=256)
def _table(more: frozenset[str]) -> dict[str, tuple[str, Any]]:
    table: dict[str, tuple[str, Any]] = {word: ("at", None) for word in _AT}
    table |= {word: ("have", None) for word in _HAVE} | {word: ("and", None) for word in _AND}
    table |= {word: ("side", name) for name, said in lexicon.CHINESE_SIDES.items() for word in said}
    table |= {word: ("attr", value) for word, value in lexicon.chinese_attributes().items()}
    table |= {word: ("neg", None) for word in lexicon.CHINESE_NEGATIONS}
    table |= {word: ("number", number) for word, number in lexicon.CHINESE_NUMBERS.items()}
    table |= {word: ("made", None) for word in _MADE} | {word: ("the", None) for word in _DEFINITE}
    table |= {word: ("it", None) for word in ("它们", "它", "其")} | {"另": ("another", None), "第": ("ordinal", None)}
    table |= {mark: ("stop", None) for mark in _STOPS} | {mark: ("comma", None) for mark in _COMMAS}
    table |= {word: ("noun", thing) for word, thing in lexicon.chinese().items()}
    table |= {word: ("noun", word) for word in more if not word.isascii() and word not in lexicon.chinese()}
    return table | {word: ("word", None) for word in lexicon.CHINESE_IDIOMS} | {"的": ("of", None), "之": ("of", None)}


def tokens(text: str, more: frozenset[str] = frozenset()) -> list[Token]:
    """The text in the longest words that mean something, and single characters."""
    table, found, at = _table(more), list[Token](), 0
    longest = max(map(len, table))
    while at < len(text):
        if text[at].isdecimal() and text[at].isascii():
            end = next((n for n in range(at, len(text)) if not text[n].isdecimal()), len(text))
            found.append(Token("number", int(text[at : min(end, at + 6)]), text[at:end]))
            at = end
            continue
        size = next((n for n in range(longest, 0, -1) if text[at : at + n] in table and at + n <= len(text)), 1)
        word = text[at : at + size]
        found.append(Token(*table.get(word, ("word", None)), word))
        at += size
    return list(_settled([token for token in found if token.word.strip() or token.kind == "stop"]))


def _settled(found: list[Token]) -> Iterator[Token]:
    """A number counts before a classifier or a noun only, and a single character is a colour before what it colours."""
    for index, token in enumerate(found):
        following = found[index + 1] if index + 1 < len(found) else Token("stop", None, "")
        before = found[index - 1].kind if index else "stop"
        counted = following.word[:1] in lexicon.CLASSIFIERS or following.kind in ("noun", "attr")
        if token.kind == "number" and not (counted or token.word in ("许多", "很多", "一些", "若干")):
            yield replace(token, kind="word")
        elif token.kind == "noun" and token.word in lexicon.CLASSIFIERS and before == "number" and _goes_on(following):
            yield replace(token, kind="word")  # 三头奶牛
        elif token.kind == "attr" and len(token.word) == 1 and not _coloured(following):
            yield replace(token, kind="word")
        else:
            yield token


def _goes_on(following: Token) -> bool:
    return following.kind in ("noun", "attr", "word")


def _coloured(following: Token) -> bool:
    return following.kind in ("noun", "attr", "of") or following.word == "相"  # 红白相间


# Things.


def _mentions(found: list[Token]) -> Iterator[Mention]:
    sentence, before = 0, None
    for index, token in enumerate(found):
        sentence += token.kind == "stop"
        following = found[index + 1].kind if index + 1 < len(found) else "stop"
        if token.kind == "noun" and following != "noun":  # what stands right before another noun describes that
            mention = _mention(found, index, sentence)
            if before is not None and before.negated and any(t.kind == "and" for t in found[before.end : index]):
                mention = replace(mention, negated=True)
            yield mention
            before = mention


def _mention(found: list[Token], index: int, sentence: int) -> Mention:
    phrase = _Phrase(found, index)
    number = phrase.number if phrase.number is not None else _number_after(found, index + 1)
    attributes = frozenset(phrase.attributes) | frozenset(_said_after(found, index + 1))
    return Mention(found[index].value, index, index + 1, sentence, number, phrase.definite, phrase.another,
                   phrase.negated, attributes)  # fmt: skip


class _Phrase:
    """What stands before a noun and belongs to it."""

    def __init__(self, found: list[Token], index: int):
        self.found = found
        self.number: int | None = None
        self.definite = self.another = self.negated = False
        self.attributes: list[tuple[str, str]] = []
        self._read(index - 1)

    def _read(self, at: int) -> None:
        """From the noun to the left; a clause that ends in 的, such as 围着围巾的 or 停在雨里的, is passed over."""
        unknown, clause, worn = 0, False, False
        inner = self.found[at + 2].kind in ("of", "side") if at + 2 < len(self.found) else False
        while at >= 0 and unknown <= _FARTHEST:
            token, following = self.found[at], self.found[at + 1]
            clause |= token.kind == "noun" and following.kind in ("of", "side")
            worn |= token.word == "着" or token.kind == "at"
            if token.kind == "attr":
                self.attributes += [] if clause else [token.value]
            elif token.kind == "number" and (not worn if clause else worn and inner):
                return  # it counts the other noun
            elif token.kind == "number":
                self._begin(at)
                return
            elif token.kind in ("word", "of") or (token.kind == "noun" and following.kind in ("noun", "of", "side")):
                unknown += len(token.word)
            elif token.kind not in ("at", "side") and not (token.word in ("、", "和", "与") and self._joins(at)):
                self.negated = token.kind == "neg" and not clause
                self.definite = token.kind == "the"
                return
            at -= 1

    def _joins(self, at: int) -> bool:
        """Whether it stands between two attributes: 红色和白色的伞."""
        return at > 0 and self.found[at - 1].kind == "attr" and self.found[at + 1].kind == "attr"

    def _begin(self, at: int) -> None:
        before = self.found[at - 1].kind if at else "stop"
        self.number = None if before in ("ordinal", "the") else self.found[at].value
        self.definite, self.another = before in ("ordinal", "the"), before == "another"
        self.negated = before == "neg"


def _number_after(found: list[Token], at: int) -> int | None:
    """猫三只."""
    if at >= len(found) or found[at].kind != "number":
        return None
    rest = found[at + 1 : at + 3]
    ends = len(rest) < 2 or rest[1].kind in ("stop", "comma", "and")
    return found[at].value if rest and rest[0].word in lexicon.CLASSIFIERS and ends else None


def _said_after(found: list[Token], at: int) -> Iterator[tuple[str, str]]:
    """狗是红色的, 车的颜色是蓝色, 花瓶由木头制成."""
    words = "".join(token.word for token in found[at : at + 4])
    if words.startswith("的颜色") or words.startswith("颜色"):
        at += 3 if words.startswith("的") else 2
    if at >= len(found) or (found[at].kind != "have" and found[at].word != "由" and found[at].kind != "attr"):
        return
    values: list[tuple[str, str]] = []
    for token in found[at : at + 8]:
        if token.kind in ("noun", "number", "stop", "comma", "at"):
            if token.kind == "noun":
                return
            break
        values += [token.value] if token.kind == "attr" else []
    yield from values


# How things stand.


class _Positions:
    """Relations between the things of a row."""

    def __init__(self, found: list[Token], result: Reading, things: frozenset[str]):
        self.found, self.result = found, result
        self.own = [each for each in result.mentions if each.thing in things and not each.negated]

    def read(self) -> None:
        """Add what is said to the reading."""
        for at, token in enumerate(self.found):
            if token.kind == "side":
                self._side(at, token.value)

    def _side(self, at: int, side: str) -> None:
        anchor = at - 1 - (at > 0 and self.found[at - 1].kind == "of")
        before = self.found[anchor] if anchor >= 0 else Token("stop", None, "")
        target = next((each for each in self.own if each.start == anchor), None)
        if before.kind == "it":
            earlier = [each for each in self.own if each.start < anchor][::-1]
            here = self._standing(anchor, "")
            target = next((each for each in earlier if here is None or each.thing != here.thing), None)
        if target is not None:
            subject = self._standing(anchor, target.thing) or self._named_next(at, target.thing)
            if subject is not None:
                self.result.relations.add((subject.thing, side, target.thing))
        elif len(self.found[at].word) > 1 and (before.kind != "noun" or before.word in _PICTURE):
            place = self._standing(anchor + 1, "") or self._named_next(at, "")
            self.result.places += [(place.thing, side)] if place else []

    def _standing(self, anchor: int, other: str) -> Mention | None:
        """What is said to stand there before the place is named: 猫在沙发的左边."""
        start = next((n for n in range(anchor - 1, -1, -1) if self.found[n].kind in ("stop", "comma")
                      and self.found[n].word != "、"), -1)  # fmt: skip
        for each in reversed(self.own):
            between = self.found[each.end : anchor] if start < each.start < anchor else []
            if each.thing != other and any(token.kind == "at" for token in between):
                return each
        return None

    def _named_next(self, at: int, other: str) -> Mention | None:
        """What is named after the place: 沙发的左边是一只猫."""
        stop = next((n for n in range(at, len(self.found)) if self.found[n].kind == "stop"), len(self.found))
        return next((each for each in self.own if at < each.start < stop and each.thing != other), None)


read = Grammar(tokens, _mentions, _Positions).read
