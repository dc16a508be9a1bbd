"""What noise a checkpoint was trained with: its schedule of betas, or that it is of a kind without one."""

from typing import Any

from diffusers import DDPMScheduler

from llmga.errors import UserError

# What a scheduler's settings say of the training.  They are always handed on by name: what a checkpoint leaves to its
# own scheduler's defaults, another class would fill in with other ones.
TRAINED = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"),
    "prediction_type",
)
LEAST_SIGNAL = 2.0**-24  # share of the picture at the last time of a zero-terminal-SNR schedule, as samplers count it

# Kinds of checkpoints that only their own scheduler samples: they tell the UNet other times than steps of noise.
KINDS = {
    "flow-matching": lambda scheduler: (
        type(scheduler).__name__.startswith("FlowMatch")
        or scheduler.config.get("prediction_type") == "flow_prediction"
        or bool(scheduler.config.get("use_flow_sigmas"))
    ),
    "EDM": lambda scheduler: "sigma_data" in scheduler.config or scheduler.config.get("timestep_type") == "continuous",
    "unknown": lambda scheduler: "beta_schedule" not in scheduler.config,
}


def kind_of(scheduler: Any) -> str | None:
    """A row of `KINDS`, None for a schedule of betas."""
    return next((kind for kind, told_by in KINDS.items() if told_by(scheduler)), None)


def zero_terminal(scheduler: Any) -> bool:
    """Whether nothing of the picture is left at the last time (Lin et al. 2023, arXiv:2305.08891)."""
    return bool(scheduler.config.get("rescale_betas_zero_snr"))


def trained_with(scheduler: Any) -> dict[str, Any]:
    """Its settings that are named in `TRAINED`, class defaults included."""
    return {name: scheduler.config[name] for name in TRAINED if name in scheduler.config}


def training_schedule(scheduler: Any, prediction: str | None = None) -> DDPMScheduler:
    """The noise that a checkpoint was trained with.

    Args:
        scheduler: the checkpoint's.
        prediction: what its UNet says, if that is to differ from what the scheduler states.

    Raises: UserError for an EDM or a flow-matching checkpoint, and for one that contradicts itself.
    """
    if kind := kind_of(scheduler):
        raise UserError(f"the checkpoint is of the kind {kind} ({type(scheduler).__name__}), which paints from words, "
                        "but is neither trained nor edited with; choose one with a schedule of betas.")  # fmt: skip
    changed = {} if prediction is None else {"prediction_type": prediction}
    schedule = DDPMScheduler(**trained_with(scheduler) | changed)
    if zero_terminal(scheduler) and schedule.config.prediction_type == "epsilon":
        raise UserError("the checkpoint is of the kind zero-terminal-SNR (rescale_betas_zero_snr), but its UNet is to "
                        "say the noise (epsilon), which tells nothing where all is noise; make it v_prediction, or the "
                        "other false.")  # fmt: skip
    return schedule
