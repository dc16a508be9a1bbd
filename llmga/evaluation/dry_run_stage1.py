"""Stage 1 on a fake GPU: steps of `Stage1Trainer`, and an answer about a picture, at the published sizes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import PrinterCallback, Qwen2Tokenizer, TrainerCallback

from llmga.evaluation.dry_run_result import Measured, Way, measured
from llmga.evaluation.fake_device import NAME
from llmga.evaluation.fake_gpu import FakeGpu
from llmga.evaluation.fake_modules import to_fake
from llmga.llava import towers
from llmga.llava.chat import Chat
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.sources import DataSource
from llmga.llava.empty import empty_model
from llmga.llava.loading import load_mllm
from llmga.llava.mllm import Mllm
from llmga.llava.published import DEFAULT_CONTEXT, make_config
from llmga.llava.sampling import Sampling
from llmga.llava.sizes import LARGE_TOWER, Shape, shape_named
from llmga.llava.train import trainer as trainer_module
from llmga.llava.train.memory import QUANTISED, Method, Sizes, batches, flops, methods, need, tensors
from llmga.llava.train.planning import USUAL_DEVICES, flags
from llmga.llava.train.settings import Stage1Config
from llmga.llava.train.stage1 import mixture, prepared
from llmga.llava.train.trainer import Stage1Trainer
from llmga.toyworld.vocabulary import CHAT_SPECIALS, byte_alphabet, numbered

TOY = "checkpoints/Inference/llmga-toy-mllm"
SMALL_TOWER = "openai/clip-vit-large-patch14"  # of the recipes of 2023
ANSWER = 200  # tokens of a usual answer with a prompt
SPOKEN = {"qwen2": 151646, "phi3": 32011}  # tokens of the published tokenizers where the model has more rows


def shape_of_preset(config: Stage1Config) -> Shape | None:
    """The row of sizes that a preset's model is of; None for the toy ones."""
    return shape_named(config.text_model, config.mllm)


def answering(config: Stage1Config) -> Any:
    """What decides the figures of an answer."""
    return shape_of_preset(config), config.projector_type, config.conv_mode


def settings(config: Stage1Config, folder: Path) -> Stage1Config:
    """The preset's settings for one step on one fake GPU, its records below a folder; DeepSpeed is left to the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (336, 336), "grey").save(folder / "grey.png")
    turns = [
        {"from": "human", "value": "<image>\nWhat is this?"},
        {"from": "gpt", "value": "a " * config.max_length},
    ]
    passes = min(config.accumulation, 2)
    records = [{"id": number, "image": "grey.png", "conversations": turns} for number in range(config.batch * passes)]
    (folder / "train.json").write_text(json.dumps(records))
    return replace(
        config,
        data=(DataSource("vqa", str(folder / "train.json"), str(folder)),),
        output_dir=str(folder / "output"),
        checkpoint_dir=None,
        accumulation=passes,
        steps=1,
        deepspeed=None,
        workers=0,
        report_to=(),
        attention="sdpa",
        eval_fraction=0.0,
    )


def open_mllm(config: Stage1Config, gpu: FakeGpu) -> Mllm:
    """The published model of a preset with weights that take no room; of the toy presets the bundled one."""
    shape = shape_of_preset(config)
    if shape is None:
        return load_mllm(TOY, conv_mode=config.conv_mode, device="cpu", dtype=torch.float32)
    tower = towers.known_tower(SMALL_TOWER if config.projector_type == "linear" else LARGE_TOWER)
    published = make_config(shape.config(), tower, projector_type=config.projector_type, select_layer=-2)
    published.spoken_rows = SPOKEN.get(shape.kind)
    tokenizer = chat_tokenizer(published.spoken_rows or shape.rows)
    return Mllm(
        model=to_fake(empty_model(published), gpu.fake, torch.float32),  # type: ignore[arg-type]
        tokenizer=tokenizer,
        image_processor=towers.image_processor(None, published.vision_config),
        conv_mode=config.conv_mode,
        context_length=DEFAULT_CONTEXT,
        stop_ids=frozenset({tokenizer.eos_token_id}),
    )


def chat_tokenizer(rows: int) -> Qwen2Tokenizer:
    """A tokenizer of so many rows that knows only letters: a token a letter."""
    letters = byte_alphabet()
    fillers = (f"<unused{number}>" for number in range(rows - len(letters) - len(CHAT_SPECIALS)))
    vocabulary = numbered(letters, CHAT_SPECIALS, fillers)
    return Qwen2Tokenizer(vocab=vocabulary, merges=[], eos_token="<|im_end|>", pad_token="<|endoftext|>")


class _KeepNothing(TrainerCallback):
    """No checkpoint: the weights are not there."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        control.should_save = False
        return control


@contextmanager
def _arguments_of_the_fake_gpu() -> Iterator[None]:
    """transformers knows no other devices than those that it lists: its arguments are told afterwards."""
    made = trainer_module.training_arguments

    def told(config: Stage1Config) -> Any:
        arguments = made(config)
        arguments.__dict__["_setup_devices"] = torch.device(NAME, 0)
        return arguments

    trainer_module.training_arguments = told
    try:
        yield
    finally:
        trainer_module.training_arguments = made


def open_trainer(mllm: Mllm, config: Stage1Config) -> Stage1Trainer:
    """The trainer of such settings, its model on the device."""
    mllm = prepared(mllm, config)
    data = mixture(config, mllm)
    with _arguments_of_the_fake_gpu():
        trainer = Stage1Trainer(mllm, config, data)
    trainer.add_callback(_KeepNothing())
    trainer.remove_callback(PrinterCallback)  # its lines are of numbers that are not there
    return trainer


def step(config: Stage1Config, folder: Path, gpu: FakeGpu) -> Measured:
    """One optimiser step of a preset."""
    told = settings(config, folder)
    mllm = open_mllm(config, gpu)
    sizes, method = Sizes.of(mllm.model), method_of(told)  # before low-rank weights are added
    trainer = open_trainer(mllm, told)
    with measured(gpu, passes=told.accumulation, of=config.accumulation) as result:
        trainer.train()
    result.learning = sum(each.numel() for each in trainer.mllm.model.parameters() if each.requires_grad)
    result.planned = tensors(sizes, method)
    result.planned_flops = flops(sizes, method, pictures=config.batch) * config.accumulation
    result.size = f"{config.batch} x {config.accumulation} samples of {config.max_length} tokens"
    if config.deepspeed:
        zero = int(json.loads(Path(config.deepspeed).read_text())["zero_optimization"]["stage"])
        method = replace(method, devices=USUAL_DEVICES, zero=zero, accumulated=True)
        result.devices, result.sharded = USUAL_DEVICES, tensors(sizes, method)
    result.ways = list(ways(config, sizes, method))
    return result


def ways(config: Stage1Config, sizes: Sizes, asked: Method) -> Iterator[Way]:
    """The same step on as many devices, in the doctor's ways."""
    total = config.batch * config.accumulation * asked.devices
    for method in methods(asked, batches(total, asked.devices, config.batch)):
        way = replace(method, accumulated=True)
        if method != asked:
            yield Way(flags(method, asked, total), tensors(sizes, way), need(sizes, way).host)


def generation(config: Stage1Config, folder: Path, gpu: FakeGpu) -> Measured:
    """One answer about a picture in half precision; the tokens behind the third are like it."""
    mllm = open_mllm(config, gpu).to(torch.device(NAME), torch.float16)
    asked = Conversation().say("user", "What is this?", (Image.new("RGB", (336, 336), "grey"),))
    with measured(gpu) as result:
        for count, _ in enumerate(Chat(mllm).reply(asked, Sampling(max_new_tokens=4, seed=0)), 1):
            result.mark(count, 4)
    result.extend(ANSWER)
    text = Sizes.of(mllm.model).text
    result.size, result.read = f"an answer of {ANSWER} tokens about a picture", result.resident * ANSWER
    result.ways = [Way(f"--load-{bits}bit", result.peak - text * (2 - QUANTISED[bits])) for bits in (8, 4)]
    return result


def method_of(config: Stage1Config) -> Method:
    """How the doctor calls such a run on one device without DeepSpeed."""
    return Method(
        tune=config.tune, devices=1, batch=config.batch, length=config.max_length, bits=config.bits,
        rank=config.lora_rank, half=config.precision != "fp32", recompute=config.gradient_checkpointing,
        tower=config.tune_tower, accumulated=config.accumulation > 1,
    )  # fmt: skip
