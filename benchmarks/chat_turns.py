"""What the cache saves in a conversation about one picture: `python benchmarks/chat_turns.py`.

A random model of a published model's shape, cut to fewer layers, has five turns about one picture.  Printed are ratios
of figures taken in this one run:

* `first_token_turn5`: time to the first token of turn 5, ours over reading the whole conversation and its picture anew
  (what the original does in every turn).  Bar: at most 0.25.
* `decoding_rate`: tokens per second of the streamed answer over bare `generate`.  Bar: at least 0.98.
* `memory`: resident memory after the last of several whole conversations over that after the first.  Bar: at most 1.05.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from llmga.command_line import quiet_libraries
from llmga.llava.chat import Chat, Sampling
from llmga.llava.conversation import Conversation
from llmga.llava.loading import Mllm, new_mllm
from llmga.llava.planner import Dialogue

TOKENIZER = "checkpoints/Inference/llmga-toy-mllm"
TURNS = (
    "What is in this picture?",
    "Tell me more about the left half of it.",
    "And what would you put next to it?",
    "Please write that as a detailed prompt.",
    "Make it brighter, with a wider view.",
)


def build(options: argparse.Namespace) -> Mllm:
    """CLIP-L/14 at 336 pixels before a Qwen2 text model, random weights, fp32; it never stops by itself."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER, trust_remote_code=False)
    with tempfile.TemporaryDirectory() as folder:
        text, tower = Path(folder, "text"), Path(folder, "tower")
        Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=options.vocabulary, hidden_size=options.width, intermediate_size=options.width * 11 // 4,
                num_hidden_layers=options.layers, num_attention_heads=options.width // 64,
                num_key_value_heads=options.width // 64, max_position_embeddings=4096, tie_word_embeddings=False,
                bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
            )
        ).save_pretrained(text)  # fmt: skip
        tokenizer.save_pretrained(text)
        CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=options.vision_width, intermediate_size=4 * options.vision_width,
                num_hidden_layers=options.vision_layers, num_attention_heads=options.vision_width // 64,
                image_size=options.side, patch_size=14,
            )
        ).save_pretrained(tower)  # fmt: skip
        CLIPImageProcessorPil(
            size={"shortest_edge": options.side}, crop_size={"height": options.side, "width": options.side}
        ).save_pretrained(tower)
        mllm = new_mllm(text, tower, conv_mode="qwen_2")
        mllm.context_length = 4096
    mllm.stop_ids = frozenset()
    return mllm


class Clock:
    """Asked before every token, as a cancel button is: notes when, and never cancels."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self) -> bool:
        self.times.append(time.perf_counter())
        return False

    @property
    def first_token(self) -> float:
        """Seconds from the start of reading to the first token."""
        return self.times[1] - self.times[0]


def say(chat: Chat, text: str, images: tuple[Image.Image, ...], tokens: int) -> Clock:
    clock = Clock()
    for _ in chat.say(text, images, Sampling(temperature=0, max_new_tokens=tokens), clock):
        pass
    clock.times.append(time.perf_counter())
    return clock


def converse(mllm: Mllm, picture: Image.Image, tokens: int) -> tuple[Conversation, Clock]:
    """Five turns about one picture; the conversation before the last turn, and how that one went."""
    chat = Dialogue(Chat(mllm))
    for number, text in enumerate(TURNS[:-1]):
        say(chat, text, (picture,) if number == 0 else (), tokens)
    before = chat.conversation
    return before, say(chat, TURNS[-1], (), tokens)


def anew(mllm: Mllm, before: Conversation, tokens: int) -> Clock:
    """The last turn when nothing is kept from the turns before."""
    chat = Dialogue(Chat(mllm))
    chat.conversation = before
    return say(chat, TURNS[-1], (), tokens)


def streamed_rate(clock: Clock) -> float:
    steps = clock.times[1:]  # after the first token: reading the prompt is not decoding
    return (len(steps) - 1) / (steps[-1] - steps[0])


def bare_rate(mllm: Mllm, before: Conversation, tokens: int) -> float:
    """Tokens per second of `generate` after the same conversation, without the time of its first token."""
    asked = before.say("user", TURNS[-1])
    ids = torch.tensor([mllm.encode(asked, open_turn=True).input_ids])
    pixels = mllm.pixel_values(asked.images())

    def seconds(count: int) -> float:
        start = time.perf_counter()
        mllm.model.generate(
            input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=count, min_new_tokens=count, pad_token_id=0,
        )  # fmt: skip
        return time.perf_counter() - start

    return (tokens - 1) / (seconds(tokens) - seconds(1))


def resident() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


def measure(options: argparse.Namespace) -> dict[str, float]:
    mllm = build(options)
    picture = Image.effect_mandelbrot((640, 480), (-2, -1.2, 1, 1.2), 60).convert("RGB")
    converse(mllm, picture, 4)  # warms up threads and allocator
    ours, theirs, streamed, bare, memory = [], [], [], [], []
    for _ in range(options.repeats):  # interleaved, so that a slow moment of the machine hits both
        before, clock = converse(mllm, picture, options.tokens)
        ours.append(clock.first_token)
        streamed.append(streamed_rate(clock))
        theirs.append(anew(mllm, before, 2).first_token)
        bare.append(bare_rate(mllm, before, options.tokens))
        memory.append(resident())
    return {
        "first_token_turn5": statistics.median(ours) / statistics.median(theirs),
        "first_token_turn5_ms": 1000 * statistics.median(ours),
        "first_token_anew_ms": 1000 * statistics.median(theirs),
        "decoding_rate": statistics.median(a / b for a, b in zip(streamed, bare, strict=True)),
        "decoding_tokens_per_s": statistics.median(streamed),
        "memory": memory[-1] / memory[0],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Ratios of a five-turn conversation with and without the cache.")
    parser.add_argument("--layers", type=int, default=6, help="of the text model; published ones have 24 and more")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--vision-layers", type=int, default=6, help="of the tower; CLIP-L has 24")
    parser.add_argument("--vision-width", type=int, default=1024)
    parser.add_argument("--side", type=int, default=336, help="pixels; a multiple of 14")
    parser.add_argument("--tokens", type=int, default=48, help="of every answer")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(argv)
    quiet_libraries()
    print(json.dumps({name: round(value, 4) for name, value in measure(options).items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
