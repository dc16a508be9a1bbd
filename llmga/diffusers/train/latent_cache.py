"""Every training picture through the VAE once, kept on disk for the next run."""

from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from llmga.diffusers.datasets.captioned import Captioned
from llmga.diffusers.datasets.framing import frame
from llmga.diffusers.datasets.shapes import Shape, Shapes
from llmga.diffusers.latents import posterior
from llmga.diffusers.train.caching import fingerprint, kept

AT_ONCE = 32


class CachedLatents:
    """Latent distributions by record; pictures that several records name are kept once.

    Args:
        tensors: for each shape, `mean.HxW`, `std.HxW` (pictures, channels, height, width) and `time_ids.HxW`
            (pictures, 6); `row` (records,): which of its shape's pictures a record names.
        shapes: the shape of each record.
    """

    def __init__(self, tensors: dict[str, Tensor], shapes: Shapes):
        self.tensors, self.shapes = tensors, shapes
        self.row = tensors["row"].tolist()

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row, label = self.row[index], _label(self.shapes[index])
        return {name: self.tensors[f"{name}.{label}"][row : row + 1] for name in ("mean", "std", "time_ids")}


def cached_latents(records: Captioned, vae: Any, shapes: Shapes, folder: Path, *, main: bool = True) -> CachedLatents:
    """Read the cache of exactly these pictures, these shapes and this VAE; make it first if it is not there.

    Args:
        main: False in the other processes of a run, which keep silent and write nothing.
    """
    names = [records.name(index) for index in range(len(records))]
    facts = [[name, records.stamp(index), shapes[index]] for index, name in enumerate(names)]
    path = folder / f"latents-{fingerprint(facts, vae)}.safetensors"
    return CachedLatents(kept(path, lambda: _encode_all(records, names, vae, shapes, main), write=main), shapes)


def _encode_all(records: Captioned, names: list[str], vae: Any, shapes: Shapes, loud: bool) -> dict[str, Tensor]:
    seen: dict[Shape, dict[str, tuple[int, int]]] = defaultdict(dict)  # picture -> its row, the first record with it
    rows = []
    for index, name in enumerate(names):
        pictures = seen[shapes[index]]
        rows.append(pictures.setdefault(name, (len(pictures), index))[0])
    found = {"row": torch.tensor(rows)}
    for shape, pictures in seen.items():
        for name, tensor in _encode(records, [index for _, index in pictures.values()], vae, shape, loud).items():
            found[f"{name}.{_label(shape)}"] = tensor
    return found


def _encode(records: Captioned, indices: list[int], vae: Any, shape: Shape, loud: bool) -> dict[str, Tensor]:
    means, stds, times = [], [], []
    bar = tqdm(total=len(indices), desc=f"encoding pictures {_label(shape)}", disable=not loud)
    for start in range(0, len(indices), AT_ONCE):
        some = indices[start : start + AT_ONCE]
        framed = [frame(records.picture(i), shape, center_crop=True, flip=False, rng=Random(0)) for i in some]
        mean, std = posterior(vae, torch.stack([each.pixels for each in framed]))
        means.append(mean.cpu())
        stds.append(std.cpu())
        times.extend(each.time_ids for each in framed)
        bar.update(len(some))
    bar.close()
    return {"mean": torch.cat(means), "std": torch.cat(stds), "time_ids": torch.tensor(times)}


def _label(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"
