"""Treatments in ranks: Friedman's test, Nemenyi's, Holm's correction, and which cannot be told apart.

Owns what is computed from ranks over blocks. Every distribution is SciPy's. Pairs of treatments by themselves are
`paired`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy import float64
    from numpy.typing import NDArray

__all__ = ["Friedman", "critical_difference", "friedman", "groups", "holm", "merged", "nemenyi"]


@dataclass(frozen=True, slots=True)
class Friedman:
    """Friedman's test of whether treatments differ at all: `units` rows, each ranked over so many `treatments`.

    `chi_squared` and `p` are corrected for ties. `f` and `f_p` are what Iman and Davenport make of it ("Approximations
    of the critical region of the Friedman statistic", 1980, Communications in Statistics A9), which is nearer to the
    truth, and which conclusions are drawn from. `uncorrected` has both statistics as they are without ties; papers that
    compute them from average ranks print those.
    """

    units: int
    treatments: int
    chi_squared: float
    p: float
    f: float
    f_p: float
    uncorrected: tuple[float, float]

    @property
    def degrees(self) -> tuple[int, int]:
        """The degrees of freedom of `f`."""
        return self.treatments - 1, (self.treatments - 1) * (self.units - 1)

    def __str__(self) -> str:
        first, second = self.degrees
        return (
            f"Friedman chi-squared({first}) = {self.chi_squared:.2f}, p = {self.p:.3g}; "
            f"Iman-Davenport F({first}, {second}) = {self.f:.2f}, p = {self.f_p:.3g}"
        )


def friedman(goodness: NDArray[float64]) -> tuple[Friedman, NDArray[float64]]:
    """Friedman's test on rows of goodness (the greater the better), and the average ranks; 1 is the best.

    Friedman, "The Use of Ranks to Avoid the Assumption of Normality Implicit in the Analysis of Variance", 1937,
    Journal of the American Statistical Association 32.
    """
    from scipy import stats

    units, treatments = goodness.shape
    ranks = average_ranks(goodness)
    plain = 12 * units / (treatments * (treatments + 1)) * float((ranks**2).sum()) - 3 * units * (treatments + 1)
    plain = max(0.0, plain)
    if (goodness == goodness[:, :1]).all():
        # Where everything is tied, the correction divides by zero.
        return Friedman(units, treatments, 0.0, 1.0, 0.0, 1.0, (0.0, 0.0)), ranks
    found = stats.friedmanchisquare(*goodness.T)
    chi_squared = max(0.0, float(found.statistic))
    f = _iman_davenport(chi_squared, units, treatments)
    if math.isinf(f):
        # All rows have the same order. F would say that this cannot happen by chance; it can, this often.
        f_p = float(math.factorial(treatments)) ** (1 - units)
    else:
        f_p = float(stats.f.sf(f, treatments - 1, (treatments - 1) * (units - 1)))
    uncorrected = plain, _iman_davenport(plain, units, treatments)
    return Friedman(units, treatments, chi_squared, float(found.pvalue), f, f_p, uncorrected), ranks


def average_ranks(goodness: NDArray[float64]) -> NDArray[float64]:
    """The rank of each column, averaged over the rows: 1 where it is always the best."""
    from scipy import stats

    ranks: NDArray[float64] = stats.rankdata(-goodness, axis=1).mean(axis=0)
    return ranks


def _iman_davenport(chi_squared: float, units: int, treatments: int) -> float:
    room = units * (treatments - 1) - chi_squared
    return (units - 1) * chi_squared / room if room > 1e-9 * units else math.inf


def critical_difference(treatments: int, units: int, level: float) -> float:
    """How far apart two average ranks must be to differ by Nemenyi's test.

    Nemenyi, "Distribution-free Multiple Comparisons", 1963, thesis, Princeton University; as Demšar has it
    ("Statistical Comparisons of Classifiers over Multiple Data Sets", 2006, Journal of Machine Learning Research 7).

    >>> round(critical_difference(4, 14, 0.95), 2)
    1.25
    """
    from scipy import stats

    quantile = float(stats.studentized_range.ppf(level, treatments, math.inf))
    return quantile / math.sqrt(2) * _standard_error(treatments, units)


def nemenyi(distance: float, treatments: int, units: int) -> tuple[float, float, float]:
    """Of two average ranks that are so far apart: z, the p-value by itself, and the one for all pairs at once."""
    from scipy import stats

    z = distance / _standard_error(treatments, units)
    alone = float(2 * stats.norm.sf(abs(z)))
    together = float(stats.studentized_range.sf(abs(z) * math.sqrt(2), treatments, math.inf))
    # The numeric integral of SciPy may leave its range by rounding.
    return z, alone, min(1.0, max(alone, together))


def _standard_error(treatments: int, units: int) -> float:
    return math.sqrt(treatments * (treatments + 1) / (6 * units))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for being so many, by Holm's step-down rule.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979, Scandinavian Journal of Statistics 6.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, which in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, p_values[which] * (len(p_values) - place)))
        corrected[which] = largest
    return corrected


def merged(values: NDArray[float64], tolerances: NDArray[float64]) -> NDArray[float64]:
    """The same values, where those that only rounding keeps apart are made equal, so that they share a rank."""
    import numpy as np

    order = np.argsort(values, kind="stable")
    in_order, allowed = values[order], tolerances[order]
    is_new = np.ones(len(values), bool)
    is_new[1:] = np.diff(in_order) > np.maximum(allowed[1:], allowed[:-1])
    first = np.maximum.accumulate(np.where(is_new, np.arange(len(values)), 0))
    result = np.empty_like(values)
    result[order] = in_order[first]
    return result


def groups(ranks: Mapping[str, float], differ: set[frozenset[str]]) -> list[tuple[str, ...]]:
    """The largest groups of treatments of which no two differ, each in the order of the ranks; none of a single one.

    >>> groups({"a": 1.2, "b": 1.8, "c": 3.0}, {frozenset("ac")})
    [('a', 'b'), ('b', 'c')]
    """
    names = sorted(ranks, key=lambda name: (ranks[name], name))
    alike = {name: {other for other in names if frozenset((name, other)) not in differ} - {name} for name in names}
    found: list[tuple[str, ...]] = []

    def grow(chosen: list[str], candidates: set[str], excluded: set[str]) -> None:
        # Bron and Kerbosch, with a pivot.
        if not candidates and not excluded:
            if len(chosen) > 1:
                found.append(tuple(name for name in names if name in chosen))
            return
        pivot = max(sorted(candidates | excluded), key=lambda name: len(alike[name] & candidates))
        for name in sorted(candidates - alike[pivot], key=names.index):
            grow([*chosen, name], candidates & alike[name], excluded & alike[name])
            candidates = candidates - {name}
            excluded = excluded | {name}

    grow([], set(names), set())
    return sorted(found, key=lambda group: (names.index(group[0]), names.index(group[-1]), group))
