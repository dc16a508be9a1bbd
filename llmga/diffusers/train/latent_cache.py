"""Every training picture through the VAE once, kept on disk for the next run."""

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from llmga.diffusers.datasets.captioned import Captioned
from llmga.diffusers.datasets.framing import frame
from llmga.diffusers.latents import posterior

AT_ONCE = 32


class CachedLatents:
    """Latent distributions by record; pictures that several records name are kept once.

    Args:
        tensors: `mean`, `std` (pictures, channels, height, width), `time_ids` (pictures, 6) and
            `row` (records,): which picture a record names.
    """

    def __init__(self, tensors: dict[str, Tensor]):
        self.row = tensors["row"].tolist()
        self.tensors = {name: tensors[name] for name in ("mean", "std", "time_ids")}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self.row[index]
        return {name: tensor[row : row + 1] for name, tensor in self.tensors.items()}


def cached_latents(records: Captioned, vae: Any, resolution: int, folder: Path, *, main: bool = True) -> CachedLatents:
    """Read the cache of exactly these pictures, this size and this VAE; make it first if it is not there.

    Args:
        main: False in the other processes of a run, which keep silent and write nothing.
    """
    names = list(dict.fromkeys(record["image"] for record in records.records))
    path = folder / f"latents-{_fingerprint(records, names, vae, resolution)}.safetensors"
    if path.is_file():
        return CachedLatents(load_file(path))
    tensors = _encode_all(records, names, vae, resolution, quiet=not main)
    if main:
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(tensors, partial)
        partial.replace(path)
    return CachedLatents(tensors)


def _fingerprint(records: Captioned, names: list[str], vae: Any, resolution: int) -> str:
    """A hash of the order of the pictures, their sizes and times on disk, the side, and the VAE's weights."""
    digest = hashlib.sha256(json.dumps([resolution, [record["image"] for record in records.records]]).encode())
    for name in names:
        path = records.images / name
        if path.is_file():
            digest.update(f"{path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    for tensor in vae.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _encode_all(records: Captioned, names: list[str], vae: Any, resolution: int, *, quiet: bool) -> dict[str, Tensor]:
    row_of = {name: row for row, name in enumerate(names)}
    rows = torch.tensor([row_of[record["image"]] for record in records.records])
    first = [int(i) for i in _first_of_each(rows, len(names))]
    means, stds, times = [], [], []
    for start in tqdm(range(0, len(names), AT_ONCE), desc="encoding pictures", disable=quiet):
        framed = [frame(records.picture(index), resolution, center_crop=True, flip=False, rng=Random(0))
                  for index in first[start : start + AT_ONCE]]  # fmt: skip
        mean, std = posterior(vae, torch.stack([each.pixels for each in framed]))
        means.append(mean.cpu())
        stds.append(std.cpu())
        times.extend(each.time_ids for each in framed)
    return {
        "mean": torch.cat(means).contiguous(),
        "std": torch.cat(stds).contiguous(),
        "time_ids": torch.tensor(times),
        "row": rows,
    }


def _first_of_each(rows: Tensor, pictures: int) -> Tensor:
    """(pictures,): the first record that names each picture; rows were numbered in order of appearance."""
    seen = torch.full((pictures,), len(rows))
    return seen.scatter_reduce(0, rows, torch.arange(len(rows)), "amin")
