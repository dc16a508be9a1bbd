"""Stories of three to six pages with one thing on all of them, in one answer or page by page as a picture book."""

from typing import NamedTuple

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.sampling import is_chosen, is_visible, random_thing
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk import nouns
from llmga.toyworld.world.talk.answers import prompt, wrapped
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.completing import complete
from llmga.toyworld.world.talk.courtesies import around
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.lexicon import WORDS
from llmga.toyworld.world.talk.nouns import described
from llmga.toyworld.world.talk.sentences import articles
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.turns import Step, Turn
from llmga.toyworld.world.talk.voice import Voice, row
from llmga.toyworld.world.words import noun_phrase

PAGES = (3, 4, 5, 6)
NUMBERS = {"en": ("three", "four", "five", "six"), "zh": ("三", "四", "五", "六")}


class Beat(NamedTuple):
    """What happens on a page: where, whom the hero meets (one of these), and how it is told."""

    grounds: tuple[str, ...]
    friends: tuple[str, ...]
    told: dict[str, str]


# In the order of a day; a short story leaves out some between the first and the last.
BEATS: dict[str, Beat] = {
    "morning": Beat(("meadow", "blue to white", "white"), (),
                    {"en": "In the morning {hero} wakes up.", "zh": "早上，{hero}醒来了。"}),
    "away": Beat(("desert", "sea", "gray"), ("car", "boat", "arrow"),
                 {"en": "{Hero} goes far away and sees a {friend}.", "zh": "{hero}去了很远的地方，看见了{friend}。"}),
    "meeting": Beat(("meadow", "green to white", "yellow"), ("flower", "butterfly", "bird", "tree"),
                    {"en": "There {hero} meets a {friend}.", "zh": "在那里，{hero}遇到了{friend}。"}),
    "cold": Beat(("snow", "gray"), ("mountain", "tree", "house"),
                 {"en": "It is cold, and {hero} rests beside a {friend}.", "zh": "天冷了，{hero}在{friend}旁边休息。"}),
    "evening": Beat(("sunset", "pink to yellow"), (),
                    {"en": "In the evening {hero} turns back.", "zh": "傍晚，{hero}往回走。"}),
    "night": Beat(("night sky", "navy", "navy to lavender", "white"), ("moon", "star"),
                  {"en": "At night the {friend} shines on {hero}. Good night!",
                   "zh": "夜里，{friend}照着{hero}。晚安！"}),
}  # fmt: skip
TELL = row(
    ("tell a story of {n} pages about {x}", "a story in {n} pictures about {x}",
     "a picture story about {x}, {n} pages", "make a little book of {n} pages about {x}",
     "i want a bedtime story with {n} pages about {x}", "write and paint a tale of {n} pages about {x}"),
    ("讲一个关于{x}的{n}页故事", "用{n}张图讲{x}的故事", "画一本{n}页的小书，主角是{x}", "关于{x}的故事，{n}页",
     "来一个{n}页的睡前故事，讲{x}", "写一个{n}页的图画故事：{x}"),
)  # fmt: skip
ABOUT = row(("{x}", "{x} on a journey", "the day of {x}", "{x} and its friends", "how {x} found its way home"),
            ("{x}", "{x}的旅行", "{x}的一天", "{x}和朋友们", "{x}回家的路"))  # fmt: skip
# The words in which `llmga.serve.story` asks; a test holds them together.
BOOK = {
    "en": (
        "We make a picture book of {count} pages: {request}\nList the characters that appear again and again, one a "
        "line, as NAME: how they look (age, hair, clothes, colours). Write nothing else.",
        "Write page {number} of {count} of the picture book about: {request}\nTell the page in one or two sentences, "
        "then write its picture.",
    ),
    "zh": (
        "我们来做一本{count}页的绘本：{request}\n请列出反复出现的角色，每行一个，格式为“名字: 外貌"
        "（年龄、头发、衣服、颜色）”，不要写别的内容。",
        "请写绘本的第{number}页（共{count}页），主题是：{request}\n用一两句话讲述这一页，然后画出它的画面。",
    ),
}


class Page(NamedTuple):
    """A page: what is read, what is seen, and what has to be in it."""

    text: str
    scene: Scene
    asked: Asked


def hero(voice: Voice) -> Thing:
    """Somebody for a story, who can be seen nearly anywhere; people name kind and colour."""
    while True:
        thing = random_thing(voice.rng, "white", ("medium",))
        if not is_chosen(thing.kind, thing.colour) and is_visible(thing.colour, "meadow"):
            return Thing(thing.kind, thing.colour)


def pages(who: Thing, count: int, voice: Voice) -> list[Page]:
    """A story: the first and the last beat, and some between; the hero looks alike on all pages."""
    while True:
        between = sorted(voice.rng.sample(range(1, len(BEATS) - 1), count - 2))
        beats = [list(BEATS.values())[number] for number in (0, *between, len(BEATS) - 1)]
        made = [_page(who, beat, voice) for beat in beats]
        if all(made):
            return [page for page in made if page is not None]
        who = hero(voice)


def _page(who: Thing, beat: Beat, voice: Voice) -> Page | None:
    look = {name: value for name, value in who.attributes.items() if name != "place"}
    friends = [kind for kind in beat.friends if kind != who.kind]
    friend = voice.rng.choice(friends) if friends else ""
    for ground in beat.grounds:
        wish = Wish((look, {"kind": friend, "size": "small"}) if friend else (look,), ground=ground)
        scene = complete(wish)
        if scene is not None:
            english = voice.is_english
            names = WORDS[voice.language]
            called = f"the {who.colour} {who.kind}" if english else f"{names[who.colour][0]}的{names[who.kind][0]}"
            said = beat.told[voice.language].format(
                hero=called, Hero=called[:1].upper() + called[1:], friend=names[friend][0] if friend else ""
            )
            return Page(articles(said), scene, Asked(wish))
    return None


def _start(voice: Voice) -> tuple[Thing, list[Page]]:
    """A hero and the pages that it can be seen on."""
    while True:
        who = hero(voice)
        told = pages(who, voice.rng.choice(PAGES), voice)
        if all(who.look in {thing.look for thing in page.scene.things} for page in told):
            return who, told


def story(gallery: Gallery, voice: Voice) -> Step:
    """A whole story in one answer."""
    who, told = _start(voice)
    count = NUMBERS[voice.language][PAGES.index(len(told))]
    named = nouns.wished({"kind": who.kind, "colour": who.colour}, voice)
    text = typed(around(voice.pick(TELL, n=count, x=named), voice), voice)
    answer = " ".join(f"{page.text} {wrapped(prompt(page.scene, voice.rng))}" for page in told)
    scenes = tuple(page.scene for page in told)
    turn = Turn(text, answer, "story", voice.language, painted=scenes, asked=tuple(page.asked for page in told))
    return turn, gallery.with_painted(*scenes)


def book(voice: Voice) -> list[Turn]:
    """A whole picture book, asked for as the storybook does: who is in it, then page by page."""
    who, told = _start(voice)
    characters, ask = BOOK[voice.language]
    about = voice.pick(ABOUT, x=described(who, voice.language) if voice.chance(0.5) else nouns.wished(
        {"kind": who.kind, "colour": who.colour}, voice))  # fmt: skip
    name = who.kind.capitalize() if voice.is_english else WORDS["zh"][who.kind][0]
    turns = [Turn(characters.format(count=len(told), request=about), f"{name}: {noun_phrase(who)}", "book characters",
                  voice.language)]  # fmt: skip
    for number, page in enumerate(told, 1):
        text = ask.format(number=number, count=len(told), request=about)
        answer = f"{page.text} {wrapped(prompt(page.scene, voice.rng))}"
        turns.append(Turn(text, answer, "book page", voice.language, painted=(page.scene,), asked=(page.asked,)))
    return turns
