"""Caches that serve the next request of the same client, and change nothing of what is answered."""

import pytest
import torch
from PIL import Image

from llmga.assistant.loading import BUNDLED_MLLM, bundled
from llmga.llava.conversation import Conversation, Message
from llmga.llava.loading import open_planner
from llmga.llava.sampling import Sampling
from llmga.serve.api.prefix_cache import PrefixCache

GREEDY = Sampling(temperature=0, max_new_tokens=40)


@pytest.fixture(scope="module")
def new_chat():
    return open_planner(bundled(BUNDLED_MLLM, "--model-path"), device="cpu")


def talk(chats, client, *turns):
    """What is answered to the last turn, and how many tokens were read for it."""
    chat, known = chats.take(client, Conversation(tuple(turns)))
    read, feed = [], chat._feed
    chat._feed = lambda ids, keys, images=(): (read.append(len(ids)), feed(ids, keys, images))[1]
    said = "".join(chat.reply(known, GREEDY))
    chat._feed = feed
    chats.put(client, chat, known.say("assistant", said))
    return said, read[0]


def picture(colour):
    return Image.new("RGB", (64, 64), colour)


def test_a_conversation_that_goes_on_is_not_read_again_and_answered_alike(new_chat):
    torch.manual_seed(0)
    warm, cold = PrefixCache(new_chat, 2), PrefixCache(new_chat, 0)
    first = Message("user", "describe this picture", (picture("red"),))
    said, read = talk(warm, "a", first)
    following = [first, Message("assistant", said), Message("user", "a small green star")]
    again = [Message("user", first.text, (picture("red"),)), *following[1:]]  # the same picture, opened anew
    expected, whole = talk(cold, "a", *again)
    assert talk(warm, "a", *again) == (expected, pytest.approx(whole - read, abs=60))
    assert talk(warm, "a", *again)[1] < whole / 2


def test_another_picture_is_read_anew(new_chat):
    warm, cold = PrefixCache(new_chat, 2), PrefixCache(new_chat, 0)
    talk(warm, "a", Message("user", "describe this picture", (picture("red"),)))
    other = Message("user", "describe this picture", (picture("blue"),))
    assert talk(warm, "a", other) == talk(cold, "a", other)


def test_caches_are_their_clients_own_and_bounded(new_chat):
    chats = PrefixCache(new_chat, 2)
    wanted = Conversation((Message("user", "hello"), Message("assistant", "Hi."), Message("user", "a circle")))
    kept = []
    for client in "abc":
        chat, _ = chats.take(client, wanted)
        chats.put(client, chat, wanted)
        kept.append(chat)
    assert chats.take("a", wanted)[0] not in kept
    assert chats.take("b", wanted)[0] is kept[1] and chats.take("c", wanted)[0] is kept[2]
    assert chats.take("c", wanted)[0] not in kept  # one request at a time


def test_a_system_text_comes_after_what_teaches_the_tags_and_goes_with_its_request(new_chat):
    chats = PrefixCache(new_chat, 2)
    hello = Message("user", "hello")
    chat, known = chats.take("a", Conversation((hello,), "be brief"))
    assert known == Conversation((hello,), "be brief")
    chats.put("a", chat, known)
    again, known = chats.take("a", Conversation((Message("user", "hello"),)))
    assert again is chat and known == Conversation((hello,))
    chats.new_chat = lambda: type("Taught", (), {"teaching": "write tags"})()
    _, known = chats.take("b", Conversation((Message("user", "hello"),), "be brief"))
    assert known.system == "write tags\n\nbe brief"
