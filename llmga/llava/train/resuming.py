"""Whether a run of stage 1 may go on from a checkpoint: whole, of the same course, of the same records."""

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from llmga.errors import UserError
from llmga.llava.datasets.records import Records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.published import dtype_of
from llmga.llava.train.settings import Stage1Config
from llmga.runtime import DTYPES
from llmga.training.checkpoints import checkpoints, require_same_settings
from llmga.training.config import FILE_NAME
from llmga.training.wholeness import require_whole

STATE = "trainer_state.json"
NEEDED = ("config.json", "*.safetensors", STATE, "optimizer.pt", "scheduler.pt", "rng_state*.pth")
NEEDED_OF_PARTS = ("config.json", "*.safetensors", STATE, "latest")  # as DeepSpeed keeps the optimizer's state
DATA = "data.json"  # which records the run learns from
AFRESH = "--output-dir and --checkpoint-dir"
# Settings that say which sample comes when and what learns: with others, a run does not go on but becomes another.
COURSE = (
    *(
        "data",
        "map",
        "long",
        "conv_mode",
        "max_length",
        "seed",
        "global_batch",
        "group_by_length",
        "pack",
        "eval_fraction",
    ),
    *("tune", "tune_tower", "lora_rank", "lora_alpha", "lora_dropout", "bits"),
)


def require_usable(checkpoint: Path, *, complete: bool = False) -> None:
    """See that a checkpoint is not damaged.

    Args:
        checkpoint: to go on from.
        complete: see also that no file is missing.

    Raises:
        UserError: it is damaged; the sentence names the one before it.
    """
    before = [one for one in checkpoints(checkpoint.parent) if one.name != checkpoint.name]
    needed = NEEDED_OF_PARTS if any(checkpoint.glob("global_step*")) else NEEDED
    require_whole(checkpoint, before[-1] if before else None, needed if complete else ())


def require_steps_left(checkpoint: Path, steps: int | None) -> None:
    """See that a run is not shorter than what is done of it.

    Raises:
        UserError: it is.
    """
    done = json.loads((checkpoint / STATE).read_text()).get("global_step", 0)
    if steps is not None and done > steps:
        raise UserError(f"{str(checkpoint)!r} is further than --steps {steps}; give at least {done}.")


def is_finished(checkpoint: Path, config: Stage1Config) -> bool:
    """Whether a checkpoint is the last of its run, and the model that was made of it lies in the output folder."""
    state, model = json.loads((checkpoint / STATE).read_text()), Path(config.output_dir) / "config.json"
    if state["epoch"] < config.epochs if config.steps is None else state["global_step"] < config.steps:
        return False
    if not model.is_file() or model.stat().st_mtime < (checkpoint / STATE).stat().st_mtime:
        return False
    return dtype_of(json.loads(model.read_text())) == DTYPES[config.save_dtype]


def require_same_course(checkpoint: Path, config: Stage1Config) -> None:
    """See that the run would not break with the settings of a checkpoint.

    Raises:
        UserError: it would.
    """
    file = checkpoint / FILE_NAME
    if not file.is_file():
        return  # older checkpoints do not tell
    before, now = _in_full(json.loads(file.read_text())["settings"]), json.loads(json.dumps(asdict(config)))
    # Without packs, batch x accumulation may be split anew; low-rank matrices mean nothing beside other weights.
    fixed = {*COURSE, *(["batch"] if config.pack else []), *(["mllm"] if config.low_rank else [])} & before.keys()
    require_same_settings(checkpoint, before, now, lambda name: name not in fixed, AFRESH)


def _in_full(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run with those that older ones did not have: what they did without saying so."""
    usual = {one.name: one.default for one in fields(DataSource) if one.default is not MISSING}
    sources = [usual | source for source in settings.get("data", [])]
    return {"long": "cut", "map": None} | settings | ({"data": sources} if sources else {})


def save_data(folder: Path, sources: Sequence[DataSource], records: Sequence[Records]) -> None:
    """Write what `require_same_data` looks at."""
    (folder / DATA).write_text(json.dumps(_contents(sources, records), indent=2) + "\n")


def require_same_data(checkpoint: Path, sources: Sequence[DataSource], records: Sequence[Records]) -> None:
    """See that files hold the same records as when the checkpoint was made.

    Raises:
        UserError: they do not.
    """
    if not (checkpoint / DATA).is_file():
        return  # older checkpoints do not tell
    pairs = zip(json.loads((checkpoint / DATA).read_text()), _contents(sources, records), strict=False)
    changes = [f"{now['file']!r}: {change}" for then, now in pairs if (change := _change(then, now))]
    if changes:
        raise UserError(
            f"{str(checkpoint)!r} was made with other data ({', '.join(changes)}); give back the same records, or "
            f"another {AFRESH} to start afresh."
        )


def _contents(sources: Sequence[DataSource], records: Sequence[Records]) -> list[dict[str, Any]]:
    return [
        {"file": source.file, "records": len(each), "digest": each.digest()}
        for source, each in zip(sources, records, strict=True)
    ]


def _change(then: dict[str, Any], now: dict[str, Any]) -> str:
    if then["records"] != now["records"]:
        return f"{then['records']} -> {now['records']} records"
    return "" if then["digest"] == now["digest"] else f"other ones of its {now['records']} records"
