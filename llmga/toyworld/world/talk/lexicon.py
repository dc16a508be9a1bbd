"""The words of both languages for the world's values; the first of every row is the usual one."""

from llmga.toyworld.world.grounds import GRADIENTS, PLAIN
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import BEFORE, INSIDE
from llmga.toyworld.world.words import PLACE_PHRASES, SETTING_PHRASES, ways_to_say

# Value -> (how English says it beside `words.SYNONYMS`, how Chinese says it).
COLOURS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "red": (("bright red",), ("红色", "大红色", "鲜红色")),
    "orange": ((), ("橙色", "橘色", "橘黄色")),
    "yellow": (("bright yellow",), ("黄色", "金黄色")),
    "green": (("leaf green",), ("绿色", "翠绿色")),
    "turquoise": (("aqua",), ("青绿色", "蓝绿色", "青色")),
    "blue": (("bright blue",), ("蓝色", "宝蓝色")),
    "purple": (("lilac-purple",), ("紫色", "深紫色")),
    "pink": (("rose pink",), ("粉色", "粉红色")),
    "brown": (("chocolate brown",), ("棕色", "褐色", "咖啡色")),
    "white": (("pure white",), ("白色", "纯白色", "雪白色")),
    "gray": (("ash gray",), ("灰色", "灰灰的颜色")),
    "black": (("jet black",), ("黑色", "纯黑色")),
}
SIZES = {
    "small": (("wee", "mini"), ("小", "小小", "很小")),
    "medium": (("middle-sized",), ("中等大小", "不大不小", "中号")),
    "large": (("giant", "great big"), ("大", "巨大", "很大")),
}
PATTERNS = {
    "plain": (("plain", "one-coloured"), ("纯色", "单色")),
    "striped": ((), ("条纹", "带条纹", "有条纹")),
    "dotted": (("dotty",), ("圆点", "带圆点", "波点")),
}
STYLES = {
    "flat": (("flat", "flat vector"), ("平涂", "扁平")),
    "outlined": (("outlined", "cartoon"), ("描边", "带轮廓线", "卡通")),
    "sketched": (("sketched", "hand-drawn", "sketchy"), ("手绘", "素描", "草图")),
}
# Kind -> (more English words, measure word, Chinese words).
THINGS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "circle": (("round shape",), "个", ("圆形", "圆")),
    "square": (("box shape",), "个", ("正方形", "方块")),
    "triangle": ((), "个", ("三角形", "三角")),
    "star": ((), "颗", ("星星", "五角星")),
    "heart": (("love heart",), "颗", ("爱心", "心形")),
    "cross": ((), "个", ("十字", "加号")),
    "ring": (("hoop",), "个", ("圆环", "环")),
    "diamond": (("lozenge",), "个", ("菱形",)),
    "moon": (("crescent moon",), "个", ("月亮", "月牙")),
    "arrow": (("pointer arrow",), "个", ("箭头",)),
    "sun": (("sunny sun",), "个", ("太阳",)),
    "cloud": ((), "朵", ("云", "云朵")),
    "tree": (("pine", "pine tree"), "棵", ("树", "杉树")),
    "house": (("little home",), "座", ("房子", "屋子")),
    "boat": (("sailboat", "ship"), "艘", ("船", "帆船")),
    "fish": ((), "条", ("鱼", "鱼儿")),
    "flower": ((), "朵", ("花", "花朵")),
    "mountain": (("mountain peak",), "座", ("山", "高山")),
    "car": (("automobile",), "辆", ("汽车", "车", "轿车")),
    "bird": (("birdie",), "只", ("鸟", "鸟儿")),
    "balloon": ((), "个", ("气球",)),
    "mushroom": (("toadstool",), "个", ("蘑菇",)),
    "umbrella": ((), "把", ("雨伞", "伞")),
    "butterfly": ((), "只", ("蝴蝶",)),
}
_CHINESE_GROUNDS = {
    "white": "白色", "gray": "灰色", "black": "黑色", "blue": "蓝色", "green": "绿色", "yellow": "黄色",
    "pink": "粉色",
    "lavender": "淡紫色", "navy": "藏青色",
}  # fmt: skip
# Setting -> where something is (English, Chinese); what the background is (Chinese).
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "sea": (("at sea", "by the sea", "on the ocean", "on open water", "at the seaside"),
            ("在海上", "在海边", "在大海上"), ("大海", "海洋")),
    "meadow": (("in a meadow", "on green hills", "on the grass", "in a green field", "out in the meadow"),
               ("在草地上", "在草原上", "在绿色的山坡上"), ("草地", "草原")),
    "desert": (("in the desert", "on sand dunes", "in the sand", "on desert sand", "among the dunes"),
               ("在沙漠里", "在沙丘上", "在沙子上"), ("沙漠", "沙丘")),
    "snow": (("in the snow", "in winter", "on snowy hills", "on a snowy field", "in a winter landscape"),
             ("在雪地里", "在雪地上", "在冬天"), ("雪地", "雪景")),
    "night sky": (("at night", "in the night sky", "under a starry sky", "in the dark sky", "by night"),
                  ("在夜空中", "在夜里", "在星空下"), ("夜空", "星空")),
    "sunset": (("at sunset", "at dusk", "in the evening sky", "in the evening glow", "when the sun goes down"),
               ("在夕阳下", "在黄昏", "在晚霞中"), ("日落", "晚霞")),
}  # fmt: skip
PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "top left": (("at the top left", "top left", "in the upper left corner"), ("左上角", "左上方")),
    "top": (("up at the top", "top", "at the upper edge"), ("上方", "顶部", "最上面")),
    "top right": (("at the top right", "top right", "in the upper right corner"), ("右上角", "右上方")),
    "left": (("at the left", "left", "on the left side"), ("左边", "左侧")),
    "center": (("in the middle", "center", "in the centre"), ("中间", "正中间", "中央")),
    "right": (("at the right", "right", "on the right side"), ("右边", "右侧")),
    "bottom left": (("at the bottom left", "bottom left", "in the lower left corner"), ("左下角", "左下方")),
    "bottom": (("down at the bottom", "bottom", "at the lower edge"), ("下方", "底部", "最下面")),
    "bottom right": (("at the bottom right", "bottom right", "in the lower right corner"), ("右下角", "右下方")),
}
RELATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "left of": (("to the left of", "left of"), ("左边", "左侧")),
    "right of": (("to the right of", "right of"), ("右边", "右侧")),
    "above": (("above", "over"), ("上面", "上方")),
    "below": (("below", "under"), ("下面", "下方")),
    INSIDE: (("inside", "within"), ("里面", "内部")),
    BEFORE: (("in front of", "before"), ("前面", "前方")),
}
# Several, as people write it in a wish.
COUNTS = {
    "en": {2: ("two", "2", "a pair of", "two"), 3: ("three", "3", "three")},
    "zh": {1: ("一",), 2: ("两", "2", "两"), 3: ("三", "3", "三")},
}
NUMBERS = {"en": {1: "one", 2: "two", 3: "three", 0: "no"}, "zh": {1: "一", 2: "两", 3: "三", 0: "没有"}}


def _english(value: str, more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*ways_to_say(value), *more)))


WORDS: dict[str, dict[str, tuple[str, ...]]] = {"en": {}, "zh": {}}
for _table in (COLOURS, SIZES, PATTERNS):
    for _value, (_more, _chinese) in _table.items():
        WORDS["en"][_value], WORDS["zh"][_value] = _english(_value, _more), _chinese
for _value, (_more, _chinese) in STYLES.items():
    WORDS["en"][_value], WORDS["zh"][_value] = _more, _chinese
for _value, (_more, _, _chinese) in THINGS.items():
    WORDS["en"][_value], WORDS["zh"][_value] = _english(_value, _more), _chinese
MEASURES = {kind: THINGS[kind][1] for kind in KINDS}


_MORE_SETTINGS = {
    "sea": ("the ocean", "open water"),
    "meadow": ("a meadow", "green hills"),
    "desert": ("a desert", "sand dunes"),
    "snow": ("snow", "a winter landscape"),
    "night sky": ("a night sky", "a dark sky with stars"),
    "sunset": ("a sunset", "an evening sky"),
}
_ENGLISH_GROUNDS: dict[str, tuple[str, ...]] = {name: (name, f"plain {name}") for name in PLAIN}
_ENGLISH_GROUNDS |= {name: (name, f"{name} gradient", f"{name} fading") for name in GRADIENTS}
_ENGLISH_GROUNDS |= {name: (phrase, *_MORE_SETTINGS[name]) for name, phrase in SETTING_PHRASES.items()}
# Language -> ground -> what the background is.
GROUNDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": _ENGLISH_GROUNDS,
    "zh": {name: (said, f"纯{said}") for name, said in _CHINESE_GROUNDS.items()}
    | {
        name: (f"从{top}到{bottom}的渐变", f"{top}到{bottom}渐变")
        for name in GRADIENTS
        for top, bottom in [[_CHINESE_GROUNDS[part] for part in name.split(" to ")]]
    }
    | {name: nouns for name, (_, _, nouns) in SETTINGS.items()},
}
WHERE: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {place: (phrase, *PLACES[place][0]) for place, phrase in PLACE_PHRASES.items()},
    "zh": {place: chinese for place, (_, chinese) in PLACES.items()},
}
BESIDE: dict[str, dict[str, tuple[str, ...]]] = {
    language: {relation: ways[number] for relation, ways in RELATIONS.items()}
    for number, language in enumerate(("en", "zh"))
}
