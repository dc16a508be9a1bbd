"""How sure a share of right answers is: Wilson's interval."""

from math import sqrt
from statistics import NormalDist


def wilson(right: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval that holds the true share of right answers, by Wilson's score.

    Unlike the normal approximation it stays within 0 and 1, is honest for few cases, and is never of width nought when
    all answers are right or all are wrong.  Without cases everything is possible: (0, 1).

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22 (1927), 209-212; without a correction for continuity.

    Args:
        right: how many answers are right, 0 to `of`.
        of: how many were asked for, at least 0.
        confidence: how often such an interval holds the true share, between 0 and 1.

    Returns:
        The lower and the upper end, 0 to 1.

    Raises:
        ValueError: the counts or the confidence are out of range.
    """
    if not 0 <= right <= of or not 0 < confidence < 1:
        raise ValueError(f"{right} of {of} at a confidence of {confidence}: 0 <= right <= of and 0 < confidence < 1.")
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = right / of, z * z / of
    centre, reach = share + weight / 2, z * sqrt(share * (1 - share) / of + weight / of / 4)
    low, high = ((centre + side * reach) / (1 + weight) for side in (-1, 1))
    return 0.0 if right == 0 else low, 1.0 if right == of else high  # exact there, whatever rounding says
