"""DeepSpeed's settings, a JSON file such as scripts/zero2.json, and what its checkpoints are made of."""

import json
from pathlib import Path
from typing import Any

from llmga.errors import UserError
from llmga.extras import require
from llmga.runtime import introduce_alone


def read_settings(path: str | None) -> dict[str, Any]:
    """What a DeepSpeed JSON says; empty without one.

    Raises:
        UserError: it is missing or no JSON object.
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise UserError(f"--deepspeed file {path!r} does not exist; the repository has scripts/zero2.json and others.")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as problem:
        raise UserError(f"--deepspeed file {path!r} is not JSON: {problem}.") from None
    if not isinstance(content, dict):
        raise UserError(f"--deepspeed file {path!r} must hold one JSON object, as scripts/zero2.json does.")
    return content


def zero_stage(path: str | None) -> int | None:
    """Stage of ZeRO, 0 for none; None without DeepSpeed."""
    return None if path is None else int(read_settings(path).get("zero_optimization", {}).get("stage", 0))


def accelerate_plugin(path: str | None, batch_size: int, **options: Any) -> Any:
    """What `accelerate.Accelerator` takes as `deepspeed_plugin`, None without DeepSpeed.

    Args:
        path: the DeepSpeed JSON.
        batch_size: examples per device and forward pass.
        options: more of accelerate's `DeepSpeedPlugin`.

    Raises:
        UserError: the file or the package is missing, or it splits the weights, which averaging and saving need whole.
    """
    if path is None:
        return None
    settings = read_settings(path)
    from accelerate import DeepSpeedPlugin

    zero = settings.get("zero_optimization", {})
    if zero.get("stage", 0) > 2:
        raise UserError(f"{path!r} splits the weights (ZeRO stage 3), which this training needs whole; "
                        "give scripts/zero2.json.")  # fmt: skip
    # "auto" sizes are for language models, whose width they follow; without them DeepSpeed's own defaults count.
    settings["zero_optimization"] = {name: value for name, value in zero.items() if value != "auto"}
    require("deepspeed", "--deepspeed")
    plugin = DeepSpeedPlugin(settings, **options)
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = batch_size
    introduce_alone()
    return plugin


def require_same_parts(checkpoint: Path, stage: int | None, processes: int) -> None:
    """See that DeepSpeed can put a checkpoint together for this run.

    Args:
        checkpoint: that is taken up.
        stage: of ZeRO; None is no DeepSpeed.
        processes: that train together.

    Raises:
        UserError: it cannot.
    """
    now, then = _parts(stage, processes), _parts_of(checkpoint)
    if now != then:
        raise UserError(
            f"{str(checkpoint)!r} was made {then}, but this run is {now}; give the same, or another --output-dir and "
            "--checkpoint-dir to start afresh."
        )


def _parts_of(checkpoint: Path) -> str:
    if not any(checkpoint.glob("global_step*")):
        return _parts(None, 1)
    parts = len(list(checkpoint.glob("global_step*/*optim_states.pt")))
    whole = not any(checkpoint.glob("global_step*/zero_*_model_states.pt"))
    return _parts(0 if not parts else 2 if whole else 3, parts)


def _parts(stage: int | None, processes: int) -> str:
    """What has to be the same: ZeRO cuts the optimizer's state into as many parts as there are processes."""
    if not stage:
        return "without DeepSpeed" if stage is None else "without ZeRO in DeepSpeed"
    return f"{'with ZeRO-3' if stage == 3 else 'with ZeRO-1 or 2'} on {processes} process(es)"
