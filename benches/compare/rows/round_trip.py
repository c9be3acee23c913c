"""How long does one no-op call take, there and back, while the pool is hot?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benches.compare.question import WORKERS, Figure, Question
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from benches.compare.peers import Peer


def ask(peer: type[Peer], quick: bool) -> dict[str, float]:
    most, budget_s = (500, 1.0) if quick else (10_000, 3.0)
    pool = peer(WORKERS)
    for item in range(100):
        assert pool.call(noop, item) == item
    times_ns: list[int] = []
    end = time.perf_counter() + budget_s
    while len(times_ns) < most and time.perf_counter() < end:
        start = time.perf_counter_ns()
        pool.call(noop, 7)
        times_ns.append(time.perf_counter_ns() - start)
    pool.close()
    times_ns.sort()
    return {"p50": times_ns[len(times_ns) // 2] / 1e3, "p99": times_ns[len(times_ns) * 99 // 100] / 1e3}


QUESTION = Question(
    {
        "p50": Figure("hot round trip of a no-op, median", "µs", "less", 1),
        "p99": Figure("hot round trip of a no-op, 99th percentile", "µs", "less", 1),
    },
    ask,
    {"joblib": "A call is a whole `Parallel` of one task; joblib has no other way to ask for one."},
)
