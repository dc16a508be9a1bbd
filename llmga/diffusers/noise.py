"""What noise a checkpoint was trained with: a schedule of betas, or a kind that is sampled in its own way."""

from pathlib import Path
from typing import Any

from llmga.diffusers.checkpoints import read_index, read_json
from llmga.errors import UserError

# What a scheduler's settings say of the training.  They are always handed on by name: what a checkpoint leaves to its
# own scheduler's defaults, another class would fill in with other ones.
TRAINED = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"),
    "prediction_type",
)
LEAST_SIGNAL = 2.0**-24  # share of the picture at the last time of a zero-terminal-SNR schedule, as samplers count it

FLOW, EDM, UNKNOWN, ZERO_TERMINAL = "flow-matching", "EDM", "unknown", "zero-terminal-SNR"


def kind_of(scheduler: Any) -> str | None:
    """What is special about how a checkpoint was trained.

    Returns:
        `flow-matching`, `EDM` (Karras et al. 2022, arXiv:2206.00364) or `unknown`, which tell the UNet other times than
        those of a schedule of betas; `zero-terminal-SNR` for a schedule that leaves nothing of the picture at the last
        time (Lin et al. 2023, arXiv:2305.08891); None for any other schedule.
    """
    config = scheduler.config
    flows = config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas")
    if flows or type(scheduler).__name__.startswith("FlowMatch"):
        return FLOW
    if "sigma_data" in config or config.get("timestep_type") == "continuous":
        return EDM
    if "beta_schedule" not in config:
        return UNKNOWN
    return ZERO_TERMINAL if config.get("rescale_betas_zero_snr") else None


def read_scheduler(folder: Path) -> Any:
    """The scheduler of a diffusers folder, before the weights are opened.

    Raises:
        UserError: when a part of the folder is missing, the scheduler's file cannot be read, or the folder's two files
            name schedulers of different kinds (`kind_of`).
    """
    import diffusers

    _, name = read_index(folder).get("scheduler", (None, None))
    stated = read_json(folder / "scheduler/scheduler_config.json")
    try:
        own, other = (_made(getattr(diffusers, str(each), None), stated) for each in (name, stated.get("_class_name")))
    except (AttributeError, TypeError, ValueError, RuntimeError, ImportError) as problem:
        raise UserError(f"{str(folder / 'scheduler')!r} states no scheduler that can be used: {problem}") from None
    if own is None:
        raise UserError(f"{str(folder / 'scheduler')!r} states no scheduler that can be used: diffusers has no {name}.")
    if other is not None and kind_of(own) != kind_of(other):
        raise UserError(f"{str(folder)!r} names {name} in model_index.json, but {stated['_class_name']}, of another "
                        "kind, in its scheduler folder; make both the one that it was trained with.")  # fmt: skip
    return own


def _made(kind: Any, stated: dict[str, Any]) -> Any:
    """A scheduler of this class; None where the library has no such class."""
    return None if kind is None else kind.from_config(stated)


def check_kind(scheduler: Any, prediction: str | None = None) -> None:
    """See that a UNet's checkpoint can be sampled.

    Raises:
        UserError: for a checkpoint that contradicts itself, or that no pipeline with a UNet can sample.
    """
    kind = kind_of(scheduler)
    if kind == ZERO_TERMINAL and (prediction or scheduler.config.prediction_type) == "epsilon":
        raise UserError("the checkpoint is of the kind zero-terminal-SNR (rescale_betas_zero_snr), but its UNet is to "
                        "say the noise (epsilon), which tells nothing where all is noise; make it v_prediction, or the "
                        "other false.")  # fmt: skip
    if not hasattr(scheduler, "scale_model_input"):
        raise UserError(f"the checkpoint is of the kind {kind} ({type(scheduler).__name__}), which pipelines with a "
                        "UNet cannot sample in that form; name UniPCMultistepScheduler with use_flow_sigmas and "
                        "flow_prediction in its scheduler folder.")  # fmt: skip


def trained_with(scheduler: Any) -> dict[str, Any]:
    """Its settings that are named in `TRAINED`, class defaults included."""
    return {name: scheduler.config[name] for name in TRAINED if name in scheduler.config}


def training_schedule(scheduler: Any, prediction: str | None = None) -> Any:
    """The noise that a checkpoint was trained with, as a `DDPMScheduler`.

    Args:
        scheduler: the checkpoint's.
        prediction: what its UNet says, if that is to differ from what the scheduler states.

    Raises:
        UserError: for a checkpoint without a schedule of betas, and for one that contradicts itself.
    """
    from diffusers import DDPMScheduler

    kind = kind_of(scheduler)
    if kind not in (None, ZERO_TERMINAL):
        raise UserError(f"the checkpoint is of the kind {kind} ({type(scheduler).__name__}), which is neither trained "
                        "nor edited with here; choose one with a schedule of betas.")  # fmt: skip
    check_kind(scheduler, prediction)
    changed = {} if prediction is None else {"prediction_type": prediction}
    return DDPMScheduler(**trained_with(scheduler) | changed)
