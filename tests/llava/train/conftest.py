"""A tiny language model, a tiny vision tower and a few records: a whole stage 1 in seconds."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from llmga.llava.datasets.mixture import DataSource
from llmga.llava.loading import new_mllm, save_published
from llmga.llava.templates import TEMPLATES
from llmga.llava.train.config import PRESETS, Stage1Config
from llmga.training.config import check

CAPTIONS = [f"a {colour} square on white" for colour in ("red", "green", "blue", "black")]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]


def make_language_model(folder: Path) -> None:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        [*CAPTIONS, TEMPLATES["qwen_2"].system],
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, tie_word_embeddings=True, **sizes)
    Qwen2ForCausalLM(config).save_pretrained(folder)


def make_vision_tower(folder: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(folder)


def make_data(folder: Path) -> None:
    pictures = folder / "images"
    pictures.mkdir(parents=True)
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (40, 30), colour).save(pictures / f"{number}.png")
    captioned = [{"image": f"{number}.png", "caption": caption} for number, caption in enumerate(CAPTIONS)]
    (folder / "sg.json").write_text(json.dumps(captioned))
    refined = [{"ori_caption": caption[2:8], "caption": caption} for caption in CAPTIONS]
    (folder / "t2i.json").write_text(json.dumps(refined))


def make_whole_model(folder: Path) -> None:
    torch.manual_seed(1)
    save_published(new_mllm(folder / "lm", folder / "tower", conv_mode="qwen_2"), folder / "mllm", dtype=torch.float32)


@pytest.fixture(scope="session")
def captions() -> list[str]:
    return CAPTIONS


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder with `lm`, `tower`, `mllm` (both with a fresh projector) and `data`."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("world")
    make_language_model(folder / "lm")
    make_vision_tower(folder / "tower")
    make_whole_model(folder)
    make_data(folder / "data")
    return folder


@pytest.fixture(scope="session")
def settings(world) -> Callable[..., Stage1Config]:
    """`settings(out, **changes)`: the toy preset on the tiny world, for six steps."""

    def changed(out: Path, **changes) -> Stage1Config:
        data = (
            DataSource("sg", str(world / "data/sg.json"), str(world / "data/images")),
            DataSource("t2i", str(world / "data/t2i.json")),
        )
        start = {"text_model": str(world / "lm"), "vision_tower": str(world / "tower"), "mllm": None}
        if changes.get("tune") in ("lora", "dora") or changes.pop("whole", False):
            start = {"text_model": None, "vision_tower": None, "mllm": str(world / "mllm")}
        toy = replace(PRESETS["toy_s1"], output_dir=str(out), checkpoint_dir=None, data=data, device="cpu", **start)
        few = {"batch": 4, "steps": 6, "save_steps": 3, "save_dtype": "fp32", "lr": 5e-3}
        return check(replace(toy, **{**few, **changes}))

    return changed


@pytest.fixture(scope="session")
def flags() -> Callable[[Stage1Config], list[str]]:
    """The command line that gives these settings from the toy preset."""

    def words(name: str, value: object) -> list[str]:
        if name == "data":
            return [f"{source.kind}={source.file},images={source.image_folder}" for source in value]
        return [str(part) for part in value] if isinstance(value, tuple) else [str(value)]

    def spelled(config: Stage1Config) -> list[str]:
        toy = PRESETS["toy_s1"]
        changed = [name for name in asdict(config) if getattr(config, name) != getattr(toy, name)]
        said = [[f"--{name.replace('_', '-')}", *words(name, getattr(config, name))] for name in changed]
        return ["--preset", "toy_s1", *(word for line in said for word in line)]

    return spelled
