"""Does memory stay flat while an endless input of arrays goes through a pool, and how many of them a second?

Only those can answer that read their input as they go: the executors' `map` reads all of it first.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benches.compare import processes
from benches.compare.arrays import full
from benches.compare.question import WORKERS, Contest, Figure, Side
from benches.compare.rows.payload import MEGABYTE
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Way = Callable[[Iterator[Any]], AbstractContextManager[Iterator[Any]]]


def take(results: Iterator[Any], seconds: float) -> int:
    """How many results come in that time."""
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        assert next(results).nbytes == MEGABYTE
        count += 1
    return count


def measure(way: Way, quick: bool) -> dict[str, float]:
    seconds = 4.0 if quick else 60.0
    start_bytes = processes.held_bytes(processes.own_tree())
    with way(full(MEGABYTE, float(number)) for number in itertools.count()) as results:
        take(results, 0.5)
        with processes.Peak() as early:
            take(results, seconds / 4)
        # Looking takes time, so the rate is that of the half in which nobody looks.
        count = take(results, seconds / 2)
        with processes.Peak() as late:
            take(results, seconds / 4)
    return {
        "early": (early.most_bytes - start_bytes) / 1e6,
        "late": (late.most_bytes - start_bytes) / 1e6,
        "rate": count / (seconds / 2),
    }


@contextlib.contextmanager
def by_paceline(inputs: Iterator[Any]) -> Iterator[Iterator[Any]]:
    import paceline

    pool = paceline.Pool(WORKERS)
    yield pool.imap(noop, inputs)
    pool.terminate()


@contextlib.contextmanager
def by_pool(inputs: Iterator[Any]) -> Iterator[Iterator[Any]]:
    import multiprocessing

    pool = multiprocessing.get_context("fork").Pool(WORKERS)
    yield pool.imap(noop, inputs)
    pool.terminate()


@contextlib.contextmanager
def by_joblib(inputs: Iterator[Any]) -> Iterator[Iterator[Any]]:
    import joblib

    delayed = joblib.delayed(noop)
    with contextlib.closing(joblib.Parallel(WORKERS, return_as="generator")(map(delayed, inputs))) as results:
        yield results


@contextlib.contextmanager
def by_mpire(inputs: Iterator[Any]) -> Iterator[Iterator[Any]]:
    import mpire

    pool = mpire.WorkerPool(WORKERS, start_method="fork")
    with contextlib.closing(pool.imap(noop, inputs, chunk_size=1)) as results:
        yield results
    pool.terminate()


CONTEST = Contest(
    {
        "early": Figure(
            "arrays of 1 MB, endlessly, in and out, one round: peak of memory in seconds 1 to 15", "MB", "less", 0
        ),
        "late": Figure("the same, in seconds 46 to 60", "MB", "less", 0),
        "rate": Figure("the same, how fast between these", "items/s", "more", 0),
    },
    {
        "paceline-imap": Side("Paceline `imap`", partial(measure, by_paceline)),
        "pool-imap": Side("`multiprocessing.Pool.imap`", partial(measure, by_pool)),
        "joblib-generator": Side('joblib `Parallel(return_as="generator")`', partial(measure, by_joblib)),
        "mpire-imap": Side("mpire `imap`", partial(measure, by_mpire)),
    },
    once=True,
)
