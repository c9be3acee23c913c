"""One column of results in a few numbers: mean, spread, and an interval for the mean.

Owns what is said of a single group of values. What one group is beside another is `comparisons`' to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paceline.experiments.libraries import require

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from numpy import float64
    from numpy.typing import NDArray

__all__ = ["Summary", "repetitions_needed", "summarise"]

_RESAMPLES = 9_999
# What a bootstrap holds in memory at a time, in values.
_AT_ONCE = 2_000_000
# A bootstrap of fewer values knows too little of their spread.
_ENOUGH_TO_RESAMPLE = 10


@dataclass(frozen=True, slots=True)
class Summary:
    """The `mean` of `n` values, their standard deviation `std`, and an interval for the mean, `low` to `high`.

    `std` divides by n - 1. What cannot be known is `nan`, and then `warnings` says why, in words. `interval` names how
    the interval was found and `level` how often such an interval holds the true mean.

    >>> print(Summary(0.912, 0.0124, 0.905, 0.919, 10))
    0.912 ± 0.0124 (n = 10, 95 % interval 0.905 to 0.919)
    """

    mean: float
    std: float
    low: float
    high: float
    n: int
    interval: str = "t"
    level: float = 0.95
    warnings: tuple[str, ...] = ()

    @property
    def half_width(self) -> float:
        """Half of the interval's length, in the values' unit."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        if self.n == 0:
            return "no values"
        if math.isnan(self.low):
            return f"{self.mean:.4g} (n = {self.n}, no interval)"
        return (
            f"{self.mean:.4g} ± {self.std:.3g} (n = {self.n}, {self.level * 100:g} % interval "
            f"{self.low:.4g} to {self.high:.4g})"
        )


def summarise(
    values: Sequence[float | None], *, interval: Literal["t", "bca"] = "t", level: float = 0.95, seed: int = 0
) -> Summary:
    """The mean, the standard deviation, and an interval for the mean of some values.

    >>> summary = summarise([0.91, 0.93, 0.92, 0.90, 0.94])
    >>> print(summary)
    0.92 ± 0.0158 (n = 5, 95 % interval 0.9004 to 0.9396)

    `interval` is "t" (Student's, for values that are about normal, or many) or "bca": the bias-corrected and
    accelerated bootstrap of Efron ("Better Bootstrap Confidence Intervals", 1987, Journal of the American Statistical
    Association 82), for skewed values, with 9,999 resamples drawn by a generator with this `seed`. `level` is between 0
    and 1.

    Values that are not numbers (NaN, None) are left out, and `warnings` says how many. There it is also told if there
    is one value only or none, if all are the same, if one is infinite, and if they are too few for a bootstrap. The
    interval takes the values as independent of each other; scores of cross-validation are not, and their interval is
    too short.

    Raises `ValueError` for another `interval` or `level`, `ModuleNotFoundError` where numpy or SciPy is missing.
    """
    require("numpy", "scipy.stats")
    import numpy as np

    if interval not in {"t", "bca"}:
        raise ValueError(f"interval must be 't' or 'bca', not {interval!r}")
    check_level(level)
    given = as_numbers(values, "values")
    known = given[~np.isnan(given)]
    count = len(known)
    warnings = []
    if count < len(given):
        warnings.append(
            f"{len(given) - count} of {len(given)} values are missing and were left out: if they are missing because "
            "of what they would have been, the mean is biased"
        )
    if count == 0:
        warnings.append("there are no values, so there is no mean")
        return Summary(math.nan, math.nan, math.nan, math.nan, 0, interval, level, tuple(warnings))
    # Sums that overflow are infinite means, which are told below.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(known.mean())
    if not np.isfinite(mean):
        warnings.append("a value, or the sum of the values, is infinite: neither a spread nor an interval can be known")
        return Summary(mean, math.nan, math.nan, math.nan, count, interval, level, tuple(warnings))
    if count == 1:
        warnings.append("there is one value only: its spread cannot be known without further repetitions")
        return Summary(mean, math.nan, math.nan, math.nan, 1, interval, level, tuple(warnings))
    if known.min() == known.max():
        # The mean of equal numbers may differ from them by rounding.
        mean = float(known[0])
        warnings.append(
            f"all {count} values are the same: either nothing varies, and repetitions tell nothing, "
            "or what should vary (a seed, a sample) is not used"
        )
        return Summary(mean, 0.0, mean, mean, count, interval, level, tuple(warnings))
    std = float(known.std(ddof=1))
    if interval == "t":
        low, high = _t_interval(mean, std, count, level)
    else:
        low, high = _bca_interval(known, level, seed)
        if count < _ENOUGH_TO_RESAMPLE:
            warnings.append(
                f"a bootstrap of {count} values gives intervals that are too short: repeat more often, "
                "or take interval='t' if the values are about normal"
            )
        if math.isnan(low) or math.isnan(high):
            warnings.append("the bootstrap found no interval: too many of the values are the same")
    return Summary(mean, std, low, high, count, interval, level, tuple(warnings))


def _t_interval(mean: float, std: float, count: int, level: float) -> tuple[float, float]:
    from scipy import stats

    low, high = stats.t.interval(level, count - 1, loc=mean, scale=std / math.sqrt(count))
    return float(low), float(high)


def _bca_interval(values: NDArray[float64], level: float, seed: int) -> tuple[float, float]:
    import warnings

    import numpy as np
    from scipy import stats

    with warnings.catch_warnings():
        # SciPy warns of what comes out as `nan`, and is told in words.
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=_RESAMPLES,
            batch=max(1, _AT_ONCE // len(values)),
            confidence_level=level,
            method="BCa",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


def repetitions_needed(values: Sequence[float], half_width: float, level: float = 0.95) -> int:
    """How many repetitions are needed, in all, for a mean that is known to within `half_width` on either side.

    >>> repetitions_needed([0.91, 0.93, 0.92, 0.90, 0.94], half_width=0.01)
    20

    `values` are those of the first repetitions, which tell how much the results vary; `half_width` is in their unit.
    It is the two-stage rule of Stein ("A Two-Sample Test for a Linear Hypothesis Whose Power is Independent of the
    Variance", 1945, Annals of Mathematical Statistics 16): the smallest n for which t · s / √n is at most `half_width`,
    where t has the degrees of freedom of the values at hand. So few first repetitions ask for more in all, as they know
    less of the spread. If the answer is below the number of values, these are more than enough.

    Raises `ValueError` for fewer than two values, values that are not finite numbers, and a `half_width` that is not
    positive.
    """
    require("numpy", "scipy.stats")
    import numpy as np
    from scipy import stats

    check_level(level)
    known = as_numbers(values, "values")
    if not half_width > 0 or not math.isfinite(half_width):
        raise ValueError(f"half_width must be a positive number, in the unit of the values, not {half_width!r}")
    if not np.isfinite(known).all():
        raise ValueError(
            "some values are missing or infinite, so nobody can say how much they vary\n"
            "hint: leave out those of runs that failed"
        )
    if len(known) < 2:
        raise ValueError(
            f"{len(known)} values do not tell how much they vary\nhint: repeat a few times first; ten is a good start"
        )
    quantile = float(stats.t.ppf((1 + level) / 2, len(known) - 1))
    needed = (quantile * float(known.std(ddof=1)) / half_width) ** 2
    # Rounding must not ask for one more than what was just enough.
    return max(2, math.ceil(needed * (1 - 1e-12)))


def check_level(level: float) -> None:
    """Raises `ValueError` unless the level is between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level!r}\nhint: 0.95 for intervals of 95 %")


def as_numbers(values: Sequence[float | None], name: str) -> NDArray[float64]:
    """The values as one row of floats; None becomes NaN. Raises `TypeError` for what is no number."""
    import numpy as np

    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be a sequence of numbers, not a string")
    try:
        row = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a sequence of numbers: {error}") from error
    if row.ndim != 1:
        raise TypeError(f"{name} must be a sequence of numbers, but have {row.ndim} dimensions")
    return row
