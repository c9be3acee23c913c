"""Two treatments on the same blocks: tests of their differences, how large these are, and Bayesian answers.

Owns what is computed from one row of paired differences, or from two rows of scores of one data set. Positive always
means that the first treatment is the better one. Every distribution and test is SciPy's where it has one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paceline.experiments.ranks import merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

__all__ = [
    "Posterior",
    "SignedRanks",
    "bayesian_signed_rank",
    "bayesian_t",
    "cohens_dz",
    "corrected_t",
    "interval",
    "vargha_delaney",
]

# The strength of the prior of the Bayesian signed-rank test, and how often its posterior is sampled.
_PRIOR_STRENGTH = 0.5
_SAMPLES = 50_000
# With many differences there are fewer samples, of so many weights in all; what they are off by is below 0.01.
_LEAST_SAMPLES, _WEIGHTS = 10_000, 10_000_000
_AT_ONCE = 1_000_000
# Wilcoxon's test is exact for up to so many differences, and where some are tied or zero, for up to so many.
_EXACT, _EXACT_WITH_TIES = 50, 15


@dataclass(frozen=True, slots=True, eq=False)
class SignedRanks:
    """The ranks of the sizes of differences, with their signs; sizes that only rounding keeps apart share a rank.

    `zeros` differences are zero, and so many share their size with another (`ties`). The ranks of zeros are split
    between both sides, as Demšar does ("Statistical Comparisons of Classifiers over Multiple Data Sets", 2006, Journal
    of Machine Learning Research 7).
    """

    signed: NDArray[float64]
    plus: float
    zeros: int
    ties: int

    @classmethod
    def of(cls, differences: NDArray[float64], tolerances: NDArray[float64]) -> SignedRanks:
        """The ranks of differences, of which each may be off by its tolerance."""
        import numpy as np

        sizes = merged(np.append(np.abs(differences), 0.0), np.append(tolerances, 0.0))[:-1]
        _, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
        # The mean of the ranks that equal sizes would have one after the other.
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
        is_zero = sizes == 0
        ties = counts[which][~is_zero] > 1
        plus = float(ranks[~is_zero & (differences > 0)].sum() + ranks[is_zero].sum() / 2)
        signed = np.where(is_zero, 0.0, np.sign(differences) * ranks)
        return cls(signed, plus, int(is_zero.sum()), int(ties.sum()))

    @property
    def n(self) -> int:
        """How many differences there are, with those that are zero."""
        return len(self.signed)

    @property
    def rank_biserial(self) -> float:
        """The matched-pairs rank-biserial correlation: the share of the ranks for the first, less that against it.

        Kerby, "The Simple Difference Formula", 2014, Comprehensive Psychology 3. From -1 to 1.
        """
        return 4 * self.plus / (self.n * (self.n + 1)) - 1

    @property
    def is_exact(self) -> bool:
        """Whether the p-value is exact, not an approximation by a normal distribution."""
        return self.n <= (_EXACT_WITH_TIES if self.zeros or self.ties else _EXACT)

    def wilcoxon(self) -> tuple[float, float]:
        """Wilcoxon's signed-rank test: the smaller of the two sums of ranks, and the p-value for two sides.

        Wilcoxon, "Individual Comparisons by Ranking Methods", 1945, Biometrics Bulletin 1.
        """
        import warnings

        import numpy as np
        from scipy import stats

        statistic = min(self.plus, self.n * (self.n + 1) / 2 - self.plus)
        if self.zeros == self.n:
            return statistic, 1.0
        if self.is_exact and (self.zeros or self.ties):
            # Each of all signs that these ranks may have; SciPy's own test would rank them anew for each.
            found = stats.permutation_test(
                (self.signed,),
                lambda signed, axis: np.maximum(signed, 0.0).sum(axis=axis),
                permutation_type="samples",
                vectorized=True,
                n_resamples=2**_EXACT_WITH_TIES,
            )
            return statistic, float(found.pvalue)
        with warnings.catch_warnings():
            # Older versions of SciPy warn of ties, and of few differences; the comparison says so by itself.
            warnings.simplefilter("ignore")
            found = stats.wilcoxon(self.signed, zero_method="zsplit")
        return statistic, float(found.pvalue)


def corrected_t(differences: NDArray[float64], ratio: float) -> tuple[float, float]:
    """The t statistic and the p-value of differences whose samples overlap; with a ratio of 0 it is the paired t-test.

    `ratio` is the size of the test set over that of the training set. Nadeau and Bengio, "Inference for the
    Generalization Error", 2003, Machine Learning 52; for repeated cross-validation as in Bouckaert and Frank,
    "Evaluating the Replicability of Significance Tests for Comparing Learning Algorithms", 2004, PAKDD.
    """
    from scipy import stats

    mean, scale = float(differences.mean()), _scale(differences, ratio)
    if scale == 0:
        return (math.copysign(math.inf, mean), 0.0) if mean else (0.0, 1.0)
    t = mean / scale
    return t, float(2 * stats.t.sf(abs(t), len(differences) - 1))


def interval(differences: NDArray[float64], ratio: float, level: float) -> tuple[float, float]:
    """Student's interval for the mean difference; wider by as much as samples overlap (`ratio`, as for the test)."""
    from scipy import stats

    mean = float(differences.mean())
    if len(differences) < 2:
        return math.nan, math.nan
    reach = float(stats.t.ppf((1 + level) / 2, len(differences) - 1)) * _scale(differences, ratio)
    return mean - reach, mean + reach


def _scale(differences: NDArray[float64], ratio: float) -> float:
    """The standard error of the mean difference."""
    count = len(differences)
    if differences.min() == differences.max():
        return 0.0
    return math.sqrt((1 / count + ratio) * float(differences.var(ddof=1)))


def cohens_dz(differences: NDArray[float64]) -> float:
    """The mean difference in standard deviations of the differences.

    Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, Erlbaum. Infinite where all are the same.
    """
    mean = float(differences.mean())
    if len(differences) < 2:
        return math.nan
    std = float(differences.std(ddof=1)) if differences.min() != differences.max() else 0.0
    if std == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / std


def vargha_delaney(first: NDArray[float64], second: NDArray[float64], tolerance: float) -> float:
    """How probable it is that a score of the first is the better one of two that are drawn from each; ties count half.

    Vargha and Delaney, "A Critique and Improvement of the CL Common Language Effect Size Statistics of McGraw and
    Wong", 2000, Journal of Educational and Behavioral Statistics 25. Cliff's delta ("Dominance Statistics", 1993,
    Psychological Bulletin 114) is twice that, less one.
    """
    import numpy as np

    in_order = np.sort(second)
    worse = np.searchsorted(in_order, first - tolerance, side="left")
    no_better = np.searchsorted(in_order, first + tolerance, side="right")
    return float((worse + no_better).sum()) / (2 * len(first) * len(second))


@dataclass(frozen=True, slots=True)
class Posterior:
    """How probable it is that the first treatment is better by more than `rope`, within it, or worse by more.

    Of the mean difference where one data set is repeated; of what prevails on a further data set where there are many.
    """

    better: float
    equivalent: float
    worse: float
    rope: float

    def __str__(self) -> str:
        return f"better {self.better:.3f}, equivalent {self.equivalent:.3f}, worse {self.worse:.3f}"


def bayesian_t(differences: NDArray[float64], ratio: float, rope: float) -> Posterior:
    """The Bayesian correlated t-test of repetitions on one data set, in closed form.

    Corani and Benavoli, "A Bayesian approach for comparing cross-validated algorithms on multiple data sets", 2015,
    Machine Learning 100; Benavoli, Corani, Demšar and Zaffalon, "Time for a Change: a Tutorial for Comparing Multiple
    Classifiers Through Bayesian Analysis", 2017, Journal of Machine Learning Research 18.
    """
    from scipy import stats

    mean, scale = float(differences.mean()), _scale(differences, ratio)
    if scale == 0:
        better, worse = float(mean > rope), float(mean < -rope)
    else:
        posterior = stats.t(len(differences) - 1, loc=mean, scale=scale)
        better, worse = float(posterior.sf(rope)), float(posterior.cdf(-rope))
    return Posterior(better, max(0.0, 1 - better - worse), worse, rope)


def bayesian_signed_rank(differences: NDArray[float64], rope: float, seed: int) -> Posterior:
    """The Bayesian signed-rank test over data sets, by sampling with a generator of this seed.

    Weights of the differences (and of one pseudo-observation of zero, as the prior) are drawn from their posterior, a
    Dirichlet distribution; each draw gives a share to better, equivalent and worse, by the sums of all pairs of
    differences, and counts for the largest. Benavoli, Corani, Mangili, Zaffalon and Ruggeri, "A Bayesian Wilcoxon
    signed-rank test based on the Dirichlet process", 2014, International Conference on Machine Learning; Benavoli,
    Corani, Demšar and Zaffalon, "Time for a Change", 2017, Journal of Machine Learning Research 18.
    """
    import numpy as np

    # Sorted, and turned to one side, the same differences get the same draws in any order and in both directions.
    is_turned = float(differences.sum()) < 0
    z = np.append(-differences if is_turned else differences, 0.0)
    strengths = np.append(np.ones(len(differences)), _PRIOR_STRENGTH)
    order = np.lexsort((strengths, z))
    z, strengths = z[order], strengths[order]
    # A sum of two counts if it is beyond twice the rope: of each difference, which others make it so.
    above = np.searchsorted(z, 2 * rope - z, side="right")
    below = np.searchsorted(z, -2 * rope - z, side="left")
    generator = np.random.default_rng(seed)
    counts = np.zeros(3)
    samples = min(_SAMPLES, max(_LEAST_SAMPLES, _WEIGHTS // len(z)))
    drawn, at_once = 0, max(1, _AT_ONCE // len(z))
    while drawn < samples:
        weights = generator.dirichlet(strengths, min(at_once, samples - drawn))
        drawn += len(weights)
        sums = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)], axis=1)
        better = (weights * (sums[:, -1:] - sums[:, above])).sum(axis=1)
        worse = (weights * sums[:, below]).sum(axis=1)
        shares = np.stack([better, 1 - better - worse, worse], axis=1)
        if rope > 0:
            counts += np.bincount(shares.argmax(axis=1), minlength=3)
        else:
            # Without a region nothing is equivalent, and what is equal counts half for either side.
            wins = float((better > worse).sum() + (better == worse).sum() / 2)
            counts += (wins, 0.0, len(weights) - wins)
    better_share, equivalent, worse_share = (float(count) / samples for count in counts)
    if is_turned:
        better_share, worse_share = worse_share, better_share
    return Posterior(better_share, equivalent, worse_share, rope)
