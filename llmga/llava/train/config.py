"""Settings of stage 1 and their presets."""

from dataclasses import dataclass, replace
from typing import Literal

from llmga.configuration import setting
from llmga.errors import UserError
from llmga.llava.datasets.mixture import DataSource
from llmga.llava.templates import TEMPLATES
from llmga.registry import Registry


@dataclass(frozen=True)
class TrainConfig:
    """Start from `mllm`, or from `text_model` and `vision_tower` with a fresh projector."""

    output_dir: str = setting(help="folder of the finished model")
    data: tuple[DataSource, ...] = setting(help="sources as kind=file,images=folder,share=1.0")
    conv_mode: str = setting(help="chat template to train with, a conversation mode")
    mllm: str | None = setting(None, help="model folder to go on from")
    mllm_base: str | None = setting(None, help="text model, when mllm holds only a projector or adapters")
    text_model: str | None = setting(None, help="plain language model to start from")
    vision_tower: str | None = setting(None, help="CLIP vision tower to start from")
    projector_type: str = setting("mlp2x_gelu", help="a fresh projector: linear, mlp2x_gelu, mlp3x_gelu, …")
    select_layer: int = setting(-2, help="which hidden layer of the vision tower a fresh projector reads")
    tune: Literal["projector", "full"] = setting("full", help="what learns; the vision tower never does")
    checkpoint_dir: str | None = setting(None, help="folder of checkpoint-N to resume from (default: output_dir)")
    lr: float = setting(2e-5, help="peak learning rate", minimum=0)
    projector_lr: float | None = setting(None, help="peak rate of the projector (default: lr)", minimum=0)
    batch: int = setting(4, help="samples per device and forward pass", minimum=1)
    accumulation: int = setting(1, help="forward passes per optimiser step", minimum=1)
    epochs: float = setting(1.0, help="passes over the data", minimum=0)
    steps: int | None = setting(None, help="optimiser steps, instead of epochs", minimum=1)
    warmup: float = setting(0.03, help="fraction of the steps with rising rate", minimum=0, maximum=1)
    weight_decay: float = setting(0.0, help="of matrices, not of norms and biases", minimum=0)
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = setting("cosine", help="course of the rate")
    max_length: int = setting(2048, help="tokens of a sample, pictures included", minimum=8)
    group_by_length: bool = setting(False, help="batch samples of like length: less padding, a little less mixing")
    save_steps: int = setting(500, help="optimiser steps between checkpoints", minimum=1)
    save_dtype: Literal["fp32", "fp16", "bf16"] = setting("bf16", help="number format of the finished model")
    save_total_limit: int = setting(1, help="checkpoints to keep", minimum=1)
    eval_fraction: float = setting(0.0, help="share of the data held out and measured", minimum=0, maximum=0.5)
    eval_steps: int = setting(500, help="optimiser steps between measurements", minimum=1)
    logging_steps: int = setting(1, help="optimiser steps between log lines", minimum=1)
    workers: int = setting(4, help="processes that prepare data; 0 prepares in the main one", minimum=0)
    bf16: bool = setting(True, help="compute in bfloat16")
    deepspeed: str | None = setting(None, help="DeepSpeed JSON, such as scripts/zero3.json")
    gradient_checkpointing: bool = setting(True, help="compute activations twice to save memory")
    device: Literal["auto", "cpu"] = setting("auto", help="auto takes a GPU if there is one")
    seed: int = setting(42, help="of data order, phrasings, masks and fresh weights", minimum=0)

    def check(self) -> None:
        """What no single field can tell.  Raises: UserError."""
        TEMPLATES[self.conv_mode]
        if (self.mllm is None) == (self.text_model is None):
            raise UserError("give either --mllm, to go on from, or --text-model and --vision-tower, to start from.")
        if self.text_model is not None and self.vision_tower is None:
            raise UserError("--text-model needs --vision-tower, the eyes of the new model.")
        if not self.data:
            raise UserError("--data names no source; give at least one kind=file.")
        for source in self.data:
            source.check()

    def resume_dir(self) -> str:
        """Where checkpoint-N folders lie."""
        return self.checkpoint_dir or self.output_dir


_TRAINING = "checkpoints/Training"
_LLMGA, _IMAGES = "data/LLMGA-dataset", "data/llmga-imgs"

_7B_S1 = TrainConfig(
    output_dir="checkpoints/Inference/llmga-vicuna-7b-v1.5-full-finetune",
    checkpoint_dir=f"{_TRAINING}/llmga-vicuna-7b-v1.5-full-finetune",
    mllm=f"{_TRAINING}/llmga-vicuna-7b-v1.5-pretrain",
    conv_mode="v1",
    data=(
        DataSource("vqa", "data/llava_v1_5_mix665k.json", "data/llava-imgs"),
        DataSource("inpainting", "data/jsons/llmga-data/inpainting/train.json", _IMAGES),
        DataSource("sg", "data/jsons/llmga-data/SG/train.json", _IMAGES),
        DataSource("edit", "data/jsons/llmga-data/Edit/train.json", _IMAGES),
        DataSource("t2i", "data/jsons/llmga-data/T2I/train.json"),
        DataSource("text", "data/jsons/text-data/lima.json"),
        DataSource("text", "data/jsons/text-data/oasst2.json"),
    ),
    accumulation=4,
    save_steps=50_000,
    deepspeed="scripts/zero3.json",
)  # 4 x 4 x 8 GPUs = 128 samples a step

_7B_PRETRAIN = replace(
    _7B_S1,
    output_dir=f"{_TRAINING}/llmga-vicuna-7b-v1.5-pretrain",
    checkpoint_dir=None,
    mllm=None,
    text_model=f"{_TRAINING}/vicuna-7b-v1.5",
    vision_tower=f"{_TRAINING}/clip-vit-large-patch14-336",
    tune="projector",
    data=(DataSource("vqa", "data/llava_pretrain/images/blip_laion_cc_sbu_558k.json", "data/llava_pretrain/images"),),
    lr=1e-3,
    batch=8,
    save_steps=24_000,
)  # 8 x 4 x 8 GPUs = 256 samples a step


def _13b(config: TrainConfig) -> TrainConfig:
    """The same recipe for the larger model: only the folders differ."""
    names = ("output_dir", "checkpoint_dir", "mllm", "text_model")
    return replace(config, **{name: (getattr(config, name) or "").replace("7b", "13b") or None for name in names})


_TOY = "data/toyworld"
_TOY_S1 = TrainConfig(
    output_dir="checkpoints/Inference/llmga-toy-mllm",
    checkpoint_dir="runs/toyworld/mllm-s1",
    mllm="runs/toyworld/mllm-pretrain",
    conv_mode="qwen_2",
    data=(
        DataSource("vqa", f"{_TOY}/vqa.json", f"{_TOY}/images"),
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

PRESETS = Registry(
    "preset",
    {
        "llmga_7b_pretrain": _7B_PRETRAIN,
        "llmga_7b_s1": _7B_S1,
        "llmga_13b_pretrain": _13b(_7B_PRETRAIN),
        "llmga_13b_s1": _13b(_7B_S1),
        "toy_pretrain": _TOY_PRETRAIN,
        "toy_s1": _TOY_S1,
    },
)
