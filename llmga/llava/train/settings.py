"""The settings of stage 1: typed, explained at the field, checked at once."""

from dataclasses import dataclass, replace
from typing import Literal

from llmga.errors import UserError
from llmga.llava.datasets.sources import DataSource
from llmga.llava.templates import TEMPLATES
from llmga.training.config import setting

Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]
LOW_RANK = ("lora", "dora")


@dataclass(frozen=True)
class Stage1Config:
    """The settings of a run, which starts from `mllm`, or from `text_model`, `vision_tower` and a fresh projector."""

    output_dir: str = setting(help="folder of the finished model")
    data: tuple[DataSource, ...] = setting(help="sources as kind=file,images=folder,share=1.0")
    conv_mode: str = setting(help="chat template to train with, a conversation mode")
    mllm: str | None = setting(None, help="model folder to go on from")
    mllm_base: str | None = setting(None, help="text model, when mllm holds only a projector or adapters")
    text_model: str | None = setting(None, help="plain language model to start from")
    vision_tower: str | None = setting(None, help="CLIP or SigLIP vision tower to start from")
    projector_type: str = setting("mlp2x_gelu", help="a fresh projector: linear, mlp2x_gelu, mlp3x_gelu, …")
    select_layer: int = setting(-2, help="which hidden layer of the vision tower a fresh projector reads")
    tune: Literal["projector", "full", "lora", "dora"] = setting(
        "full", help="what learns: the projector alone, it and the language model, or it and low-rank matrices"
    )
    tag_tokens: bool = setting(False, help="the tags of a prompt get tokens of their own, as in 2023; needs tune full")
    tune_tower: bool = setting(False, help="the vision tower learns, too")
    lora_rank: int = setting(64, help="rank of the low-rank matrices", minimum=1)
    lora_alpha: int = setting(16, help="their product is multiplied by alpha / rank", minimum=1)
    lora_dropout: float = setting(0.05, help="share of their inputs left out while training", minimum=0, maximum=0.9)
    bits: Literal[16, 8, 4] = setting(16, help="of the frozen language model's weights; 8 and 4 need lora or dora")
    checkpoint_dir: str | None = setting(
        None, help="folder of checkpoint-N to resume from; moves with another --output-dir", beside="output_dir"
    )
    lr: float = setting(2e-5, help="peak learning rate", minimum=0)
    projector_lr: float | None = setting(None, help="peak rate of the projector (default: lr)", minimum=0)
    batch: int = setting(4, help="samples per device and forward pass; packed: their mean number", minimum=1)
    accumulation: int = setting(1, help="forward passes per optimiser step", minimum=1)
    global_batch: int | None = setting(
        None, help="samples per optimiser step over all devices: accumulation follows from it", minimum=1
    )
    epochs: float = setting(1.0, help="passes over the data", minimum=0)
    steps: int | None = setting(None, help="optimiser steps, instead of epochs", minimum=1)
    warmup: float = setting(0.03, help="fraction of the steps with rising rate", minimum=0, maximum=1)
    weight_decay: float = setting(0.0, help="of matrices, not of norms and biases", minimum=0)
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = setting("cosine", help="course of the rate")
    map: str | None = setting(None, help="other names of the records' keys, as in question=query,answer=response")
    max_length: int = setting(2048, help="tokens of a sample, pictures included", minimum=8)
    long: Literal["split", "cut", "drop"] = setting(
        "split", help="dialogues beyond max_length: split at turns, cut at the end, or left out"
    )
    taught_turns: int | None = setting(
        None,
        help="turns of the longest conversation in the data: the model is shown so many of a longer one",
        minimum=1,
    )
    group_by_length: bool = setting(False, help="batch samples of like length: less padding, a little less mixing")
    pack: bool = setting(False, help="several samples in a row, each blind to the others: no padding, full mixing")
    save_steps: int = setting(500, help="optimiser steps between checkpoints", minimum=1)
    save_dtype: Literal["fp32", "fp16", "bf16"] = setting("bf16", help="number format of the finished model")
    save_total_limit: int = setting(1, help="checkpoints to keep", minimum=1)
    eval_fraction: float = setting(0.0, help="share of the data held out and measured", minimum=0, maximum=0.5)
    eval_steps: int = setting(500, help="optimiser steps between measurements", minimum=1)
    sample_steps: int | None = setting(None, help="optimiser steps between sample answers (samples.jsonl)", minimum=1)
    sample_count: int = setting(4, help="samples that are answered each time, held-out ones if there are", minimum=1)
    sample_tokens: int = setting(128, help="longest sample answer", minimum=1)
    logging_steps: int = setting(1, help="optimiser steps between log lines", minimum=1)
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = setting(
        ("tensorboard",), help="where the log also goes; WANDB_MODE=offline keeps it on this machine"
    )
    workers: int = setting(4, help="processes that prepare data; 0 prepares in the main one", minimum=0)
    precision: Literal["bf16", "fp16", "fp32"] = setting("bf16", help="number format of the computation")
    frozen_dtype: Literal["fp32", "fp16", "bf16"] | None = setting(
        None, help="number format of weights that do not learn (default: precision)"
    )
    attention: Attention = setting("auto", help="auto takes flash attention where it is installed and can run")
    deepspeed: str | None = setting(None, help="DeepSpeed JSON, such as scripts/zero3.json")
    gradient_checkpointing: bool = setting(True, help="compute activations twice to save memory")
    device: Literal["auto", "cpu"] = setting("auto", help="auto takes a GPU if there is one")
    seed: int = setting(42, help="of data order, phrasings, masks and fresh weights", minimum=0)

    def check(self) -> None:
        """See that the fields go together.

        Raises:
            UserError: they do not.
        """
        TEMPLATES[self.conv_mode]
        if (self.mllm is None) == (self.text_model is None):
            raise UserError("give either --mllm, to go on from, or --text-model and --vision-tower, to start from.")
        if self.text_model is not None and self.vision_tower is None:
            raise UserError("--text-model needs --vision-tower, the eyes of the new model.")
        if not self.data:
            raise UserError("--data names no source; give at least one kind=file.")
        for source in self.sources:
            source.check()
        if self.tag_tokens and self.tune != "full":
            raise UserError(f"--tag-tokens adds tokens, which --tune {self.tune} does not teach; give --tune full.")
        self._check_low_rank()
        if self.precision == "fp32" and self.frozen_dtype not in (None, "fp32"):
            raise UserError(
                f"--frozen-dtype {self.frozen_dtype} needs --precision fp16 or bf16; leave one of them out."
            )

    def _check_low_rank(self) -> None:
        if self.low_rank and (self.mllm is None or self.mllm_base is not None):
            raise UserError(
                f"--tune {self.tune} adds to a whole model; give --mllm the result of the projector's pretraining "
                "and no --mllm-base."
            )
        if self.bits != 16 and not self.low_rank:
            raise UserError(f"--bits {self.bits} leaves weights that cannot learn; give --tune lora or dora.")

    @property
    def sources(self) -> tuple[DataSource, ...]:
        """The data, with the names of their keys."""
        return tuple(replace(source, columns=self.map or source.columns) for source in self.data)

    @property
    def low_rank(self) -> bool:
        """Whether matrices beside the language model's learn, instead of its own."""
        return self.tune in LOW_RANK

    @property
    def new_parts(self) -> tuple[str, str]:
        """Language model and vision tower of a run that starts from no whole model, see `check`."""
        assert self.text_model is not None and self.vision_tower is not None
        return self.text_model, self.vision_tower

    def resume_dir(self) -> str:
        """Where checkpoint-N folders lie."""
        return self.checkpoint_dir or self.output_dir


@dataclass(frozen=True)
class DoctorConfig(Stage1Config):
    """The settings of a run that the doctor looks at, and how closely."""

    sample: int = setting(1000, help="records of each source that are looked at closely; 0 takes all", minimum=0)
    devices: int | None = setting(None, help="devices that will train (default: those here)", minimum=1)
    device_memory: float | None = setting(None, help="GiB of each (default: of those here)", minimum=0)
    billions: float | None = setting(None, help="parameters of a language model that is not at hand", minimum=0)
