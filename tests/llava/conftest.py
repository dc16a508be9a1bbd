"""Tiny models with random weights, built in a second."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from llmga.llava.loading import Mllm, new_mllm
from llmga.llava.sampling import Sampling

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SIDE, PATCH = 28, 14  # four picture positions


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The bundled golden values; tests that go by the manifest take any other set from LLMGA_FIXTURES themselves."""
    return Path(__file__).parents[1] / "fixtures/mllm"


@dataclass(frozen=True)
class LowRank:
    """A low-rank result and what it was made from, each a folder."""

    result: Path
    projector: Path
    base: Path


@pytest.fixture
def low_rank(fixtures, tmp_path) -> LowRank:
    """Writable copies beside each other, with the tower that the result names."""
    source, here = fixtures / "llama_adapters", tmp_path / "all"
    golden = json.loads((source / "golden.json").read_text())
    shutil.copytree(source, here)
    tower = json.loads((here / golden["lora"] / "config.json").read_text())["mm_vision_tower"]
    shutil.copytree(source / golden["vision_tower"], here / tower)
    return LowRank(*(here / golden[part] for part in ("lora", "pretrain", "base")))


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte and three special ones, so that any text gives the same ids however it was written."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=SPECIAL[2], pad_token=SPECIAL[0])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    return tokenizer


@pytest.fixture(scope="session")
def bytes_as_tokens() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


def write_text_model(folder: Path, **changes: object) -> Path:
    tokenizer = byte_tokenizer()
    settings = {
        "vocab_size": len(tokenizer) + 5,  # published vocabularies are padded, too
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,  # attention has to matter for the cache to be tested
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    } | changes
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_tower(folder: Path) -> Path:
    torch.manual_seed(1)
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            initializer_factor=5.0,
            image_size=SIDE,
            patch_size=PATCH,
        )
    ).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def base_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A plain Qwen2 text model and a CLIP vision tower."""
    root = tmp_path_factory.mktemp("bases")
    return write_text_model(root / "text"), write_tower(root / "tower")


@pytest.fixture
def tiny_mllm(base_folders: tuple[Path, Path]) -> Mllm:
    """A random model that answers greedily in printable ASCII and never stops by itself."""
    torch.manual_seed(2)
    mllm = new_mllm(*base_folders, conv_mode="qwen_2")
    printable = mllm.tokenizer("".join(map(chr, range(33, 127))).replace("<", ""))["input_ids"]
    mute = torch.ones(mllm.model.lm_head.weight.shape[0], dtype=torch.bool)
    mute[printable] = False
    with torch.no_grad():
        for layer in mllm.model.model.multi_modal_projector.parameters():
            layer *= 5  # a fresh projector whispers
        mllm.model.lm_head.weight[mute] = 0.0
    return mllm


@pytest.fixture
def fed(tiny_mllm: Mllm) -> Iterator[list[tuple[int, int]]]:
    """How many tokens and pictures each forward pass of the model reads."""
    calls: list[tuple[int, int]] = []

    def note(module, args, kwargs):
        pixels = kwargs.get("pixel_values")
        calls.append((kwargs["input_ids"].shape[1], 0 if pixels is None else len(pixels)))

    handle = tiny_mllm.model.register_forward_pre_hook(note, with_kwargs=True)
    yield calls
    handle.remove()


@pytest.fixture
def says(tiny_mllm: Mllm, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`says(*texts)`: the model writes these texts next, and after each of them it wants to end; then it is free."""
    choose = Sampling.choose
    end = tiny_mllm.tokenizer.eos_token_id

    def script(*texts: str) -> None:
        tokens = [token for text in texts for token in [*tiny_mllm.tokenizer(text)["input_ids"], end]]
        monkeypatch.setattr(
            Sampling,
            "choose",
            lambda self, logits, random: tokens.pop(0) if tokens else choose(self, logits, random),
        )

    return script
