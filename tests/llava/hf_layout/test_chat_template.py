"""Other engines write a conversation out as we do, byte for byte."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from PIL import Image
from transformers.utils.chat_template_utils import render_jinja_template

from llmga.errors import UserError
from llmga.llava.conversation import Conversation, Message
from llmga.llava.hf_layout.processing import jinja_template
from llmga.llava.templates import NO_PLACE, TEMPLATES

DOT = Image.new("RGB", (1, 1))
WORDS = st.text(max_size=12) | st.sampled_from(["<image>\nhi", "a <image> b", "</s>", "{{ x }}", "{system}", "\n"])
MESSAGES = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), WORDS, st.integers(0, 2)), max_size=5)


def rendered(source: str, told: Conversation, open_turn: bool, **names: str) -> str:
    messages = [{"role": "system", "content": told.system}] if told.system is not None else []
    for message in told.messages:
        parts = [{"type": "image"}] * len(message.images) + [{"type": "text", "text": message.text}]
        messages.append({"role": message.role, "content": parts if message.images else message.text})
    texts, _ = render_jinja_template([messages], chat_template=source, add_generation_prompt=open_turn, **names)
    return texts[0]


@pytest.mark.parametrize("mode", TEMPLATES)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(messages=MESSAGES, system=st.none() | WORDS, open_turn=st.booleans())
def test_any_conversation_is_the_same_text(mode, messages, system, open_turn):
    said = [Message(role, text, (DOT,) * many if role == "user" else ()) for role, text, many in messages]
    told = Conversation(tuple(said), system)
    if system and not TEMPLATES[mode].places_system:
        with pytest.raises(UserError, match=NO_PLACE):
            TEMPLATES[mode].render(told, open_turn)
        with pytest.raises(TemplateError, match=NO_PLACE):
            rendered(jinja_template(TEMPLATES[mode]), told, open_turn)
        return
    ours = TEMPLATES[mode].render(told, open_turn).text
    assert rendered(jinja_template(TEMPLATES[mode]), told, open_turn) == ours


def test_a_begin_token_is_written_where_the_tokenizer_would_put_one():
    told = Conversation().say("user", "hi")
    ours = TEMPLATES["llama_2"].render(told, True).text
    assert rendered(jinja_template(TEMPLATES["llama_2"], begins=True), told, True, bos_token="<s>") == "<s>" + ours


def test_pictures_stand_between_their_marks():
    told = Conversation().say("user", "hi", (DOT,))
    text = rendered(jinja_template(TEMPLATES["qwen_2"], picture="<im_start><image><im_end>"), told, True)
    assert "user\n<im_start><image><im_end>\nhi<|im_end|>" in text
