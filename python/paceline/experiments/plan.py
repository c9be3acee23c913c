"""What a run does, decided from what the store knows: which cells, in which order, how many at a time.

Owns those choices and nothing else: it has no clock, file or pool, so that each can be tested by itself.
"""

from __future__ import annotations

from collections import defaultdict
from math import exp, log
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.experiments.axes import Axes
    from paceline.experiments.store import Known

__all__ = ["FAILED", "RERUNS", "Plan", "StaleCells", "Window", "chosen", "estimates", "is_stale"]

FAILED = frozenset({"error", "timeout", "died"})
RERUNS = frozenset({"failed", "stale", "all"})

# From this on, a cell is worth waiting for until it is safe before its worker gets another.
_LONG_S = 0.01
# How much work of short cells is with a worker at a time, and how many at most.
_AHEAD_S = 0.05
_MOST_AHEAD = 2048


class StaleCells(UserWarning):
    """Some results of a store were made by another source, declared version or seed than the experiment has now."""


class Plan(NamedTuple):
    """Which cells are run, and which are stale and are not, by their places in the grid."""

    to_run: list[int]
    stale: list[int]


def is_stale(known: Known, source: str, version: str | None, seed: int) -> bool:
    """Whether a result was made by another function than this one, or with other random numbers.

    Where a version is declared it alone counts, so that a user can say that a change of the source does not matter.
    """
    if known.seed != seed:
        return True
    if version is None and known.version is None:
        return source != known.source
    return version != known.version


def chosen(known: Sequence[Known | None], is_stale: Sequence[bool], rerun: frozenset[str]) -> Plan:
    """The missing cells, and those that are to be run again; `known` is what the store has of each."""
    to_run, left_stale = [], []
    for place, one in enumerate(known):
        if (
            one is None
            or one.status == "cancelled"
            or "all" in rerun
            or ("failed" in rerun and one.status in FAILED)
            or ("stale" in rerun and is_stale[place])
        ):
            to_run.append(place)
        elif is_stale[place]:
            left_stale.append(place)
    return Plan(to_run, left_stale)


def estimates(cells: Sequence[Axes], took: Iterable[tuple[Axes, float]]) -> list[float]:
    """About how long each cell will take, in seconds, by how long others took that have some values in common.

    Each value of each axis has a factor, by which cells that have it took longer than the average; the factors of a
    cell's values are multiplied. What is not known has none.
    """
    sums: dict[tuple[str, object], list[float]] = defaultdict(lambda: [0.0, 0.0])
    total = count = 0.0
    for axes, seconds in took:
        amount = log(max(seconds, 1e-7))
        total += amount
        count += 1
        for value in axes.items():
            one = sums[value]
            one[0] += amount
            one[1] += 1
    if not count:
        return [0.0] * len(cells)
    mean = total / count
    factors = {value: amount / number - mean for value, (amount, number) in sums.items()}
    return [exp(min(700.0, mean + sum(factors.get(value, 0.0) for value in axes.items()))) for axes in cells]


class Window:
    """How many cells may have been submitted and not be safe yet.

    Of cells that take long, one for each worker: then no more than those can be lost at any moment. Of short ones more,
    or workers would wait for the store between them; about 50 ms of work for each worker.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._mean_s: float | None = None

    @property
    def size(self) -> int:
        if self._mean_s is None or self.is_strict:
            return self._workers
        return self._workers * max(1, min(_MOST_AHEAD, int(_AHEAD_S / max(self._mean_s, 1e-9))))

    @property
    def is_strict(self) -> bool:
        return self._mean_s is not None and self._mean_s >= _LONG_S

    def note(self, seconds: Sequence[float]) -> None:
        """These cells took so long; a longer one counts at once, shorter ones have to be seen again and again."""
        if not seconds:
            return
        mean = sum(seconds) / len(seconds)
        if self._mean_s is None or mean > self._mean_s:
            self._mean_s = mean
        else:
            self._mean_s += (mean - self._mean_s) * 0.5
