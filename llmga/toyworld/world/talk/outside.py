"""Wishes outside the world: other things, colours, tongues and photos are answered with what there is."""

from collections.abc import Callable

from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.talk import nouns
from llmga.toyworld.world.talk.courtesies import CLOSERS, OPENERS
from llmga.toyworld.world.talk.known import EXAMPLE, FEW, PAINTS
from llmga.toyworld.world.talk.lexicon import GROUNDS
from llmga.toyworld.world.talk.sentences import articles, ground
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Voice, row

Answers = dict[str, tuple[str, ...]]
THINGS = row(
    ("dragon", "cat", "dog", "horse", "robot", "castle", "bear", "lion", "tiger", "elephant", "mouse", "rabbit",
    "wolf", "fox", "cow", "pig", "sheep", "goat", "chicken", "duck", "owl", "eagle", "snake", "frog", "turtle",
    "whale", "shark", "dolphin", "bee", "spider", "ant", "person", "man", "woman", "child", "baby", "girl", "boy",
    "king", "queen", "princess", "knight", "wizard", "witch", "ghost", "monster", "unicorn", "dinosaur", "alien",
    "angel", "city", "village", "street", "bridge", "tower", "church", "train", "bus", "truck", "bicycle",
    "motorcycle", "plane", "rocket", "spaceship", "helicopter", "planet", "rainbow", "volcano", "waterfall", "apple",
    "banana", "pizza", "burger", "cake", "bread", "coffee", "bottle", "cup", "table", "chair", "lamp", "bed", "door",
    "window", "computer", "phone", "book", "pen", "clock", "guitar", "piano", "drum", "camera", "hat", "shoe", "shirt",
    "dress", "crown", "sword", "skull", "hand", "face", "eye", "mouth", "cactus", "leaf", "snowman", "pumpkin",
    "candle", "kite", "football", "flag", "map", "portrait", "skyline", "kitchen", "logo", "hexagon", "pentagon",
    "octagon", "spiral", "cube", "cylinder", "kangaroo", "penguin", "giraffe", "monkey", "parrot", "squirrel", "zebra",
    "camel", "pirate", "ninja", "mermaid", "vampire", "lighthouse", "windmill", "submarine", "tractor", "lantern",
    "violin", "trumpet", "strawberry", "pineapple", "sandwich", "teapot", "sofa", "library", "museum", "glacier",
    "snowflake"),
    ("龙", "猫", "狗", "马", "机器人", "城堡", "熊", "狮子", "老虎", "大象", "老鼠", "兔子", "狼", "狐狸", "牛", "猪",
     "羊", "鸡", "鸭子", "猫头鹰", "老鹰", "蛇", "青蛙", "乌龟", "鲸鱼", "鲨鱼", "海豚", "蜜蜂", "蜘蛛", "人", "男孩",
     "女孩", "婴儿", "国王", "公主", "骑士", "巫师", "鬼", "怪兽", "独角兽", "恐龙", "外星人", "天使", "城市", "村庄",
     "桥", "塔", "教堂", "火车", "公交车", "卡车", "自行车", "摩托车", "飞机", "火箭", "飞船", "直升机", "彩虹",
     "火山", "瀑布", "苹果", "香蕉", "披萨", "汉堡", "蛋糕", "面包", "咖啡", "瓶子", "杯子", "桌子", "椅子", "台灯",
     "床", "门", "电脑", "手机", "书", "钟", "吉他", "钢琴", "相机", "帽子", "鞋子", "裙子", "皇冠", "宝剑", "仙人掌",
     "雪人", "南瓜", "蜡烛", "风筝", "足球", "地图", "六边形", "五边形", "熊猫", "企鹅", "长颈鹿", "猴子", "斑马",
     "骆驼", "海盗", "忍者", "美人鱼", "灯塔", "风车", "潜水艇", "小提琴", "草莓", "菠萝", "沙发")
)  # fmt: skip
COLOURS = row(
    ("silver", "beige", "maroon", "transparent", "rainbow", "copper", "olive", "cream", "plaid", "golden", "khaki",
     "ivory", "bronze", "salmon", "coral", "indigo", "mint green", "burgundy", "magenta", "checkered", "invisible",
     "glass", "wooden", "neon", "metallic", "camouflage", "peach", "lime", "mauve", "ochre"),
    ("银色", "米色", "栗色", "透明", "彩虹色", "铜色", "橄榄色", "奶油色", "金色", "卡其色", "象牙色", "青铜色",
     "珊瑚色", "靛蓝", "薄荷绿", "酒红色", "洋红", "格子", "隐形", "玻璃", "木头", "荧光", "金属", "迷彩", "桃色")
)  # fmt: skip
PHOTOS = row(
    ("a photo of my {x}", "a photograph of a {x}", "a picture of me and my {x}", "a realistic photo of a {x}",
     "a selfie with a {x}", "a movie about a {x}", "my {x} in the style of van gogh", "a 3d render of a {x}",
     "an oil painting of a {x}", "a photo of yesterday", "a portrait of my mother", "the mona lisa", "your own face"),
    ("我的{x}的照片", "一张{x}的照片", "我和{x}的合影", "{x}的写实照片", "和{x}的自拍", "关于{x}的电影",
     "梵高风格的{x}", "{x}的三维渲染图", "{x}的油画", "昨天的照片", "我妈妈的肖像", "蒙娜丽莎", "你自己的脸"),
)  # fmt: skip
MANY = row(("four", "five", "six", "seven", "ten", "a dozen", "twenty", "a hundred", "a thousand", "countless"),
           ("四", "五", "六", "七", "十", "十二", "二十", "一百", "一千", "无数"))  # fmt: skip
# A wish in a tongue that is neither: the answer is English.
TONGUES = row(
    ("zeichne einen roten stern", "male bitte ein haus am meer", "dessine une étoile rouge",
     "je voudrais un bateau bleu", "dibuja una estrella roja", "quiero un pez azul", "disegna una stella rossa",
     "desenha uma casa verde", "нарисуй красную звезду", "赤い星を描いて", "빨간 별을 그려줘", "rita en röd stjärna",
     "teken een rode ster", "narysuj czerwoną gwiazdę", "kırmızı bir yıldız çiz", "ζωγράφισε ένα κόκκινο αστέρι",
     "ein blauer fisch bitte", "un árbol verde por favor", "une maison sous la neige"),
    ("zeichne ein haus", "dessine un chat", "dibuja un árbol", "赤い船を描いてください", "нарисуй дом",
     "나무를 그려줘"),
)  # fmt: skip
NOT_A_THING: Answers = {
    "en": (f"I have not learned to paint that. I know {FEW['en']}. {EXAMPLE['en']}",
           f"That is outside my little world of {FEW['en']}."),
    "zh": (f"这个我还不会画。我会画{FEW['zh']}等。{EXAMPLE['zh']}", f"这不在我的小世界里，我会画{FEW['zh']}等。"),
}  # fmt: skip
NOT_A_COLOUR: Answers = {
    "en": (f"I have no such paint. My colours are {PAINTS['en']}.",),
    "zh": (f"我没有这种颜料。我的颜色有{PAINTS['zh']}。",),
}
NOT_A_PHOTO: Answers = {
    "en": (f"I do not make that kind of picture, I draw simple ones of {FEW['en']}.",),
    "zh": (f"这种图我不会做，我只画{FEW['zh']}等简单的图。",),
}
TOO_MANY: Answers = {
    "en": ("I paint up to three things in a picture. How about three?",),
    "zh": ("一张图里我最多画三个东西。画三个好吗？",),
}
NOT_A_TONGUE: Answers = {
    "en": ("I understand English and Chinese only. " + EXAMPLE["en"],),
    "zh": ("我只懂中文和英文。" + EXAMPLE["zh"],),
}


def _wish(noun: str, voice: Voice) -> str:
    """A wish for what there is not, worded as any other."""
    scenery = ground(voice.rng.choice(list(GROUNDS["en"])), voice) if voice.chance(0.3) else ""
    opener, closer = voice.pick(OPENERS), voice.pick(CLOSERS)
    if voice.is_english:
        return articles(" ".join(filter(None, [opener, noun, scenery, closer])))
    return "，".join(filter(None, [f"{opener}{noun}", scenery, closer]))


def _thing(voice: Voice) -> str:
    thing = voice.pick(THINGS)
    look = nouns.word(voice.rng.choice(("red", "blue", "small", "large", "green", "striped")), voice)
    look = look if voice.chance(0.5) else ""
    if voice.is_english:
        article = voice.rng.choice(("a", "a", "a", "the", "my", ""))
        return _wish(" ".join(filter(None, [article, look, thing])), voice)
    return _wish(f"{voice.rng.choice(('一只', '一个', '一个', ''))}{look and look + '的'}{thing}", voice)


def _beside(voice: Voice) -> str:
    """Something known with something unknown: nothing is painted rather than half of it."""
    named = {"kind": voice.rng.choice(list(KINDS)), "colour": voice.rng.choice(("red", "blue", "green"))}
    known, thing = nouns.wished(named, voice), voice.pick(THINGS)
    return _wish(f"{known} and a {thing}" if voice.is_english else f"{known}和一个{thing}", voice)


def _colour(voice: Voice) -> str:
    kind = nouns.word(voice.rng.choice(list(KINDS)), voice)
    colour = voice.pick(COLOURS)
    return _wish(f"a {colour} {kind}" if voice.is_english else f"一个{colour}的{kind}", voice)


def _photo(voice: Voice) -> str:
    return _wish(voice.pick(PHOTOS, x=voice.pick(THINGS)), voice)


def _many(voice: Voice) -> str:
    kind = nouns.word(voice.rng.choice(list(KINDS)), voice)
    many = voice.pick(MANY)
    return _wish(f"{many} {nouns.plural(kind)}" if voice.is_english else f"{many}个{kind}", voice)


def _tongue(voice: Voice) -> str:
    return voice.pick(TONGUES)


# What is outside -> (how it is wished for, what is answered).
OUTSIDE: dict[str, tuple[Callable[[Voice], str], Answers]] = {
    "thing": (_thing, NOT_A_THING),
    "thing beside a known one": (_beside, NOT_A_THING),
    "colour": (_colour, NOT_A_COLOUR),
    "photo": (_photo, NOT_A_PHOTO),
    "number": (_many, TOO_MANY),
    "tongue": (_tongue, NOT_A_TONGUE),
}


def outside(voice: Voice, kind: str = "") -> tuple[str, str]:
    """A wish that cannot be fulfilled (of a row of `OUTSIDE`), and the answer."""
    wish, answers = OUTSIDE[kind or voice.rng.choices(list(OUTSIDE), (8, 3, 4, 3, 2, 1))[0]]
    return typed(wish(voice), voice), voice.rng.choice(answers[voice.language])
