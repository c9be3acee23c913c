"""What a pool's workers have done so far, as an object that prints as a table.

Owns the shape and the text of a report. It only looks at what happened: it never asks the engine for anything, and
never starts or stops work.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice

_INDICES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one worker process has done: its `pid`, `busy_seconds` at work, and the `items` it has ended.

    Of a pool of threads it is what one thread has done, and `pid` the thread's id, its `native_id` in `threading`.
    `ranges` holds the items' numbers in the pool's order of submission, as pairs (first, count).
    """

    pid: int
    busy_seconds: float
    items: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def indices(self) -> tuple[int, ...]:
        """The items' numbers, in the pool's order of submission, counted from zero."""
        return tuple(chain.from_iterable(range(first, first + count) for first, count in self.ranges))


@dataclass(frozen=True, slots=True)
class Report:
    """How the work of a pool was spread over its workers.

    >>> print(Report(1.25, (WorkerReport(4916, 1.0, 1, ((0, 1),)), WorkerReport(4917, 1.1, 3, ((1, 2), (9, 1))))))
    Process  1 (4916)    1.0000(s)    1 job(s) (0,)
    Process  2 (4917)    1.1000(s)    3 job(s) (1, 2, 9)
          Total work done (s)       2.1000
          Wall clock time (s)       1.2500

    `wall_seconds` runs from the first submission to the last end so far (to now, while tasks are out). `workers` has
    an entry for each process that has run anything, also for those that have since been replaced.
    """

    wall_seconds: float
    workers: tuple[WorkerReport, ...]

    @property
    def work_seconds(self) -> float:
        """The time spent at work, summed over the workers."""
        return sum(worker.busy_seconds for worker in self.workers)

    @property
    def items(self) -> int:
        """How many items have ended: calls, and single items of maps."""
        return sum(worker.items for worker in self.workers)

    @property
    def speedup(self) -> float:
        """How many workers' work was done at a time, on average; zero before anything has been done."""
        return self.work_seconds / self.wall_seconds if self.wall_seconds else 0.0

    def __str__(self) -> str:
        number_width = max(2, len(str(len(self.workers))))
        pid_width = max((len(str(worker.pid)) for worker in self.workers), default=0)
        time_width = max((len(f"{worker.busy_seconds:.4f}") for worker in self.workers), default=0)
        count_width = max((len(str(worker.items)) for worker in self.workers), default=0)
        lines = [
            f"Process {number:>{number_width}} ({worker.pid:>{pid_width}})    "
            f"{worker.busy_seconds:>{time_width}.4f}(s)    "
            f"{worker.items:>{count_width}} job(s) {_shortened(worker.ranges)}"
            for number, worker in enumerate(self.workers, 1)
        ]
        lines.append(f"      Total work done (s){self.work_seconds:13.4f}")
        lines.append(f"      Wall clock time (s){self.wall_seconds:13.4f}")
        return "\n".join(lines)


def _shortened(ranges: tuple[tuple[int, int], ...]) -> str:
    numbers = chain.from_iterable(range(first, first + count) for first, count in ranges)
    shown = tuple(islice(numbers, _INDICES_SHOWN))
    left = sum(count for _, count in ranges) - len(shown)
    if left <= 0:
        return str(shown)
    return f"({', '.join(map(str, shown))}, ... ({left} more))"
