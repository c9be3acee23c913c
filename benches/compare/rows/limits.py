"""What do limits cost that are never reached: a time limit for every task, a limit of memory for every worker?"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benches.compare.question import WORKERS, Contest, Figure, Side
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 60
MEMORY = "4 GB"


def measure(submit: Callable[[int], Any], get: Callable[[Any], Any], count: int) -> float:
    """Tasks a second."""
    for warm in [submit(item) for item in range(500)]:
        get(warm)
    start = time.perf_counter()
    handles = [submit(item) for item in range(count)]
    results = [get(handle) for handle in handles]
    elapsed_s = time.perf_counter() - start
    assert results == list(range(count))
    return count / elapsed_s


def submit_by_paceline(quick: bool, **limits: Any) -> dict[str, float]:
    import paceline

    with paceline.Pool(WORKERS, **limits) as pool:
        submit = partial(pool.submit, noop)
        return {"rate": measure(submit, lambda future: future.result(), 4_000 if quick else 100_000)}


def submit_by_mpire(quick: bool) -> dict[str, float]:
    from mpire import WorkerPool

    with WorkerPool(WORKERS, start_method="fork") as pool:

        def submit(item: int) -> Any:
            return pool.apply_async(noop, (item,), task_timeout=TIMEOUT_S)

        return {"rate": measure(submit, lambda handle: handle.get(), 500 if quick else 10_000)}


def submit_by_pebble(quick: bool) -> dict[str, float]:
    from pebble import ProcessPool

    with ProcessPool(WORKERS) as pool:

        def submit(item: int) -> Any:
            return pool.schedule(noop, (item,), timeout=TIMEOUT_S)

        return {"rate": measure(submit, lambda future: future.result(), 500 if quick else 10_000)}


def map_by_paceline(quick: bool, **limits: Any) -> dict[str, float]:
    import paceline

    items = range(40_000 if quick else 2_000_000)
    with paceline.Pool(WORKERS, **limits) as pool:
        pool.map(noop, range(2_000))
        start = time.perf_counter()
        results = pool.map(noop, items)
        elapsed_s = time.perf_counter() - start
    assert results == list(items)
    return {"rate": len(items) / elapsed_s}


TIME_LIMIT: dict[str, Any] = {"timeout": TIMEOUT_S}
ALL_LIMITS: dict[str, Any] = {"timeout": TIMEOUT_S, "memory_limit": MEMORY}
TITLES = ("Paceline `Pool`, without limits", "with `timeout=60`", "with `timeout=60, memory_limit='4 GB'`")

SUBMITTING = Contest(
    {"rate": Figure("no-op tasks with limits, submitted one by one", "tasks/s", "more", 0)},
    {
        "paceline-unlimited": Side(TITLES[0], submit_by_paceline),
        "paceline-timeout": Side(TITLES[1], partial(submit_by_paceline, **TIME_LIMIT)),
        "paceline-limits": Side(TITLES[2], partial(submit_by_paceline, **ALL_LIMITS)),
        "mpire-timeout": Side("mpire, `task_timeout=60`", submit_by_mpire),
        "pebble-timeout": Side("pebble `ProcessPool`, `timeout=60`", submit_by_pebble, "pebble"),
    },
)
MAPPING = Contest(
    {"rate": Figure("`map` of a no-op over 2·10⁶ ints with limits", "items/s", "more", 0)},
    {
        "paceline-unlimited": Side(TITLES[0], map_by_paceline),
        "paceline-timeout": Side(TITLES[1], partial(map_by_paceline, **TIME_LIMIT)),
        "paceline-limits": Side(TITLES[2], partial(map_by_paceline, **ALL_LIMITS)),
    },
)
