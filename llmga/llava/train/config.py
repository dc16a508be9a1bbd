"""Presets of stage 1, a row per recipe: what every run shares stands once, a row states only what differs."""

from dataclasses import dataclass, replace

from llmga.llava.datasets.sources import DataSource
from llmga.llava.train.settings import Stage1Config
from llmga.registry import Registry

__all__ = ["FAMILIES", "PRESETS", "LLMFamily", "Stage1Config"]

_TRAINING, _INFERENCE = "checkpoints/Training", "checkpoints/Inference"
_IMAGES = "data/llmga-imgs"


@dataclass(frozen=True)
class LLMFamily:
    """One language model of the published runs.

    Attributes:
        text_model: its folder below checkpoints/Training.
        result: what the published result's name starts with.
        conv_mode: the chat template of both trainings.
        batch: samples per device in stage 1; accumulation makes it 128 on 8 GPUs.
        chinese: what the published Chinese variant's name starts with, if there is one.
    """

    text_model: str
    result: str
    conv_mode: str
    batch: int = 4
    chinese: str | None = None


FAMILIES = Registry(
    "family",
    {
        "7b": LLMFamily("vicuna-7b-v1.5", "llmga-vicuna-7b-v1.5", "v1", chinese="llmga-cn-vicuna-7b-v1.5"),
        "13b": LLMFamily("vicuna-13b-v1.5", "llmga-vicuna-13b-v1.5", "v1"),
        "llama3_8b": LLMFamily(
            "Meta-Llama-3-8B-Instruct", "llmga-llama3-8b-it", "llama_3", batch=2, chinese="llmga-cn-llama3-8b-it"
        ),
        "mistral_7b": LLMFamily("Mistral-7B-Instruct-v0.2", "llmga-mistral_instruct", "mistral_instruct"),
        "qwen2_0.5b": LLMFamily("Qwen2-0.5B-Instruct", "llmga-Qwen2-0.5B", "qwen_2", chinese="llmga-cn-Qwen2-0.5B"),
        "qwen2_1.5b": LLMFamily("Qwen2-1.5B-Instruct", "llmga-Qwen2-1.5B", "qwen_2"),
        "qwen2_7b": LLMFamily("Qwen2-7B-Instruct", "llmga-Qwen2-7B", "qwen_2", batch=2),
        "phi3_mini": LLMFamily("Phi-3-mini-128k-instruct", "llmga-Phi-3-mini-128k", "phi_3"),
        "gemma_2b": LLMFamily("gemma-2b-it", "llmga-gemma-2b-it", "gemma", batch=2, chinese="llmga-cn-gemma-2b-it"),
    },
)


def _llmga_data(folder: str) -> tuple[DataSource, ...]:
    """The four kinds of LLMGA's own records below data/jsons."""
    files = {"inpainting": "inpainting", "sg": "SG", "edit": "Edit", "t2i": "T2I"}
    return tuple(
        DataSource(kind, f"data/jsons/{folder}/{name}/train.json", _IMAGES if kind != "t2i" else "")
        for kind, name in files.items()
    )


_S1_DATA = (
    DataSource("vqa", "data/llava_v1_5_mix665k.json", "data/llava-imgs"),
    *_llmga_data("llmga-data"),
    DataSource("text", "data/jsons/text-data/lima.json"),
    DataSource("text", "data/jsons/text-data/oasst2.json"),
)
_PRETRAIN_DATA = (
    DataSource("vqa", "data/llava_pretrain/images/blip_laion_cc_sbu_558k.json", "data/llava_pretrain/images"),
)
_DATA_2023 = (  # four equal parts, each half as large as the conversations; similar pictures in half of their kind
    DataSource("vqa", "data/llava_instruct_150k.json", "data/COCO/train2017", share=0.5),
    *(
        replace(source, per_vqa=0.5, paint=0.5 if source.kind == "sg" else None)
        for source in _llmga_data("llmga-data")
        if source.kind != "edit"
    ),
)


def _pretrained(family: LLMFamily) -> str:
    return f"{_TRAINING}/{family.result}-pretrain"


def _s1(family: LLMFamily) -> Stage1Config:
    """Everything but the vision tower learns; 16 samples per device and step, 128 on 8 GPUs."""
    name = f"{family.result}-full-finetune"
    return Stage1Config(
        output_dir=f"{_INFERENCE}/{name}",
        checkpoint_dir=f"{_TRAINING}/{name}",
        mllm=_pretrained(family),
        conv_mode=family.conv_mode,
        data=_S1_DATA,
        batch=family.batch,
        accumulation=16 // family.batch,
        save_steps=50_000,
        deepspeed="scripts/zero3.json",
    )


def _pretrain(family: LLMFamily) -> Stage1Config:
    """A fresh projector learns to translate pictures; 8 x 4 samples per device and step, 256 on 8 GPUs."""
    return replace(
        _s1(family),
        output_dir=_pretrained(family),
        checkpoint_dir=None,
        mllm=None,
        text_model=f"{_TRAINING}/{family.text_model}",
        vision_tower=f"{_TRAINING}/clip-vit-large-patch14-336",
        tune="projector",
        data=_PRETRAIN_DATA,
        lr=1e-3,
        batch=8,
        accumulation=4,
        save_steps=24_000,
    )


def _chinese(family: LLMFamily) -> Stage1Config:
    """Stage 1 with the same kinds of records in Chinese added; who asks in Chinese is asked back in it."""
    name = f"{family.chinese}-full-finetune"
    return replace(
        _s1(family),
        output_dir=f"{_INFERENCE}/{name}",
        checkpoint_dir=f"{_TRAINING}/{name}",
        data=(*_S1_DATA, *_llmga_data("llmga-data-cn")),
    )


def _llama_2(size: str, epochs: float) -> Stage1Config:
    """The form of 2023: LLaVA's chat model goes on in one training, with the smaller tower and a linear projector."""
    name = f"llmga-llama-2-{size}-chat-full-finetune"
    return Stage1Config(
        output_dir=f"{_INFERENCE}/{name}",
        checkpoint_dir=f"{_TRAINING}/{name}",
        mllm=f"{_TRAINING}/llava-llama-2-{size}-chat",
        projector_type="linear",
        conv_mode="llava_llama_2",
        tag_tokens=True,
        data=_DATA_2023,
        epochs=epochs,
        batch=16,
        save_steps=50_000,
        deepspeed="scripts/zero2.json",
    )


_TOY = "data/toyworld"
_TOY_S1 = Stage1Config(
    output_dir="checkpoints/Inference/llmga-toy-mllm",
    checkpoint_dir="runs/toyworld/mllm-s1",
    mllm="runs/toyworld/mllm-pretrain",
    conv_mode="qwen_2",
    data=(
        DataSource("vqa", f"{_TOY}/vqa.json", f"{_TOY}/images"),
        DataSource("vqa", f"{_TOY}/holes.json", f"{_TOY}/images", share=3.0),
        DataSource("inpainting", f"{_TOY}/inpainting.json", f"{_TOY}/images"),
        DataSource("sg", f"{_TOY}/sg.json", f"{_TOY}/images"),
        DataSource("edit", f"{_TOY}/edit.json", f"{_TOY}/images"),
        DataSource("t2i", f"{_TOY}/t2i.json"),
        DataSource("text", f"{_TOY}/text.json"),
    ),
    lr=1e-3,
    batch=32,
    steps=9000,
    max_length=512,
    group_by_length=True,
    save_steps=100,
    save_dtype="fp16",
    logging_steps=20,
    workers=0,
    frozen_dtype="fp32",
    gradient_checkpointing=False,
)
_TOY_PRETRAIN = replace(
    _TOY_S1,
    output_dir="runs/toyworld/mllm-pretrain",
    checkpoint_dir=None,
    mllm=None,
    text_model="runs/toyworld/lm",
    vision_tower="runs/toyworld/vision/vision_tower",
    tune="projector",
    data=(
        DataSource("vqa", f"{_TOY}/vqa.json", f"{_TOY}/images"),
        DataSource("sg", f"{_TOY}/sg.json", f"{_TOY}/images"),
    ),
    steps=120,
    save_dtype="fp32",
)
# A few minutes on a CPU, from the bundled model: what a first try of the trainer takes.
_TOY_TRY = replace(
    _TOY_S1,
    output_dir="checkpoints/Training/llmga-toy-mllm",
    checkpoint_dir="runs/toyworld/mllm-try",
    mllm="checkpoints/Inference/llmga-toy-mllm",
    lr=2e-4,
    steps=200,
)

_WORLD, _WORLD_RUNS = "data/toyworld/world", "runs/toyworld/world"
# The larger world (llmga/toyworld/world): its base language model has talked before, and learns to see here.
_WORLD_S1 = replace(
    _TOY_S1,
    output_dir="checkpoints/Inference/llmga-toy-world-mllm",
    checkpoint_dir=f"{_WORLD_RUNS}/mllm-s1",
    mllm=f"{_WORLD_RUNS}/mllm-pretrain",
    data=(
        DataSource("vqa", f"{_WORLD}/talk.json", f"{_WORLD}/images"),
        *(
            DataSource(kind, f"{_WORLD}/{kind}.json", f"{_WORLD}/images" if kind != "t2i" else "")
            for kind in ("sg", "inpainting", "edit", "t2i")
        ),
    ),
    lr=7e-4,
    batch=24,
    steps=2400,
    max_length=1024,
    taught_turns=6,
)
_WORLD_PRETRAIN = replace(
    _WORLD_S1,
    output_dir=f"{_WORLD_RUNS}/mllm-pretrain",
    checkpoint_dir=None,
    mllm=None,
    text_model=f"{_WORLD_RUNS}/lm",
    vision_tower=f"{_WORLD_RUNS}/eyes",
    select_layer=-1,
    tune="projector",
    data=(DataSource("sg", f"{_WORLD}/sg.json", f"{_WORLD}/images"),),
    lr=2e-3,
    batch=32,
    steps=150,
    save_dtype="fp32",
)

PRESETS = Registry(
    "preset",
    {f"llmga_{name}_pretrain": _pretrain(family) for name, family in FAMILIES.items()}
    | {f"llmga_{name}_s1": _s1(family) for name, family in FAMILIES.items()}
    | {f"llmga_cn_{name}_s1": _chinese(family) for name, family in FAMILIES.items() if family.chinese}
    | {"llmga_llama2_7b": _llama_2("7b", 6), "llmga_llama2_13b": _llama_2("13b", 3)}
    | {"toy_pretrain": _TOY_PRETRAIN, "toy_s1": _TOY_S1, "toy": _TOY_TRY}
    | {"toy_world_pretrain": _WORLD_PRETRAIN, "toy_world_s1": _WORLD_S1},
)
