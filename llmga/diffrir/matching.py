"""Agreement without weights: the tone is fitted where the original is known, what is left of the seam is blended.

The painted picture shows the kept region too, a little off; how far off there tells what to do where nothing is kept.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from llmga.diffrir.drift import drift
from llmga.errors import UserError

ROUNDS = 12  # of reweighting
ENOUGH = 400_000  # pixels for a fit; of larger pictures every second, third … one is taken
OUTLIER = 4.685  # Tukey's constant, in standard deviations
FLAT = 25.0  # levels squared: a gain is only believed where the kept region varies by more than this
SWEEPS = 12  # of relaxation at each size
MOST = 2.0  # gain, or its inverse, that a tone may have
OTHER, SURELY_OTHER = 48, 72  # levels: less is never taken for another thing, more always
ALIKE = 0.5  # correlation of pictures that show the same thing
EDGE = 5  # pixels: what differs in narrower places is the blur of an edge
RIM, WIDEST_RIM = 4, 16  # levels from which on, and pixels over which, another thing's rim is taken to fade
FADE = 5  # pixels inside the hole over which the original gives way
NEIGHBOURHOOD = 7  # pixels over which two pictures are compared
SLOW = 33  # pixels over which a difference that stays is a drift
USUAL = 0.95  # share of the kept region that counts as showing the same thing


def match(
    image: Image.Image, reference: Image.Image | None, mask: Image.Image | None, *, blend: bool = False
) -> Image.Image:
    """The painted region in the tone of the kept one; kept pixels are the reference's.

    Args:
        image, reference, mask: of one size; the mask's upper half of the levels was painted.
        blend: also carry what still differs along the seam into the painted region, and fade from the original to
            the painting over its first pixels, wherever both show the same thing there.

    Returns: the image as it is where nothing is known of the original.
    Raises: UserError when the sizes differ.
    """
    if reference is None or mask is None:
        return image
    check_sizes(image, reference, mask)
    hole = np.asarray(mask.convert("L")) >= 128
    painted, known = (np.asarray(picture.convert("RGB"), dtype=np.float64) for picture in (image, reference))
    if hole.all():
        return image
    gain, bias = fit_tone(painted[~hole], known[~hole])
    toned = painted * gain + bias
    if blend and hole.any():
        toned = blended(toned, known, ~hole)
    result = np.where(hole[..., None], toned.round().clip(0, 255), known)
    return Image.fromarray(result.astype(np.uint8))


def matched(lq: Tensor, reference: Tensor, hole: Tensor, enough: int = ENOUGH) -> Tensor:
    """Pictures in the tone that their kept regions have in the reference, slow drifts taken out, kept region included.

    Args:
        lq: (B, 3, H, W), uint8 or float in [0, 1].
        reference: (B, 3, H s, W s), likewise; hole: (B, 1, H s, W s), not 0 where it says nothing.
        enough: pixels that a fit of the tone looks at.
    Returns: (B, 3, H, W), float32 in [0, 1], on lq's device; a picture of which nothing is kept stays as it is.
    """
    size = lq.shape[-2:]
    known = F.interpolate(_in_levels(reference), size, mode="area")
    kept = F.adaptive_max_pool2d(hole.float(), size)[:, 0].cpu().numpy() == 0
    painted = _in_levels(lq)
    both = zip(*(part.permute(0, 2, 3, 1).cpu().double().numpy() for part in (painted, known)), strict=True)
    for picture, where, (own, truth) in zip(painted, kept, both, strict=True):
        if where.any():
            picture.copy_(torch.from_numpy(_levelled(own, truth, where, enough)).permute(2, 0, 1))
    return (painted / 255).clamp(0, 1)


def _levelled(painted: np.ndarray, known: np.ndarray, kept: np.ndarray, enough: int) -> np.ndarray:
    """(height, width, 3) in the reference's tone and without a slow drift."""
    gain, bias = fit_tone(painted[kept], known[kept], enough)
    toned = painted * gain + bias
    unclipped = ((painted > 0) & (painted < 255)).all(-1)  # a clipped pixel says nothing of a drift
    residual = known - toned
    return toned + drift(residual, _same_content(residual, kept & unclipped))


def _in_levels(pictures: Tensor) -> Tensor:
    """A float32 copy in 0 to 255."""
    return pictures.float() if pictures.dtype == torch.uint8 else pictures.float() * 255


def check_sizes(image: Image.Image, reference: Image.Image, mask: Image.Image) -> None:
    """Raises: UserError when the three are not of one size."""
    for name, other in (("reference", reference), ("mask", mask)):
        if other.size != image.size:
            raise UserError(
                f"the {name} is {other.width}x{other.height}, but the picture is {image.width}x{image.height}; "
                f"give a {name} of the picture's size."
            )


def fit_tone(painted: np.ndarray, known: np.ndarray, enough: int = ENOUGH) -> tuple[np.ndarray, np.ndarray]:
    """Gain and bias of each channel that carry `painted` to `known`, both (pixels, 3) in levels of 0 to 255.

    Least squares with Tukey's weights, so that what was repainted by mistake, or blurred at edges, does not count;
    clipped pixels are left out, since they say nothing of a tone.
    """
    step = -(-len(painted) // enough)
    fits = [_fit_channel(painted[::step, channel], known[::step, channel]) for channel in range(painted.shape[1])]
    gain, bias = np.array(fits).T
    if _shown_apart(painted[::step], known[::step], gain, bias):
        return np.ones_like(gain), np.zeros_like(bias)
    return gain, bias


def _shown_apart(painted: np.ndarray, known: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> bool:
    """Whether a tone carries one thing's colours to another's: it moves them far, and what is light in one picture
    is not in the other."""
    toned = painted * gain + bias
    far = float(np.median(np.abs(toned - painted).max(1))) > OTHER
    x, y = (values - values.mean(0) for values in (toned, known))
    together = (x * y).sum() / max(float(np.sqrt((x**2).sum() * (y**2).sum())), 1e-9)
    return far and together < ALIKE


def _fit_channel(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    inside = (x > 0) & (x < 255) & (y > 0) & (y < 255)
    if inside.any():
        x, y = x[inside], y[inside]
    # From all pixels, another thing in the kept region may bend the tone for good; from those that share an offset, a
    # strong tone is missed.  That one counts which half of the pixels follow more closely.
    starts = np.ones_like(x), _inliers(y - x - np.median(y - x))
    return min((_reweighted(x, y, start) for start in starts), key=lambda fit: _misfit(x, y, *fit))


def _misfit(x: np.ndarray, y: np.ndarray, gain: float, bias: float) -> float:
    """Half of the pixels are off by less, to a tenth of a level."""
    return round(float(np.median(np.abs(y - gain * x - bias))), 1)


def _reweighted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    for _ in range(ROUNDS):
        mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
        covariance = np.average((x - mean_x) * (y - mean_y), weights=weights)
        variance = np.average((x - mean_x) ** 2, weights=weights)
        doubt = FLAT**2 / (variance + FLAT)  # of any gain but 1
        gain = (covariance + doubt) / (variance + doubt)
        gain = float(np.clip(gain, 1 / MOST, MOST))
        bias = mean_y - gain * mean_x
        weights = _inliers(y - gain * x - bias)
    return gain, bias


def _inliers(residual: np.ndarray) -> np.ndarray:
    """Tukey's weights."""
    limit = OUTLIER * max(1.4826 * float(np.median(np.abs(residual))), 0.5)  # half a level is rounding, not a fault
    return np.clip(1 - (residual / limit) ** 2, 0, None) ** 2


def blended(toned: np.ndarray, known: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The toned painting with its seam smoothed, (height, width, 3).

    Args:
        toned: in levels of 0 to 255, as painted on both sides of the seam; known: the original.
        kept: boolean (height, width), True somewhere and False somewhere.
    """
    residual = known - toned
    alike = _same_content(residual, kept)
    if not alike.any():
        return toned
    filled = toned + spread(residual, alike)
    share = (_nearness(kept) * _agreement(toned, filled, known, kept, alike))[..., None]
    return filled + share * (known - filled)


def _same_content(residual: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Where both pictures show the same thing, boolean (height, width): another thing painted up to the seam is no
    fault of tone, and carried into the hole it would smear.  The soft rim of what is wider than an edge belongs to
    it."""
    size = np.abs(residual).max(-1)
    usual = OUTLIER * 1.4826 * float(np.median(size[kept])) if kept.any() else 0.0
    other = torch.from_numpy(kept & (size > min(max(usual, OTHER), SURELY_OTHER)))
    odd = torch.from_numpy(kept & (size > min(max(usual, RIM), OTHER / 2)))
    thing = ~_grown(~other, EDGE // 2)
    for _ in range(EDGE // 2 + WIDEST_RIM):
        thing = _grown(thing) & odd
    return kept & ~(other | thing).numpy()


def _grown(marks: Tensor, reach: int = 1) -> Tensor:
    """Boolean (height, width), with all that is within so many pixels of a mark."""
    return F.max_pool2d(marks[None].float(), 2 * reach + 1, stride=1, padding=reach)[0] > 0


def _nearness(kept: np.ndarray) -> np.ndarray:
    """1 where kept, then falling to 0 over `FADE` pixels, (height, width)."""
    reached, near = torch.from_numpy(kept)[None].float(), torch.zeros(kept.shape)
    for _ in range(FADE):
        near += reached[0]
        reached = F.max_pool2d(reached, 3, stride=1, padding=1)
    return ((near + reached[0]) / (FADE + 1)).numpy()


def _agreement(
    toned: np.ndarray, filled: np.ndarray, known: np.ndarray, kept: np.ndarray, alike: np.ndarray
) -> np.ndarray:
    """1 where original and painting differ no more than they usually do where they are alike, 0 from twice as
    much on, (height, width): what was cut in two by the mask, or is new, must not be faded into.

    Both the size of the difference and its mean are looked at: another tone is no agreement, however small.  A slow
    drift is taken out first, on either side, since the membrane has taken it out of the painting, too.
    """
    outside = known - toned
    difference = np.where(kept[..., None], outside - _local_mean(outside, kept, SLOW), known - filled)
    measures = [np.abs(difference).mean(-1, keepdims=True), difference]
    excess = [_excess(measure, kept, alike) for measure in measures]
    return np.clip(2 - np.max(excess, axis=0), 0, 1)


def _excess(measure: np.ndarray, kept: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """How large the local means of (height, width, channels) are, (height, width), in units of what is usual where
    alike; kept and painted pixels are never averaged together."""
    inside, outside = (np.abs(_local_mean(measure, where, NEIGHBOURHOOD)).max(-1) for where in (~kept, kept))
    return np.where(kept, outside, inside) / max(float(np.quantile(outside[alike], USUAL)), 1.0)


def _local_mean(values: np.ndarray, where: np.ndarray, side: int) -> np.ndarray:
    """Mean over the pixels that count in a square around each one, (height, width, channels)."""
    stacked = np.concatenate([values * where[..., None], where[..., None]], axis=-1)
    pixels = torch.from_numpy(stacked).float().permute(2, 0, 1)[None]
    means = F.avg_pool2d(pixels, side, 1, side // 2)[0]
    return (means[:-1] / means[-1].clamp_min(1e-6)).permute(1, 2, 0).numpy()


def spread(residual: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """What differs on the kept side of the seam, carried into the hole as a membrane would: fine ripples fade within
    a few pixels, a slow drift reaches across.

    Args:
        residual: (height, width, channels), read where kept only.
        kept: boolean (height, width), True somewhere.
    Returns: (height, width, channels); in the hole without jumps, elsewhere the residual itself.
    """
    values = torch.from_numpy(np.moveaxis(residual, -1, 0).astype(np.float32))[None]
    known = torch.from_numpy(kept)[None, None]
    return np.moveaxis(_membrane(values * known, known)[0].numpy(), 0, -1)


def _membrane(values: Tensor, known: Tensor) -> Tensor:
    """Fill (1, C, H, W) where not known: begin with the answer at half the size, then relax."""
    if known.all():
        return values
    share = _halved(known.float())
    coarse = _membrane(_halved(values) / share.clamp_min(1e-6), share > 0)
    filled = F.interpolate(coarse, values.shape[-2:], mode="bilinear", align_corners=False)
    for _ in range(SWEEPS):
        filled = torch.where(known, values, filled)
        ring = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        filled = (ring[..., 1:-1, :-2] + ring[..., 1:-1, 2:] + ring[..., :-2, 1:-1] + ring[..., 2:, 1:-1]) / 4
    return torch.where(known, values, filled)


def _halved(x: Tensor) -> Tensor:
    """Means of 2x2 pixels; the last row and column of an odd side stand for themselves."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
