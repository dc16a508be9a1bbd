"""The flags of diffusers' text-to-image trainers, which the original took over, and of kohya's, in our words."""

from llmga.training.foreign_flags import COMMON, ForeignFlags, Given, Mapped, Refused, Row, left_out, switch

ONLINE = Refused("nothing is downloaded or uploaded; give files on this machine")
RECORDS = Refused("--validation-every paints captions of the data, --validation-pictures says how many")


def _data(given: Given) -> list[str]:
    """Pictures with the captions beside them, and no others."""
    return ["--data", *given.words, "--originals", "none"]


def _warmup(given: Given) -> list[str]:
    """The library's constant schedule does not look at the warm-up."""
    constant = given.others.get("lr-scheduler") == ["constant"]
    return ["--warmup", "0" if constant else given.value]


ALIASES = {
    "pretrained-model-name-or-path": "pipeline",
    "pretrained-vae-model-name-or-path": "vae",
    "unet-model-path": "unet",
    "prediction-type": "prediction",
    "proportion-empty-prompts": "caption-dropout",
    "dataloader-num-workers": "workers",
    "train-batch-size": "batch-size",
    "gradient-accumulation-steps": "accumulation",
    "max-train-steps": "steps",
    "learning-rate": "lr",
    "adam-beta1": "beta1",
    "adam-beta2": "beta2",
    "adam-epsilon": "epsilon",
    "adam-weight-decay": "weight-decay",
    "checkpointing-steps": "checkpoint-every",
    "checkpoints-total-limit": "keep",
    "resume-from-checkpoint": "resume",
    "num-validation-images": "validation-pictures",
    "output-dir": "output",
    "class-data-dir": "regularisation",
    "prior-loss-weight": "prior-weight",
    "use-dora": "dora",
    # kohya's
    "reg-data-dir": "regularisation",
    "caption-dropout-rate": "caption-dropout",
    "caption-tag-dropout-rate": "tag-dropout",
    "min-snr-gamma": "snr-gamma",
    "network-alpha": "lora-alpha",
    "unet-lr": "lr",
    "save-every-n-steps": "checkpoint-every",
}
ROWS: dict[str, Row] = {
    # The model.
    "train-text-encoder": switch("train-text-encoder"),
    "network-dim": lambda given: ["--tune", "lora", "--lora-rank", given.value],
    "rank": lambda given: ["--tune", "lora", "--lora-rank", given.value],
    "use-ema": Mapped({"true": ""}, "--ema-decay 0 saves the last weights instead of averaged ones"),
    # The data.
    "train-data-dir": _data,
    "dataset-name": ONLINE,
    "dataset-config-name": ONLINE,
    "image-column": Mapped({"image": ""}, "the column of pictures is called image"),
    "caption-column": Mapped({"text": "", "caption": "", "prompt": ""}, "it is called caption, text or prompt"),
    "blank-mask-prob": left_out("--full-mask says how many pictures are hidden as a whole"),
    "tokenizer-max-length": left_out("prompts of any length are read whole, see --layout"),
    # The steps.
    "num-train-epochs": Refused("--steps says how long a run is"),
    "scale-lr": Mapped({"false": ""}, "give the rate that is meant with --lr"),
    "lr-scheduler": Mapped(
        {
            "constant": "--schedule constant --warmup 0",
            "constant_with_warmup": "--schedule constant",
            "cosine": "--schedule cosine",
        }
    ),
    "lr-warmup-steps": _warmup,
    "use-8bit-adam": Mapped({"true": "--optimizer adamw8bit", "false": ""}),
    "optimizer-type": Mapped(
        {
            "adamw": "--optimizer adamw",
            "adamw8bit": "--optimizer adamw8bit",
            "adafactor": "--optimizer adafactor",
            "prodigy": "--optimizer prodigy",
            "muon": "--optimizer muon",
        }
    ),
    "torch-compile": switch("torch-compile"),
    "allow-tf32": left_out("the forward pass computes in --mixed-precision"),
    "enable-xformers-memory-efficient-attention": left_out("PyTorch's own attention spares as much memory"),
    # The run.
    "validation-prompt": RECORDS,
    "validation-prompts": RECORDS,
    "validation-epochs": RECORDS,
    "report-to": Mapped({"none": "--report-to", "all": "--report-to tensorboard wandb", "*": "--report-to *"}),
    "logging-dir": left_out("the log is log.jsonl in --run"),
    "tracker-project-name": left_out("the log is log.jsonl in --run"),
    "local-rank": lambda given: [],  # a launcher's, who says it in the environment, too
    "center-crop": switch("center-crop"),
    "enable-bucket": switch("buckets"),
    "shuffle-caption": switch("shuffle-tags"),
    "cache-text-encoder-outputs": switch("cache-embeddings"),
    "no-half-vae": left_out("the VAE always computes in single precision"),
    "random-flip": switch("flip"),
    "gradient-checkpointing": switch("gradient-checkpointing"),
}
FLAGS = ForeignFlags(ALIASES, COMMON | ROWS)
