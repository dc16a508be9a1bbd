"""TiledInput of any size through the network, window by window: memory stays flat, and no window's edge shows.

Sizes are filled up to whole windows by mirroring, as the published inference does: on the assembled input, so that at
scales 2 and 4 the folded reference is mirrored in whole cells.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmga.choices import OVERLAP, TILE
from llmga.diffrir.model import WINDOW, Stage2, dtype_of, network_input
from llmga.errors import UserError


def mirrored(places: Tensor, length: int) -> Tensor:
    """Where a place beyond the end of `length` pixels reads, mirrored at both ends as often as needed."""
    if length == 1:
        return torch.zeros_like(places)
    places = places % (2 * length - 2)
    return torch.minimum(places, 2 * length - 2 - places)


def filled(length: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-length // unit) * unit


@dataclass(frozen=True)
class TiledInput:
    """TiledInput of one size on the CPU, as they are; the network's input is only ever made of a window of them.

    Attributes:
        lq: (B, 3, H, W), uint8 or float in [0, 1]: what is to be restored.
        reference: (B, 3, H s, W s), likewise: the original.
        hole: (B, 1, H s, W s), boolean: where the original is not to be used.
    """

    lq: Tensor
    reference: Tensor
    hole: Tensor

    @property
    def scale(self) -> int:
        return self.reference.shape[-1] // self.lq.shape[-1]

    @property
    def filled_size(self) -> tuple[int, int]:
        """Height and width in pixels of lq once they are whole windows."""
        height, width = (filled(side, WINDOW // self.scale) for side in self.lq.shape[-2:])
        return height, width

    @property
    def filled_output(self) -> tuple[int, int]:
        """The same in output pixels."""
        height, width = self.filled_size
        return height * self.scale, width * self.scale

    def read(self, rows: slice, columns: slice, device: torch.device | str = "cpu") -> Tensor:
        """The network's input, float32, of a window in pixels of lq that may reach beyond the picture."""
        height, width = self.lq.shape[-2:]
        down, across = (
            mirrored(torch.arange(part.start, part.stop), length) for part, length in ((rows, height), (columns, width))
        )
        lq = _levels(_at(self.lq, down, across).to(device))
        fine = (_cells(down, self.scale), _cells(across, self.scale))
        reference, hole = (_at(picture, *fine).to(device) for picture in (self.reference, self.hole))
        return network_input(lq, _levels(reference), hole.float(), self.scale)


def _at(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return pictures.index_select(2, rows).index_select(3, columns)


def _cells(places: Tensor, scale: int) -> Tensor:
    """Each place becomes the `scale` finer places it is made of."""
    return (places[:, None] * scale + torch.arange(scale)).flatten()


def _levels(pictures: Tensor) -> Tensor:
    return pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures.float()


def spans(length: int, tile: int, overlap: int, unit: int) -> list[slice]:
    """Cover `length` by stretches of `tile` that overlap by `overlap` or more, all in multiples of `unit`.

    Equal distances, so that no stretch is squeezed in at the end.
    """
    if length <= tile:
        return [slice(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [int(place * (length - tile) / (count - 1)) // unit * unit for place in range(count)]
    starts[-1] = length - tile
    return [slice(start, start + tile) for start in starts]


def weights(parts: list[slice], length: int, overlap: int) -> list[Tensor]:
    """How much each stretch counts at each of its places; they add up to one everywhere and begin at zero inside.

    Args:
        overlap: over how many places a stretch fades in and out, except at the ends of `length`.
    """
    ramps = [_ramp(part, length, overlap) for part in parts]
    total = torch.zeros(length)
    for part, ramp in zip(parts, ramps, strict=True):
        total[part] += ramp
    return [ramp / total[part] for part, ramp in zip(parts, ramps, strict=True)]


def _ramp(part: slice, length: int, overlap: int) -> Tensor:
    ramp = torch.ones(part.stop - part.start)
    fade = torch.sin((torch.arange(overlap) + 0.5) / overlap * torch.pi / 2).square()
    if part.start > 0:
        ramp[:overlap] *= fade
    if part.stop < length:
        ramp[-overlap:] *= fade.flip(0)
    return ramp


def check_tiling(tile: int, overlap: int) -> None:
    """See that the network can work in such windows.

    Raises:
        UserError: when the network cannot work in such windows.
    """
    if tile % WINDOW or overlap % WINDOW or overlap < WINDOW or (tile and tile < 2 * overlap):
        raise UserError(f"tiles of {tile} that overlap by {overlap} are not possible; use multiples of {WINDOW}, a "
                        "tile of at least twice the overlap, or tile 0 for the whole picture at once.")  # fmt: skip


@torch.inference_mode()
def picture_prior(model: Stage2, pictures: TiledInput, noise: Tensor, tile: int = TILE) -> Tensor:
    """The prior of whole pictures, (B, 256), from (B, 256) noise: exactly the untiled one, whatever the tile.

    The condition averages over all pixels what convolutions make of them, so windows with a margin as wide as the
    convolutions reach give the same average.
    """
    unit, device = model.config.unit, noise.device
    margin = model.condition.reach * unit
    height, width = pictures.filled_size
    total, count = torch.zeros(noise.shape, device=device), 0
    # With its margins such a window is about as large as the image network's.
    core = filled(tile * 3 // 4, WINDOW) // pictures.scale
    for rows, columns in product(*(_cores(side, core) for side in (height, width))):
        wide = _widened(rows, margin, height), _widened(columns, margin, width)
        features = model.features(pictures.read(*wide, device))
        inner = [
            slice((core.start - outer.start) // unit, (core.stop - outer.start) // unit)
            for core, outer in zip((rows, columns), wide, strict=True)
        ]
        part = features[:, :, inner[0], inner[1]]
        total, count = total + part.sum((2, 3), dtype=torch.float32), count + part.shape[2] * part.shape[3]
    dtype = dtype_of(model.condition)
    return model.prior(model.condition.mlp((total / count).to(dtype)), noise.to(dtype))


def _cores(length: int, tile: int) -> list[slice]:
    """Stretches that touch and do not overlap."""
    edges = [*range(0, length, tile or length), length]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _widened(part: slice, margin: int, length: int) -> slice:
    return slice(max(part.start - margin, 0), min(part.stop + margin, length))


def restored_bands(
    model: Stage2, pictures: TiledInput, noise: Tensor, tile: int = TILE, overlap: int = OVERLAP
) -> Iterator[tuple[slice, Tensor]]:
    """Restored rows from top to bottom, each with its place: float32 on the CPU, neither clamped nor composited.

    Only the rows that a later window still changes are held.

    Args:
        noise: (B, 256) of unit variance, on the model's device: what the prior's diffusion begins with.
        tile: side of a window in output pixels; 0 takes every picture at once.
        overlap: of windows, in output pixels.
    """
    check_tiling(tile, overlap)
    prior = picture_prior(model, pictures, noise, tile)
    (height, width), (real_height, real_width) = pictures.filled_output, pictures.reference.shape[-2:]
    row_windows = list(_weighted(height, tile, overlap))
    stops = [rows.start for rows, _ in row_windows[1:]] + [height]
    done, pending = 0, torch.zeros(len(pictures.lq), 3, 0, width)
    for (rows, row_weights), stop in zip(row_windows, stops, strict=True):
        pending = F.pad(pending, (0, 0, 0, rows.stop - done - pending.shape[2]))
        for columns, column_weights in _weighted(width, tile, overlap):
            restored = _restored(model, pictures, prior, rows, columns)
            pending[:, :, rows.start - done :, columns] += restored * (row_weights[:, None] * column_weights)
        yield slice(done, min(stop, real_height)), pending[:, :, : min(stop, real_height) - done, :real_width]
        pending, done = pending[:, :, stop - done :], stop
        if done >= real_height:
            return


@torch.inference_mode()
def _restored(model: Stage2, pictures: TiledInput, prior: Tensor, rows: slice, columns: slice) -> Tensor:
    """One window, in output pixels."""
    down, across = (slice(part.start // pictures.scale, part.stop // pictures.scale) for part in (rows, columns))
    return model.G(pictures.read(down, across, prior.device), prior).float().cpu()


def restore_pictures(
    model: Stage2, pictures: TiledInput, noise: Tensor, tile: int = TILE, overlap: int = OVERLAP
) -> Tensor:
    """All bands as one, (B, 3, H s, W s); the arguments are those of `restored_bands`."""
    return torch.cat([band for _, band in restored_bands(model, pictures, noise, tile, overlap)], dim=2)


def _weighted(length: int, tile: int, overlap: int) -> Iterator[tuple[slice, Tensor]]:
    parts = spans(length, tile or length, overlap, WINDOW)
    yield from zip(parts, weights(parts, length, overlap), strict=True)


def to_levels(pictures: Tensor) -> np.ndarray:
    """(B, 3, H, W) around [0, 1] -> uint8 (B, H, W, 3)."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
