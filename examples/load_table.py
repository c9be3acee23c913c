"""Who did what: the ways to give work to a pool, each followed by the load table of its workers.

`pool.report()` tells for each worker how long it was at work, how many items it did and which, then the total and the
wall time: where the total is larger than the wall time, work was done in parallel.

    python examples/load_table.py [SECONDS]
"""

import sys
import time
from collections.abc import Callable
from functools import partial

from paceline import Pool

NUMBERS = range(12)


def square_slowly(seconds: float, number: int) -> int:
    """Takes `seconds`, and three times as long for every third number."""
    time.sleep(seconds * (3 if number % 3 == 0 else 1))
    return number * number


def with_map(pool: Pool, seconds: float) -> list[int]:
    """With map: it waits for all results; items travel in chunks that suit the time that they take."""
    return pool.map(partial(square_slowly, seconds), NUMBERS)


def with_chunksize(pool: Pool, seconds: float) -> list[int]:
    """With map and a chunksize of one's own: four items at a time."""
    return pool.map(partial(square_slowly, seconds), NUMBERS, chunksize=4)


def with_map_async(pool: Pool, seconds: float) -> list[int]:
    """With map_async: it returns at once; the callback gets the list when it is there."""
    heard: list[int] = []
    future = pool.map_async(partial(square_slowly, seconds), NUMBERS, callback=heard.extend)
    future.wait()
    return heard


def with_apply(pool: Pool, seconds: float) -> list[int]:
    """With apply: it waits for each call, so nothing is done in parallel."""
    return [pool.apply(square_slowly, (seconds, number)) for number in NUMBERS]


def with_apply_async(pool: Pool, seconds: float) -> list[int]:
    """With apply_async: a future for each call; the callback hears of the results in the order in which they come."""
    heard: list[int] = []
    futures = [pool.apply_async(square_slowly, (seconds, number), callback=heard.append) for number in NUMBERS]
    for future in futures:
        future.wait()
    return sorted(heard)


WAYS: list[Callable[[Pool, float], list[int]]] = [
    with_map,
    with_chunksize,
    with_map_async,
    with_apply,
    with_apply_async,
]


def main(seconds: float = 0.02) -> None:
    """Does the same work in each way, each with a pool of its own."""
    for way in WAYS:
        with Pool(2) as pool:
            squares = way(pool, seconds)
            print(way.__doc__)
            print(pool.report())
            print(f"      {squares}\n")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
