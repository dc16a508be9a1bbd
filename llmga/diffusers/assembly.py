"""A pipeline put together: a folder or a single file, and the parts that come from elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmga.diffusers.checkpoints import NOTHING_READY, open_pipeline, read_json
from llmga.diffusers.config_folders import config_folder, copy_configurations, write_json
from llmga.diffusers.parts import KINDS, PartSource, part_source
from llmga.diffusers.single_file.checkpoint import SingleFile, single_file
from llmga.diffusers.single_file.families import FAMILIES
from llmga.diffusers.single_file.vocabulary import CLIP_ROWS, END, find_vocabulary
from llmga.errors import UserError

Given = str | Path | None


@dataclass(frozen=True)
class Assembly:
    """Where all of a pipeline is.

    Attributes:
        path: the folder or the file that it is known by.
        configs: a folder with its configurations, its scheduler among them; `path` itself where that is a folder and
            nothing comes from elsewhere.
        sources: the parts whose weights are not in folders below `path`.
        tokenizers: make those that are not in folders below `configs`.
    """

    path: Path
    configs: Path
    sources: Mapping[str, PartSource] = field(default_factory=dict)
    tokenizers: Mapping[str, Callable[[], Any]] = field(default_factory=dict)

    @contextmanager
    def named(self) -> Iterator[None]:
        """In the body's sentences to a person the folder of configurations has the checkpoint's own name."""
        try:
            yield
        except UserError as problem:
            problem.args = (str(problem).replace(str(self.configs), str(self.path)),)
            raise

    def open(self, pipeline_class: Any, dtype: torch.dtype, ready: Mapping[str, Any] = NOTHING_READY) -> Any:
        """Load it on the CPU.

        Args:
            ready: as `open_pipeline` takes it.

        Raises:
            UserError: as `open_pipeline`.
        """
        openers = {name: source.open for name, source in self.sources.items()}
        tokenizers = {name: make() for name, make in self.tokenizers.items()}
        try:
            return open_pipeline(
                self.path, pipeline_class, dtype, configs=self.configs, sources=openers, tokenizers=tokenizers,
                ready=ready,
            )  # fmt: skip
        finally:
            for source in self.sources.values():
                source.release()


def assemble(path: Path, *, unet: Given = None, vae: Given = None, tokenizer: Given = None) -> Assembly:
    """A checkpoint with parts from elsewhere in it, before any weights are opened.

    Args:
        path: of a diffusers folder, or of a single file.
        unet: takes the place of its own.
        vae: likewise.
        tokenizer: a folder with the vocabulary, likewise; single files bring none.

    Raises:
        UserError: something is not there, or of another kind or family.
    """
    given = {name: place for name, place in (("unet", unet), ("vae", vae)) if place is not None}
    if path.is_dir() and not given and tokenizer is None:
        return Assembly(path, path)
    single = None if path.is_dir() else single_file(path)
    base = single.configurations() if single else {}
    sources = _own(single) if single else {}
    for name, place in given.items():
        own = base.get(f"{name}/config.json", _vae_settings(single)) if single else _settings(path, name)
        sources[name] = part_source(name, place, own)
    if single and "vae" not in sources:
        raise UserError(f"{str(path)!r} brings no VAE; give one as --vae.")
    towers = _texts(single, path)
    made = {} if path.is_dir() and tokenizer is None else tokenizers_of(path, single, towers, tokenizer)
    places = [path, *(source.place for source in sources.values())]
    key = tuple((place.resolve(), place.stat().st_mtime_ns) for place in places)
    return Assembly(path, config_folder(key, lambda folder: _write(folder, path, single, sources)), sources, made)


def _own(single: SingleFile) -> dict[str, PartSource]:
    return {
        name: PartSource(single.file.path, part.config, partial(single.open, name), single.file.release)
        for name, part in single.parts().items()
    }


def _settings(folder: Path, name: str) -> dict[str, Any]:
    """Of a folder's own part; of one that is named but lacks, what follows from the rest.

    Raises: UserError for a pipeline that has no such part.
    """
    if (folder / name).is_dir():
        return read_json(folder / name / "config.json")
    index = read_json(folder / "model_index.json")
    if (index.get(name) or [None])[-1] != KINDS[name]:
        raise UserError(f"{str(folder)!r} has no {name}, whose place another could take; leave out --{name}.")
    if name == "unet":
        widths = [read_json(tower / "config.json").get("hidden_size", 0) for tower in folder.glob("text_encoder*")]
        return {"cross_attention_dim": sum(widths)} if all(widths) and widths else {}
    families = [each for each in FAMILIES.values() if index.get("_class_name") in each.pipelines.values()]
    return {"latent_channels": 4, "scaling_factor": families[0].scaling, **families[0].vae} if families else {}


def _vae_settings(single: SingleFile) -> dict[str, Any]:
    """Of the VAE that a single file lacks."""
    return {"_class_name": "AutoencoderKL", "scaling_factor": single.family.scaling, "latent_channels": 4,
            **single.family.vae}  # fmt: skip


def _write(folder: Path, path: Path, single: SingleFile | None, sources: Mapping[str, PartSource]) -> None:
    """The configurations of all parts."""
    if single:
        configurations = single.configurations()
        configurations["model_index.json"]["vae"] = ["diffusers", "AutoencoderKL"]
        write_json(folder, configurations)
    else:
        copy_configurations(path, folder)
    for name, source in sources.items():
        if not single or source.place != single.file.path:
            write_json(folder, {f"{name}/config.json": source.config})


def _texts(single: SingleFile | None, path: Path) -> dict[str, Mapping[str, Any]]:
    """Settings of the text encoders by name."""
    if single:
        return {name: part.config for name, part in single.parts().items() if part.library == "transformers"}
    return {place.name: read_json(place / "config.json") for place in sorted(path.glob("text_encoder*"))}


def tokenizers_of(
    path: Path, single: SingleFile | None, towers: Mapping[str, Mapping[str, Any]], given: Given
) -> dict[str, Callable[[], Any]]:
    """What makes the tokenizers of a single file, or of a folder in place of its own.

    Args:
        towers: settings of the text encoders by name.
        given: as `find_vocabulary` takes it.

    Raises:
        UserError: there is no vocabulary for them.
    """
    found: dict[str, Callable[[], Any]] = {}
    for tower, config in towers.items():
        name = tower.replace("text_encoder", "tokenizer")
        vocabulary = find_vocabulary(path, given, name, int(config.get("vocab_size", CLIP_ROWS)))
        found[name] = partial(vocabulary, single.pad(tower) if single else _pad(path / name))
    return found


def _pad(folder: Path) -> str:
    pad = read_json(folder / "tokenizer_config.json").get("pad_token", END)
    return str(pad.get("content", END) if isinstance(pad, dict) else pad)
