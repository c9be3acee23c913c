"""How much faster than serial are the correlations of all pairs of 200 series, 19,900 tasks of some 30 µs each?

Asked twice: with the two series as arguments of each call, submitted one by one; and with a map over the numbers of the
pairs, the series shared in the way that suits the peer best. One that can only share by opening a pool opens it
meanwhile. The serial time is that of the same process, just before and just after.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from benches.compare.arrays import correlation, correlation_in, correlation_in_kept, keep
from benches.compare.question import WORKERS, Contest, Figure, Question, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benches.compare.arrays import Floats
    from benches.compare.peers import Peer

    Pairs = list[tuple[int, int]]
    # Gets the series, the pairs, and a stack for what is to be closed when the results are there.
    Way = Callable[[Floats, Pairs, ExitStack], list[float]]

POINTS = 2_000


def serially(series: Floats, pairs: Pairs, after: ExitStack) -> list[float]:  # noqa: ARG001 - nothing is to be closed.
    return [correlation_in(series, pair) for pair in pairs]


def timed(way: Way, series: Floats) -> tuple[float, list[float]]:
    pairs = list(combinations(range(len(series)), 2))
    with ExitStack() as after:
        start = time.perf_counter()
        results = way(series, pairs, after)
        return time.perf_counter() - start, results


def times_serial(way: Way, quick: bool) -> dict[str, float]:
    """How often the time of `way` goes into the serial one."""
    random = np.random.default_rng(1)
    warm, series = (random.standard_normal((count, POINTS)) for count in (40, 100 if quick else 200))
    timed(way, warm)
    before_s, expected = timed(serially, series)
    elapsed_s, results = timed(way, series)
    after_s, _ = timed(serially, series)
    assert results == expected
    return {"times": (before_s + after_s) / 2 / elapsed_s}


def ask_submitting(peer: type[Peer], quick: bool) -> dict[str, float]:
    pool = peer(WORKERS)
    figures = times_serial(
        lambda series, pairs, after: pool.submit_all(
            correlation, ((series[first], series[second]) for first, second in pairs)
        ),
        quick,
    )
    pool.close()
    return figures


def measure(opened: Callable[[], AbstractContextManager[Way]], quick: bool) -> dict[str, float]:
    with opened() as way:
        return times_serial(way, quick)


@contextmanager
def by_paceline_partial() -> Iterator[Way]:
    import paceline

    with paceline.Pool(WORKERS) as pool:
        yield lambda series, pairs, after: pool.map(partial(correlation_in, series), pairs)


@contextmanager
def by_paceline_share() -> Iterator[Way]:
    import paceline

    def way(series: Floats, pairs: Pairs, after: ExitStack) -> list[float]:
        shared: Any = after.enter_context(paceline.share(series))
        return pool.map(partial(correlation_in, shared), pairs)

    with paceline.Pool(WORKERS) as pool:
        yield way


@contextmanager
def by_pool() -> Iterator[Way]:
    import multiprocessing

    context = multiprocessing.get_context("fork")

    def way(series: Floats, pairs: Pairs, after: ExitStack) -> list[float]:
        pool = after.enter_context(context.Pool(WORKERS, keep, (series,)))
        return pool.map(correlation_in_kept, pairs)

    yield way


@contextmanager
def by_executor() -> Iterator[Way]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("fork")

    def way(series: Floats, pairs: Pairs, after: ExitStack) -> list[float]:
        executor = ProcessPoolExecutor(WORKERS, context, keep, (series,))
        after.enter_context(executor)
        return list(executor.map(correlation_in_kept, pairs, chunksize=len(pairs) // 40))

    yield way


@contextmanager
def by_joblib() -> Iterator[Way]:
    import joblib

    task = joblib.delayed(correlation_in)
    with joblib.Parallel(WORKERS) as pool:
        yield lambda series, pairs, after: list(pool(task(series, pair) for pair in pairs))


@contextmanager
def by_mpire() -> Iterator[Way]:
    import mpire

    def way(series: Floats, pairs: Pairs, after: ExitStack) -> list[float]:
        pool = after.enter_context(mpire.WorkerPool(WORKERS, shared_objects=series, start_method="fork"))
        # It would take a pair for two arguments.
        return list(pool.map(correlation_in, [(pair,) for pair in pairs]))

    yield way


SUBMITTING = Question(
    {"times": Figure("19,900 correlations, two series of 16 kB as arguments of each: times serial", "×", "more", 2)},
    ask_submitting,
)
MAPPING = Contest(
    {"times": Figure("19,900 correlations by `map`, the series shared, that included: times serial", "×", "more", 2)},
    {
        "paceline-partial": Side("Paceline, the series in a `partial`", partial(measure, by_paceline_partial)),
        "paceline-share": Side("Paceline `share`", partial(measure, by_paceline_share)),
        "pool-initializer": Side("`multiprocessing.Pool` (fork), by its initializer", partial(measure, by_pool)),
        "executor-initializer": Side("`ProcessPoolExecutor` (fork), the same", partial(measure, by_executor)),
        "joblib-memmap": Side("joblib (loky), memory-mapped", partial(measure, by_joblib)),
        "mpire-shared": Side("mpire `shared_objects` (fork)", partial(measure, by_mpire)),
    },
)
