"""What the workers of a pool did, stretch by stretch: what reports, timelines and traces are made of.

Owns the shape of a history, and what follows from it by arithmetic alone. It never asks the engine for anything.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from enum import IntEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    # As an engine tells it: processes, functions, how many stretches are forgotten, how many items raised, were stopped
    # and were lost, when it began, the rows of stretches, and hosts.
    Chronicle: TypeAlias = tuple[list[int], list[str], int, tuple[int, int, int], int, bytes, list[str]]

# The numbers in a row that the engine tells of a stretch.
_COLUMNS = 12
_NS = 1e-9


class Ending(IntEnum):
    """How a stretch of work ended: all done, something raised, something was stopped, or lost with its worker."""

    DONE = 0
    RAISED = 1
    STOPPED = 2
    LOST = 3


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one worker did without a break: `items` items of one call, the first of them `first_item`, run once.

    Moments are seconds since the pool's first submission. In a long history neighbours are told as one: `merged` of
    them, of which the longest took `longest` seconds; `busy` is less than `ended - began` then. Of a chunk whose worker
    died, all the time is told as that of the item that was lost, unless a time limit had somebody look when it began.
    """

    worker: int
    function: str
    first_item: int
    items: int
    merged: int
    attempt: int
    ending: Ending
    submitted: float
    began: float
    ended: float
    busy: float
    longest: float


@dataclass(frozen=True, slots=True)
class History:
    """What the workers did: `pids` has the process id of each, `stretches` what they did, in the order of time.

    Of the oldest stretches `forgotten` are not there any more. `failed` counts the items that raised, that were
    stopped, and that were lost, each time that one was run; a stretch with one of them may have others with results.
    `hosts` has the host of each worker, and is empty where they are all on this one.
    """

    pids: tuple[int, ...]
    stretches: tuple[Stretch, ...]
    forgotten: int = 0
    failed: tuple[int, int, int] = (0, 0, 0)
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Chronicle) -> History:
        """The history that an engine has told."""
        pids, names, forgotten, failed, began_ns, rows, hosts = told
        numbers = array("Q", rows)
        columns = [numbers[column::_COLUMNS] for column in range(_COLUMNS)]

        def since(moment_ns: int) -> float:
            return max(0, moment_ns - began_ns) * _NS

        stretches = [
            Stretch(
                worker, names[function], first, items, merged, attempt, Ending(ending),
                since(submitted), since(began), since(ended), busy * _NS, longest * _NS,
            )
            for worker, function, first, items, merged, attempt, ending, submitted, began, ended, busy, longest in zip(
                *columns, strict=True
            )
        ]  # fmt: skip
        stretches.sort(key=lambda stretch: stretch.began)
        return cls(tuple(pids), tuple(stretches), forgotten, failed, tuple(hosts))

    def host_of(self, worker: int) -> str:
        """The host of a worker; empty if it is this one."""
        return self.hosts[worker] if self.hosts else ""

    def name_of(self, worker: int) -> str:
        """What tells a worker from all others: its process id, with its host if that is another."""
        host = self.host_of(worker)
        return f"{host}:{self.pids[worker]}" if host else str(self.pids[worker])

    @property
    def end(self) -> float:
        """When the last stretch ended."""
        return max((stretch.ended for stretch in self.stretches), default=0.0)

    @property
    def active_seconds(self) -> float:
        """For how long at least one worker was at it."""
        return sum(end - begin for begin, end in _union((one.began, one.ended) for one in self.stretches))

    def by_worker(self) -> Iterator[tuple[int, list[Stretch]]]:
        """Each worker's number, with what it did."""
        of_each: dict[int, list[Stretch]] = {}
        for stretch in self.stretches:
            of_each.setdefault(stretch.worker, []).append(stretch)
        yield from sorted(of_each.items())

    def idleness(self, workers: int, wall: float) -> dict[int, tuple[float, float]]:
        """For how long each worker, by its number, had nothing to do; and for how much of that nothing was there to do.

        There are to be so many `workers` at a time, `wall` seconds long: the first of them from the beginning, the last
        to the end. The others are known from the first to the last that they did.
        """
        known = dict(self.by_worker())
        waiting = _union((one.submitted, one.began) for one in self.stretches)
        told = {}
        for worker, stretches in known.items():
            busy = _union((one.began, one.ended) for one in stretches)
            first = 0.0 if worker < workers else busy[0][0]
            last = wall if worker >= len(self.pids) - workers else busy[-1][1]
            gaps = _gaps(busy, first, last)
            idle = sum(end - begin for begin, end in gaps)
            told[worker] = idle, idle - _common(gaps, waiting)
        return told


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time in spans of which none touches another, in order."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((begin, end))
    return joined


def _gaps(spans: list[tuple[float, float]], first: float, last: float) -> list[tuple[float, float]]:
    """What is between such spans, from `first` to `last`."""
    ends = [first, *(end for _, end in spans)]
    begins = [*(begin for begin, _ in spans), last]
    return [(end, begin) for end, begin in zip(ends, begins, strict=True) if begin > end]


def _common(some: list[tuple[float, float]], others: list[tuple[float, float]]) -> float:
    """How much time is in both."""
    total, place = 0.0, 0
    for begin, end in some:
        while place < len(others) and others[place][1] <= begin:
            place += 1
        at = place
        while at < len(others) and others[at][0] < end:
            total += min(end, others[at][1]) - max(begin, others[at][0])
            at += 1
    return total
