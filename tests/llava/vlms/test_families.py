"""Published families as planners: every row of FAMILIES talks, keeps what it has read, is steered and repaired.

The truth is the library's own `generate` over the whole conversation, from nothing.
"""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.planner import lacks_picture
from llmga.llava.processor_chat import ProcessorChat
from llmga.llava.processors import open_processor
from llmga.llava.sampling import Sampling
from llmga.llava.windows import fitting
from tests.talks import Talk

TOKENS = 5
GREEDY = Sampling(temperature=0, max_new_tokens=TOKENS)


def from_nothing(vlm, asked: Conversation) -> str:
    """What the library's own generate answers; it has its own cache and counts its own positions."""
    inputs = vlm.inputs(asked)
    if hasattr(vlm.model.base_model, "rope_deltas"):
        vlm.model.base_model.rope_deltas = None
    with torch.inference_mode():
        ids = vlm.model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    return vlm.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])


def truths(vlm, conversation: Conversation) -> list[str]:
    """Every reply of a conversation, made from nothing."""
    turns = range(1, len(conversation.messages), 2)
    return [from_nothing(vlm, replace(conversation, messages=conversation.messages[:end])) for end in turns]


def replies(conversation: Conversation) -> list[str]:
    return [message.text for message in conversation.messages[1::2]]


def length(vlm, conversation: Conversation) -> int:
    return vlm.inputs(conversation)["input_ids"].shape[1]


def test_a_conversation_goes_on_from_what_was_read(vlm, pictures, passes):
    """Pictures of any shape in any turn and several in one; only what is new is read, and all of it is seen."""
    chat, shown = Talk(ProcessorChat(vlm), system=""), [pictures[:1], pictures[1:3], [], pictures[3:]]
    first, whole = [], []
    for images in shown:
        begin = len(passes)
        list(chat.say("What is this?", images, GREEDY))
        first.append(passes[begin])
    told = chat.conversation
    for end, said in zip(range(1, len(told.messages), 2), replies(told), strict=True):
        begin = len(passes)
        assert said == from_nothing(vlm, replace(told, messages=told.messages[:end]))
        whole.append(passes[begin])
    for kept, fresh in zip(first, whole, strict=True):
        torch.testing.assert_close(kept.scores, fresh.scores, atol=1e-3, rtol=0)
    again = vlm.model.config.model_type == "llava_onevision"  # crops a picture only as long as it is the only one
    for turn in (2, 3) if again else (1, 2, 3):
        assert first[turn].tokens <= whole[turn].tokens - whole[turn - 1].tokens


def test_the_picture_is_seen(vlm, pictures):
    """The model's next letter depends on it."""
    scores = []
    for image in pictures[:2]:
        asked = Conversation(system="").say("user", "What is this?", (image.resize((56, 56)),))
        with torch.inference_mode():
            scores.append(vlm.model(**vlm.inputs(asked)).logits[0, -1])
    assert (scores[0] - scores[1]).abs().max() > 1e-3


@pytest.mark.parametrize("ending", ["", "Fast"])
def test_a_folder_as_older_libraries_saved_it_reads_the_same(vlm, pictures, ending, tmp_path):
    """With a file for each part of the processor, the one for films included."""
    folder = shutil.copytree(vlm.folder, tmp_path / "older")
    said = json.loads((folder / "processor_config.json").read_text())
    seen, kind = said.pop("image_processor"), {"processor_class": said["processor_class"]}
    films = {"video_processor_type": "Qwen2VLVideoProcessor"}
    seen["image_processor_type"] = seen["image_processor_type"].removesuffix("Pil") + ending
    (folder / "processor_config.json").write_text(json.dumps(said | {"video_processor": films}))
    (folder / "preprocessor_config.json").write_text(json.dumps(seen | kind))
    (folder / "video_preprocessor_config.json").write_text(json.dumps(films | kind))
    asked = Conversation(system="").say("user", "Hi", tuple(pictures[:2]))
    older, newer = replace(vlm, processor=open_processor(folder)).inputs(asked), vlm.inputs(asked)
    assert older.keys() == newer.keys()
    assert all(torch.equal(older[name], newer[name]) for name in newer)


def test_two_conversations_with_one_model_do_not_mix(vlm, pictures):
    """What a model notes of the last pass (how far pictures shift its positions) is of another conversation then."""
    one, other = (Talk(ProcessorChat(vlm), system="") for _ in range(2))
    for image, text in zip(pictures[:2], ("What is this?", "And now?"), strict=True):
        list(one.say(text, [image], GREEDY))
        list(other.say("Hello there.", (), GREEDY))
    assert replies(one.conversation) == truths(vlm, one.conversation)
    assert replies(other.conversation) == truths(vlm, other.conversation)


def test_a_message_may_be_replaced_with_its_picture(vlm, pictures):
    chat = Talk(ProcessorChat(vlm), system="")
    list(chat.say("What is this?", pictures[:1], GREEDY))
    list(chat.say("And these?", pictures[1:3], GREEDY))
    list(chat.edit(1, "And these?", pictures[2:], sampling=GREEDY))
    assert replies(chat.conversation) == truths(vlm, chat.conversation)


def test_the_oldest_turns_give_way(vlm, pictures):
    last = Conversation(system="").say("user", "Number 4.", (pictures[0],))
    small = replace(vlm, context_length=2 * length(vlm, last) + 40)
    chat = Talk(ProcessorChat(small), system="")
    for number in range(5):
        list(chat.say(f"Number {number}.", pictures[:1], GREEDY))
    asked = replace(chat.conversation, messages=chat.conversation.messages[:-1])
    window, _ = fitting(asked, lambda cut: range(length(vlm, cut)), small.context_length, TOKENS)
    assert 1 < len(window.messages) < len(asked.messages)
    assert replies(chat.conversation)[-1] == from_nothing(vlm, window)


def test_a_picture_can_be_had_always(vlm, pictures):
    sampling = Sampling(temperature=1.0, seed=3, max_new_tokens=60, picture="always")
    chat = Talk(ProcessorChat(vlm), system="")
    answer = "".join(chat.say("Paint this.", pictures[:1], sampling))
    assert not lacks_picture(answer)
    assert answer == "".join(Talk(ProcessorChat(vlm), system="").say("Paint this.", pictures[:1], sampling))
    with pytest.raises(UserError, match="a generation prompt takes at least"):
        chat.planner.check(replace(sampling, max_new_tokens=10))


def test_a_reply_without_a_prompt_is_gone_on_with(vlm, pictures, passes):
    chat = Talk(ProcessorChat(vlm), system="")
    said = "".join(chat.say("Paint this.", pictures[:1], GREEDY))
    begin = len(passes)
    more = "".join(chat.repair(Sampling(temperature=1.0, seed=3, max_new_tokens=60)))
    whole = chat.conversation.messages[-1].text
    assert not lacks_picture(whole) and whole.startswith(said) and more
    assert passes[begin].tokens <= TOKENS + 2  # the picture and the question are not read again


def test_a_model_is_taught_the_tag_in_its_own_format(vlm):
    asked = Conversation().say("user", "Hi").say("assistant", "").say("user", "Again")
    text = vlm.opened(asked)
    assert "<gen_image>" in text and text.index("<gen_image>") < text.index("Hi") < text.index("Again")
    assert "'type'" not in text
    assert math.isfinite(vlm.context_length) and vlm.stop_ids


def test_what_a_person_writes_is_no_token_of_the_format(vlm, pictures):
    """Whoever writes a model's own tokens is answered, and shows no picture by that."""
    tokens = " ".join(sorted(vlm.tokenizer.get_added_vocab()))
    chat = Talk(ProcessorChat(vlm), system="")
    if vlm.marks:
        assert "".join(chat.say(tokens, pictures[:1], GREEDY))
        asked = chat.conversation.messages[0]
        plain = Conversation(system="").say("user", "", asked.images)
        with_tokens = Conversation((asked,), system="")
        for token in vlm.tokenizer.get_added_vocab().values():
            counts = [vlm.inputs(said)["input_ids"][0].tolist().count(token) for said in (plain, with_tokens)]
            assert counts[0] == counts[1]
    else:
        assert "".join(chat.say(" ".join(vlm.form.places), pictures[:1], GREEDY))
