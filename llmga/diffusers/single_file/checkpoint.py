"""A whole pipeline in one file: which family it is of, its parts, and the configurations that diffusers wants."""

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from llmga.diffusers.file_kinds import read_header, recognise
from llmga.diffusers.single_file import conversion
from llmga.diffusers.single_file.conversion import Part
from llmga.diffusers.single_file.families import FAMILIES, SingleFileFamily
from llmga.diffusers.single_file.opening import open_model
from llmga.diffusers.single_file.schedules import Schedule, schedule_of
from llmga.diffusers.single_file.tensors import TensorFile
from llmga.errors import UserError

log: logging.Logger = logging.getLogger(__name__)

CONFIGS = "llmga.configs"  # metadata of files that were written here: JSON of part -> settings
PLAIN = "for a Turbo, a Lightning or another distillation, which looks the same, give its --sampler"


class SingleFile:
    """A checkpoint in one file.

    Args:
        path: the file.

    Attributes:
        file: its tensors.
        family: its row.
        schedule: what its UNet says, and the noise that it was trained with.
        stated: settings of parts that the file brings along, where it was written here.

    Raises:
        UserError: it is another kind of file, or of a family that is not read.
    """

    def __init__(self, path: Path):
        self.file = TensorFile(path)
        kind = self.file.kind
        if kind.name != "checkpoint" or kind.family not in FAMILIES:
            raise UserError(f"{str(path)!r} is {kind.said} and no checkpoint that paints; {kind.opens}.")
        self.family: SingleFileFamily = FAMILIES[str(kind.family)]
        if kind.channels not in self.family.pipelines:
            known = " and ".join(map(str, self.family.pipelines))
            raise UserError(f"{str(path)!r} is {kind.said}: its UNet takes {kind.channels} channels, of which none but "
                            f"{known} are read from a single file; give its diffusers folder.")  # fmt: skip
        self.stated: Mapping[str, Any] = _stated(self.file)
        self.schedule: Schedule = schedule_of(self.file, self.family)

    def __str__(self) -> str:
        scheduler = self.stated.get("scheduler", {})
        prediction = scheduler.get("prediction_type", self.schedule.prediction)
        why = "by its metadata" if scheduler else self.schedule.why
        told = self.stated or self.schedule.sampler or self.schedule.why.startswith("an EDM")
        return f"{self.file.kind.said.partition(' ')[2]}, predicts {prediction} ({why}){'' if told else f'; {PLAIN}'}"

    def parts(self) -> dict[str, Part]:
        """The models that are in the file, by name; a VAE may lack, for another to take its place.

        Raises:
            UserError: the UNet or a text encoder is not there.
        """
        found = {"unet": self._unet()}
        vae = conversion.vae_part(self.file, {"scaling_factor": self.family.scaling, **self.family.vae,
                                              **self.schedule.vae, "sample_size": found["unet"].config["sample_size"]
                                              * 8})  # fmt: skip
        if vae is not None:
            found["vae"] = vae
        for tower in self.family.towers:
            part = conversion.text_part(self.file, tower)
            if part is None:
                raise UserError(f"{str(self.file.path)!r} lacks the text encoder {tower.prefixes[0]}…, without which "
                                "nothing is painted; give a file that has it.")  # fmt: skip
            found[tower.part] = part
        return {name: self._as_stated(name, part) for name, part in found.items()}

    def _unet(self) -> Part:
        part = conversion.unet_part(self.file, self.family)
        config = {**part.config, "sample_size": self.family.sides[self.schedule.prediction]}
        if "addition_time_embed_dim" in config:  # the rest of what the classes take is the pooled text, and six times
            pooled = conversion.text_part(self.file, self.family.towers[-1])
            width = config["projection_class_embeddings_input_dim"]
            config["addition_time_embed_dim"] = (width - pooled.config["projection_dim"]) // 6 if pooled else 256
        return Part(part.library, part.kind, config, part.prefix)

    def _as_stated(self, name: str, part: Part) -> Part:
        stated = self.stated.get(name)
        return Part(part.library, part.kind, {**part.config, **stated}, part.prefix) if stated else part

    def pad(self, name: str) -> str:
        """The token that fills the prompts of a text encoder up."""
        return next(tower.pad for tower in self.family.towers if tower.part == name)

    def weights(self, name: str, part: Part) -> conversion.Weights:
        """The tensors of a part by the names that hubs have."""
        if name == "unet":
            return conversion.unet_weights(self.file, part)
        if name == "vae":
            return conversion.vae_weights(self.file, part)
        tower = next(each for each in self.family.towers if each.part == name)
        return conversion.text_weights(self.file, part, tower)

    def check(self, name: str, part: Part, weights: conversion.Weights) -> None:
        """See that a part would open with these tensors.

        Raises:
            UserError: some lack, do not fit, or have no place.
        """
        open_model(part, weights, torch.float16, self._where(name))

    def _where(self, name: str) -> str:
        return f"the {name} of {str(self.file.path)!r}"

    def open(self, name: str, dtype: torch.dtype) -> Any:
        """The model of a part, on the CPU.

        Raises:
            UserError: tensors lack or do not fit.
        """
        part = self.parts()[name]
        model = open_model(part, self.weights(name, part), dtype, self._where(name))
        if self.file.path.suffix == ".safetensors":
            self.file.release()  # what was read of it need not stay in memory beside the copies
        return model

    def configurations(self) -> dict[str, dict[str, Any]]:
        """What stands in a diffusers folder as JSON, by its path, but for tokenizers."""
        found: dict[str, dict[str, Any]] = {}
        index: dict[str, Any] = {"_class_name": self.family.pipelines[int(self.file.kind.channels or 4)]}
        index |= {"_diffusers_version": version("diffusers"), **self.family.options}
        for name, part in self.parts().items():
            index[name] = [part.library, part.kind]
            found[f"{name}/config.json"] = _config_json(part)
        for tower in self.family.towers:
            index[tower.part.replace("text_encoder", "tokenizer")] = ["transformers", "CLIPTokenizer"]
        scheduler = dict(self.stated.get("scheduler", {}))
        scheduler = scheduler or {"_class_name": self.schedule.scheduler, **self.schedule.settings}
        index["scheduler"] = ["diffusers", scheduler["_class_name"]]
        found["scheduler/scheduler_config.json"] = scheduler
        if defaults := self.stated.get("defaults") or _defaults(self.schedule):
            found["generation_defaults.json"] = defaults
        return {"model_index.json": index, **found}


def _config_json(part: Part) -> dict[str, Any]:
    if part.library == "diffusers":
        return {"_class_name": part.kind, **part.config}
    return {"architectures": [part.kind], "model_type": "clip_text_model", **part.config}


def _defaults(schedule: Schedule) -> dict[str, Any]:
    return {"sampler": schedule.sampler} if schedule.sampler else {}


def _stated(file: TensorFile) -> dict[str, Any]:
    """Raises: UserError for settings that are none."""
    try:
        stated = json.loads(file.header.metadata.get(CONFIGS, "{}"))
        if not isinstance(stated, dict) or not all(isinstance(each, dict) for each in stated.values()):
            raise ValueError
    except (ValueError, RecursionError):
        raise UserError(f"the metadata {CONFIGS} of {str(file.path)!r} is no JSON object of settings; fetch the file "
                        "again.") from None  # fmt: skip
    return stated


def is_single_file(path: Path) -> bool:
    """Whether a file is a whole checkpoint that is opened here, told by its head; PyTorch files are not looked into."""
    try:
        header = read_header(path) if path.suffix == ".safetensors" and path.is_file() else None
    except UserError:
        return False
    kind = recognise(header.shapes, header.metadata) if header else None
    return kind is not None and kind.name == "checkpoint" and kind.family in FAMILIES


@lru_cache(maxsize=8)
def _opened(path: Path, changed: int) -> SingleFile:
    found = SingleFile(path)
    log.warning("%s: %s.", path.name, found)
    return found


def single_file(path: Path) -> SingleFile:
    """A checkpoint in one file; what it was read as is told in the log, once.

    Raises:
        UserError: as `SingleFile`.
    """
    return _opened(path.resolve(), path.stat().st_mtime_ns)
