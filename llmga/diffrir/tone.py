"""The tone by which a painting is off: gain and bias of each channel, fitted where the original is known."""

import numpy as np

ROUNDS = 12  # of reweighting
ENOUGH = 50_000  # pixels for a fit; of larger pictures every second, third … one is taken
OUTLIER = 4.685  # Tukey's constant, in standard deviations
FLAT = 25.0  # levels squared: a gain is only believed where the kept region varies by more than this
MOST = 2.0  # gain, or its inverse, that a tone may have
OTHER = 48  # levels: a tone that moves colours by less never carries one thing's to another's
ALIKE = 0.5  # correlation of pictures that show the same thing

Tone = tuple[np.ndarray, np.ndarray]  # gain and bias of each channel


def fit_tone(painted: np.ndarray, known: np.ndarray, enough: int = ENOUGH) -> Tone:
    """Gain and bias of each channel that carry `painted` to `known`, both (pixels, 3) in levels of 0 to 255.

    Least squares with Tukey's weights, so that what was repainted by mistake, or blurred at edges, does not count;
    clipped pixels are left out, since they say nothing of a tone.
    """
    step = -(-len(painted) // enough)
    painted, known = (pixels[::step].astype(np.float64) for pixels in (painted, known))
    gain, bias = np.array([_fit_channel(*pair) for pair in zip(painted.T, known.T, strict=True)]).T
    if _shown_apart(painted, known, gain, bias):
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
    starts = np.ones_like(x), inliers(y - x - np.median(y - x))
    return min((_reweighted(x, y, start) for start in starts), key=lambda fit: _misfit(x, y, *fit))


def _misfit(x: np.ndarray, y: np.ndarray, gain: float, bias: float) -> float:
    """Half of the pixels are off by less, to a tenth of a level."""
    return round(float(np.median(np.abs(y - gain * x - bias))), 1)


def _reweighted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    for _ in range(ROUNDS):
        mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
        covariance = np.average((x - mean_x) * (y - mean_y), weights=weights)
        variance = np.average((x - mean_x) ** 2, weights=weights)
        gain = _gain(covariance, variance, np.average((y - mean_y) ** 2, weights=weights))
        bias = mean_y - gain * mean_x
        weights = inliers(y - gain * x - bias)
    return gain, bias


def _gain(covariance: float, variance: float, known_variance: float) -> float:
    """Of least squares, unless noise in the painting alone would explain it: the slopes with all noise in the one or
    all in the other picture have the true one between them (Frisch), and when 1 lies there, it is taken."""
    doubt = FLAT**2 / (variance + FLAT)  # of any gain but 1
    gain = (covariance + doubt) / (variance + doubt)
    steepest = (known_variance + doubt) / (covariance + doubt) if covariance > -doubt else np.inf
    return 1.0 if gain < 1 <= steepest else float(np.clip(gain, 1 / MOST, MOST))


def inliers(residual: np.ndarray) -> np.ndarray:
    """Tukey's weights."""
    limit = OUTLIER * max(1.4826 * float(np.median(np.abs(residual))), 0.5)  # half a level is rounding, not a fault
    return np.clip(1 - (residual / limit) ** 2, 0, None) ** 2
