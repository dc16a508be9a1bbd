"""The words that the rules know, English and Chinese: things, numbers, attributes and relations.

A word is looked up as the longest one that stands there: "hot dog" is no dog and 马桶 no 马.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OTHER = "-"  # a thing that no benchmark asks for
IRREGULAR = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "gentleman": "gentlemen", "foot": "feet",
    "knife": "knives", "leaf": "leaves", "calf": "calves", "mouse": "mice", "goose": "geese", "shelf": "shelves",
    "computer mouse": "computer mice", "lady": "ladies", "tooth": "teeth", "wolf": "wolves", "loaf": "loaves",
}  # fmt: skip
SAME = {"sheep", "fish", "goldfish", "aircraft", "cattle", "scissors", "skis", "broccoli", "deer", "jeans", "trousers",
        "glasses", "sunglasses"}  # fmt: skip
PAIRED = {"scissors", "skis"}  # of which "a pair" is one
MANY = -1  # more than one, however many

NUMBERS: dict[str, int] = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20,
}  # fmt: skip
NUMBERS |= {"single": 1, "lone": 1, "solitary": 1, "sole": 1, "both": 2, "twin": 2, "dozen": 12, "several": MANY,
            "many": MANY, "some": MANY, "multiple": MANY, "numerous": MANY, "few": MANY, "various": MANY}  # fmt: skip
GROUPS = {"pair": 2, "couple": 2, "duo": 2, "trio": 3, "triplet": 3, "quartet": 4, "quintet": 5, "sextet": 6,
          "dozen": 12, "group": MANY, "row": MANY, "line": MANY, "bunch": MANY, "flock": MANY, "herd": MANY,
          "set": MANY, "cluster": MANY, "pile": MANY, "stack": MANY, "collection": MANY, "crowd": MANY,
          "pack": MANY}  # fmt: skip
CHINESE_NUMBERS = {"零": 0, "一": 1, "单": 1, "二": 2, "两": 2, "俩": 2, "双": 2, "三": 3, "四": 4, "五": 5, "六": 6,
                   "七": 7, "八": 8, "九": 9, "十": 10, "十一": 11, "十二": 12, "几": MANY, "多": MANY, "数": MANY,
                   "许多": MANY, "很多": MANY, "一些": MANY, "若干": MANY, "一群": MANY, "一排": MANY, "一堆": MANY,
                   "一对": 2, "一双": 2}  # fmt: skip
CLASSIFIERS = (
    "只匹头条个位名辆台架艘座张把本朵株棵颗盏面块件顶扇支根枚幅间栋群对双片杯瓶碗口尾副部列串双盆盘份双艘款柄尊"
)

# Attributes by family: another value of the same family contradicts.
ATTRIBUTES: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "colour": {
        "red": (("red", "crimson", "scarlet", "ruby", "maroon", "burgundy"), ("红", "红色", "鲜红", "大红", "深红")),
        "orange": (("orange", "tangerine"), ("橙", "橙色", "橘色", "橘黄")),
        "yellow": (("yellow", "golden", "gold", "lemon"), ("黄", "黄色", "金色", "金黄", "明黄")),
        "green": (("green", "emerald", "lime", "olive", "mint"), ("绿", "绿色", "翠绿", "碧绿", "墨绿")),
        "blue": (("blue", "navy", "azure", "sapphire", "cobalt", "indigo"), ("蓝", "蓝色", "天蓝", "深蓝", "浅蓝")),
        "cyan": (("cyan", "turquoise", "teal", "aqua"), ("青", "青色", "青绿")),
        "purple": (("purple", "violet", "lavender", "lilac", "magenta"), ("紫", "紫色", "淡紫", "深紫")),
        "pink": (("pink", "rosy", "fuchsia"), ("粉", "粉色", "粉红", "粉红色")),
        "brown": (("brown", "chestnut", "tan", "chocolate", "bronze"), ("棕", "棕色", "褐色", "咖啡色", "棕褐")),
        "black": (("black", "ebony", "jet-black"), ("黑", "黑色", "乌黑", "漆黑")),
        "white": (("white", "ivory", "snowy"), ("白", "白色", "雪白", "洁白", "纯白")),
        "gray": (("gray", "grey", "silver", "silvery"), ("灰", "灰色", "银色", "银灰")),
    },
    "material": {
        "wooden": (("wooden", "wood", "oak", "timber"), ("木", "木制", "木质", "木头", "木制的")),
        "metal": (("metal", "metallic", "steel", "iron"), ("金属", "铁", "钢", "铁制")),
        "plastic": (("plastic",), ("塑料",)),
        "stone": (("stone", "granite", "marble"), ("石", "石头", "石制", "石质", "大理石")),
        "glass": (("glass", "crystal"), ("玻璃", "水晶")),
    },
    "pattern": {
        "spotted": (("spotted", "dotted", "polka-dotted", "speckled", "spotty"), ("斑点", "圆点", "波点", "带斑点")),
        "striped": (("striped", "stripy", "stripey"), ("条纹", "带条纹")),
        "checkered": (("checkered", "chequered", "checked", "plaid"), ("格子", "方格", "格纹")),
    },
    "shine": {"sparkling": (("sparkling", "sparkly", "glittering", "glittery", "shimmering"), ("闪闪发光", "闪亮"))},
}  # fmt: skip
PATTERNED_WITH = {"spots": "spotted", "dots": "spotted", "stripes": "striped", "checks": "checkered"}

# Relations.  Each has an opposite; "on" is a closer "above".
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", "on": "under",
            "under": "on", "in front of": "behind", "behind": "in front of", "inside": "around", "around": "inside",
            "beside": "beside"}  # fmt: skip
AXES = (("left of", "right of"), ("above", "below", "on", "under"), ("in front of", "behind"), ("inside", "around"))
FULFILLED_BY = {"above": ("above", "on"), "below": ("below", "under"), "under": ("under", "below")}
RELATIONS: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of", "at the left of", "on the left side of",
                "to the left side of", "on the left hand side of", "left side of", "leftward of"),
    "right of": ("right of", "to the right of", "on the right of", "at the right of", "on the right side of",
                 "to the right side of", "on the right hand side of", "right side of", "rightward of"),
    "above": ("above", "over", "higher than", "directly above", "right above", "overhead of"),
    "on": ("on top of", "atop", "on", "upon", "onto"),
    "under": ("underneath", "beneath", "under"),
    "below": ("below", "lower than", "directly below", "right below"),
    "in front of": ("in front of", "right in front of"),
    "behind": ("behind", "right behind", "in back of", "at the back of"),
    "inside": ("inside", "inside of", "within"),
    "beside": ("beside", "next to", "right next to", "alongside", "near", "close to", "by the side of"),
}  # fmt: skip
PLACES: dict[str, tuple[str, ...]] = {  # in the picture; two of them make a relation
    "left of": ("on the left", "at the left", "to the left", "on the left side", "in the left half", "at left",
                "on the far left", "on the left hand side"),
    "right of": ("on the right", "at the right", "to the right", "on the right side", "in the right half", "at right",
                 "on the far right", "on the right hand side"),
    "above": ("at the top", "on top", "in the upper half", "in the upper part", "up above", "overhead"),
    "below": ("at the bottom", "in the lower half", "in the lower part", "down below"),
    "in front of": ("in the foreground", "in front", "at the front"),
    "behind": ("in the background", "in the distance", "at the back"),
}  # fmt: skip
TO_ITS: dict[str, tuple[str, ...]] = {
    "left of": ("to its left", "on its left", "to their left", "on its left side", "to the left of it"),
    "right of": ("to its right", "on its right", "to their right", "on its right side", "to the right of it"),
    "above": ("above it", "over it", "above them"),
    "on": ("on top of it", "on it", "on top of them"),
    "under": ("beneath it", "under it", "underneath it", "beneath them", "under them"),
    "below": ("below it", "below them"),
    "in front of": ("in front of it", "in front of them"),
    "behind": ("behind it", "behind them"),
    "inside": ("inside it",),
    "beside": ("beside it", "next to it", "beside them", "next to them"),
}  # fmt: skip
WHOLE = ("image", "picture", "frame", "scene", "photo", "photograph", "composition", "canvas", "shot", "view")
CHINESE_SIDES: dict[str, tuple[str, ...]] = {
    "left of": ("左边", "左侧", "左面", "左方", "左手边", "左"),
    "right of": ("右边", "右侧", "右面", "右方", "右手边", "右"),
    "above": ("上方", "上空", "正上方", "之上"),
    "on": ("上面", "上边", "顶上", "上"),
    "below": ("下方", "正下方", "之下"),
    "under": ("下面", "下边", "底下"),
    "in front of": ("前面", "前方", "前边", "面前", "之前"),
    "behind": ("后面", "后方", "后边", "身后", "背后", "之后"),
    "inside": ("里面", "里边", "之中", "内部"),
    "beside": ("旁边", "身旁", "旁", "边上", "身边"),
}
NEGATIONS = ("no", "without", "not", "never", "none", "lacking", "excluding", "zero", "devoid of", "free of",
             "absence of", "instead of", "isn't", "aren't", "doesn't", "don't", "neither", "nor")  # fmt: skip
CHINESE_NEGATIONS = ("没有", "并没有", "不含", "不要", "不带", "不是", "没", "无", "并非")
CHINESE_IDIOMS = (
    "毛茸茸",
    "无数",
    "无边",
    "无垠",
    "无际",
    "无人",
    "黄昏",
    "白天",
    "黑暗",
    "黑板",
    "黑夜",
    "红外",
    "青春",
    "青年",
    "青铜",
    "粉笔",
    "白云",
    "蓝天",
    "绿叶",
    "白雪",
    "一起",
    "一样",
    "十字",
    "金光",
    "木星",
    "火星",
    "土星",
    "没入",
    "上午",
    "左右",
    "上下",
    "前后",
)  # that hold the word for something else


@dataclass(frozen=True)
class Noun:
    """A word for a thing.

    Attributes:
        thing: which one.
        plural: whether it says more than one; None where singular and plural are the same word.
    """

    thing: str
    plural: bool | None


def plural(noun: str) -> str:
    """The usual plural of an English noun."""
    *before, last = noun.split(" ")
    if last in SAME:
        return noun
    if noun in IRREGULAR or last in IRREGULAR:
        return IRREGULAR.get(noun) or " ".join([*before, IRREGULAR[last]])
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")


def singular(noun: str) -> str:
    """The thing that a regular or usual plural, such as "sheeps", "knives" or "benches", is of."""
    known = {form: each for each in (*english(), *IRREGULAR, *SAME) for form in (plural(each), each + "s")}
    if noun in known or noun in english():
        return noun if noun in english() else known[noun]
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss"), ("s", "")):
        if noun.endswith(ending) and not noun.endswith("ss"):
            return noun[: -len(ending)] + instead
    return noun


@cache
def things() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Name -> its English and its Chinese words; of other things under the name that `OTHER` begins."""
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    lines = (Path(__file__).parent / "nouns.txt").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            name, *words = (part.strip() for part in line.split("|"))
            name = f"{OTHER}{number}" if name == OTHER else name
            en, zh = (tuple(word.strip() for word in part.split(",")) for part in words)
            found[name] = en, zh
    return found


@cache
def english() -> dict[str, str]:
    """English word -> the thing that it names; benchmarks' things before others."""
    rows = sorted(things().items(), key=lambda row: row[0].startswith(OTHER), reverse=True)
    return {word: name for name, (en, _) in rows for word in en} | {name: name for name in things()}


@cache
def chinese() -> dict[str, str]:
    """Chinese word -> the thing that it names."""
    rows = sorted(things().items(), key=lambda row: row[0].startswith(OTHER), reverse=True)
    return {word: name for name, (_, zh) in rows for word in zh}


def thing_of(word: str) -> str:
    """The thing that a word of either language names: itself where it is in no table."""
    word = word.strip().lower()
    return english().get(word) or english().get(singular(word)) or chinese().get(word) or singular(word)


def nouns(more: Iterable[str] = ()) -> dict[str, Noun]:
    """Every English form of every thing, and of those that a row adds."""
    rows = {**english(), **{name: name for name in more if name.isascii() and name not in english()}}
    found: dict[str, Noun] = {}
    for word, name in rows.items():
        if word in SAME:
            found[word] = Noun(name, None)
            found[word + ("es" if word.endswith("s") else "s")] = Noun(name, True)
        else:
            forms = {plural(word), word + ("es" if word.endswith("s") else "s")}  # benchmarks write "sheeps"
            found |= {form: Noun(name, True) for form in forms if form not in rows}
            found[word] = Noun(name, word in IRREGULAR.values())
    return found


@cache
def attributes() -> dict[str, tuple[str, str]]:
    """English word -> (family, value)."""
    return {word: (family, value) for family, values in ATTRIBUTES.items() for value, (en, _) in values.items()
            for word in en}  # fmt: skip


@cache
def chinese_attributes() -> dict[str, tuple[str, str]]:
    """Chinese word -> (family, value)."""
    return {word: (family, value) for family, values in ATTRIBUTES.items() for value, (_, zh) in values.items()
            for word in zh}  # fmt: skip


def family_of(value: str) -> tuple[str, str]:
    """(family, value) of an attribute in any of its words; an unknown one is a family of its own."""
    value = value.lower()
    return attributes().get(value) or chinese_attributes().get(value) or (value, value)
