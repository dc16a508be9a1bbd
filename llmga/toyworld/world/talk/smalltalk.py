"""What paints nothing: greetings, thanks, praise, questions about itself and about anything."""

from typing import NamedTuple

from llmga.toyworld.world.talk.known import ALL, EXAMPLE, FEW, PAINTS, SETTINGS
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Row, Voice, row


class Talk(NamedTuple):
    """What may be said, and what is answered."""

    said: Row
    answers: dict[str, tuple[str, ...]]


TALK: dict[str, Talk] = {
    "greeting": Talk(
        row(("hello", "hi", "hey", "hello there", "hi there", "good morning", "good evening", "good afternoon", "hiya",
             "greetings", "hey there", "good day", "nice to meet you", "hello again", "morning", "hi friend", "howdy",
             "hey hey", "hello my friend"),
            ("你好", "您好", "嗨", "早上好", "晚上好", "下午好", "哈喽", "在吗", "很高兴认识你", "你好呀", "又见面了",
             "大家好")),
        {"en": ("Hello! What shall I paint for you?", f"Hi! Tell me what to paint. {EXAMPLE['en']}"),
         "zh": ("你好！想让我画什么？", f"你好！告诉我画什么吧。{EXAMPLE['zh']}")},
    ),
    "ability": Talk(
        row(("what can you do?", "what can you paint?", "how can you help me?", "help", "how does this work?",
             "what are you able to draw?", "what can i ask for?", "tell me what you can do", "what do you know?",
             "which things can you paint?", "what are your skills?", "what should i ask you?", "list your shapes"),
            ("你会做什么？", "你能画什么？", "你能帮我什么？", "怎么用？", "帮助", "我可以让你画什么？",
             "你有什么本领？", "你都认识什么？", "介绍一下你的功能", "你会画哪些东西？")),
        {"en": (f"I paint {ALL['en']}.", f"I paint one to three of {FEW['en']}. {EXAMPLE['en']}"),
         "zh": (f"我会画{ALL['zh']}。", f"我能画一到三个{FEW['zh']}等等。{EXAMPLE['zh']}")},
    ),
    "self": Talk(
        row(("who are you?", "what is your name?", "what are you?", "are you a robot?", "are you human?",
             "introduce yourself", "who made you?", "are you an ai?", "do you have a name?", "tell me about yourself"),
            ("你是谁？", "你叫什么名字？", "你是什么？", "你是机器人吗？", "你是人吗？", "自我介绍一下", "谁做了你？",
             "你是人工智能吗？")),
        {"en": ("I am LLMGA, a small assistant that makes pictures by talking.",),
         "zh": ("我是LLMGA，一个边聊边画的小助手。",)},
    ),
    "paints": Talk(
        row(("which colours do you know?", "what colors do you have?", "colours?", "list your colours",
             "what colours are there?", "tell me your colours", "which paints have you got?"),
            ("你有哪些颜色？", "能用什么颜色？", "有什么颜色？", "颜色有哪些？", "告诉我你会的颜色",
             "你会用几种颜色？")),
        {"en": (f"My colours are {PAINTS['en']}.",), "zh": (f"我的颜色有{PAINTS['zh']}。",)},
    ),
    "grounds": Talk(
        row(("which backgrounds do you have?", "what backgrounds are there?", "which places can you paint?",
             "list the backgrounds", "what settings do you know?"),
            ("你有哪些背景？", "可以画什么背景？", "背景有哪些？", "能画哪些场景？", "有什么背景？")),
        {"en": (f"Backgrounds are {SETTINGS['en']}.",), "zh": (f"背景有{SETTINGS['zh']}。",)},
    ),
    "feeling": Talk(
        row(("how are you?", "how are you doing?", "how is it going?", "what's up?", "how do you feel?", "are you ok?",
             "how was your day?", "all good?", "are you well?", "how are things?"),
            ("你好吗？", "最近怎么样？", "过得如何？", "今天好吗？", "你还好吗？", "一切顺利吗？", "心情怎么样？")),
        {"en": ("I am well, thank you. What shall I paint?", "Fine, thank you, and ready to paint."),
         "zh": ("我很好，谢谢。画点什么呢？", "很好，谢谢，随时可以画。")},
    ),
    "thanks": Talk(
        row(("thanks", "thank you", "thank you very much", "thanks a lot", "many thanks", "thank you so much", "thx",
             "cheers", "that was kind of you", "i am grateful", "thanks for the picture", "ok thank you"),
            ("谢谢", "谢谢你", "多谢", "非常感谢", "太谢谢了", "谢谢你的画", "辛苦你了", "感谢", "好的，谢谢")),
        {"en": ("You are welcome. Shall I change anything?", "My pleasure!"),
         "zh": ("不客气。还要改什么吗？", "不用谢！")},
    ),
    "praise": Talk(
        row(("great", "nice", "beautiful", "perfect", "well done", "i love it", "cool", "wow", "very nice", "good job",
             "awesome", "looks good", "that is lovely", "wonderful", "what a nice picture", "amazing", "fantastic",
             "i like that", "well painted", "superb", "that turned out great", "this is just what i wanted",
             "my daughter loves it", "it is very pretty", "ok", "good"),
            ("真好看", "太棒了", "漂亮", "完美", "我喜欢", "很好", "不错", "哇", "画得真好", "好极了", "很美",
             "这正是我想要的", "女儿很喜欢", "真厉害", "好的", "可以")),
        {"en": ("Glad you like it!", "Thank you! Shall I change anything?"),
         "zh": ("很高兴你喜欢！", "谢谢夸奖！还要改什么吗？")},
    ),
    "goodbye": Talk(
        row(("bye", "goodbye", "see you", "see you later", "good night", "that's all", "i have to go", "take care",
             "until next time", "so long", "farewell", "see you tomorrow"),
            ("再见", "拜拜", "回头见", "晚安", "就到这里吧", "我得走了", "下次见", "明天见", "保重")),
        {"en": ("Goodbye! It was a pleasure to paint for you.", "See you soon!"), "zh": ("再见！很高兴为你画画。",
         "下次见！")},
    ),
    "anything": Talk(
        row(("tell me a joke", "what is the weather like?", "what time is it?", "what is two plus two?", "2+2",
             "who is the president?", "how old are you?", "where do you live?", "do you like music?", "sing a song",
             "what is the capital of france?", "what day is it?", "do you sleep?", "what is love?", "can you cook?",
             "write a poem", "do you speak german?", "how tall is the eiffel tower?", "who won the game?", "why?",
             "what should i eat today?", "can you help me with my homework?", "what's the news?", "i am hungry",
             "i am bored", "it is raining outside", "my cat is sick", "do you dream?", "translate this for me",
             "where can i buy a car?", "have you ever seen a whale?", "is the moon far away?", "i saw a bird today",
             "what do fish eat?", "how do i grow a tree?", "i live in a house by the sea", "my car is broken",
             "do you like flowers?", "the sun was hot today", "who built the first boat?"),
            ("讲个笑话", "天气怎么样？", "现在几点？", "一加一等于几？", "谁是总统？", "你几岁了？", "你住在哪里？",
             "你喜欢音乐吗？", "唱首歌", "法国的首都是哪里？", "今天星期几？", "你睡觉吗？", "什么是爱？",
             "你会做饭吗？", "写首诗", "你会说德语吗？", "今天吃什么？", "帮我写作业", "有什么新闻？", "我饿了",
             "我很无聊", "外面下雨了", "我的猫病了", "你做梦吗？", "在哪里能买到汽车？", "月亮远吗？",
             "我今天看见一只鸟", "鱼吃什么？", "怎么种树？", "我家住在海边", "你喜欢花吗？", "今天太阳真大")),
        {"en": (f"I only know about painting. {EXAMPLE['en']}", "That is beyond me, I am a small painter."),
         "zh": (f"我只懂画画。{EXAMPLE['zh']}", "这个我不会，我只是个小画家。")},
    ),
    "unclear": Talk(
        row(("asdf", "blah blah", "hmm", "???", "lol", "no", "maybe", "test", "qwerty", "...", "huh?", "i don't know",
             "nothing", "never mind", "stop", "wait", "um", "well", "no idea", "whatever", "123", "xyz", "dunno"),
            ("嗯", "啊", "哦", "呃", "随便", "不知道", "等等", "算了", "没什么", "测试", "哈哈", "？？？", "停",
             "不用了")),
        {"en": (f"Tell me what you would like to see. {EXAMPLE['en']}",),
         "zh": (f"告诉我你想看什么吧。{EXAMPLE['zh']}",)},
    ),
}  # fmt: skip


def talk(voice: Voice, kind: str = "") -> tuple[str, str]:
    """Something said (of a row of `TALK`), and the answer."""
    chosen = TALK[kind or voice.rng.choice(list(TALK))]
    return typed(voice.pick(chosen.said), voice), voice.rng.choice(chosen.answers[voice.language])
