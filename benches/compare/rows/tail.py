"""How far from the best possible end does a map of unequal tasks end?

Asked of heavy-tailed ones in each of three orders, of equal ones, of two kinds, and of a giant among dwarfs.

The best possible is max(total / workers, longest task). The tasks either sleep, so that nothing but the chunking
counts, or use as much time of a core, so that what the pool itself uses of the two cores counts as well.

The longest task has 2.2 % of the total, because of the ascending order: it is begun last, so that whoever takes tasks
in their order and cannot know their times ends at best at 1 + longest / total of the bound, here 1.022. The giant comes
last, and takes as long as a worker's half of everything; who can be told what tasks cost is told.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benches.compare import tasks
from benches.compare.question import WORKERS, Figure, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.compare.peers import Peer

COUNT = 1_000
EXPONENT = 2.0
TOTAL_S = 4.0


def durations(total_s: float) -> list[float]:
    """The quantiles of a Pareto distribution: most tasks are short, and a few hold most of the time."""
    raw = [(1 - (index + 0.5) / COUNT) ** (-1 / EXPONENT) for index in range(COUNT)]
    return [total_s * value / sum(raw) for value in raw]


def ask(task: Callable[[float], float], peer: type[Peer], quick: bool) -> dict[str, float]:
    ascending = durations(TOTAL_S / 4 if quick else TOTAL_S)
    shuffled = ascending.copy()
    random.Random(1).shuffle(shuffled)
    orders = {"shuffled": shuffled, "ascending": ascending, "descending": ascending[::-1]}
    pool = peer(WORKERS)
    pool.map(tasks.noop, range(100))
    figures = {}
    for name, items in orders.items():
        start = time.perf_counter()
        results = pool.map(task, items)
        elapsed_s = time.perf_counter() - start
        assert len(results) == len(items)
        # What the tasks say they took: a sleep is always a little longer than asked.
        figures[name] = elapsed_s / max(sum(results) / WORKERS, *results)
    pool.close()
    return figures


def ask_others(peer: type[Peer], quick: bool) -> dict[str, float]:
    scale = TOTAL_S / 4 if quick else TOTAL_S
    bimodal = [scale / 220 if index % 10 == 0 else scale / 1_800 for index in range(1_000)]
    mixes = {
        "uniform": [scale / COUNT] * COUNT,
        "bimodal": [value * scale / sum(bimodal) for value in bimodal],
        "giant": [scale / 2 / COUNT] * COUNT + [scale / 2],
    }
    pool = peer(WORKERS)
    pool.map(tasks.noop, range(100))
    figures = {}
    for name, items in mixes.items():
        start = time.perf_counter()
        results = (pool.map_by_cost if name == "giant" else pool.map)(tasks.sleep, items)
        elapsed_s = time.perf_counter() - start
        figures[name] = elapsed_s / max(sum(results) / WORKERS, *results)
    pool.close()
    return figures


def question(task: Callable[[Any], Any], told: str) -> Question:
    return Question(
        {
            order: Figure(f"heavy-tailed tasks that {told}, {order}: time over the bound", "×", "less", 3)
            for order in ("shuffled", "ascending", "descending")
        },
        partial(ask, task),
    )


MIXES = Question(
    {
        "uniform": Figure("1,000 equal tasks that sleep: time over the bound", "×", "less", 3),
        "bimodal": Figure("short tasks and a tenth of long ones: time over the bound", "×", "less", 3),
        "giant": Figure("1,000 short tasks and one giant, `cost=` if it exists: time over the bound", "×", "less", 3),
    },
    ask_others,
)
SLEEPING = question(tasks.sleep, "sleep")
BURNING = question(tasks.burn, "compute")
