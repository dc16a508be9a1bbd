"""The flags of LLaVA, of the original LLMGA and of transformers' Trainer, in the words of stage 1."""

from llmga.llava.train.config import PRESETS
from llmga.training.foreign_flags import COMMON, ForeignFlags, Given, Mapped, Refused, Row, left_out, switch

NO_STEP, ALWAYS = ("-1", "0"), Mapped({"true": ""}, "leave it out")
NEVER = Mapped({"false": ""}, "leave it out")


def _start(given: Given) -> list[str]:
    """What a run starts from is a language model where the preset makes a fresh projector, else a whole model."""
    fresh = [name for name in given.others.get("preset", []) if name in PRESETS and PRESETS[name].text_model]
    return ["--text-model" if fresh else "--mllm", given.value]


def _data(given: Given) -> list[str]:
    folder = " ".join(given.others.get("image-folder", []))
    return ["--data", f"vqa={given.value}" + (f",images={folder}" if folder else "")]


def _epochs(given: Given) -> list[str]:
    """The Trainer counts steps, where they are given, and epochs else."""
    steps = given.others.get("max-steps", ["-1"])
    return ["--epochs", given.value, *(["--steps", "none"] if steps[0] in NO_STEP else [])]


def _precision(given: Given) -> list[str]:
    """--bf16 and --fp16; neither is single precision."""
    name = given.flag.lstrip("-")
    other = given.others.get("fp16" if name == "bf16" else "bf16", ["false"])
    if given.value.lower() == "true":
        return ["--precision", name]
    return ["--precision", "fp32"] if (other or ["true"])[0].lower() != "true" else []


MORE_DATA = Refused("give one source of --data for each file, as kind=file,images=folder")
ALIASES = {
    "version": "conv-mode",
    "mm-projector-type": "projector-type",
    "mm-vision-select-layer": "select-layer",
    "lora-r": "lora-rank",
    "model-max-length": "max-length",
    "dataloader-num-workers": "workers",
    "per-device-train-batch-size": "batch",
    "gradient-accumulation-steps": "accumulation",
    "learning-rate": "lr",
    "mm-projector-lr": "projector-lr",
    "warmup-ratio": "warmup",
    "lr-scheduler-type": "scheduler",
}
ROWS: dict[str, Row] = {
    # The model.
    "model-name-or-path": _start,
    "pretrain-mm-mlp-adapter": Refused(
        "give the folder that the projector was trained into with --mllm, and its language model with --mllm-base"
    ),
    "tune-mm-mlp-adapter": Mapped({"true": "--tune projector", "false": ""}),
    "freeze-backbone": Mapped({"false": ""}, "give --tune projector"),
    "mm-vision-select-feature": Mapped({"patch": ""}, "the projector always reads the patches"),
    "mm-use-im-start-end": NEVER,
    "mm-use-im-patch-token": NEVER,
    "lora-enable": Mapped({"true": "--tune lora", "false": ""}),
    "lora-target-modules": Refused("low-rank matrices stand beside every linear layer of the language model"),
    "neftune-noise-alpha": Refused("no noise is added to what the language model reads; leave it out"),
    "lora-bias": Mapped({"none": ""}, "no bias learns beside low-rank matrices"),
    "double-quant": ALWAYS,
    "quant-type": Mapped({"nf4": ""}, "4-bit weights are always nf4"),
    # The data.
    "data-path": _data,
    "data-path2": MORE_DATA,
    "data-path3": MORE_DATA,
    "image-folder": lambda given: [] if "data-path" in given.others else MORE_DATA(given),
    "image-folder2": MORE_DATA,
    "image-aspect-ratio": left_out("pictures become squares as the vision tower of the model takes them"),
    "lazy-preprocess": ALWAYS,
    "is-multimodal": ALWAYS,
    "group-by-modality-length": Mapped({"false": "--group-by-length false"}, "--group-by-length true sorts by length"),
    "remove-unused-columns": NEVER,
    # The steps.
    "per-device-eval-batch-size": left_out("measuring takes --batch, too"),
    "num-train-epochs": _epochs,
    "max-steps": Mapped({"-1": "", "0": "", "*": "--steps *"}),
    "warmup-steps": Mapped({"0": "--warmup 0"}, "--warmup takes the share of the steps, such as 0.03"),
    "optim": Mapped({"adamw_torch": "", "adamw_torch_fused": ""}, "the optimizer is always AdamW; leave it out"),
    "max-grad-norm": Mapped({"1": "", "1.0": ""}, "gradients are always clipped to the norm 1; leave it out"),
    "adam-beta1": Mapped({"0.9": ""}, "it is always 0.9; leave it out"),
    "adam-beta2": Mapped({"0.999": ""}, "it is always 0.999; leave it out"),
    "adam-epsilon": Mapped({"1e-8": "", "1e-08": ""}, "it is always 1e-8; leave it out"),
    "bf16": _precision,
    "fp16": _precision,
    "tf32": Mapped({"true": ""}, "matrices are always multiplied in TF32 where a GPU can"),
    # The run.
    "evaluation-strategy": Mapped({"no": "--eval-fraction 0"}, "--eval-fraction holds out a share of the data"),
    "eval-strategy": Mapped({"no": "--eval-fraction 0"}, "--eval-fraction holds out a share of the data"),
    "save-strategy": Mapped({"steps": ""}, "--save-steps says how often, and the model is saved at the end"),
    "do-eval": Mapped({"false": ""}, "--eval-fraction holds out a share of the data"),
    "load-best-model-at-end": Mapped({"false": ""}, "the last weights are saved; --eval-fraction measures on the way"),
    "logging-dir": left_out("the log lies beside the checkpoints"),
    "report-to": Mapped({"none": "--report-to", "all": "--report-to tensorboard wandb", "*": "--report-to *"}),
    "resume-from-checkpoint": left_out("a run always goes on from the newest checkpoint in --checkpoint-dir"),
    "ddp-find-unused-parameters": NEVER,
    "local-rank": lambda given: [],  # a launcher's, who says it in the environment, too
    "gradient-checkpointing": switch("gradient-checkpointing"),
}
FLAGS = ForeignFlags(ALIASES, ROWS | COMMON)
