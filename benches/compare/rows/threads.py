"""How many no-op tasks a second can be submitted to threads one by one, their results gathered in order?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benches.compare.question import WORKERS, Contest, Figure, Side
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from collections.abc import Callable


def measure(submit: Callable[..., Any], quick: bool) -> dict[str, float]:
    count = 2_000 if quick else 20_000
    for warm in [submit(noop, item) for item in range(500)]:
        warm.result()
    start = time.perf_counter()
    futures = [submit(noop, item) for item in range(count)]
    results = [future.result() for future in futures]
    elapsed_s = time.perf_counter() - start
    assert results == list(range(count))
    return {"rate": count / elapsed_s}


def by_pool(quick: bool) -> dict[str, float]:
    import paceline

    with paceline.Pool(WORKERS, backend="threads") as pool:
        return measure(pool.submit, quick)


def by_our_executor(quick: bool) -> dict[str, float]:
    import paceline

    with paceline.ThreadPoolExecutor(WORKERS) as executor:
        return measure(executor.submit, quick)


def by_standard_executor(quick: bool) -> dict[str, float]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(WORKERS) as executor:
        return measure(executor.submit, quick)


CONTEST = Contest(
    {"rate": Figure("20,000 no-op tasks on threads, submitted one by one", "tasks/s", "more", 0)},
    {
        "paceline-threads": Side('Paceline `Pool(backend="threads")`', by_pool),
        "paceline-thread-executor": Side("Paceline `ThreadPoolExecutor`", by_our_executor),
        "thread-executor": Side("`concurrent.futures.ThreadPoolExecutor`", by_standard_executor),
    },
)
