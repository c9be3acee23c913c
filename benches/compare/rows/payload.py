"""How fast do big arguments and results move?"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from benches.compare.question import WORKERS, Figure, Question
from benches.compare.tasks import block_of, noop

if TYPE_CHECKING:
    from benches.compare.peers import Peer

MEGABYTE = 1_000_000
BIG = 64 * MEGABYTE
WINDOW = 16


def ask_megabytes(peer: type[Peer], quick: bool) -> dict[str, float]:
    count = 200 if quick else 2_000
    block = block_of(MEGABYTE)
    pool = peer(WORKERS)
    for result in pool.stream(noop, block, 100, WINDOW):
        assert result == block
    received = 0
    start = time.perf_counter()
    for result in pool.stream(noop, block, count, WINDOW):
        received += len(result)
    elapsed_s = time.perf_counter() - start
    pool.close()
    assert received == count * MEGABYTE
    return {"rate": count / elapsed_s}


def ask_big_result(peer: type[Peer], quick: bool) -> dict[str, float]:
    pool = peer(WORKERS)
    for _ in range(4):
        pool.call(block_of, BIG)
    rates = []
    for _ in range(3 if quick else 12):
        start = time.perf_counter()
        result = pool.call(block_of, BIG)
        rates.append(BIG / (time.perf_counter() - start) / 1e9)
        assert len(result) == BIG
    pool.close()
    return {"rate": statistics.median(rates)}


MEGABYTES = Question(
    {"rate": Figure("2,000 tasks with 1 MB in and 1 MB out, 16 under way", "tasks/s", "more", 0)}, ask_megabytes
)
BIG_RESULT = Question({"rate": Figure("a result of 64 MB", "GB/s", "more", 2)}, ask_big_result)
