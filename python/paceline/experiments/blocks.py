"""Scores by block: what may be compared with what, and what has to be left out.

Owns the refusals of scores that do not belong together, and the words for what is missing. It computes no statistics
but means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paceline.experiments.summaries import as_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy import bool_, float64
    from numpy.typing import NDArray

__all__ = ["Blocks"]

# What sums of floating-point numbers may differ by, as a part of the largest.
_ROUNDING = 2.0**-46
_NAMED = 3
# Means that are so many times as large as others are hardly in the same unit.
_OF_ANOTHER_SIZE = 100


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The scores of all treatments in the blocks in which every one has a score.

    `scores` has a table for each data set, a row for each repetition, a column for each treatment. `warnings` tells
    what was left out, and what else is odd.
    """

    treatments: tuple[str, ...]
    datasets: tuple[str, ...]
    scores: tuple[NDArray[float64], ...]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, scores: Mapping[str, Sequence[float | None]], blocks: Sequence[tuple[str, Hashable]]) -> Blocks:
        """The complete blocks; raises `ValueError` if scores and blocks do not belong together, or none is complete."""
        import numpy as np

        if len(scores) < 2:
            raise ValueError(f"there are {len(scores)} treatments, and a comparison needs two or more")
        places = _places(blocks)
        columns = []
        for name, values in scores.items():
            column = as_numbers(values, f"the scores of {name!r}")
            if len(column) != len(places):
                raise ValueError(
                    f"{name!r} has {len(column)} scores, but there are {len(places)} blocks\n"
                    "hint: give a score for each block, in the same order; NaN where there is none"
                )
            _refuse_useless(name, column, places)
            columns.append(column)
        table = np.stack(columns, axis=1)
        treatments = tuple(str(name) for name in scores)
        is_complete: NDArray[bool_] = np.asarray(~np.isnan(table).any(axis=1))
        if not is_complete.any():
            raise ValueError(
                "there is no block in which every treatment has a score\n"
                "hint: run the missing ones, or leave out a treatment that has too few"
            )
        warnings = _missing(treatments, places, table, is_complete)
        rows: dict[str, list[int]] = {}
        for place, (dataset, _) in enumerate(places):
            rows.setdefault(dataset, [])
            if is_complete[place]:
                rows[dataset].append(place)
        kept = {dataset: table[chosen] for dataset, chosen in rows.items() if chosen}
        gone = [dataset for dataset in rows if dataset not in kept]
        if gone:
            warnings.append(f"nothing is left of {_listed(gone)}: the comparison does not speak of what it is not over")
        found = cls(treatments, tuple(kept), tuple(kept.values()))
        return cls(treatments, found.datasets, found.scores, (*warnings, *found._oddities()))

    @property
    def repetitions(self) -> tuple[int, ...]:
        """How many repetitions each data set has."""
        return tuple(len(table) for table in self.scores)

    @property
    def means(self) -> NDArray[float64]:
        """The mean over repetitions: a row for each data set, a column for each treatment."""
        import numpy as np

        return np.stack([table.mean(axis=0) for table in self.scores])

    def tolerances(self) -> NDArray[float64]:
        """For each data set, how much of a difference between its scores may be rounding."""
        import numpy as np

        return np.array([float(np.abs(table).max()) * _ROUNDING for table in self.scores])

    def never_vary(self, dataset: int) -> NDArray[bool_]:
        """For each treatment, whether it has the same score in every repetition of this data set."""
        table = self.scores[dataset]
        result: NDArray[bool_] = (table.max(axis=0) - table.min(axis=0)) <= self.tolerances()[dataset]
        return result

    def _oddities(self) -> list[str]:
        import numpy as np

        found = []
        counts = self.repetitions
        if len(set(counts)) > 1:
            most, least = counts.index(max(counts)), counts.index(min(counts))
            found.append(
                f"the numbers of repetitions differ, from {counts[least]} ({self.datasets[least]}) to {counts[most]} "
                f"({self.datasets[most]}): every data set counts once, but the means of some are less certain"
            )
        sizes = np.abs(self.means).mean(axis=1)
        if len(sizes) > 1 and sizes.max() > _OF_ANOTHER_SIZE * sizes.min():
            large, small = self.datasets[int(sizes.argmax())], self.datasets[int(sizes.argmin())]
            found.append(
                f"scores of {large} are some {_ratio(float(sizes.max()), float(sizes.min()))} times as large as those "
                f"of {small}: differences of such sizes are not comparable, so take a score that is relative to each "
                "data set, or look at the ranks alone"
            )
        for number, dataset in enumerate(self.datasets):
            if counts[number] < 3:
                continue
            still = [name for name, never in zip(self.treatments, self.never_vary(number), strict=True) if never]
            if still:
                found.append(
                    f"{_listed(still)}: the same score in all {counts[number]} repetitions of {dataset}; if nothing "
                    "varies there, that is one result and not many, and if something should (a seed), it is not used"
                )
        return found


def _places(blocks: Sequence[tuple[str, Hashable]]) -> list[tuple[str, Hashable]]:
    places: list[tuple[str, Hashable]] = []
    seen: set[tuple[str, Hashable]] = set()
    for block in blocks:
        place = _block(block)
        if place in seen:
            raise ValueError(
                f"the block {place!r} occurs twice, so it is not clear which scores belong together\n"
                "hint: compare over all that differs between the runs, or take means of what shall not count apart"
            )
        seen.add(place)
        places.append(place)
    if not places:
        raise ValueError("there are no blocks, so there is nothing to compare")
    return places


def _block(block: object) -> tuple[str, Hashable]:
    # A string of two letters could be taken apart as well.
    if not isinstance(block, tuple | list) or len(block) != 2:
        raise ValueError(f"a block is a pair of a data set and a repetition, such as ('wine', 3), not {block!r}")
    return str(block[0]), block[1]


def _refuse_useless(name: str, column: NDArray[float64], places: list[tuple[str, Hashable]]) -> None:
    import numpy as np

    if np.isinf(column).any():
        place = places[int(np.isinf(column).argmax())]
        raise ValueError(
            f"{name!r} has an infinite score in the block {place!r}, which has no mean\n"
            "hint: give NaN if that run failed, or a score with a limit"
        )
    if np.isnan(column).all():
        raise ValueError(f"{name!r} has no score in any block\nhint: run it first, or leave it out")


def _missing(
    treatments: tuple[str, ...],
    places: list[tuple[str, Hashable]],
    table: NDArray[float64],
    is_complete: NDArray[bool_],
) -> list[str]:
    import numpy as np

    left_out = np.flatnonzero(~is_complete)
    if not len(left_out):
        return []
    whose = [
        f"{treatments[int(np.isnan(table[place]).argmax())]} in {places[place][0]}, repetition {places[place][1]}"
        for place in left_out
    ]
    blocks = "1 block was" if len(left_out) == 1 else f"{len(left_out)} blocks were"
    what = f"{blocks} left out of {len(places)}, as a score is missing there ({_listed(whose, '; ')})"
    return [f"{what}: if runs fail where they would have been bad, what is left flatters them"]


def _listed(words: list[str], between: str = ", ") -> str:
    """A few of them, and how many more there are."""
    shown = between.join(words[:_NAMED])
    return f"{shown} and {len(words) - _NAMED} more" if len(words) > _NAMED else shown


def _ratio(large: float, small: float) -> str:
    return f"{large / small:,.0f}" if small and math.isfinite(large / small) else "infinitely many"
