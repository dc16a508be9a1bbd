"""The published sizes without their weights: names and numbers of parameters on the meta device.

How the expected figures were derived: `text` is the parameter count that the base model's own page states (for
Llama-2 with two more rows of 4096 in and out, its added tokens).  The tower of CLIP-L/14 at 336 pixels has 303,507,456:
patches 3*14*14*1024, class 1024, positions 577*1024, 24 layers of 4*(1024*1024+1024) + 2*1024*4096 + 4096 + 1024 +
4*1024, and two norms of 2*1024; at 224 pixels it has 320 positions less.  A two-layer projector has
1024*w + w + w*w + w for a text width w, one layer 1024*w + w.  Vicuna-7B: 6,738,415,616 + 303,507,456 + 20,979,712 =
7,062,902,784.
"""

import pytest
import torch
from transformers import CLIPVisionConfig

from llmga.llava.checkpoints import published_name
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.published import make_config
from llmga.llava.sizes import SHAPES, Shape, shape_named, shape_of
from llmga.llava.towers import KNOWN_TOWERS

LARGE = 303_507_456
LLAMA = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
GATED = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
FUSED = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
NORMS = ("input_layernorm", "post_attention_layernorm")


SIZES = {
    "vicuna-7b": 6_738_415_616,
    "vicuna-13b": 13_015_864_320,
    "llama3-8b": 8_030_261_248,
    "mistral-7b": 7_241_732_096,
    "qwen2-0.5b": 494_032_768,
    "qwen2-1.5b": 1_543_714_304,
    "qwen2-7b": 7_615_616_512,
    "phi3-mini": 3_821_079_552,
    "gemma-2b": 2_506_172_416,
}


def built(config, side="-336", projector="mlp2x_gelu"):
    tower = CLIPVisionConfig(**KNOWN_TOWERS[f"openai/clip-vit-large-patch14{side}"])
    with torch.device("meta"):
        return LlmgaForConditionalGeneration(make_config(config, tower, projector_type=projector, select_layer=-2))


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def expected_keys(config):
    """As the families' own code names them, with the picture side of the published layout."""
    both, parts = ("weight", "bias"), FUSED if config.model_type == "phi3" else LLAMA + GATED
    yield from ("model.embed_tokens.weight", "model.norm.weight")
    if not config.tie_word_embeddings:
        yield "lm_head.weight"
    for layer in (f"model.layers.{index}." for index in range(config.num_hidden_layers)):
        yield from (f"{layer}{part}.weight" for part in (*parts, *NORMS))
        if config.model_type == "qwen2":
            yield from (f"{layer}{part}.bias" for part in LLAMA[:3])
    yield from (f"model.mm_projector.{index}.{end}" for index in (0, 2) for end in both)
    tower = "model.vision_tower.vision_tower.vision_model."
    yield tower + "embeddings.class_embedding"
    yield from (f"{tower}embeddings.{part}_embedding.weight" for part in ("patch", "position"))
    yield from (f"{tower}{norm}.{end}" for norm in ("pre_layrnorm", "post_layernorm") for end in both)
    seen = [f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")] + [
        "mlp.fc1",
        "mlp.fc2",
        "layer_norm1",
        "layer_norm2",
    ]
    yield from (f"{tower}encoder.layers.{index}.{part}.{end}" for index in range(24) for part in seen for end in both)


@pytest.mark.parametrize("name", SIZES)
def test_names_and_number_of_parameters(name):
    config, of_text = SHAPES[name].config(), SIZES[name]
    model, width = built(config), config.hidden_size
    assert count(model) == of_text + LARGE + 1024 * width + width + width * width + width
    kept = [key for key in model.state_dict() if not (config.tie_word_embeddings and key == "lm_head.weight")]
    assert sorted(published_name(key, "mlp2x_gelu") for key in kept) == sorted(expected_keys(config))


def test_every_size_is_stated():
    assert set(SIZES) == set(SHAPES)


@pytest.mark.parametrize(
    ("folder", "size"),
    [
        ("checkpoints/Training/vicuna-7b-v1.5", "vicuna-7b"),
        ("checkpoints/Training/llmga-vicuna-13b-v1.5-pretrain", "vicuna-13b"),
        ("Meta-Llama-3-8B-Instruct", "llama3-8b"),
        ("llmga-llama3-8b-it-pretrain", "llama3-8b"),
        ("llmga-Qwen2-0.5B-pretrain", "qwen2-0.5b"),
        ("Phi-3-mini-128k-instruct", "phi3-mini"),
        ("gemma-2b-it", "gemma-2b"),
    ],
)
def test_a_folder_that_is_not_at_hand_has_the_size_of_its_name(folder, size):
    assert shape_named(None, folder) == SHAPES[size]


@pytest.mark.parametrize("billions", [1, 3, 7, 13, 34])
def test_a_number_of_parameters_gets_a_shape_of_about_that_size(billions):
    assert count(built(shape_of(billions).config())) - LARGE == pytest.approx(billions * 1e9, rel=0.2)


def test_an_unknown_name_has_no_size():
    assert shape_named("toy") is None


def test_vicuna_has_the_stated_size():
    assert count(built(SHAPES["vicuna-7b"].config())) == 7_062_902_784


def test_the_2023_layout():
    model = built(Shape("llama", 4096, 11008, 32, 32, 32002).config(), side="", projector="linear")
    rows = 2 * 2 * 4096
    assert count(model) == 6_738_415_616 + rows + (LARGE - 320 * 1024) + 1024 * 4096 + 4096
    assert {published_name(key, "linear") for key in model.state_dict() if "projector" in key} == {
        "model.mm_projector.weight",
        "model.mm_projector.bias",
    }
