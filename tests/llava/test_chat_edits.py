"""A turn taken back, worded otherwise or answered again: the cache goes back, not away."""

from PIL import Image

from llmga.llava.chat import Chat, Sampling
from tests.talks import Talk

GREEDY = Sampling(temperature=0, max_new_tokens=6)
RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (30, 40), "blue")


def told(chat):
    return [turn.text for turn in chat.conversation.messages]


def test_an_answer_again_reads_one_token(tiny_mllm, fed):
    chat = Talk(Chat(tiny_mllm))
    first = "".join(chat.say("What are these?", [RED, BLUE], GREEDY))
    fed.clear()
    assert "".join(chat.regenerate(GREEDY)) == first
    assert fed == [(1, 0)] * 6
    assert told(chat) == ["What are these?", first]


def test_an_edited_turn_reads_only_what_changed(tiny_mllm, fed):
    chat = Talk(Chat(tiny_mllm))
    list(chat.say("What is this?", [RED], GREEDY))
    list(chat.say("And now blue.", [BLUE], GREEDY))
    list(chat.say("Thanks.", sampling=GREEDY))
    fed.clear()
    answer = "".join(chat.edit(1, "And now green.", sampling=GREEDY))
    tail = len(tiny_mllm.tokenizer("green.<|im_end|><|im_start|>assistant\n")["input_ids"])
    assert fed == [(tail, 0)] + [(1, 0)] * 5
    afresh = Talk(Chat(tiny_mllm))
    list(afresh.say("What is this?", [RED], GREEDY))
    assert "".join(afresh.say("And now green.", [BLUE], GREEDY)) == answer
    assert told(chat) == told(afresh)


def test_another_picture_in_a_turn_is_seen(tiny_mllm, fed):
    chat = Talk(Chat(tiny_mllm))
    list(chat.say("What is this?", [RED], GREEDY))
    fed.clear()
    answer = "".join(chat.edit(0, "What is this?", [BLUE], sampling=GREEDY))
    assert fed[0][1] == 1
    assert answer == "".join(Talk(Chat(tiny_mllm)).say("What is this?", [BLUE], GREEDY))
