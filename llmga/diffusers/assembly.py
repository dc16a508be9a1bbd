"""A pipeline put together: a folder or a single file, and the parts that come from elsewhere."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmga.diffusers.checkpoints import open_pipeline, read_json
from llmga.diffusers.config_folders import config_folder, copy_configurations, write_json
from llmga.diffusers.parts import PartSource, part_source
from llmga.diffusers.single_file.checkpoint import SingleFile, single_file
from llmga.diffusers.single_file.vocabulary import as_files, tokenizer_of
from llmga.errors import UserError

Given = str | Path | None


@dataclass(frozen=True)
class Assembly:
    """Where all of a pipeline is.

    Attributes:
        path: the folder or the file that it is known by.
        configs: a folder with its configurations, its tokenizers and its scheduler; `path` itself where that is a
            folder and nothing comes from elsewhere.
        sources: the parts whose weights are not in folders below `path`.
    """

    path: Path
    configs: Path
    sources: Mapping[str, PartSource] = field(default_factory=dict)

    @contextmanager
    def named(self) -> Iterator[None]:
        """In the body's sentences to a person the folder of configurations has the checkpoint's own name."""
        try:
            yield
        except UserError as problem:
            problem.args = (str(problem).replace(str(self.configs), str(self.path)),)
            raise

    def open(self, pipeline_class: Any, dtype: torch.dtype) -> Any:
        """Load it on the CPU.

        Raises:
            UserError: as `open_pipeline`.
        """
        openers = {name: source.open for name, source in self.sources.items()}
        try:
            return open_pipeline(self.path, pipeline_class, dtype, configs=self.configs, sources=openers)
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
        own = base.get(f"{name}/config.json") if single else read_json(path / name / "config.json")
        sources[name] = part_source(name, place, own or _vae_settings(single))
    if single and "vae" not in sources:
        raise UserError(f"{str(path)!r} brings no VAE; give one as --vae.")
    key = (path.resolve(), path.stat().st_mtime_ns, *(str(source.place) for source in sources.values()), str(tokenizer))
    return Assembly(path, config_folder(key, lambda folder: _write(folder, path, single, sources, tokenizer)), sources)


def _own(single: SingleFile) -> dict[str, PartSource]:
    return {
        name: PartSource(single.file.path, part.config, partial(single.open, name), single.file.release)
        for name, part in single.parts().items()
    }


def _vae_settings(single: SingleFile | None) -> dict[str, Any]:
    """Of the VAE that a single file lacks."""
    assert single is not None
    return {"_class_name": "AutoencoderKL", "scaling_factor": single.family.scaling, "latent_channels": 4,
            **single.family.vae}  # fmt: skip


def _write(
    folder: Path, path: Path, single: SingleFile | None, sources: Mapping[str, PartSource], tokenizer: Given
) -> None:
    """The configurations of all parts, and the tokenizers."""
    if single:
        configurations = single.configurations()
        configurations["model_index.json"]["vae"] = ["diffusers", "AutoencoderKL"]
        write_json(folder, configurations)
        write_tokenizers(folder, single, tokenizer)
    else:
        copy_configurations(path, folder)
        if tokenizer is not None:
            _replace_tokenizers(folder, tokenizer)
    for name, source in sources.items():
        if not single or source.place != single.file.path:
            write_json(folder, {f"{name}/config.json": source.config})


def write_tokenizers(folder: Path, single: SingleFile, given: Given) -> None:
    """Put the tokenizers of a single file's text encoders where a pipeline has them.

    Raises:
        UserError: there is no vocabulary for them.
    """
    parts = single.parts()
    for tower in single.family.towers:
        name, rows = tower.part.replace("text_encoder", "tokenizer"), parts[tower.part].config["vocab_size"]
        as_files(tokenizer_of(single.file.path, given, name, tower.pad, rows), folder / name)


def _replace_tokenizers(folder: Path, given: str | Path) -> None:
    for encoder in sorted(folder.glob("text_encoder*")):
        name = encoder.name.replace("text_encoder", "tokenizer")
        own = read_json(folder / name / "tokenizer_config.json").get("pad_token", "<|endoftext|>")
        pad = own if isinstance(own, str) else own.get("content", "<|endoftext|>")
        rows = read_json(encoder / "config.json").get("vocab_size", 49408)
        as_files(tokenizer_of(folder, given, name, pad, rows), folder / name)
