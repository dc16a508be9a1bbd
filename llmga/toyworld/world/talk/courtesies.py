"""What people say around a wish: openers, closers, and a sentence about themselves."""

from llmga.toyworld.world.talk.voice import Voice, row

OPENERS = row(
    ("", "", "", "draw", "paint", "please draw", "please paint", "can you draw", "could you paint", "make", "create",
     "give me", "show me", "i want", "i'd like", "i would like to see", "i need", "generate", "how about",
     "a picture of", "an image of", "draw a picture of", "create an image of", "hey, draw", "hi! please draw",
     "would you draw", "let me see", "render", "now draw", "please make me a picture with", "could i have",
     "we would love to see", "be so kind and paint", "i was hoping for", "would you mind painting",
     "my daughter wishes for", "what i need is", "i am looking for", "let's have", "imagine", "put on the canvas",
     "do me a favour and paint", "try", "next:"),
    ("", "", "", "画", "请画", "帮我画", "请帮我画", "能画", "可以画", "来", "给我画", "我想要", "我要", "我想看",
     "生成", "请生成", "一张图：", "画一幅画：", "麻烦画", "请给我", "能不能画", "做一张图：", "我需要", "来一张图：",
     "能否请您画", "我女儿想要", "希望能看到", "现在画", "你好，请画", "想象", "劳驾画"),
)  # fmt: skip
CLOSERS = row(
    ("", "", "", "", "", "please", "thanks", "thank you", "if you can", "for a card", "for my daughter", "if possible",
     "that would be great", "pls", "for my wall", "no hurry", "that is all", "it is for school", "i would love that",
     "take your time", "as soon as you can", "it's a gift", "would make my day", "nothing else", "for a poster"),
    ("", "", "", "", "", "谢谢", "谢谢你", "拜托了", "可以吗", "好吗", "麻烦了", "做贺卡用", "送给女儿的", "不着急",
     "就这些", "辛苦了", "学校要用", "多谢", "先谢过", "贴在墙上用"),
)  # fmt: skip
CHATTER = row(
    ("it's my birthday today.", "i am making a poster.", "i like simple pictures.", "this is for a friend.", "ok so",
     "listen,", "let's try something.", "i have an idea.", "we are decorating the kitchen.", "today is a good day.",
     "so here is my wish:", "i hope you are well.", "my little son cannot sleep and would like a picture.",
     "i have been thinking about a card for my mother.", "you did so well last time."),
    ("今天是我的生日。", "我在做海报。", "我喜欢简单的图。", "这是给朋友的。", "我有个主意。", "听我说，",
     "我们来试试。", "今天天气真好。", "我的愿望是：", "希望你一切都好。", "我家孩子睡不着，想看一张图。",
     "我想给妈妈做张贺卡。"),
)  # fmt: skip
POLITE = 0.1  # how often somebody says something about themselves first


def opener(voice: Voice) -> str:
    """What asks for the things that follow."""
    return voice.pick(OPENERS)


def around(body: str, voice: Voice) -> str:
    """A wish with what is said before and after it."""
    closer = voice.pick(CLOSERS)
    chatter = voice.pick(CHATTER) if voice.chance(POLITE) else ""
    if voice.is_english:
        return " ".join(filter(None, [chatter, body])) + (
            voice.rng.choice((", ", " ", ". ")) + closer if closer else ""
        )
    return f"{chatter}{body}" + (f"，{closer}" if closer else "")
