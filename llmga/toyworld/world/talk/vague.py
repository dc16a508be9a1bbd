"""Vague wishes, what fulfils them, and what the planner makes of them."""

from typing import NamedTuple

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.completing import complete
from llmga.toyworld.world.talk.courtesies import around, opener
from llmga.toyworld.world.talk.requests import Request
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Row, Voice, row


class Mood(NamedTuple):
    """A vague wish.

    Attributes:
        said: how it is worded.
        grounds, kinds: what fulfils it; the planner takes one of each.
        colours: of the things; empty where any do.
    """

    said: Row
    grounds: tuple[str, ...]
    kinds: tuple[str, ...]
    colours: tuple[str, ...] = ()


MOODS: dict[str, Mood] = {
    "beach": Mood(row(("something cosy for the beach", "something for a day at the beach", "a holiday by the water",
                       "something that feels like summer holidays", "a lazy afternoon at the seaside"),
                      ("适合海滩的温馨画面", "海边度假的感觉", "夏天假期的感觉", "海边悠闲的下午")),
                  ("sea", "sunset"), ("umbrella", "boat", "sun", "fish")),
    "bedtime": Mood(row(("something calm for bedtime", "something for a child who cannot sleep",
    "a good night picture",
                         "something quiet and dark", "something to dream of"),
                        ("适合睡前看的安静画面", "给睡不着的孩子看的画", "一张晚安图", "安静的夜晚", "让人做梦的画")),
                    ("night sky", "navy", "navy to lavender"), ("moon", "star", "cloud")),
    "winter": Mood(row(("something for a christmas card", "something wintry", "a frosty morning", "something cold",
                        "a card for the cold season"),
                       ("圣诞贺卡用的图", "有冬天气息的画", "寒冷的早晨", "冷冷的感觉", "冬季的贺卡")),
                   ("snow",), ("tree", "house", "mountain")),
    "spring": Mood(row(("something for spring", "something fresh and blooming", "a card for mother's day",
                        "something with a garden feeling", "something lively and green"),
                       ("春天的感觉", "生机勃勃的画", "母亲节贺卡", "花园的感觉", "清新的春色")),
                   ("meadow", "green to white", "green"), ("flower", "butterfly", "tree", "bird")),
    "love": Mood(row(("something romantic", "something for valentine's day", "a picture that says i love you",
                      "something for my sweetheart", "something tender"),
                     ("浪漫一点的画", "情人节的图", "表达我爱你的图", "送给心上人的画", "温柔一点的画面")),
                 ("pink", "pink to yellow", "sunset"), ("heart", "flower"), ("red", "pink")),
    "party": Mood(row(("something for a birthday", "something festive", "a happy party picture",
    "something to celebrate",
                       "an invitation for a party"),
                      ("生日用的图", "喜庆一点的画", "快乐派对的图", "庆祝一下", "派对邀请函")),
                  ("yellow", "pink to yellow", "blue to white"), ("balloon", "star", "heart")),
    "travel": Mood(row(("something about a journey", "something adventurous", "something that makes me want to travel",
                        "a road trip", "a picture of wanderlust"),
                       ("关于旅行的画", "冒险的感觉", "让人想出发的画", "公路旅行", "远方的感觉")),
                   ("desert", "sunset"), ("car", "mountain", "boat")),
    "lonely": Mood(row(("something lonely and beautiful", "something for the end of a long day",
    "a quiet evening mood",
                        "something a little sad"),
                       ("孤独又美的画面", "漫长一天结束时的画", "傍晚安静的心情", "有点忧伤的画")),
                   ("sunset", "navy to lavender"), ("boat", "tree", "bird", "moon")),
    "forest": Mood(row(("something from the woods", "something like a fairy tale", "a walk in nature",
    "something earthy",
                        "something that smells of autumn"),
                       ("树林里的东西", "童话一样的画", "大自然里散步", "泥土的气息", "秋天的味道")),
                   ("meadow", "green"), ("mushroom", "tree", "butterfly")),
    "surprise": Mood(row(("surprise me", "paint anything you like", "draw something", "your choice",
    "a random picture",
                          "something nice", "i leave it to you", "whatever you want"),
                         ("随便画点什么", "给我个惊喜", "你决定", "画点好看的", "你喜欢什么就画什么", "来张图")),
                     (), ()),
}  # fmt: skip


def vague(voice: Voice, mood: str = "", long: bool = False) -> Request:
    """A vague wish; `allowed` says what fulfils it."""
    chosen = MOODS[mood or voice.rng.choice(list(MOODS))]
    allowed = {"ground": chosen.grounds, "kind": chosen.kinds, "colour": chosen.colours}
    asked = Asked(allowed={name: frozenset(values) for name, values in allowed.items() if values})
    said = voice.pick(chosen.said)
    bare = not chosen.kinds or voice.chance(0.4)
    opening = "" if bare else opener(voice)
    text = around(f"{opening} {said}".strip() if voice.is_english else f"{opening}{said}", voice)
    scene = None
    while scene is None:
        thing = {name: voice.rng.choice(values) for name, values in allowed.items() if values and name != "ground"}
        scene = complete(Wish((thing,), ground=voice.rng.choice(chosen.grounds or ("",))), seed=voice.rng.randrange(99))
    return Request(typed(text, voice), voice.language, asked, scene, "vague", long)
