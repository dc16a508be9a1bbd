"""A broken request for a picture is gone on with; history holds only well-formed ones."""

import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.llava.chat import Chat, Sampling
from llmga.llava.planner import Planner
from tests.talks import Talk

RED = Image.new("RGB", (40, 30), "red")
YES = "Yes <gen_image> a fox </gen_image> Nice?"


def cut(length):
    return Sampling(max_new_tokens=length)


def told(chat):
    return [turn.text for turn in chat.conversation.messages]


def test_a_prompt_that_the_limit_cut_goes_on(tiny_mllm, says, fed):
    chat = Talk(Chat(tiny_mllm))
    says(YES)
    assert "".join(chat.say("What?", [RED], cut(20))) == YES[:20]
    assert (chat.ended_by, told(chat)) == ("limit", ["What?", YES[:20]])
    fed.clear()
    says(YES[20:])
    assert "".join(chat.repair()) == YES[20:]
    assert (chat.ended_by, told(chat)) == ("marker", ["What?", YES])
    assert fed == [(1, 0)] * len(fed)  # neither the picture nor a word is read twice


@pytest.mark.parametrize(
    ("said", "begun"),
    [
        ("Yes.", "Yes."),
        ("Yes <gen_image> </gen_image>", "Yes "),
        ("Yes <gen_image>", "Yes "),
        ("", ""),
        ("Yes </gen_image>", "Yes "),
    ],
)
def test_a_missing_or_empty_prompt_is_written(tiny_mllm, says, said, begun):
    chat = Talk(Chat(tiny_mllm))
    says(said)
    list(chat.say("A fox", sampling=cut(99)))
    assert told(chat) == ["A fox", begun]
    says("a fox", "")
    continued = "".join(chat.repair(cut(99)))
    gap = " " * (begun == "Yes.")
    assert continued == f"{gap}<gen_image>a fox </gen_image>"
    assert told(chat) == ["A fox", f"{begun}{gap}<gen_image> a fox </gen_image>"]


def test_only_the_broken_one_of_several_prompts_goes_on(tiny_mllm, says):
    chat = Talk(Chat(tiny_mllm))
    says("<gen_image> a </gen_image> <gen_image> b")
    list(chat.say("Two", sampling=cut(99)))
    says("c </gen_image>")
    assert "".join(chat.repair()) == "c </gen_image>"
    assert told(chat)[-1] == "<gen_image> a </gen_image> <gen_image> bc </gen_image>"


def test_a_whole_answer_is_left_alone(tiny_mllm, says, fed):
    chat = Talk(Chat(tiny_mllm))
    says(YES)
    list(chat.say("A fox", sampling=cut(99)))
    fed.clear()
    before = chat.conversation
    assert list(chat.repair()) == [] == fed
    assert chat.conversation is before


def test_a_repair_that_cannot_be_changes_nothing(tiny_mllm, says):
    chat = Talk(Chat(tiny_mllm))
    with pytest.raises(UserError, match="no answer to repair"):
        list(chat.repair())
    says("Yes.")
    list(chat.say("A fox", sampling=cut(99)))
    before = chat.conversation
    with pytest.raises(UserError, match="raise max_new_tokens"):
        list(chat.repair(cut(3)))
    assert chat.conversation is before


def test_a_repair_can_be_stopped_and_taken_up_again(tiny_mllm, says):
    chat, polls = Talk(Chat(tiny_mllm)), iter(range(99))
    says("<gen_image> a ")
    list(chat.say("A fox", sampling=cut(99)))
    says("red fox </gen_image>")
    assert "".join(chat.repair(cancelled=lambda: next(polls) >= 4)) == "red "
    assert (chat.ended_by, told(chat)[-1]) == ("caller", "<gen_image> ared")


def test_the_next_turn_sees_closed_and_well_spelt_prompts(tiny_mllm, says):
    chat = Talk(Chat(tiny_mllm))
    says("Yes <Gen-Image>a fox</ gen_images> ok")
    assert "Gen-Image" in "".join(chat.say("A fox", sampling=cut(99)))
    says("<gen_image> a dog")
    list(chat.say("A dog", sampling=cut(99)))
    says("ok")
    list(chat.say("Thanks", sampling=cut(99)))
    assert told(chat)[1::2] == ["Yes <gen_image> a fox </gen_image> ok", "<gen_image> a dog </gen_image>", "ok"]
    afresh = Talk(Chat(tiny_mllm))
    afresh.conversation = chat.conversation
    greedy = Sampling(temperature=0, max_new_tokens=8)
    says()
    assert "".join(chat.say("So?", sampling=greedy)) == "".join(afresh.say("So?", sampling=greedy))


class Elsewhere(Planner):
    def _answer(self, asked, sampling, cancelled):
        yield "Yes <Gen-Image>a fox"


def test_a_model_that_cannot_be_steered_says_so_and_keeps_a_tidy_history():
    chat = Talk(Elsewhere())
    with pytest.raises(UserError, match="use auto"):
        list(chat.say("A fox", sampling=Sampling(picture="always")))
    list(chat.say("A fox"))
    assert told(chat)[-1] == "Yes <gen_image> a fox"
