"""How fast do big arguments and results move, and how near does that come to only copying them?"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benches.compare.arrays import PAGE_BYTES, full, read
from benches.compare.question import WORKERS, Figure, Question
from benches.compare.tasks import noop

if TYPE_CHECKING:
    from benches.compare.arrays import Floats
    from benches.compare.peers import Peer

MEGABYTE = 1_000_000
BIG = 64 * MEGABYTE
WINDOW = 16


def ask_megabytes(peer: type[Peer], quick: bool) -> dict[str, float]:
    count = 200 if quick else 2_000
    blocks: dict[str, Any] = {"bytes": b"\x5a" * MEGABYTE, "array": full(MEGABYTE, 1.0)}
    pool = peer(WORKERS)
    rates = {}
    for name, block in blocks.items():
        for result in pool.stream(noop, block, 100, WINDOW):
            assert np.array_equal(result, block)
        received = 0
        start = time.perf_counter()
        for result in pool.stream(noop, block, count, WINDOW):
            received += memoryview(result).nbytes
        rates[name] = count / (time.perf_counter() - start)
        assert received == count * MEGABYTE
    pool.close()
    return rates


def big_count(quick: bool) -> int:
    return 8 if quick else 20


def big_arrays(count: int) -> list[tuple[Floats]]:
    """The arguments of calls of `read`: new arrays, each in memory of its own."""
    return [(full(BIG, float(number)),) for number in range(count)]


def big_results(count: int) -> list[tuple[int, float]]:
    """The arguments of calls of `full`."""
    return [(BIG, float(number)) for number in range(count)]


def copy_rate() -> float:
    """What a plain copy of an array over another one moves, both touched before, in GB/s."""
    source, target = full(BIG, 1.0), full(BIG, 2.0)
    times_s = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        times_s.append(time.perf_counter() - start)
    return BIG / statistics.median(times_s) / 1e9


def ask_arguments(peer: type[Peer], quick: bool) -> dict[str, float]:
    count = big_count(quick)
    pool = peer(WORKERS)
    pool.submit_all(read, big_arrays(count))
    copy_before = copy_rate()
    calls = big_arrays(count)
    start = time.perf_counter()
    results = pool.submit_all(read, calls)
    rate = count * BIG / (time.perf_counter() - start) / 1e9
    copy = (copy_before + copy_rate()) / 2
    pool.close()
    assert results == [read(*call) for call in calls]
    return {"rate": rate, "copy": copy, "share": 100 * rate / copy}


def ask_results(peer: type[Peer], quick: bool) -> dict[str, float]:
    calls = big_results(big_count(quick))
    pool = peer(WORKERS)
    pool.submit_all(full, calls)
    start = time.perf_counter()
    results = [read(result) for result in pool.submit_all(full, calls)]
    elapsed_s = time.perf_counter() - start
    pool.close()
    assert results == [value * BIG / PAGE_BYTES for _, value in calls]
    return {"rate": len(calls) * BIG / elapsed_s / 1e9}


MEGABYTES = Question(
    {
        "bytes": Figure("2,000 tasks with 1 MB of bytes in and out, 16 under way", "tasks/s", "more", 0),
        "array": Figure("2,000 tasks with an array of 1 MB in and out, 16 under way", "tasks/s", "more", 0),
    },
    ask_megabytes,
)
ARGUMENTS = Question(
    {
        "rate": Figure("20 tasks with a new array of 64 MB each as argument", "GB/s", "more", 2),
        "copy": Figure("a plain copy of such an array, in the same process", "GB/s", "more", 2),
        "share": Figure("the arguments' rate, of that copy's", "%", "more", 0),
    },
    ask_arguments,
)
RESULTS = Question(
    {"rate": Figure("20 tasks that make and return an array of 64 MB each, all kept", "GB/s", "more", 2)}, ask_results
)
