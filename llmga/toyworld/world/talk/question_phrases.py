"""How pictures are asked about, and the answers.  Answers are taught in one wording each."""

from typing import NamedTuple

from llmga.toyworld.world.talk.voice import Row, row


class Wording(NamedTuple):
    """A question and the sentence that answers it, by language; of yes/no questions with its two beginnings."""

    asked: Row
    answer: dict[str, str]


YES, NO = {"en": "Yes", "zh": "是的"}, {"en": "No", "zh": "不是"}

OPEN: dict[str, Wording] = {
    "colour": Wording(
        row(("what colour is {it}?", "which color does {it} have?", "what is the colour of {it}?",
             "tell me the colour of {it}", "in which colour is {it} painted?"),
            ("{it}是什么颜色？", "{it}的颜色是什么？", "{it}什么颜色的？", "告诉我{it}的颜色", "{it}是哪种颜色？")),
        {"en": "{That} is {x}.", "zh": "{that}是{x}的。"}),
    "size": Wording(
        row(("how big is {it}?", "what size is {it}?", "is {it} big or small?", "what is the size of {it}?"),
            ("{it}有多大？", "{it}是什么大小？", "{it}大还是小？", "{it}的大小是什么？")),
        {"en": "{That} is {x}.", "zh": "{that}是{x}的。"}),
    "pattern": Wording(
        row(("what pattern does {it} have?", "is {it} plain, striped or dotted?", "which pattern is on {it}?",
             "what is on {it}?"),
            ("{it}有什么花纹？", "{it}是纯色、条纹还是圆点？", "{it}的花纹是什么？", "{it}上面是什么花纹？")),
        {"en": "{That} is {x}.", "zh": "{that}是{x}的。"}),
    "place": Wording(
        row(("where is {it}?", "in which part of the picture is {it}?", "where does {it} stand?",
             "at which place is {it}?", "where can i find {it}?"),
            ("{it}在哪里？", "{it}在画面的哪个位置？", "{it}放在哪儿？", "{it}的位置在哪里？", "在哪里能看到{it}？")),
        {"en": "{That} is {x}.", "zh": "{that}在{x}。"}),
    "ground": Wording(
        row(("what is the background?", "which background is it?", "what is behind it all?",
             "what do you see in the back?", "describe the background"),
            ("背景是什么？", "用了什么背景？", "后面是什么？", "背景是怎样的？", "描述一下背景")),
        {"en": "The background is {x}.", "zh": "背景是{x}。"}),
    "style": Wording(
        row(("in which style is it drawn?", "what style is it?", "which style is this?", "how is it drawn?"),
            ("是什么风格？", "用的什么风格？", "这是哪种风格？", "画风是什么？")),
        {"en": "The style is {x}.", "zh": "风格是{x}。"}),
    "count": Wording(
        row(("how many {xs} are there?", "how many {xs} do you see?", "count the {xs}", "what is the number of {xs}?"),
            ("有几{m}{xs}？", "你看到几{m}{xs}？", "数一数有多少{m}{xs}", "{xs}有多少{m}？")),
        {"en": "There {are} {x}.", "zh": "{x}。"}),
    "things": Wording(
        row(("how many things are there?", "how many objects do you see?", "count the things",
             "how many are there in all?"),
            ("一共有几个东西？", "你看到几个东西？", "数一数有多少东西", "总共有几个？")),
        {"en": "There {are} {x}.", "zh": "{x}。"}),
    "at": Wording(
        row(("what is {x}?", "what do you see {x}?", "which thing is {x}?", "what stands {x}?"),
            ("{x}是什么？", "{x}有什么？", "你在{x}看到什么？", "{x}画的是什么？")),
        {"en": "It is {x}.", "zh": "是{x}。"}),
    "beside": Wording(
        row(("what is {rel} {other}?", "which thing is {rel} {other}?", "what do you see {rel} {other}?",
             "what stands {rel} {other}?"),
            ("{other}的{rel}是什么？", "{other}的{rel}有什么？", "你在{other}的{rel}看到什么？",
             "{other}{rel}是什么东西？")),
        {"en": "It is {x}.", "zh": "是{x}。"}),
}  # fmt: skip

GUESSED: dict[str, Wording] = {
    "kind": Wording(
        row(("is there {x}?", "do you see {x}?", "can you see {x}?", "does it show {x}?", "is {x} in it?"),
            ("有{x}吗？", "你看到{x}了吗？", "里面有{x}吗？", "图里有没有{x}？", "能看到{x}吗？")),
        {"en": "there {are} {x}", "zh": "有{x}"}),
    "colour": Wording(
        row(("is {it} {x}?", "is the colour of {it} {x}?", "does {it} have the colour {x}?", "is {it} painted {x}?"),
            ("{it}是{x}的吗？", "{it}的颜色是{x}吗？", "{it}是不是{x}？", "{it}是不是{x}的呢？", "{it}是{x}吗？")),
        {"en": "{that} is {x}", "zh": "{that}是{x}的"}),
    "size": Wording(
        row(("is {it} {x}?", "is the size of {it} {x}?", "would you call {it} {x}?", "is {it} of {x} size?"),
            ("{it}是{x}的吗？", "{it}的大小是{x}的吗？", "{it}的大小是不是{x}的？", "{it}算{x}的吗？")),
        {"en": "{that} is {x}", "zh": "{that}是{x}的"}),
    "pattern": Wording(
        row(("is {it} {x}?", "does {it} have a {x} pattern?", "is the pattern of {it} {x}?", "is {it} {x} all over?"),
            ("{it}是{x}的吗？", "{it}有{x}花纹吗？", "{it}的花纹是不是{x}的？", "{it}的花纹是{x}吗？")),
        {"en": "{that} is {x}", "zh": "{that}是{x}的"}),
    "place": Wording(
        row(("is {it} {x}?", "does {it} stand {x}?", "is the place of {it} {x}?", "can {it} be found {x}?"),
            ("{it}在{x}吗？", "{it}是在{x}吗？", "{it}是不是在{x}？", "{it}的位置是{x}吗？")),
        {"en": "{that} is {x}", "zh": "{that}在{x}"}),
    "relation": Wording(
        row(("is {it} {x} {other}?", "does {it} stand {x} {other}?", "is it true that {it} is {x} {other}?",
             "would you say that {it} is {x} {other}?"),
            ("{it}在{other}的{x}吗？", "{it}是在{other}{x}吗？", "{it}是不是在{other}的{x}？",
             "{it}真的在{other}的{x}吗？")),
        {"en": "{that} is {x} {other}", "zh": "{that}在{other}的{x}"}),
    "ground": Wording(
        row(("is the background {x}?", "is {x} the background?", "is {x} behind it?", "do you see {x} in the back?"),
            ("背景是{x}吗？", "后面是{x}吗？", "背景是不是{x}？", "用的是{x}背景吗？")),
        {"en": "the background is {x}", "zh": "背景是{x}"}),
    "count": Wording(
        row(("are there {x}?", "do you see {x}?", "is it true that there are {x}?", "does it show {x}?"),
            ("有{x}吗？", "是{x}吗？", "里面是不是有{x}？", "图里是{x}吗？")),
        {"en": "there {are} {x}", "zh": "有{x}"}),
    "alike": Wording(
        row(("do {it} and {other} have the same colour?", "are {it} and {other} of one colour?",
             "is {it} of the same colour as {other}?", "do the colours of {it} and {other} match?"),
            ("{it}和{other}颜色一样吗？", "{it}和{other}是同一种颜色吗？", "{it}与{other}的颜色相同吗？",
             "{it}跟{other}颜色相同吗？")),
        {"en": "{that} is {x} and {other} is {y}", "zh": "{that}是{x}的，{other}是{y}的"}),
}  # fmt: skip
DESCRIBE = row(
    ("describe this picture", "what is this?", "what do you see?", "what is in this picture?", "describe it",
     "tell me what you see", "what does this show?", "describe the image please", "tell me about this picture",
     "what can be seen here?", "say what is in it"),
    ("描述这张图", "这是什么？", "你看到了什么？", "图里有什么？", "描述一下", "告诉我你看到什么", "这张图画了什么？",
     "请描述这张图片", "说说这张图", "这里能看到什么？"),
)  # fmt: skip
OWN = row(
    ("what did you draw?", "describe your picture", "what is in your picture?", "tell me what you painted",
     "what have you painted?", "what does your last picture show?", "say what you drew"),
    ("你画了什么？", "描述你的画", "你的画里有什么？", "告诉我你画了什么", "你刚画的是什么？",
     "你最后一张图画的是什么？", "说说你的画"),
)  # fmt: skip
