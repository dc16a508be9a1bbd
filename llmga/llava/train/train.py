"""Stage 1 from beginning to end: `python -m llmga.llava.train.train --preset toy_s1 --batch 16`."""

import sys
from collections.abc import Sequence

import torch

from llmga import configuration
from llmga.errors import UserError
from llmga.llava.datasets.mixture import Mixture
from llmga.llava.loading import Mllm, load_mllm, new_mllm
from llmga.llava.tokenization import IGNORED
from llmga.llava.train.config import PRESETS, TrainConfig
from llmga.llava.train.trainer import StageOneTrainer, freeze, newest_checkpoint
from llmga.runtime import quiet_libraries

LOOKED_AT = 64  # samples whose labels are counted before anything is trained


def train(config: TrainConfig) -> StageOneTrainer:
    """Model, data, trainer, fit, save; goes on from the newest checkpoint if there is one."""
    checkpoint = newest_checkpoint(config.resume_dir())
    configuration.save(config, config.output_dir)

    mllm = open_model(config, str(checkpoint) if checkpoint else None)
    freeze(mllm, config.tune)

    data = Mixture(
        config.data,
        mllm.encode,
        image_token_id=mllm.image_token_id,
        tokens_per_image=mllm.tokens_per_image,
        max_length=config.max_length,
        seed=config.seed,
    )
    train_data, eval_data = data.split(config.eval_fraction) if config.eval_fraction else (data, None)
    share = label_share(train_data)

    trainer = StageOneTrainer(mllm, config, train_data, eval_data)
    say(trainer, f"{summary(mllm, train_data, checkpoint)}, {share:.0%} of the tokens are supervised")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    trainer.save_finished(config.output_dir)
    say(trainer, f"left out: {data.tally.counts() or 'nothing'}; model saved in {config.output_dir}")
    return trainer


def open_model(config: TrainConfig, checkpoint: str | None) -> Mllm:
    """The checkpoint to resume, the model to go on from, or a new one; single precision unless DeepSpeed keeps it."""
    from transformers import set_seed

    set_seed(config.seed)
    dtype = torch.bfloat16 if config.deepspeed and config.bf16 else torch.float32
    if checkpoint or config.mllm:
        base = None if checkpoint else config.mllm_base
        mllm = load_mllm(checkpoint or config.mllm, base, device="cpu", dtype=dtype, conv_mode=config.conv_mode)
    else:
        mllm = new_mllm(
            config.text_model,
            config.vision_tower,
            projector_type=config.projector_type,
            select_layer=config.select_layer,
            conv_mode=config.conv_mode,
        )
        mllm.model.to(dtype)
    if config.gradient_checkpointing:
        mllm.model.config.text_config.use_cache = False  # cached keys and recomputed activations exclude each other
    return mllm


def label_share(data: Mixture) -> float:
    """Which share of the first samples' tokens is learnt: looked at before hours are spent on none.

    Raises: UserError when there is nothing to learn.
    """
    stride = max(1, len(data) // LOOKED_AT)
    samples = [data[index] for index in range(0, len(data), stride)][:LOOKED_AT]
    total = sum(len(sample.labels) for sample in samples)
    learnt = sum(label != IGNORED for sample in samples for label in sample.labels)
    if not learnt:
        raise UserError(f"not one of {total} tokens in {len(samples)} samples is supervised; check --conv-mode.")
    return learnt / total


def summary(mllm: Mllm, data: Mixture, checkpoint: object) -> str:
    """One line on what is about to happen."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in mllm.model.parameters()]
    learning = sum(size for size, learns in sizes if learns)
    start = f"resuming from {checkpoint}" if checkpoint else "starting"
    total = sum(size for size, _ in sizes)
    return f"{start}: {len(data)} samples, {learning / 1e6:.2f} of {total / 1e6:.2f} M parameters learn"


def say(trainer: StageOneTrainer, text: str) -> None:
    """Print once, whatever the number of processes."""
    if trainer.is_world_process_zero():
        print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for a user's mistake."""
    quiet_libraries()
    return configuration.run(train, PRESETS, argv)


if __name__ == "__main__":
    sys.exit(main())
