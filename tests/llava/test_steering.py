"""With a picture wanted every answer holds a whole generation prompt, whatever the weights."""

import json
import os
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from llmga.errors import UserError
from llmga.llava.chat import Chat, Sampling
from llmga.llava.generation_prompt import END, START, GenerationPrompt, canonical, parse, visible
from llmga.llava.loading import Mllm, load_mllm
from llmga.llava.steering import Steering
from tests.talks import Talk

ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[1] / "fixtures")) / "mllm"
FAMILIES = {
    name: ROOT / said["checkpoint"]
    for name, said in json.loads((ROOT / "manifest.json").read_text())["families"].items()
}
TRAPS = ["<", " <", "</", "[", "]", ">", "\n", " ", "gen", "_image", START, END, f" {START}", f" {END}", "</s>", "#"]


@cache
def opened(family: str) -> Mllm:
    return load_mllm(FAMILIES[family], device="cpu", dtype=torch.float32)


def prompts(reply):
    return [event for event in parse([reply]) if isinstance(event, GenerationPrompt)]


def assert_whole(reply):
    assert prompts(reply), reply
    assert all(prompt.closed and visible(prompt.text) for prompt in prompts(reply)), reply
    assert canonical(reply) == canonical(reply, closed=True)


@cache
def liked(family):
    """The tokens that end a reply, begin tags or write nothing."""
    mllm = opened(family)
    traps = [token for text in TRAPS for token in mllm.tokenizer(text, add_special_tokens=False)["input_ids"]]
    return torch.tensor(traps + sorted(token for token in mllm.stop_ids if token < len(mllm.tokenizer)))


def trapped(family, random):
    """Random logits, some of the liked tokens far above the others."""
    logits, likes = torch.randn(len(opened(family).tokenizer), generator=random), liked(family)
    chosen = torch.randint(0, len(likes), (12,), generator=random)
    logits[likes[chosen]] += 8 * torch.rand(12, generator=random)
    return logits


def steered(family, seed, room, words, temperature):
    """What is written from random logits, as `Chat` writes it."""
    mllm = opened(family)
    random = torch.Generator().manual_seed(seed)
    sampling = Sampling(temperature=temperature, seed=seed)
    steering = Steering(mllm, partial(sampling.choose, random=sampling.random()), room, words)
    written = []
    for left in range(room, 0, -1):
        token = steering.next(trapped(family, random), left)
        if token in mllm.stop_ids:
            break
        written.append(token)
    return mllm.tokenizer.decode(written, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def smallest_room(mllm):
    for room in range(1, 99):
        try:
            Steering(mllm, int, room)
        except UserError:
            continue
        return room
    raise AssertionError("no room is enough")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hundred_random_models_write_whole_prompts(family):
    least = smallest_room(opened(family))
    for seed in range(100):
        room = least + seed % 23
        assert_whole(steered(family, seed, room, words=seed % 7, temperature=seed % 3))


@pytest.mark.parametrize("sampling", [Sampling(0, picture="always"), Sampling(1.5, 0.9, seed=1, picture="always")])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_asks_for_a_picture_in_a_streamed_answer(family, sampling):
    mllm = opened(family)
    sampling = Sampling(sampling.temperature, sampling.top_p, smallest_room(mllm) + 9, 1, "always")
    chat = Talk(Chat(mllm))
    for text in ("A fox, please.", "Another one."):
        pieces = list(chat.say(text, sampling=sampling))
        assert_whole("".join(pieces))
        assert chat.conversation.messages[-1].text == canonical("".join(pieces))


def test_weights_do_not_matter():
    shortest_tags = min(FAMILIES, key=lambda family: smallest_room(opened(family)))
    mllm = load_mllm(FAMILIES[shortest_tags], device="cpu", dtype=torch.float32)
    sampling = Sampling(temperature=0, max_new_tokens=smallest_room(mllm) + 3, picture="always")
    for seed in range(100):
        torch.manual_seed(seed)
        with torch.no_grad():
            mllm.model.lm_head.weight.normal_()
        assert_whole("".join(Talk(Chat(mllm)).say("Hi", sampling=sampling)))


def test_the_start_tag_comes_where_the_answer_would_end(tiny_mllm, says):
    says("Gladly.", "a fox", "bye")
    reply = "".join(Talk(Chat(tiny_mllm)).say("Hi", sampling=Sampling(max_new_tokens=99, picture="always")))
    assert reply == "Gladly. <gen_image>a fox </gen_image>"


def test_half_of_an_endless_answer_is_left_for_the_prompt(tiny_mllm, says):
    says("blah " * 99)
    reply = "".join(Talk(Chat(tiny_mllm)).say("Hi", sampling=Sampling(max_new_tokens=80, picture="always")))
    assert len(reply.partition(START)[0]) == 40  # one token is one letter here
    assert_whole(reply)


def test_a_model_that_keeps_the_protocol_is_not_disturbed(tiny_mllm, says):
    for reply in ("Yes <gen_image> a fox </gen_image> Nice?", "<gen_image>a</gen_image><gen_image> b </gen_image>"):
        says(reply)
        assert reply == "".join(
            Talk(Chat(tiny_mllm)).say("Hi", sampling=Sampling(max_new_tokens=150, picture="always"))
        )


def test_an_end_tag_that_was_begun_is_completed(tiny_mllm, says):
    says("<gen_image> a fox </ge")
    reply = "".join(Talk(Chat(tiny_mllm)).say("Hi", sampling=Sampling(max_new_tokens=99, picture="always")))
    assert reply == "<gen_image> a fox </gen_image>"


def test_too_few_tokens_for_a_prompt_are_told(tiny_mllm):
    chat = Talk(Chat(tiny_mllm))
    with pytest.raises(UserError, match="may take 5 tokens, but a generation prompt takes at least 26"):
        list(chat.say("Hi", sampling=Sampling(max_new_tokens=5, picture="always")))
    with pytest.raises(UserError, match="takes at least 26"):
        chat.check(Sampling(max_new_tokens=5, picture="always"))
    chat.check(Sampling(max_new_tokens=5)), chat.check(Sampling(max_new_tokens=26, picture="always"))
    assert chat.conversation.messages == ()
    with pytest.raises(UserError, match="picture 'sometimes' is unknown; use auto or always"):
        Sampling(picture="sometimes")
