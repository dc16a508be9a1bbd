"""What restorers do to photographs, against a known truth.

The protocol: nine pictures that ship with scikit-image at 400 pixels, masks of the published training, five a picture.
What a diffusion model would have left is simulated in one of three ways; every method sees that, the truth outside the
mask, and the mask.  Figures are means over the cases, in levels of 0 to 255 unless they are dB:

* psnr: inside the mask only (over the whole picture, pasted pixels would flatter everybody),
* seam: `llmga.seams.seam_error`,
* shift: |mean(output - truth)| inside the mask, mean over the channels,
* kept: largest difference outside the mask, which has to be 0.

Feathering, Poisson blending and `match+blend` look at the original some pixels under the mask, as they do in practice;
there it would show what was to be replaced.  `--hidden` fills the original under the mask with the painting, so that
nothing of the truth can be seen there.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from llmga.diffrir.degradation import local_drift
from llmga.diffrir.masks import random_mask
from llmga.diffrir.restorers import load_restorer
from llmga.errors import UserError
from llmga.extras import require
from llmga.registry import Registry
from llmga.seams import seam_error

SIDE = 400
PICTURES = ("astronaut", "brick", "camera", "cat", "clock", "coffee", "moon", "retina", "rocket")
# Claims of the project: damage, method, figure, limit, and whether the figure has to stay above or below it.
BARS = (
    ("tone", "match", "psnr", 55.0, "above"),
    ("tone", "match", "seam", 0.5, "below"),
    ("blur+tone+jpeg", "match", "psnr", 34.0, "above"),
    ("tone", "match+blend", "seam", 1.4, "below"),
    ("blur+tone+jpeg", "match+blend", "seam", 1.4, "below"),
)
GAIN, BIAS, CAST, QUALITY = 0.08, 0.05, 0.03, 80


def photographs() -> Iterator[tuple[str, Image.Image]]:
    """The nine pictures, as squares of 400 pixels.

    Raises:
        UserError: when scikit-image is not there.
    """
    data = require("skimage.data", "a score on photographs")
    for name in PICTURES:
        picture = Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        yield name, picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def tone(truth: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One gain and one bias for the picture, as in the published training of stage 2."""
    gain, bias = 1 + rng.uniform(-GAIN, GAIN), rng.uniform(-BIAS, BIAS)
    return _image(np.asarray(truth) / 255 * gain + bias)


def blur_tone_jpeg(truth: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A slight blur, a tone with another cast for each channel, and JPEG."""
    toned = np.asarray(tone(truth.filter(ImageFilter.GaussianBlur(0.8)), rng)) / 255
    return _jpeg(_image(toned * (1 + rng.uniform(-CAST, CAST, 3))))


def drift(truth: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Colours that drift from place to place, after the above: no single tone fits."""
    pixels = torch.from_numpy(np.asarray(blur_tone_jpeg(truth, rng)).copy()).permute(2, 0, 1)[None] / 255
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return _image(local_drift(pixels, 0.04, generator)[0].permute(1, 2, 0).numpy())


# painted, truth, mask -> restored
Method = Callable[[Image.Image, Image.Image, Image.Image], Image.Image]
DAMAGES = Registry("damage", {"tone": tone, "blur+tone+jpeg": blur_tone_jpeg, "drift": drift})


def _image(pixels: np.ndarray) -> Image.Image:
    """From (height, width, 3) around 0 to 1."""
    return Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return Image.open(buffer).convert("RGB")


def paste(image: Image.Image, truth: Image.Image, mask: Image.Image) -> Image.Image:
    """Put the kept pixels back and nothing more."""
    return Image.composite(image, truth, mask)


def feather(image: Image.Image, truth: Image.Image, mask: Image.Image) -> Image.Image:
    """Fade from kept to painted over some pixels inside the mask."""
    inside = mask.filter(ImageFilter.MinFilter(9)).filter(ImageFilter.GaussianBlur(4))
    return Image.composite(Image.composite(image, truth, inside), truth, mask)


def histogram(image: Image.Image, truth: Image.Image, mask: Image.Image) -> Image.Image:
    """One curve for each channel that gives the kept region its histogram back."""
    kept = np.asarray(mask) < 128
    painted, known = np.asarray(image), np.asarray(truth)
    if not kept.any():
        return image
    curves = [_curve(painted[kept, channel], known[kept, channel]) for channel in range(3)]
    toned = np.stack([curve[painted[..., channel]] for channel, curve in enumerate(curves)], axis=-1)
    return paste(_image(toned / 255), truth, mask)


def _curve(painted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What each of the 256 levels becomes."""
    levels = np.arange(256)
    ranks = [np.searchsorted(np.sort(values), levels, side="right") / len(values) for values in (painted, known)]
    return np.interp(ranks[0], ranks[1], levels)


def seamless_clone(image: Image.Image, truth: Image.Image, mask: Image.Image) -> Image.Image:
    """OpenCV's Poisson blending, with a mirrored frame, since it cannot reach the picture's edge."""
    import cv2

    frame = 8
    hole = np.asarray(mask) >= 128
    painted, known = (np.pad(np.asarray(picture), ((frame,) * 2, (frame,) * 2, (0, 0)), mode="reflect")
                      for picture in (image, truth))  # fmt: skip
    marks = np.pad(hole, frame).astype(np.uint8) * 255
    rows, columns = np.nonzero(marks)
    # seamlessClone centres the marks' bounding box on this point.
    centre = tuple(int((axis.min() + axis.max() + 1) // 2) for axis in (columns, rows))
    cloned = cv2.seamlessClone(painted, known, marks, centre, cv2.NORMAL_CLONE)
    return paste(Image.fromarray(cloned[frame:-frame, frame:-frame]), truth, mask)


METHODS: Registry[Method] = Registry(
    "method",
    {
        "paste": paste,
        "feather": feather,
        "histogram": histogram,
        "seamlessClone": seamless_clone,
        "match": load_restorer("match"),
        "match+blend": load_restorer("match+blend"),
    },
)


def judge(output: Image.Image, truth: Image.Image, hole: np.ndarray) -> dict[str, float]:
    """The figures of one case."""
    error = np.asarray(output, dtype=np.float64) - np.asarray(truth)
    return {
        "psnr": float(10 * np.log10(255**2 / max((error[hole] ** 2).mean(), 1e-3))),
        "seam": seam_error(output, truth, hole),
        "shift": float(np.abs(error[hole].mean(0)).mean()),
        "kept": float(np.abs(error[~hole]).max(initial=0)),
    }


def cases(masks: int, damage: str, seed: int) -> Iterator[tuple[Image.Image, Image.Image, np.ndarray]]:
    """What was painted, the truth, and where it was painted (boolean); the same for every method."""
    for number, (_, truth) in enumerate(photographs()):
        rng = np.random.default_rng((seed, number))
        for _ in range(masks):
            hole = random_mask(truth.size, rng)
            yield DAMAGES[damage](truth, rng), truth, hole


def evaluate(
    methods: dict[str, Method], damages: Sequence[str], masks: int, seed: int = 0, hidden: bool = False
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean figures by damage and method (`kept`: the largest), with processor seconds a picture."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for damage in damages:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
        for painted, truth, hole in cases(masks, damage, seed):
            mask = Image.fromarray(hole).convert("L")
            reference = paste(painted, truth, mask) if hidden else truth
            for name, method in methods.items():
                began = time.process_time()
                output = method(painted, reference, mask)
                found[name].append(judge(output, truth, hole) | {"seconds": time.process_time() - began})
        table[damage] = {name: _mean(each) for name, each in found.items()}
    return table


def _mean(each: list[dict[str, float]]) -> dict[str, float]:
    columns = {key: [figures[key] for figures in each] for key in each[0]}
    return {key: max(values) if key == "kept" else sum(values) / len(values) for key, values in columns.items()}


def failed_bars(table: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """The claims that do not hold, as sentences."""
    complaints = [
        f"{damage}: {method} {figure} is {table[damage][method][figure]:.2f}, but must be {side} {limit}"
        for damage, method, figure, limit, side in BARS
        if method in table.get(damage, {})
        and (table[damage][method][figure] < limit if side == "above" else table[damage][method][figure] > limit)
    ]
    return complaints + [
        f"{damage}: {method} changes kept pixels by {figures['kept']:.0f}"
        for damage, rows in table.items()
        for method, figures in rows.items()
        if figures["kept"]
    ]


def shown(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """The table as text, a column for each figure of `judge`."""
    lines = []
    for damage, rows in table.items():
        figures = list(next(iter(rows.values()), {}))
        lines.append(f"{damage:<16}" + "".join(f"{name:>9}" for name in figures))
        lines += [f"  {name:<14}" + "".join(f"{row[figure]:9.3f}" for figure in figures) for name, row in rows.items()]
    return "\n".join(lines)


def _write(path: Path, table: dict[str, dict[str, dict[str, float]]]) -> None:
    try:
        path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    except OSError as problem:
        raise UserError(f"{str(path)!r} cannot be written ({problem.strerror}); choose another --json.") from None


def score(args: argparse.Namespace) -> int:
    """Print the table; 1 when a claim does not hold.

    Raises:
        UserError: a restorer cannot be opened, or the figures cannot be written.
    """
    further = {name: load_restorer(name, args.restorer_path) for name in args.restorer}
    table = evaluate({**dict(METHODS), **further}, args.damage, args.masks, args.seed, args.hidden)
    print(shown(table))
    if args.json:
        _write(args.json, table)
    complaints = [] if args.hidden else failed_bars(table)
    for complaint in complaints:
        print(f"missed: {complaint}", file=sys.stderr)
    return 1 if complaints else 0
