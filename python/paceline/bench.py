"""Paceline beside the standard library's pools, on this machine and within seconds.

Owns the questions, how each pool is asked, and the table. Each pool is measured in an interpreter of its own. The
thorough comparison is the project's own, `make bench`; this one is for users, who have only the package.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.machine import usable_cpus
from paceline.probe import ProbeFailed, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Amounts = dict[str, dict[str, int]]
    Figures = dict[str, dict[str, float]]

__all__ = ["GLANCE", "SUBJECTS", "Subject", "measure", "number", "ratio", "run", "times"]

DEADLINE_S = 120.0
MEGABYTE = 1_000_000
# How many megabytes are under way at a time.
WINDOW = 16


def noop(item: object) -> object:
    """What the workers are asked to do."""
    return item


# -- the pools ---------------------------------------------------------------------------------------------------------


class AsPool:
    """What has the methods of `multiprocessing.Pool`."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def call(self, item: object) -> object:
        return self.pool.apply(noop, (item,))

    def submit(self, item: object) -> Callable[[], object]:
        take: Callable[[], object] = self.pool.apply_async(noop, (item,)).get
        return take

    def submit_all(self, items: Sequence[object]) -> list[object]:
        handles = [self.pool.apply_async(noop, (item,)) for item in items]
        return [handle.get() for handle in handles]

    def map(self, items: Sequence[object]) -> list[object]:
        return list(self.pool.map(noop, items))

    def close(self) -> None:
        self.pool.close()
        self.pool.join()


class AsExecutor(AsPool):
    """What has the methods of a `concurrent.futures.Executor`."""

    def call(self, item: object) -> object:
        return self.pool.submit(noop, item).result()

    def submit(self, item: object) -> Callable[[], object]:
        take: Callable[[], object] = self.pool.submit(noop, item).result
        return take

    def submit_all(self, items: Sequence[object]) -> list[object]:
        futures = [self.pool.submit(noop, item) for item in items]
        return [future.result() for future in futures]

    def close(self) -> None:
        self.pool.shutdown()


def _open_paceline(workers: int) -> AsPool:
    import paceline

    return AsPool(paceline.Pool(workers, backend="processes"))


def _open_pool(workers: int) -> AsPool:
    import multiprocessing

    return AsPool(multiprocessing.get_context("fork").Pool(workers))


def _open_executor(workers: int) -> AsPool:
    import concurrent.futures
    import multiprocessing

    # Of its ways to start workers, the one with which it is fastest; the same holds for the pool.
    context = multiprocessing.get_context("fork")
    return AsExecutor(concurrent.futures.ProcessPoolExecutor(workers, mp_context=context))


@dataclass(frozen=True)
class Subject:
    """What is measured."""

    title: str
    open: Callable[[int], AsPool]


SUBJECTS = {
    "paceline": Subject("Paceline", _open_paceline),
    "pool": Subject("multiprocessing.Pool", _open_pool),
    "executor": Subject("ProcessPoolExecutor", _open_executor),
}

# -- the questions -----------------------------------------------------------------------------------------------------


def submits(pool: AsPool, count: int) -> float:
    """No-op calls submitted one by one, and their results taken in order: calls a second."""
    start = time.perf_counter()
    results = pool.submit_all(range(count))
    elapsed_s = time.perf_counter() - start
    check(results == list(range(count)))
    return count / elapsed_s


def round_trip(pool: AsPool, count: int) -> float:
    """One call, and its result, while the pool is hot: microseconds, the median."""
    times_ns = []
    for item in range(count):
        start = time.perf_counter_ns()
        result = pool.call(item)
        times_ns.append(time.perf_counter_ns() - start)
        check(result == item)
    return statistics.median(times_ns) / 1e3


def mapping(pool: AsPool, count: int) -> float:
    """A map with the chunks that the pool chooses by itself: items a second."""
    items = range(count)
    start = time.perf_counter()
    results = pool.map(items)
    elapsed_s = time.perf_counter() - start
    check(results == list(items))
    return count / elapsed_s


def megabytes(pool: AsPool, count: int) -> float:
    """Calls with 1 MB of bytes as argument and as result: calls a second."""
    block = b"\x5a" * MEGABYTE
    under_way: deque[Callable[[], object]] = deque()
    start = time.perf_counter()
    for _ in range(count):
        if len(under_way) == WINDOW:
            check(under_way.popleft()() == block)
        under_way.append(pool.submit(block))
    while under_way:
        check(under_way.popleft()() == block)
    return count / (time.perf_counter() - start)


def check(is_right: bool) -> None:
    if not is_right:
        raise ArithmeticError("the pool gave a wrong result")


@dataclass(frozen=True)
class Question:
    """`ask(pool, count)` gives one figure."""

    title: str
    unit: str
    ask: Callable[[AsPool, int], float]
    more_is_better: bool = True


QUESTIONS = {
    "submits": Question("no-op calls submitted one by one", "/s", submits),
    "round-trip": Question("round trip of a no-op, hot, median", " µs", round_trip, more_is_better=False),
    "map": Question("map of a no-op over a million ints", "/s", mapping),
    "megabytes": Question("1 MB of bytes in and out", "/s", megabytes),
}

# How much is asked of each; fewer of those that would take too long.
THOROUGH: Amounts = {
    "paceline": {"submits": 20_000, "round-trip": 20_000, "map": 1_000_000, "megabytes": 2_000},
    "pool": {"submits": 20_000, "round-trip": 4_000, "map": 1_000_000, "megabytes": 300},
    "executor": {"submits": 5_000, "round-trip": 4_000, "map": 10_000, "megabytes": 300},
}
QUICK: Amounts = {
    "paceline": {"submits": 10_000, "round-trip": 5_000, "map": 1_000_000, "megabytes": 400},
    "pool": {"submits": 2_000, "round-trip": 500, "map": 1_000_000, "megabytes": 60},
    "executor": {"submits": 1_000, "round-trip": 500, "map": 1_000, "megabytes": 60},
}
# What the doctor asks.
GLANCE: Amounts = {
    "paceline": {"submits": 5_000, "round-trip": 2_000},
    "pool": {"submits": 1_000, "round-trip": 300},
    "executor": {"submits": 1_000, "round-trip": 300},
}


def measure(name: str, workers: int, amounts: dict[str, int], *, deadline_s: float = DEADLINE_S) -> dict[str, float]:
    """A figure for each question of `amounts`, of a subject with so many workers. Raises `ProbeFailed`."""
    figures: dict[str, float] = ask(measure_here, name, workers, amounts, deadline_s=deadline_s)
    return figures


def measure_here(name: str, workers: int, amounts: dict[str, int]) -> dict[str, float]:
    """As `measure`, in this process."""
    pool = SUBJECTS[name].open(workers)
    pool.submit_all(range(200))
    for item in range(100):
        pool.call(item)
    figures = {question: QUESTIONS[question].ask(pool, amount) for question, amount in amounts.items()}
    pool.close()
    return figures


# -- the table ---------------------------------------------------------------------------------------------------------


def run(*, quick: bool = False) -> int:
    """Measures and prints; the exit code, which is 0 only if everything was measured."""
    from paceline.engine import default_workers

    workers = default_workers()
    amounts, rounds = (QUICK, 1) if quick else (THOROUGH, 3)
    print(
        f"Paceline beside the standard library (fork), {workers} worker{'s' * (workers > 1)} each: "
        f"{usable_cpus()} usable CPUs, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}; {'one short round' if quick else f'medians of {rounds} rounds'}",
        flush=True,
    )
    figures, failures = measure_all(workers, amounts, rounds)
    print()
    print(table(figures))
    print()
    for line in remarks(amounts):
        print(line)
    for name, reason in failures.items():
        print(f"error: {SUBJECTS[name].title} could not be measured: {reason}", file=sys.stderr)
    return 1 if failures else 0


def measure_all(workers: int, amounts: Amounts, rounds: int) -> tuple[Figures, dict[str, str]]:
    """The median figures of each subject, and why a subject has none. The subjects take turns."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in SUBJECTS}
    failures: dict[str, str] = {}
    for _ in range(rounds):
        for name in SUBJECTS:
            if name not in failures:
                try:
                    taken[name].append(measure(name, workers, amounts[name]))
                except ProbeFailed as failure:
                    failures[name] = str(failure)
    figures = {
        name: {question: statistics.median(each[question] for each in several) for question in amounts[name]}
        for name, several in taken.items()
        if several and name not in failures
    }
    return figures, failures


def table(figures: Figures) -> str:
    """Questions down, subjects across; beside each peer's figure, how many times as fast Paceline is."""
    width = max(len(question.title) for question in QUESTIONS.values())
    lines = [" " * width + "".join(f"{subject.title:>28}" for subject in SUBJECTS.values())]
    for name, question in QUESTIONS.items():
        cells = []
        for subject in SUBJECTS:
            if name not in figures.get(subject, {}):
                cells.append("not measured")
                continue
            cell = number(figures[subject][name]) + question.unit
            if subject != "paceline" and "paceline" in figures:
                cell += f" ({ratio(name, figures['paceline'], figures[subject])})"
            cells.append(cell)
        lines.append(f"{question.title:{width}}" + "".join(f"{cell:>28}" for cell in cells))
    return "\n".join(lines)


def remarks(amounts: Amounts) -> list[str]:
    fewer = amounts["executor"]["map"]
    return [
        "(×): how many times as fast Paceline is, in this run.",
        f"ProcessPoolExecutor maps {fewer:,} ints, one to a chunk as is its default; a million would take minutes.",
        "The project's own `make bench` is the thorough comparison: more questions, more peers.",
    ]


def ratio(question: str, ours: dict[str, float], theirs: dict[str, float]) -> str:
    """How many times as fast Paceline is, for people."""
    found = times(question, ours, theirs)
    return f"{found:,.0f}×" if found >= 10 else f"{found:.1f}×"


def times(question: str, ours: dict[str, float], theirs: dict[str, float]) -> float:
    """How many times as fast Paceline is."""
    if QUESTIONS[question].more_is_better:
        return ours[question] / theirs[question]
    return theirs[question] / ours[question]


def number(value: float) -> str:
    """A figure with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
