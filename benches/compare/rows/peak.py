"""How much memory is held at most while big arguments or results move, beyond what was held before?

In units of the data. Arguments are there before: a peer that copies all of them into its queues at once holds them
twice, and gets a 1. Results are kept, so 1 is the least that they can take.

Asked apart from the rates, because looking takes time, and of a pool that has not yet moved anything big, because what
a pool keeps for the next time counts as well.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benches.compare.arrays import full, read
from benches.compare.processes import Peak
from benches.compare.question import WORKERS, Figure, Question
from benches.compare.rows.payload import BIG, big_arrays, big_count, big_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.compare.peers import Peer


def ask(
    fn: Callable[..., Any], calls: Callable[[int], list[tuple[Any, ...]]], peer: type[Peer], quick: bool
) -> dict[str, float]:
    count = big_count(quick)
    pool = peer(WORKERS)
    pool.submit_all(read, [(full(4096, 1.0),)] * 100)
    made = calls(count)
    with Peak() as peak:
        results = pool.submit_all(fn, made)
    pool.close()
    assert len(results) == count
    return {"peak": (peak.most_bytes - peak.start_bytes) / (count * BIG)}


ARGUMENTS = Question(
    {"peak": Figure("peak of memory beside 20 arguments of 64 MB, in units of those", "×", "less", 2)},
    partial(ask, read, big_arrays),
)
RESULTS = Question(
    {"peak": Figure("peak of memory for 20 results of 64 MB, in units of those", "×", "less", 2)},
    partial(ask, full, big_results),
)
