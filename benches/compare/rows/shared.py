"""How long do 40 tasks take that all read the same array of 64 MB, from the moment when it is there to their results?

Each time it is a new array. A peer that can only share by opening a pool opens it meanwhile; what is closed after the
results are there is not counted.
"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from benches.compare.arrays import full, read, read_shared
from benches.compare.question import WORKERS, Contest, Figure, Side
from benches.compare.rows.payload import BIG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benches.compare.arrays import Floats

    # Gets the array, and a stack for what is to be closed when the results are there.
    Way = Callable[[Floats, ExitStack], list[float]]

COUNT = 40


def measure(opened: Callable[[], AbstractContextManager[Way]], quick: bool) -> dict[str, float]:
    times_ms = []
    with opened() as way:
        for number in range(3 if quick else 6):
            array = full(BIG, float(number))
            with ExitStack() as after:
                start = time.perf_counter()
                results = way(array, after)
                times_ms.append((time.perf_counter() - start) * 1e3)
            assert results == [read(array)] * COUNT
    # The first one makes everything warm.
    return {"time": statistics.median(times_ms[1:])}


@contextmanager
def by_paceline_map() -> Iterator[Way]:
    import paceline

    with paceline.Pool(WORKERS) as pool:
        yield lambda array, after: pool.map(read, [array] * COUNT)


@contextmanager
def by_paceline_share() -> Iterator[Way]:
    import paceline

    def way(array: Floats, after: ExitStack) -> list[float]:
        shared: Any = after.enter_context(paceline.share(array))
        return pool.map(read, [shared] * COUNT)

    with paceline.Pool(WORKERS) as pool:
        yield way


@contextmanager
def by_pool() -> Iterator[Way]:
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        yield lambda array, after: pool.map(read, [array] * COUNT)


@contextmanager
def by_joblib() -> Iterator[Way]:
    import joblib

    with joblib.Parallel(WORKERS) as pool:
        yield lambda array, after: list(pool([joblib.delayed(read)(array)] * COUNT))


@contextmanager
def by_mpire() -> Iterator[Way]:
    import mpire

    def way(array: Floats, after: ExitStack) -> list[float]:
        pool = after.enter_context(mpire.WorkerPool(WORKERS, shared_objects=array, start_method="fork"))
        return list(pool.map(read_shared, range(COUNT)))

    yield way


@contextmanager
def by_ray() -> Iterator[Way]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    def calls(shared: Any) -> list[Any]:
        return [task.remote(shared) for _ in range(COUNT)]

    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    task = ray.remote(read)
    yield lambda array, after: list(ray.get(calls(ray.put(array))))
    ray.shutdown()


CONTEST = Contest(
    {"time": Figure("40 tasks that read one array of 64 MB, its sharing included", "ms", "less", 1)},
    {
        "paceline-map": Side("Paceline `map` over it 40 times", partial(measure, by_paceline_map)),
        "paceline-share": Side("Paceline `share`", partial(measure, by_paceline_share)),
        "pool-map": Side("`multiprocessing.Pool.map`", partial(measure, by_pool)),
        "joblib-memmap": Side("joblib (loky), memory-mapped", partial(measure, by_joblib)),
        "mpire-shared": Side("mpire `shared_objects` (fork)", partial(measure, by_mpire)),
        "ray-put": Side("ray `put`", partial(measure, by_ray), "ray"),
    },
)
