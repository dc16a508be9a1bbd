"""Every chat format writes the bytes that the published weights were trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmga.errors import UserError
from llmga.llava.conversation import Conversation, Message
from llmga.llava.templates import TEMPLATES, conversation_mode


def conversation(case: dict) -> Conversation:
    """The fixture's messages; a picture stands in front of the first words."""
    first = "<image>\n" if case["image"] else ""
    told = Conversation()
    for index, (speaker, text) in enumerate(case["messages"]):
        if text is not None:
            told = told.say("user" if speaker == "u" else "assistant", first * (index == 0) + text)
    return told


def styles(fixtures: Path) -> dict:
    return json.loads((fixtures / "templates.json").read_text())


def test_every_recorded_style_is_written_byte_for_byte(fixtures):
    recorded, checked = styles(fixtures), 0
    for name, style in recorded["templates"].items():
        style = recorded["templates"][style["alias_of"]] if "alias_of" in style else style
        for case, prompt in style["prompts"].items():
            if isinstance(prompt, str):  # the original has no prompt for some cases of "plain"
                written = TEMPLATES[name].render(conversation(recorded["messages"][case]), open_turn=True)
                assert written.text == prompt, (name, case)
                checked += 1
    assert checked > 40


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_span_holds_what_follows_the_open_turn(name):
    asked = Conversation().say("user", "Hi")
    answered = asked.say("assistant", "Hello.").say("user", "More").say("assistant", "No.")
    template = TEMPLATES[name]
    rendered = template.render(answered)
    said = [rendered.text[start:end] for start, end in rendered.assistant_spans]
    assert said == [template.reply_head + words + template.reply_tail for words in ("Hello.", "No.")]
    if not template.drops_user_text:
        assert rendered.text.startswith(template.render(asked, open_turn=True).text + said[0])


def test_plain_training_text_is_picture_then_caption():
    told = Conversation().say("user", "<image>\nDescribe it.").say("assistant", "A fox.")
    assert TEMPLATES["plain"].render(told).text == "<image>A fox.\n"


def test_a_system_text_replaces_the_templates_own():
    text = TEMPLATES["qwen_2"].render(Conversation(system="Be {brief}.").say("user", "Hi")).text
    assert text.startswith("<|im_start|>system\nBe {brief}.<|im_end|>")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_system_text_is_told_or_refused_and_never_lost(name):
    told = Conversation(system="Paint {boldly}.").say("user", "Hi")
    if name == "phi_3":  # the original drops it
        with pytest.raises(UserError, match="no place for a system text .it says 'Paint {boldly}.'.*first message"):
            TEMPLATES[name].render(told)
        assert TEMPLATES[name].render(replace(told, system="")) == TEMPLATES[name].render(replace(told, system=None))
    else:
        for open_turn in (True, False):
            assert "Paint {boldly}." in TEMPLATES[name].render(told, open_turn).text


def test_gemma_reads_a_system_text_before_the_first_turn():
    """As the original writes it, whose separator there is empty."""
    text = TEMPLATES["gemma"].render(Conversation(system="Be brief.").say("user", "Hi"), open_turn=True).text
    assert text == "Be brief.<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"


def test_pictures_without_a_marker_are_seen_first():
    assert Message("user", "a", (None, None)).marked_text() == "<image>\n<image>\na"
    assert Message("user", "a <image> b", (None,)).marked_text() == "a <image> b"


def test_the_mode_of_every_published_name(fixtures):
    names = json.loads((fixtures / "mode_inference.json").read_text())
    assert {name: conversation_mode(name) for name in names} == names


def test_an_unknown_mode_is_told_with_the_known_ones():
    with pytest.raises(UserError, match="unknown conversation mode 'qwen_3', did you mean 'qwen_2'"):
        TEMPLATES["qwen_3"]
