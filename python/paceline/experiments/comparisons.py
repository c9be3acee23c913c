"""Treatments beside each other on the same blocks: which are better, by how much, and what cannot be told.

Owns the choice of the tests, the warnings, and the words of the conclusions. The tests themselves are `ranks`' and
`paired`'s; tables and pictures only look at what is found here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import chain

from paceline.experiments.blocks import Blocks
from paceline.experiments.libraries import require
from paceline.experiments.pairs import WILCOXON, Asked, Family, Pair, decided, too_few
from paceline.experiments.ranks import average_ranks, critical_difference, friedman, groups, merged
from paceline.experiments.summaries import check_level

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence
    from os import PathLike
    from typing import Literal

    from matplotlib.figure import Figure
    from pandas import DataFrame

    from paceline.experiments.ranks import Friedman

__all__ = ["Comparison", "Pair", "compare"]

# Friedman's test of fewer rows than the first says nothing; of fewer than the second, its p-value is a rough guess.
_LEAST_RANKED, _WELL_RANKED = 3, 10


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Which treatments differ, over all data sets (`pairs`) and on each by itself (`within`).

    It prints as a table with the conclusions in sentences. `unit` is what was counted: "data sets" (means over their
    repetitions), or "repetitions" where there is one data set. `ranks` are average ranks over these, 1 is the best.
    `friedman` is None where there are two treatments, or the test would say nothing. `critical_difference` is
    Nemenyi's, where that was asked for. `warnings` tells in words what does not hold, or was left out.
    """

    blocks: Blocks
    unit: str
    n: int
    reference: str | None
    higher_is_better: bool
    level: float
    correction: str
    means: Mapping[str, float]
    stds: Mapping[str, float]
    ranks: Mapping[str, float]
    friedman: Friedman | None
    critical_difference: float | None
    pairs: tuple[Pair, ...]
    within: Mapping[str, tuple[Pair, ...]]
    warnings: tuple[str, ...]

    @property
    def treatments(self) -> tuple[str, ...]:
        """The treatments, the best first, by their average ranks."""
        return tuple(sorted(self.ranks, key=lambda name: (self.ranks[name], name)))

    def pair(self, first: str, second: str, dataset: str | None = None) -> Pair:
        """The pair of these two, whichever is its first; raises `KeyError` if they were not compared."""
        for pair in chain(self.pairs, *self.within.values()):
            if {pair.first, pair.second} == {first, second} and dataset in {None, pair.dataset}:
                return pair
        where = "" if dataset is None else f" on {dataset!r}"
        raise KeyError(f"{first!r} and {second!r} were not compared{where}")

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The largest groups of treatments of which no two differ, as far as is shown; with a reference, its own."""
        differ = {frozenset((pair.first, pair.second)) for pair in self.pairs if pair.better is not None}
        if self.reference is None:
            return groups(self.ranks, differ)
        alike = {pair.first for pair in self.pairs if pair.better is None}
        group = tuple(name for name in self.treatments if name in alike or name == self.reference)
        return [group] if alike else []

    @property
    def conclusions(self) -> tuple[str, ...]:
        """A sentence for the treatments together, if there are more than two, and one for each pair."""
        said = []
        if self.friedman is not None:
            differ = self.friedman.f_p < 1 - self.level
            verdict = "the treatments differ" if differ else "no difference among the treatments can be shown"
            said.append(f"{verdict} ({self.friedman})")
        return (*said, *(pair.conclusion for pair in self.pairs))

    def __str__(self) -> str:
        from paceline.experiments.tables import told

        return told(self)

    def to_pandas(self) -> DataFrame:
        """A data frame with a row for each pair; those on one data set follow, with its name in `dataset`."""
        require("pandas")
        import pandas as pd

        return pd.DataFrame([_row(pair) for pair in (*self.pairs, *chain(*self.within.values()))])

    def to_markdown(self) -> str:
        """A table of means in Markdown: the best of each data set in bold, and marks for what cannot be told apart."""
        from paceline.experiments.tables import scores_table

        return scores_table(self).to_markdown()

    def to_latex(self) -> str:
        """The same table in LaTeX, for the package `booktabs`."""
        from paceline.experiments.tables import scores_table

        return scores_table(self).to_latex()

    def plot(self, path: str | PathLike[str] | None = None, *, title: str | None = None, dark: bool = False) -> Figure:
        """The critical-difference diagram: a figure of matplotlib's, and a `.png` or `.svg` if there is a `path`."""
        from paceline.experiments.pictures import critical_differences

        return critical_differences(self, path, title=title, dark=dark)


def compare(
    scores: Mapping[str, Sequence[float | None]],
    blocks: Sequence[tuple[str, Hashable]],
    *,
    reference: str | None = None,
    higher_is_better: bool = True,
    level: float = 0.95,
    resampled: float | None = None,
    rope: float | None = None,
    correction: Literal["holm", "nemenyi"] = "holm",
    seed: int = 0,
) -> Comparison:
    """Compares treatments that were run on the same blocks, by tests for paired scores.

    >>> blocks = [("wine", repetition) for repetition in range(8)]
    >>> comparison = compare(
    ...     {"forest": [91, 93, 92, 94, 92, 95, 93, 92], "svm": [90, 91, 91, 92, 89, 90, 92, 88]}, blocks
    ... )
    >>> print(comparison.pairs[0].conclusion)
    on wine, forest is better than svm (p = 0.00781, mean difference 2.38 over 8 repetitions)

    `scores` has the scores of each treatment, one for each of the `blocks`, in their order; a block is a data set and a
    repetition. A block in which any treatment has no score (NaN, None) is left out for all of them.

    With several data sets, each counts once, by its means: repetitions on one data set are no evidence about others,
    and are never pooled. Two treatments are compared by Wilcoxon's signed-rank test; more of them by Friedman's test,
    and pairs (each, or each with the `reference`) by Wilcoxon tests with Holm's correction, or by Nemenyi's test
    (`correction="nemenyi"`). Besides, `within` has the pairs on each data set that has repetitions. With one data set,
    its repetitions are what is counted, and the conclusions are about that data set alone.

    `resampled` says that repetitions are resamplings of the same data (cross-validation, random splits): the size of
    the test set over that of the training set, 1/9 for ten folds. Within a data set, pairs are then compared by the
    corrected resampled t-test. With `rope`, in the scores' unit, differences up to that are practically none, and each
    pair has a `posterior`: how probable better, equivalent and worse are. `seed` is that of its sampling.

    Raises `ValueError` where scores and blocks do not belong together, an option makes no sense, or the blocks are too
    few to show anything; `ModuleNotFoundError` where numpy or SciPy is missing. References stand with each test.
    """
    require("numpy", "scipy.stats")
    _check_options(scores, reference, level, resampled, rope, correction)
    found = Blocks.of(scores, blocks)
    asked = Asked(reference, higher_is_better, level, rope, seed)
    is_over_datasets = len(found.datasets) > 1
    # A repetition by itself shows nothing about its data set.
    within = [_on_one(found, number, asked, resampled) for number, count in enumerate(found.repetitions) if count > 1]
    units = len(found.datasets) if is_over_datasets else found.repetitions[0]
    if units < 3 and not (is_over_datasets and within):
        unit = "data sets" if is_over_datasets else "repetitions"
        raise ValueError(
            f"{units} {unit} cannot show a difference, whatever the scores\n"
            "hint: run more data sets, to speak of all; or more repetitions, to speak of these; best both"
        )
    overall = _over_all(found, asked) if is_over_datasets else within.pop()
    warnings = list(found.warnings)
    if resampled is None and any(count > 1 for count in found.repetitions):
        warnings.append(
            "repetitions are taken as independent runs: if they are resamplings of the same data (cross-validation, "
            "random splits), differences on a data set look surer than they are; give `resampled` then"
        )
    if correction == "nemenyi":
        _check_nemenyi(overall)
    drafts, more = overall.drafts(asked, by_ranks=correction == "nemenyi")
    pairs = decided(drafts, level)
    if pairs[0].test == WILCOXON:
        more.insert(0, too_few(units, overall.unit, len(pairs), level) or "")
    warnings += filter(None, more)
    by_dataset, more = _within(within, asked)
    together, even_more = _together(overall, pairs, level)
    ranks = average_ranks(overall.rows)
    sign = 1 if higher_is_better else -1
    spread = overall.rows.std(axis=0, ddof=1)
    return Comparison(
        blocks=found,
        unit=overall.unit,
        n=units,
        reference=reference,
        higher_is_better=higher_is_better,
        level=level,
        correction=correction,
        means=_named(found, sign * overall.rows.mean(axis=0)),
        stds=_named(found, spread),
        ranks=_named(found, ranks),
        friedman=together,
        critical_difference=critical_difference(len(ranks), units, level) if correction == "nemenyi" else None,
        pairs=pairs,
        within=by_dataset,
        warnings=(*warnings, *more, *even_more),
    )


def _over_all(blocks: Blocks, asked: Asked) -> Family:
    """The means of each data set, which counts once."""
    import numpy as np

    sign = 1 if asked.higher_is_better else -1
    tolerances = blocks.tolerances()
    means = np.stack(
        [
            merged(sign * row, np.full(len(row), tolerance))
            for row, tolerance in zip(blocks.means, tolerances, strict=True)
        ]
    )
    tables = tuple(sign * table for table in blocks.scores)
    is_certain = np.zeros(len(blocks.treatments), bool)
    return Family(blocks.treatments, "data sets", None, means, tolerances, tables, None, is_certain)


def _on_one(blocks: Blocks, number: int, asked: Asked, ratio: float | None) -> Family:
    """The repetitions of one data set."""
    import numpy as np

    sign = 1 if asked.higher_is_better else -1
    table = blocks.scores[number]
    tolerance = blocks.tolerances()[number]
    rows = np.stack([merged(sign * row, np.full(len(row), tolerance)) for row in table])
    tolerances = np.full(len(rows), tolerance)
    never_vary = blocks.never_vary(number)
    return Family(
        blocks.treatments, "repetitions", blocks.datasets[number], rows, tolerances, (rows,), ratio, never_vary
    )


def _within(families: list[Family], asked: Asked) -> tuple[dict[str, tuple[Pair, ...]], list[str]]:
    """The pairs on each data set, corrected for all of them together."""
    drafts: list[Pair] = []
    warnings: list[str] = []
    for family in families:
        found, more = family.drafts(asked)
        drafts += found
        warnings += more
    pairs = decided(drafts, asked.level)
    by_dataset: dict[str, tuple[Pair, ...]] = {}
    for pair in pairs:
        dataset = str(pair.dataset)
        by_dataset[dataset] = (*by_dataset.get(dataset, ()), pair)
    if pairs and pairs[0].test == WILCOXON:
        most = max(pair.n for pair in pairs)
        warnings.append(too_few(most, "repetitions", len(pairs), asked.level) or "")
    return by_dataset, list(filter(None, warnings))


def _together(overall: Family, pairs: tuple[Pair, ...], level: float) -> tuple[Friedman | None, list[str]]:
    """Friedman's test, where there are more than two treatments, and what is to be said about it."""
    units = len(overall.rows)
    if len(overall.treatments) == 2:
        return None, []
    if overall.ratio is not None:
        return None, [
            "Friedman's test is left out: it takes rows as independent, and resamplings of the same data are not"
        ]
    if units < _LEAST_RANKED:
        few = f"over {units} {overall.unit} it says nothing; there have to be {_LEAST_RANKED} at least"
        return None, [f"Friedman's test is left out: {few}, better {_WELL_RANKED}"]
    warnings = []
    if overall.is_certain.all():
        return None, ["Friedman's test is left out: scores that are the same in each repetition count as one"]
    found, _ = friedman(overall.rows)
    if units < _WELL_RANKED:
        warnings.append(
            f"over {units} {overall.unit} the p-values of Friedman's test are rough approximations; they are good from "
            f"some {_WELL_RANKED} on"
        )
    if found.f_p >= 1 - level and any(pair.better for pair in pairs):
        warnings.append(
            "Friedman's test shows no difference among the treatments, though a pair by itself differs: be careful"
        )
    return found, warnings


def _check_nemenyi(overall: Family) -> None:
    if overall.ratio is not None:
        raise ValueError(
            "Nemenyi's test takes rows as independent, and resamplings of the same data are not\n"
            "hint: leave `correction` out, for corrected t-tests with Holm's correction; or add data sets"
        )
    if len(overall.rows) < _LEAST_RANKED or overall.is_certain.all():
        raise ValueError(
            f"Nemenyi's test needs {_LEAST_RANKED} {overall.unit} or more, in which scores vary\n"
            "hint: run more, or leave `correction` out"
        )


def _named(blocks: Blocks, values: Iterable[float]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(blocks.treatments, values, strict=True)}


def _row(pair: Pair) -> dict[str, object]:
    """A pair as a row of a table."""
    row = asdict(pair)
    posterior = row.pop("posterior")
    row["cliffs_delta"] = pair.cliffs_delta
    if posterior is not None:
        row |= {f"p_{name}": posterior[name] for name in ("better", "equivalent", "worse")} | {
            "rope": posterior["rope"]
        }
    row["conclusion"] = pair.conclusion
    return row


def _check_options(
    scores: Mapping[str, Sequence[float | None]],
    reference: str | None,
    level: float,
    resampled: float | None,
    rope: float | None,
    correction: str,
) -> None:
    check_level(level)
    if reference is not None and reference not in scores:
        raise ValueError(f"the reference {reference!r} is none of the treatments, which are {', '.join(scores)}")
    if resampled is not None and not (resampled > 0 and math.isfinite(resampled)):
        raise ValueError(
            f"resampled must be the size of the test set over that of the training set, not {resampled!r}\n"
            "hint: 1/9 for cross-validation in ten folds; leave it out for runs that are independent"
        )
    if rope is not None and not (rope >= 0 and math.isfinite(rope)):
        raise ValueError(f"rope must be the largest difference that does not matter, in the scores' unit, not {rope!r}")
    if correction not in {"holm", "nemenyi"}:
        raise ValueError(f"correction must be 'holm' or 'nemenyi', not {correction!r}")
    if correction == "nemenyi" and len(scores) == 2:
        raise ValueError("Nemenyi's test is for three treatments or more\nhint: leave `correction` out for two")
