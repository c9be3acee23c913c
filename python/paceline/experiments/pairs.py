"""Pairs of treatments: each with its test, its effect sizes, and what can be concluded.

Owns the choice of the test for a pair, and the warnings of pairs. What is asked, and what is said of all treatments
together, is `comparisons`' to know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from paceline.experiments.paired import (
    Posterior,
    SignedRanks,
    bayesian_signed_rank,
    bayesian_t,
    cohens_dz,
    corrected_t,
    interval,
    vargha_delaney,
)
from paceline.experiments.ranks import average_ranks, critical_difference, holm, nemenyi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy import bool_, float64
    from numpy.typing import NDArray

__all__ = ["Asked", "Family", "Pair", "decided", "p_in_words"]

# Wilcoxon's test cannot come to p < 0.05 with fewer differences.
_LEAST_DIFFERENCES = 6
_NAMED = 3

WILCOXON, CORRECTED_T, NEMENYI = "Wilcoxon signed-rank", "corrected resampled t", "Nemenyi"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two treatments, and whether they differ: `better` names the better one where that is shown, else it is None.

    `dataset` is None for what is said over several data sets, from `n` differences of means; else the pair is compared
    on that data set alone, over `n` repetitions. `difference` is the mean of first minus second, in the scores'
    own unit, and `low` to `high` Student's interval for it. `p` is the test's own p-value, `p_corrected` the one that
    holds although many pairs are tested at once; it decides.

    Effect sizes are positive where the first is better: `rank_biserial` (of the paired differences, from -1 to 1),
    `cohens_dz` (mean over standard deviation of the differences), `vargha_delaney` (how probable a better score of the
    first is, from 0 to 1, within a data set) and `cliffs_delta` (the same from -1 to 1).
    """

    first: str
    second: str
    dataset: str | None
    n: int
    unit: str
    difference: float
    low: float
    high: float
    test: str
    statistic: float
    p: float
    p_corrected: float
    level: float
    better: str | None
    rank_biserial: float
    cohens_dz: float
    vargha_delaney: float
    higher_is_better: bool = True
    posterior: Posterior | None = None

    @property
    def cliffs_delta(self) -> float:
        """Vargha and Delaney's measure from -1 to 1, with 0 for no difference."""
        return 2 * self.vargha_delaney - 1

    @property
    def conclusion(self) -> str:
        """What can be said of the pair, in a sentence."""
        where = "" if self.dataset is None else f"on {self.dataset}, "
        # Of the one that is named first in the sentence, less the other.
        difference = -self.difference if self.better == self.second else self.difference
        facts = f"{p_in_words(self.p_corrected)}, mean difference {difference:.3g} over {self.n} {self.unit}"
        if self.better is None:
            said = f"{where}no difference between {self.first} and {self.second} can be shown ({facts})"
        else:
            worse = self.second if self.better == self.first else self.first
            gain = self.difference if (self.better == self.first) == self.higher_is_better else -self.difference
            though = "" if gain >= 0 else ", though the mean says otherwise"
            said = f"{where}{self.better} is better than {worse} ({facts}){though}"
        return said if self.posterior is None else f"{said}; {self._bayesian(self.posterior)}"

    def _bayesian(self, posterior: Posterior) -> str:
        """What the posterior says: the most probable of the three, and whether that is enough to act on."""
        region = f"within ±{posterior.rope:g}" if posterior.rope else "equal"
        answers = [
            (posterior.better, f"{self.first} is better"),
            (posterior.equivalent, f"they are practically equivalent ({region})"),
            (posterior.worse, f"{self.second} is better"),
        ]
        probability, answer = max(answers, key=lambda one: one[0])
        beyond = f" by more than {posterior.rope:g}" if posterior.rope and "equivalent" not in answer else ""
        doubt = "" if probability >= self.level else f", short of {self.level:g}, so it stays open"
        return f"{answer}{beyond} with probability {probability:.3f}{doubt}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller of a comparison wants to know."""

    reference: str | None
    higher_is_better: bool
    level: float
    rope: float | None
    seed: int

    def pairs(self, treatments: Sequence[str]) -> list[tuple[int, int]]:
        """The columns of the pairs to test: each with each, or each with the reference, which is the second."""
        if self.reference is None:
            return [(first, second) for second in range(len(treatments)) for first in range(second)]
        reference = treatments.index(self.reference)
        return [(first, reference) for first in range(len(treatments)) if first != reference]


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Pairs that are tested in one table.

    It has a row for each unit (a data set, or a repetition of one) and a column for each treatment; the greater the
    better. `tables` holds such a table of repetitions for each data set that the rows are about. `ratio` is None for
    runs that are independent of each other, else it is that of the corrected test. Where `is_certain`, a treatment has
    the same score in each row.
    """

    treatments: tuple[str, ...]
    unit: str
    dataset: str | None
    rows: NDArray[float64]
    tolerances: NDArray[float64]
    tables: tuple[NDArray[float64], ...]
    ratio: float | None
    is_certain: NDArray[bool_]

    def drafts(self, asked: Asked, *, by_ranks: bool = False) -> tuple[list[Pair], list[str]]:
        """The pairs, of which `p` is not corrected yet and `better` is only where each leans; and what to warn of."""
        tested = [
            self._draft(first, second, asked, by_ranks=by_ranks) for first, second in asked.pairs(self.treatments)
        ]
        drafts = [draft for draft, _ in tested]
        warnings = self._warn_of_equal_differences(drafts)
        if asked.rope is not None and len(self.tables) > 1 and len(self.rows) < _LEAST_DIFFERENCES:
            warnings.append(
                f"the Bayesian signed-rank test takes {len(self.rows)} data sets for all there are, so probabilities "
                "near 1 come easily: they say little about a further one"
            )
        if by_ranks:
            return self._by_ranks(drafts), [*warnings, *self._rank_warnings(asked)]
        return drafts, [*warnings, *self._warnings([(draft, found) for draft, found in tested if found is not None])]

    def _warn_of_equal_differences(self, drafts: Sequence[Pair]) -> list[str]:
        certain = {name for name, never in zip(self.treatments, self.is_certain, strict=True) if never}
        equal = [
            f"{draft.first} and {draft.second}"
            for draft in drafts
            if draft.test == CORRECTED_T and math.isnan(draft.statistic) and not {draft.first, draft.second} <= certain
        ]
        if not equal:
            return []
        named = equal[0] if len(equal) == 1 else f"{equal[0]}, and {len(equal) - 1} more"
        where = f"in all {len(self.rows)} repetitions on {self.dataset}"
        unsure = "the corrected t-test cannot tell how sure that is, so nothing is concluded: run more repetitions"
        return [f"{named}: the same difference {where}; {unsure}"]

    def _draft(self, first: int, second: int, asked: Asked, *, by_ranks: bool) -> tuple[Pair, SignedRanks | None]:
        differences = self.rows[:, first] - self.rows[:, second]
        ranks = SignedRanks.of(differences, self.tolerances)
        is_certain = bool(self.is_certain[first] and self.is_certain[second])
        if is_certain:
            # The same two numbers over and over are one observation, whatever a test makes of many.
            statistic, p, leaning = math.nan, 1.0, 0.0
        elif by_ranks:
            # Decided by all treatments' ranks together.
            statistic, p, leaning = math.nan, 1.0, 0.0
        elif self.ratio is None:
            statistic, p = ranks.wilcoxon()
            leaning = ranks.rank_biserial
        elif differences.any() and differences.max() - differences.min() <= self.tolerances.max():
            # The test measures how sure a mean is by how differences vary, which these do not: it would be certain.
            statistic, p, leaning = math.nan, 1.0, 0.0
        else:
            statistic, p = corrected_t(differences, self.ratio)
            leaning = statistic
        names = self.treatments[first], self.treatments[second]
        sign = 1 if asked.higher_is_better else -1
        low, high = sorted(sign * end for end in interval(differences, self.ratio or 0.0, asked.level))
        draft = Pair(
            first=names[0],
            second=names[1],
            dataset=self.dataset,
            n=len(differences),
            unit=self.unit,
            difference=sign * float(differences.mean()),
            low=low,
            high=high,
            test=WILCOXON if self.ratio is None else CORRECTED_T,
            statistic=statistic,
            p=p,
            p_corrected=p,
            level=asked.level,
            better=_towards(leaning, names),
            rank_biserial=ranks.rank_biserial,
            cohens_dz=cohens_dz(differences),
            vargha_delaney=self._vargha_delaney(first, second),
            higher_is_better=asked.higher_is_better,
            posterior=None
            if asked.rope is None or is_certain
            else self._posterior(differences, asked.rope, asked.seed),
        )
        return draft, None if is_certain or self.ratio is not None else ranks

    def _vargha_delaney(self, first: int, second: int) -> float:
        """Within each data set, and the mean of that."""
        tolerance = float(self.tolerances.min())
        found = [vargha_delaney(table[:, first], table[:, second], tolerance) for table in self.tables]
        return sum(found) / len(found)

    def _posterior(self, differences: NDArray[float64], rope: float, seed: int) -> Posterior:
        if len(self.tables) > 1:
            return bayesian_signed_rank(differences, rope, seed)
        return bayesian_t(differences, self.ratio or 0.0, rope)

    def _by_ranks(self, drafts: list[Pair]) -> list[Pair]:
        """The same pairs, by the distances of their average ranks."""
        ranks = dict(zip(self.treatments, average_ranks(self.rows), strict=True))
        found = []
        for draft in drafts:
            distance = float(ranks[draft.second] - ranks[draft.first])
            z, alone, together = nemenyi(distance, len(self.treatments), len(self.rows))
            better = _towards(distance, (draft.first, draft.second))
            found.append(replace(draft, test=NEMENYI, statistic=z, p=alone, p_corrected=together, better=better))
        return found

    def _rank_warnings(self, asked: Asked) -> list[str]:
        found = []
        least, most = critical_difference(len(self.treatments), len(self.rows), asked.level), len(self.treatments) - 1
        if least > most:
            found.append(
                f"average ranks differ by {most} at most, and Nemenyi's test over {len(self.rows)} {self.unit} asks "
                f"for {least:.2f}: no difference could be shown, however large; there have to be more {self.unit}"
            )
        if asked.reference is not None:
            found.append(
                "Nemenyi's test corrects for all pairs, though only those with the reference are asked for: Holm's "
                "correction finds more"
            )
        return found

    def _warnings(self, tested: list[tuple[Pair, SignedRanks]]) -> list[str]:
        """Of Wilcoxon's test: differences that are too few, or of which too many are zero or tied."""
        found = []
        enough = [(pair, test) for pair, test in tested if test.n >= _LEAST_DIFFERENCES]
        where = "" if self.dataset is None else f" on {self.dataset}"
        few = [(pair, test) for pair, test in enough if test.n - test.zeros < _LEAST_DIFFERENCES]
        if few:
            found.append(
                f"Wilcoxon's test needs {_LEAST_DIFFERENCES} differences that are not zero, which "
                f"{_pairs(pair for pair, _ in few)} have not{where}: their scores are mostly the same"
            )
        rough = [pair for pair, test in enough if not test.is_exact and test.n <= 50 and (pair, test) not in few]
        if rough:
            found.append(
                f"some differences of {_pairs(rough)} are zero or of equal size{where}, so the p-values of Wilcoxon's "
                "test are approximations"
            )
        return found


def decided(drafts: Sequence[Pair], level: float) -> tuple[Pair, ...]:
    """The pairs with p-values corrected for all of them together by Holm's rule, and with what that decides.

    Those of Nemenyi's test are corrected already.
    """
    by_holm = holm([draft.p for draft in drafts])
    corrected = [draft.p_corrected if draft.test == NEMENYI else p for draft, p in zip(drafts, by_holm, strict=True)]
    return tuple(
        replace(draft, p_corrected=p, better=draft.better if p < 1 - level else None)
        for draft, p in zip(drafts, corrected, strict=True)
    )


def too_few(units: int, unit: str, pairs: int, level: float) -> str | None:
    """What to say if no p-value of Wilcoxon's test, corrected for so many pairs, could be small enough."""
    if pairs * 2.0 ** (1 - units) <= 1 - level:
        return None
    needed = 1 + math.ceil(math.log2(pairs / (1 - level)))
    smallest = min(1.0, pairs * 2.0 ** (1 - units))
    corrected = f", corrected for {pairs} pairs," if pairs > 1 else ""
    return (
        f"Wilcoxon's test over {units} {unit} cannot come below p = {smallest:.3g}{corrected} "
        f"however large the differences: {needed} {unit} are the fewest that can show one"
    )


def p_in_words(p: float) -> str:
    """A p-value as it is written, with so many digits that 0.0496 is not 0.05.

    >>> p_in_words(0.01234), p_in_words(0.00001)
    ('p = 0.0123', 'p < 0.0001')
    """
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.3g}"


def _towards(leaning: float, names: tuple[str, str]) -> str | None:
    if leaning == 0:
        return None
    return names[0] if leaning > 0 else names[1]


def _pairs(pairs: Iterable[Pair]) -> str:
    words = [f"{pair.first} and {pair.second}" for pair in pairs]
    more = f", and {len(words) - _NAMED} more pairs" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more
