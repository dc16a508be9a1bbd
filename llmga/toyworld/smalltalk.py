"""What is answered in words: greetings, questions about itself, and wishes outside its world."""

import random

from llmga.toyworld import phrases
from llmga.toyworld.phrases import Phrases
from llmga.toyworld.scenes import ATTRIBUTES

KNOWN = "circles, squares, triangles, stars, hearts and crosses"
EXAMPLE = "Try: a big red circle on a blue background."

BEYOND = (
    f"I only know about pictures of {KNOWN}. {EXAMPLE}",
    f"That is beyond me, I am a small painter. {EXAMPLE}",
)

TALK: tuple[tuple[Phrases, tuple[str, ...]], ...] = (
    (
        Phrases(("hello", "hi", "hey", "hello there", "hi there", "good morning", "good evening", "hey you", "yo",
                 "good afternoon", "hiya", "hello!", "hi!", "greetings", "hello hello", "hi hi", "hey there",
                 "hi friend", "hello you", "hello, my dear", "good day", "ahoy", "hello my dear assistant",
                 "hi my friend", "hey you there", "morning", "evening", "hi again", "hello again", "nice to see you",
                 "nice to meet you", "welcome", "howdo"),
                ("howdy", "hello my friend", "hey hey")),
        ("Hello! What shall I paint for you?", "Hi! Tell me what to paint. " + EXAMPLE),
    ),
    (
        Phrases(("what can you do?", "what can you paint?", "what do you do?", "how can you help me?", "help",
                 "what are you able to draw?", "how does this work?", "what is this?", "how do i use you?",
                 "what can i ask for?", "tell me what you can do", "which things can you paint?"),
                ("what are your skills?", "explain what you can do", "what should i ask you?")),
        (f"I paint {KNOWN} in eight colours, three sizes and nine places. {EXAMPLE}",
         f"I chat about pictures and paint {KNOWN}. {EXAMPLE}"),
    ),
    (
        Phrases(("who are you?", "what is your name?", "what are you?", "are you a robot?", "are you human?",
                 "introduce yourself", "tell me about yourself", "who made you?", "are you an ai?"),
                ("do you have a name?", "may i ask who you are?")),
        ("I am LLMGA, a small assistant that makes pictures by talking.", "I am a toy LLMGA: I listen, and I paint."),
    ),
    (
        Phrases(("which colours do you know?", "what colors do you have?", "which colors can you paint?", "colours?",
                 "list your colours", "what colours are there?"), ("tell me your colours",)),
        (f"My colours are {', '.join(ATTRIBUTES['colour'])}.",),
    ),
    (
        Phrases(("which shapes do you know?", "what shapes can you draw?", "shapes?", "list the shapes",
                 "what shapes are there?"), ("tell me your shapes",)),
        (f"I know {KNOWN}.",),
    ),
    (
        Phrases(("which backgrounds do you have?", "what backgrounds are there?", "which backgrounds can i choose?",
                 "what sizes are there?", "which sizes do you know?"), ("tell me the backgrounds",)),
        (f"Backgrounds are {', '.join(ATTRIBUTES['background'])}; sizes are small, medium and big.",),
    ),
    (
        Phrases(("how are you?", "how are you doing?", "how is it going?", "are you ok?", "what's up?",
                 "how do you feel?", "how was your day?", "is everything all right?", "all good?", "all fine?",
                 "how are we today?", "are you doing all right today?", "you okay?", "you good?", "are you well?",
                 "how are you feeling today?", "things going well?", "how have you been?"), ("how are things?",
                 "you all right?")),
        ("I am well, thank you. What shall I paint?", "Fine, thank you, and ready to paint."),
    ),
    (
        Phrases(("thanks", "thank you", "thank you very much", "thanks a lot", "great", "nice", "beautiful", "perfect",
                 "well done", "i love it", "cool", "wow", "very nice", "good job", "that's great", "awesome",
                 "looks good", "ok", "okay", "good", "all right", "alright", "that is beautiful", "that is lovely",
                 "fine", "wonderful", "splendid", "great work", "what a nice picture", "pretty", "amazing", "excellent",
                 "fantastic", "that was quick", "i like that", "i like it very much", "well painted", "you are great",
                 "superb"),
                ("lovely", "that is wonderful", "splendid work")),
        ("You are welcome. Shall I change anything?", "Glad you like it!"),
    ),
    (
        Phrases(("bye", "goodbye", "see you", "see you later", "good night", "that's all", "i have to go", "bye bye",
                 "see you tomorrow", "until next time", "until later", "take care", "i am leaving", "so long", "ciao"),
                ("farewell", "until tomorrow")),
        ("Goodbye! It was a pleasure to paint for you.", "See you soon!"),
    ),
    (
        Phrases(("tell me a joke", "what is the weather like?", "what time is it?", "what is two plus two?",
                 "who is the president?", "how old are you?", "where do you live?", "do you like music?",
                 "what is the capital of france?", "sing a song", "tell me a story", "what day is it?", "why?",
                 "are you happy?", "do you sleep?", "what is love?", "can you cook?", "write a poem",
                 "what is the meaning of life?", "do you speak german?", "how tall is the eiffel tower?",
                 "can you help me with my homework?", "what should i eat today?", "2+2", "who won the game?"),
                ("what is the biggest ocean?", "do you know any songs?", "what's the news?", "can you drive a car?")),
        BEYOND,
    ),
    (
        Phrases(("asdf", "blah blah", "hmm", "???", "lol", "no", "yes", "maybe", "test", "qwerty", "abc", "...", "what",
                 "huh?", "i don't know", "nothing", "never mind", "stop", "wait", "um", "uh", "eh", "ah", "oh", "hm",
                 "well", "so", "sure", "yep", "nope",
                 "no idea", "i do not know", "whatever", "not sure", "hello?", "?", "!", "123", "42", "xyz", "foo"),
                ("jkl", "er", "dunno")),
        (f"Tell me which shape you would like. {EXAMPLE}",),
    ),
)  # fmt: skip

# Sentences about anything: {thing}, {doing} and {being} are filled, and no picture is meant.
CHATS = ("do you like {thing}s?", "have you ever seen a {thing}?", "what does a {thing} eat?", "what is a {thing}?",
         "why is the {thing} {being}?", "where can i buy a {thing}?", "my sister has a {thing}",
         "my {thing} is {being}", "i saw a {thing} yesterday", "what do you think about {thing}s?", "can you {doing}?",
         "how do i {doing}?", "do you know how to {doing}?", "who made the first {thing}?", "i am {being}",
         "i am {being} today", "are you {being}?", "you are {being}", "it is {being} outside",
         "how far is the {thing}?", "i like {thing}s", "i want to {doing}", "let's {doing}", "could you {doing}?",
         "tell me about the {thing}", "what is the {being} {thing}?", "which {thing} is the best?", "what's a {thing}?",
         "what's the {thing}?", "is a {thing} {being}?", "do you {doing}?", "do you know any {thing}s?",
         "where is the {thing}?", "how many {thing}s are there?", "why do you {doing}?", "should i {doing}?",
         "my friend can {doing}", "i feel {being}")  # fmt: skip
DOINGS = (
    "dance",
    "swim",
    "read my mind",
    "speak french",
    "count to ten",
    "fly",
    "laugh",
    "write code",
    "call my mother",
    "translate this",
    "play chess",
    "sing",
    "bake a cake",
    "learn english",
    "ride a horse",
    "run fast",
    "sleep",
    "see me",
    "hear me",
    "remember me",
    "eat",
    "go home",
    "play football",
    "solve a puzzle",
    "win a game",
    "fix my bike",
    "buy a ticket",
    "watch a film",
    "think",
    "dream",
    "drive",
    "cook dinner",
    "read a book",
)
GREETINGS = ("hello", "hi", "hey", "good morning", "good evening", "hiya", "yo", "good day", "greetings")
COMPANIONS = ("", "again", "buddy", "mate", "assistant", "everyone", "everybody", "dear", "painter", "sir", "hello",
              "robot", "pal", "folks", "to you", "and good morning", "from me", "from paris", "my dear", "old friend",
              "dear friend", "friends", "llmga", "computer", "hi", "yo", "out there")  # fmt: skip
BEINGS = (
    "hungry",
    "tired",
    "happy",
    "sad",
    "angry",
    "bored",
    "cold",
    "hot",
    "late",
    "clever",
    "funny",
    "nice",
    "slow",
    "fast",
    "old",
    "young",
    "rich",
    "rainy",
    "sunny",
    "strange",
    "famous",
    "real",
    "smart",
    "busy",
    "ready",
    "alone",
    "sick",
    "dark",
    "expensive",
    "broken",
    "quiet",
    "loud",
    "lucky",
    "proud",
    "crazy",
)
# Things outside this world, one word each.
SEEN_THINGS = """
dragon cat dog horse house tree car flower mountain river boat ship castle robot bird fish bear lion tiger elephant
mouse rabbit wolf fox cow pig sheep goat chicken duck owl eagle snake frog turtle whale shark dolphin bee butterfly
spider ant person man woman child baby girl boy king queen princess knight wizard witch ghost monster unicorn
dinosaur alien angel city village street bridge tower church train bus truck bicycle motorcycle plane rocket
spaceship helicopter moon sun planet cloud rainbow storm beach ocean lake forest garden desert island volcano
waterfall apple banana pizza burger cake bread coffee bottle cup table chair lamp bed door window computer phone
book pen clock guitar piano drum camera umbrella hat shoe shirt dress crown sword skull hand face eye mouth rose
tulip cactus leaf mushroom snowman pumpkin candle balloon kite football flag map landscape portrait sunset sunrise
galaxy skyline farm kitchen bedroom logo cartoon hexagon pentagon oval rectangle diamond arrow spiral octagon
crescent cube cylinder line
"""
HELD_OUT_THINGS = """
kangaroo penguin giraffe monkey parrot squirrel zebra camel pirate ninja mermaid vampire lighthouse windmill
submarine tractor lantern violin trumpet strawberry pineapple sandwich teapot sofa library museum glacier canyon
meadow trapezoid parallelogram
"""
THINGS = Phrases(tuple(SEEN_THINGS.split()), tuple(HELD_OUT_THINGS.split()))
SETTINGS = ("", "", "", "", "in the snow", "at night", "on a beach", "in space", "flying over a city", "in the rain",
            "on a mountain", "with a hat", "made of glass", "on a blue background", "in the forest", "at sunset",
            "on white", "in the top left corner", "reading a book", "with wings")  # fmt: skip
WISHES = ("", "", "", "big", "red", "small", "blue", "beautiful", "cute", "scary", "huge green", "old", "happy")
NOT_A_THING = (
    f"I have not learned to paint that. I know {KNOWN}. {EXAMPLE}",
    f"That is outside my little world, which has {KNOWN}. {EXAMPLE}",
)
ODD_COLOURS = Phrases(
    ("brown", "black", "white", "gray", "silver", "beige", "maroon", "grey", "dark brown", "transparent", "rainbow",
     "multicoloured", "striped", "copper", "olive", "cream", "plaid", "dotted", "tan", "charcoal", "brass", "platinum",
     "mahogany", "chestnut", "peach", "salmon", "apricot", "coral", "ruby", "sapphire", "amber", "mustard", "plum",
     "magenta", "indigo", "mint", "burgundy", "mauve", "fuchsia", "chocolate", "coffee", "sand", "ash", "slate",
     "steel", "pearl", "ebony", "mocha", "caramel", "rust", "sepia", "taupe", "ochre", "umber", "sienna", "neon",
     "metallic", "checkered", "spotted", "invisible", "wooden", "marble", "denim", "camouflage", "tartan", "pewter",
     "jet black", "off-white", "snow white", "dark gray", "light brown", "iron", "chrome", "tin", "clay", "brick",
     "wine", "cherry", "hazel", "walnut", "oak", "bone", "milk", "ink", "coal", "smoky", "dusty", "iridescent",
     "bicolour", "tawny", "ecru", "puce", "vermilion", "terracotta", "champagne", "honey", "nickel", "graphite", "onyx",
     "jade", "moss"),
    ("khaki", "ivory", "bronze"),
)  # fmt: skip
NOT_A_COLOUR = (f"I have no such paint for shapes. My colours are {', '.join(ATTRIBUTES['colour'])}.",)


def talk(rng: random.Random, held_out: bool = False) -> tuple[str, str]:
    """Something said, and the answer in words."""
    form = rng.random()
    if form < 0.35:
        return _dressed(_foreign_thing(rng, held_out), rng), rng.choice(NOT_A_THING)
    if form < 0.45:
        return _dressed(_foreign_colour(rng, held_out), rng), NOT_A_COLOUR[0]
    if form < 0.5 and not held_out:
        greeting = [rng.choice(GREETINGS), rng.choice(COMPANIONS)]
        return _dressed(" ".join(filter(None, greeting)), rng), rng.choice(TALK[0][1])
    if form < 0.62 and not held_out:
        return _dressed(_chat(rng), rng), rng.choice(BEYOND)
    said, answers = rng.choice(TALK)
    return _dressed(said.pick(rng, held_out), rng), rng.choice(answers)


def bare_wish(rng: random.Random) -> tuple[str, str]:
    """A wish for something outside this world in two or three words, and the answer."""
    words = [rng.choice(("", "", "now", "and", "draw", "make it", "paint")), rng.choice(("a", "a", "a", "the", ""))]
    text = " ".join(word for word in (*words, THINGS.pick(rng)) if word)
    return _dressed(text, rng), rng.choice(NOT_A_THING)


def _chat(rng: random.Random) -> str:
    words = {"thing": THINGS.pick(rng), "doing": rng.choice(DOINGS), "being": rng.choice(BEINGS)}
    return rng.choice(CHATS).format(**words)


def _foreign_thing(rng: random.Random, held_out: bool) -> str:
    thing = THINGS.pick(rng, held_out)
    words = [phrases.OPENERS.pick(rng), rng.choice(("a", "a", "a", "the", "my", "")), rng.choice(WISHES), thing]
    words.append(rng.choice(SETTINGS))
    return " ".join(word for word in words if word)


def _foreign_colour(rng: random.Random, held_out: bool) -> str:
    shape = rng.choice(ATTRIBUTES["shape"])
    ground = rng.choice(("", "", f"on a {rng.choice(ATTRIBUTES['background'])} background"))
    words = [phrases.OPENERS.pick(rng), "a", rng.choice(("", "", "big", "small")), ODD_COLOURS.pick(rng, held_out)]
    return " ".join(word for word in [*words, shape, ground] if word)


def _dressed(text: str, rng: random.Random) -> str:
    style = rng.random()
    if style < 0.3:
        text = text[:1].upper() + text[1:]
    elif style < 0.34:
        text = text.upper()
    if rng.random() < 0.2:
        text = text.rstrip("?!.") + rng.choice(("", ".", "!", "?"))
    return text
