"""How many calls a second can one event loop make and await, all of them at once?"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from benches.compare.question import WORKERS, Contest, Figure, Side
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def measure(call: Callable[[int], Awaitable[Any]], quick: bool) -> dict[str, float]:
    count = 1_000 if quick else 10_000
    await asyncio.gather(*(call(item) for item in range(500)))
    start = time.perf_counter()
    results = await asyncio.gather(*(call(item) for item in range(count)))
    elapsed_s = time.perf_counter() - start
    assert results == list(range(count))
    return {"rate": count / elapsed_s}


def by_run(quick: bool) -> dict[str, float]:
    import paceline

    with paceline.Pool(WORKERS) as pool:

        async def main() -> dict[str, float]:
            return await measure(lambda item: pool.run(noop, item), quick)

        return asyncio.run(main())


def by_executor(quick: bool) -> dict[str, float]:
    with ProcessPoolExecutor(WORKERS) as executor:

        async def main() -> dict[str, float]:
            loop = asyncio.get_running_loop()
            return await measure(lambda item: loop.run_in_executor(executor, noop, item), quick)

        return asyncio.run(main())


CONTEST = Contest(
    {"rate": Figure("10,000 awaited no-op calls, gathered", "calls/s", "more", 0)},
    {
        "paceline-run": Side("Paceline `pool.run`", by_run),
        "run-in-executor": Side("`loop.run_in_executor(ProcessPoolExecutor)`", by_executor),
    },
)
