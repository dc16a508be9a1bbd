"""Every training picture through the VAE once, kept on disk for the next run."""

from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.datasets.framing import Framed, frame
from llmga.diffusers.datasets.shapes import Shape, Shapes
from llmga.diffusers.latents import posterior
from llmga.diffusers.train.caching import fingerprint, kept
from llmga.training.skipped import SkippedImages, Unreadable, none_usable

AT_ONCE = 32


class CachedLatents:
    """Latent distributions by record; pictures that several records name are kept once.

    Args:
        tensors: for each shape, `mean.HxW`, `std.HxW` (pictures, channels, height, width) and `time_ids.HxW`
            (pictures, 6); `row` (records,): which of its shape's pictures a record names, -1 for one that is damaged.
            A shape of damaged pictures alone has the first whole one of all.
        shapes: the shape of each record.
    """

    def __init__(self, tensors: dict[str, Tensor], shapes: Shapes):
        self.tensors = tensors
        self.shapes = shapes
        self.row: list[int] = tensors["row"].tolist()

    def at(self, index: int, shape: Shape) -> dict[str, Tensor] | None:
        """A record's picture in a shape: its own, or one that has no whole picture; None when it is damaged."""
        row = self.row[index]
        if row < 0:
            return None
        row = row if shape == self.shapes[index] else 0
        return {name: self.tensors[f"{name}.{_label(shape)}"][row : row + 1] for name in ("mean", "std", "time_ids")}

    def __getitem__(self, index: int) -> dict[str, Tensor] | None:
        return self.at(index, self.shapes[index])


def cached_latents(
    records: CaptionedImages, vae: Any, shapes: Shapes, folder: Path, *, main: bool = True
) -> CachedLatents:
    """Read the cache of exactly these pictures, these shapes and this VAE; make it first if it is not there.

    Args:
        folder: of the run; damaged pictures are listed there.
        main: False in the other processes of a run, which keep silent and write nothing.

    Raises:
        UserError: no picture is whole.
    """
    names = [records.name(index) for index in range(len(records))]
    facts = [[name, records.stamp(index), shapes[index]] for index, name in enumerate(names)]
    path = folder / f"latents-{fingerprint(facts, vae)}.safetensors"
    made = kept(
        path, lambda: _Encoder(records, names, vae, SkippedImages(folder) if main else None).all(shapes), write=main
    )
    return CachedLatents(made, shapes)


class _Encoder:
    """Pictures through the VAE, in batches of one shape."""

    def __init__(self, records: CaptionedImages, names: list[str], vae: Any, skipped: SkippedImages | None):
        self.records, self.names, self.vae, self.skipped = records, names, vae, skipped
        self.damaged: dict[str, Unreadable] = {}

    def all(self, shapes: Shapes) -> dict[str, Tensor]:
        """The tensors of `CachedLatents`."""
        first: dict[Shape, dict[str, int]] = defaultdict(dict)  # by picture, the first record that names it
        for index, name in enumerate(self.names):
            first[shapes[index]].setdefault(name, index)
        whole = {shape: self._encoded(list(members.values()), shape) for shape, members in first.items()}
        if not any(rows for rows, _ in whole.values()):
            raise none_usable(list(self.damaged.values()))
        row = [whole[shapes[index]][0].get(name, -1) for index, name in enumerate(self.names)]
        any_whole = next(index for index, each in enumerate(row) if each >= 0)
        found = {"row": torch.tensor(row)}
        for shape, (rows, tensors) in whole.items():
            tensors = tensors if rows else self._encoded([any_whole], shape)[1]
            found |= {f"{name}.{_label(shape)}": tensor for name, tensor in tensors.items()}
        if self.skipped is not None:
            self.skipped.report_all(self.damaged)
        return found

    def _encoded(self, indices: list[int], shape: Shape) -> tuple[dict[str, int], dict[str, Tensor]]:
        """Rows of those that are whole, by name, and what they are encoded as."""
        rows: dict[str, int] = {}
        means, stds = [], []
        times: list[tuple[int, ...]] = []
        bar = tqdm(total=len(indices), desc=f"encoding pictures {_label(shape)}", disable=self.skipped is None or None)
        for start in range(0, len(indices), AT_ONCE):
            some = indices[start : start + AT_ONCE]
            framed = {self.names[index]: each for index in some if (each := self._framed(index, shape))}
            bar.update(len(some))
            if not framed:
                continue
            mean, std = posterior(self.vae, torch.stack([each.pixels for each in framed.values()]))
            means.append(mean.cpu())
            stds.append(std.cpu())
            times.extend(each.time_ids for each in framed.values())
            rows |= {name: len(rows) + number for number, name in enumerate(framed)}
        bar.close()
        return rows, {"mean": torch.cat(means), "std": torch.cat(stds), "time_ids": torch.tensor(times)} if rows else {}

    def _framed(self, index: int, shape: Shape) -> Framed | None:
        try:
            return frame(self.records.picture(index), shape, center_crop=True, flip=False, rng=Random(0))
        except Unreadable as problem:
            self.damaged[self.names[index]] = problem
            return None


def _label(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"
