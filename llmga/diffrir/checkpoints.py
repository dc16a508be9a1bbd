"""Checkpoints of the restoration network: our folders, and the published files, whose key names only this room knows.

A published file is a dict whose entries `params_ema` and `params` each hold a state dict.  Stage 2 says some tensors
twice and carries its schedule; ours says everything once, in `model.safetensors` beside `config.json`.
"""

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmga import model_directories
from llmga.diffrir.diffusion import schedule
from llmga.diffrir.model import MODELS, SCALES, DiffRIRConfig, Stage1, Stage2
from llmga.errors import UserError

MODEL_DIR = "checkpoints/Inference"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
ENTRIES = ("params_ema", "params")
ALIASES = {"diffusion.model.": "denoise.", "diffusion.condition.": "condition."}
SCHEDULE = "diffusion."
PUBLISHED_FACTOR = 2.2


def published_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict as published: stage 2 says its denoiser and condition twice and names its schedule."""
    state = dict(model.state_dict())
    if isinstance(model, Stage2):
        config = model.config
        arrays = schedule(config.timesteps, config.linear_start, config.linear_end)
        state |= {SCHEDULE + name: array for name, array in arrays.items()}
        for alias, name in ALIASES.items():
            state |= {alias + key.removeprefix(name): state[key] for key in [*state] if key.startswith(name)}
    return state


def unaliased(state: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """Every tensor of a published state dict once, the schedule left out.

    Raises:
        UserError: when a tensor and its second name disagree.
    """
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}  # saved from several GPUs
    own = {key: tensor for key, tensor in state.items() if not key.startswith(SCHEDULE)}
    for key, tensor in state.items():
        alias = next((alias for alias in ALIASES if key.startswith(alias)), None)
        if alias and not _same(tensor, own.get(ALIASES[alias] + key.removeprefix(alias))):
            raise UserError(f"{place} holds two different versions of {key!r}; copy the file again.")
    return own


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.equal(one, other)


def read_config(state: Mapping[str, Tensor], place: str = "the state dict") -> DiffRIRConfig:
    """The shape of the network that a published state dict belongs to, which no published file states.

    Raises:
        UserError: when it is none of this network.
    """
    try:
        return _read_config(state)
    except (KeyError, StopIteration, IndexError):
        raise UserError(
            f"{place} holds no DiffRIR network; give a published DiffRIR file or a folder of ours."
        ) from None


def _read_config(state: Mapping[str, Tensor]) -> DiffRIRConfig:
    first = state["G.patch_embed.proj.weight"]
    betas = state.get("diffusion.betas")
    levels = ["encoder_level1", "encoder_level2", "encoder_level3", "latent"]
    schedule_of: dict[str, Any] = {} if betas is None else {
        "timesteps": len(betas), "linear_start": round(betas[0].item(), 6), "linear_end": round(betas[-1].item(), 6),
    }  # fmt: skip
    encoder = next(key.split(".")[0] for key in state if key.startswith(("E.E.0.", "condition.E.0.")))
    return DiffRIRConfig(
        scale=next(s for s in SCALES if DiffRIRConfig(scale=s).channels == first.shape[1]),
        dim=first.shape[0],
        num_blocks=tuple(_count(state, f"G.{level}.", "norm1.body.weight") for level in levels),
        num_refinement_blocks=_count(state, "G.refinement.", "norm1.body.weight"),
        heads=tuple(len(state[f"G.{level}.0.attn.temperature"]) for level in levels),
        ffn_expansion_factor=_factor(state),
        bias="G.encoder_level1.0.attn.qkv.bias" in state,
        LayerNorm_type="WithBias" if "G.encoder_level1.0.norm1.body.bias" in state else "BiasFree",
        n_encoder_res=_count(state, f"{encoder}.E.", "body.0.weight"),
        n_denoise_res=_count(state, "denoise.resmlp.", "resmlp.0.weight") if betas is not None else 1,
        **schedule_of,
    )


def _count(state: Mapping[str, Tensor], start: str, end: str) -> int:
    """How many parts are named `start`, a number, `.`, `end`."""
    return sum(key.startswith(start) and key.removeprefix(start).partition(".")[2] == end for key in state)


def _factor(state: Mapping[str, Tensor]) -> float:
    """A feed-forward factor that rounds to the widths that are there: the published one, or the plainest."""
    ends = [key for key in state if key.startswith("G.") and key.endswith("ffn.project_out.weight")]
    widths = {state[key].shape[:2] for key in ends}
    plain = (round(hidden / width, digits) for digits in range(1, 7) for width, hidden in sorted(widths, reverse=True))
    nearby = (factor + step * 10**-6 for factor in plain for step in (0, 1))
    return next(f for f in (PUBLISHED_FACTOR, *nearby) if all(int(width * f) == hidden for width, hidden in widths))


def load_model(
    path: str | Path,
    *,
    scale: int | None = None,
    stage: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Stage1 | Stage2:
    """Open a network, whoever wrote it.

    Args:
        path: a folder of ours, a published .pth file, or a folder with several of them, of which the one of `scale`
            is taken.
        scale: what it must be, 1, 2 or 4; None takes what is there.
        stage: likewise, 1 or 2.
        device: where it goes.
        dtype: in which it computes.

    Raises:
        UserError: naming what is missing, damaged, or of another scale or stage.
    """
    path = find(path)
    file = path if path.is_file() or (path / CONFIG_FILE).exists() else _of_scale(path, scale)
    config, found, weights = _read_folder(file) if file.is_dir() else read_published(file)
    if scale not in (None, config.scale):
        raise UserError(f"{str(file)!r} restores at scale {config.scale}, but {scale} was asked for; "
                        f"give weights of scale {scale} or ask for {config.scale}.")  # fmt: skip
    if stage not in (None, found):
        raise UserError(f"{str(file)!r} is of stage {found}, but stage {stage} is needed; stage 1 reads its prior "
                        "from the clean picture, so only stage 2 restores.")  # fmt: skip
    with torch.device("meta"):
        model = MODELS[found](config)
    _fill(model, weights, str(file))
    model.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stub
    return model.eval()


def find(path: str | Path) -> Path:
    """The path as given, or by its bare name under checkpoints/Inference.

    Raises:
        UserError: when it is not there.
    """
    for place in model_directories.places(path):
        if place.exists():
            return place
    raise UserError(f"restoration weights {str(path)!r} are not there (looked here and in {MODEL_DIR}); "
                    "give a folder of ours or a published .pth file.")  # fmt: skip


def default_path(scale: int, roots: Sequence[Path] | None = None) -> Path:
    """Weights of a scale in the model directory, published ones before the bundled toy.

    Args:
        scale: 1, 2 or 4.
        roots: where the model directory is looked for; None is the current folder, then the clone.

    Raises:
        UserError: when no such weights are there.
    """

    def is_toy(place: Path) -> tuple[bool, str]:
        return "toy" in place.name.lower(), place.name

    there = (place for root in roots or model_directories.ROOTS for place in (root / MODEL_DIR).glob("*"))
    found = sorted((place for place in there if f"diffrir-x{scale}" in place.name.lower()), key=is_toy)
    if not found:
        raise UserError(f"no restoration weights of scale {scale} are in {MODEL_DIR} (a name with diffrir-x{scale}); "
                        "give their path, or choose the restorer match+blend, which needs none.")  # fmt: skip
    return found[0]


def _of_scale(folder: Path, scale: int | None) -> Path:
    """The published file of a scale among several."""
    files = sorted(folder.glob("*.pth"))
    if not files:
        raise UserError(f"{str(folder)!r} has neither {CONFIG_FILE} nor a .pth file; give restoration weights.")
    for file in files:
        if scale is None or len(files) == 1 or read_config(_entry(file), repr(str(file))).scale == scale:
            return file
    raise UserError(f"none of the {len(files)} .pth files in {str(folder)!r} is of scale {scale}; give the file.")


def _entry(file: Path) -> Mapping[str, Tensor]:
    """The averaged weights of a published file, or the plain ones where there are no others; names untouched."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        raise UserError(f"{str(file)!r} cannot be read as weights: it is truncated or holds something else; "
                        "copy it again.") from None  # fmt: skip
    content = content if isinstance(content, Mapping) else {}
    state = next((content[name] for name in ENTRIES if name in content), content)
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(
            f"{str(file)!r} has no entry {' or '.join(ENTRIES)} with weights; give a published DiffRIR file."
        )
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def read_published(file: Path) -> tuple[DiffRIRConfig, int, dict[str, Tensor]]:
    """What network a published file is, its stage, and its weights, each once.

    Raises:
        UserError: when it is damaged or no DiffRIR network.
    """
    state, place = _entry(file), repr(str(file))
    config = read_config(state, place)
    stage = 2 if any(key.startswith("denoise.") for key in state) else 1
    if stage == 2:
        _check_schedule(state, config, place)
    return config, stage, unaliased(state, place)


def _check_schedule(state: Mapping[str, Tensor], config: DiffRIRConfig, place: str) -> None:
    for name, array in schedule(config.timesteps, config.linear_start, config.linear_end).items():
        stored = state.get(SCHEDULE + name)
        if stored is None or stored.shape != array.shape or not torch.allclose(stored.float(), array, rtol=1e-4):
            raise UserError(
                f"{place} lacks the schedule array {SCHEDULE + name!r} or holds another one; copy it again."
            )


def _read_folder(folder: Path) -> tuple[DiffRIRConfig, int, dict[str, Tensor]]:
    try:
        values = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        config, stage = DiffRIRConfig.of(values), values["stage"]
        MODELS[stage]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        if isinstance(problem, UserError):
            raise
        raise UserError(f"{str(folder / CONFIG_FILE)!r} describes no DiffRIR network; copy the folder again.") from None
    try:
        return config, stage, load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError):
        raise UserError(f"{str(folder / WEIGHTS_FILE)!r} is missing or truncated; copy the folder again.") from None


def _fill(model: nn.Module, weights: Mapping[str, Tensor], place: str) -> None:
    """Give the weights to a model that has none yet.

    Raises:
        UserError: something does not fit; it is named.
    """
    wanted = model.state_dict()
    for complaint in _misfits(wanted, weights):
        raise UserError(f"{place!r} does not fit the network: {complaint}; copy it again.")
    model.load_state_dict({key: tensor.float() for key, tensor in weights.items()}, assign=True)


def _misfits(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterator[str]:
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing:
        yield f"{len(missing)} tensors are missing, the first is {missing[0]!r}"
    if unknown:
        yield f"{len(unknown)} tensors are unknown, the first is {unknown[0]!r}"
    for key in wanted.keys() & given.keys():
        if wanted[key].shape != given[key].shape:
            yield f"{key!r} has the shape {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)}"


def save_model(model: Stage1 | Stage2, folder: str | Path, weights: Mapping[str, Tensor] | None = None) -> Path:
    """Write `config.json` and `model.safetensors`.

    Args:
        weights: by the model's own names, such as averaged ones; None takes the model's.

    Raises:
        UserError: when nothing can be written there.
    """
    folder = Path(folder)
    values: dict[str, Any] = {"format": "llmga-diffrir", "stage": model.stage, **model.config.to_dict()}
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in (weights or model.state_dict()).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        save_file(state, folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as problem:
        raise UserError(f"weights cannot be written to {str(folder)!r} ({problem}); choose another folder.") from None
    return folder


def start_stage2(teacher: Stage1) -> Stage2:
    """A stage-2 network that begins with the teacher's image network; condition and denoiser begin from scratch."""
    student = Stage2(teacher.config)
    student.G.load_state_dict(teacher.G.state_dict())
    return student
