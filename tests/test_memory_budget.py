"""`memory_budget`, `buffersize`, `statistics`: how much may be under way, who waits for it, what is given back."""

import asyncio
import functools
import itertools
import os
import signal
import threading
import time

import numpy as np
import pytest

import paceline
from paceline import Pool, PoolClosed, ProcessPoolExecutor, WorkerDied
from program import Program

MB = 1 << 20
ITEM = MB // 8


def nap(array):
    time.sleep(0.02)
    return float(array[0])


def zeros(count):
    return np.zeros(count)


def counted(make, number=itertools.repeat(None)):  # noqa: B008 - an iterator that never changes.
    """Items, and a list that grows with each that is read."""
    read = []

    def items():
        for _, n in zip(number, itertools.count()):
            read.append(n)
            yield make(n)

    return items(), read


def filled(number):
    return np.full(ITEM, float(number))


# -- inputs ------------------------------------------------------------------------------------------------------------


def test_submit_waits_until_its_input_fits():
    with Pool(2, memory_budget=4 * MB) as pool:
        futures = []
        for number in range(20):
            futures.append(pool.submit(nap, filled(number)))
            assert pool.statistics().input_bytes <= 4 * MB + 1000
        assert [future.result() for future in futures] == [float(number) for number in range(20)]
        assert 3 * MB < pool.statistics().peak_input_bytes <= 4 * MB + 1000


def test_long_bytes_wait_as_arrays_do():
    with Pool(2, memory_budget="4MiB") as pool:
        futures = [pool.submit(len, bytes(MB)) for _ in range(20)]
        assert [future.result() for future in futures] == [MB] * 20
        assert pool.statistics().peak_input_bytes <= 4 * MB + 1000


def test_one_item_is_always_taken_however_large():
    with Pool(2, memory_budget=1) as pool:
        assert pool.apply(nap, (filled(3),)) == 3.0
        assert pool.map(nap, map(filled, range(5))) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert list(pool.imap(nap, map(filled, range(5)))) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_map_sends_its_input_in_pieces_and_gives_one_list():
    items, _ = counted(filled, range(40))
    with Pool(2, memory_budget=8 * MB) as pool:
        assert pool.map(nap, items) == [float(number) for number in range(40)]
        assert pool.statistics().peak_input_bytes <= 9 * MB
        pairs = ((filled(number), number) for number in range(40))
        assert pool.starmap(lambda array, number: float(array[0]) + number, pairs) == [2.0 * n for n in range(40)]


def test_pieces_are_one_map_for_errors_and_indices():
    def fail_at(array):
        if array[0] in (11.0, 31.0):
            raise ValueError(f"{array[0]} at {paceline.current_task().index}")
        return paceline.current_task().index

    with Pool(2, memory_budget=8 * MB) as pool:
        with pytest.raises(ValueError, match=r"11\.0 at 11"):
            pool.map(fail_at, map(filled, range(40)))
        kept = pool.map(fail_at, map(filled, range(40)), on_error="return")
        assert [index for index, value in enumerate(kept) if isinstance(value, ValueError)] == [11, 31]
        assert str(kept[31]) == "31.0 at 31"
        assert pool.map(fail_at, map(filled, range(40)), on_error="skip") == [n for n in range(40) if n not in (11, 31)]
        with pytest.raises(paceline.TooManyFailures):
            pool.map(fail_at, map(filled, range(40)), on_error="skip", max_failures=1)


def test_input_that_raises_in_a_later_piece_raises_from_map():
    def items():
        yield from map(filled, range(20))
        raise KeyError("the input")

    with Pool(2, memory_budget=4 * MB) as pool:
        with pytest.raises(KeyError, match="the input"):
            pool.map(nap, items())
        assert pool.map(nap, [filled(1)]) == [1.0]


def test_same_array_counts_once_in_a_map():
    array = filled(2)
    with Pool(2, memory_budget=8 * MB) as pool:
        assert pool.map(nap, [array] * 20) == [2.0] * 20
        assert pool.statistics().peak_input_bytes < 2 * MB


def test_death_of_a_worker_makes_room():
    def die(array):
        os.kill(os.getpid(), signal.SIGKILL)

    with Pool(2, memory_budget=2 * MB) as pool:
        futures = [pool.submit(die, filled(number)) for number in range(6)]
        for future in futures:
            with pytest.raises(WorkerDied):
                future.result()
        assert pool.statistics().bytes_in_flight == 0


def test_small_input_passes_a_large_one_that_stays():
    with Pool(2, memory_budget=8 * MB) as pool:
        held = pool.submit(lambda array: time.sleep(60), np.zeros(7 * ITEM))
        futures = [pool.submit(nap, np.full(ITEM // 4, 2.0)) for _ in range(20)]
        assert [future.result() for future in futures] == [2.0] * 20
        assert not held.done()
        assert held.cancel(force=True)


def test_cancelled_calls_make_room():
    with Pool(1, memory_budget=2 * MB) as pool:
        first = pool.submit(time.sleep, 0.5)
        waiting = [pool.submit(nap, filled(number)) for number in range(1)]
        threading.Timer(0.1, waiting[0].cancel).start()
        began = time.monotonic()
        assert pool.submit(len, np.zeros(3 * ITEM // 2)).result() == 3 * ITEM // 2
        assert waiting[0].cancelled()
        first.result()
        assert time.monotonic() - began < 30


def test_end_of_the_pool_ends_the_wait_for_room():
    pool = Pool(1, memory_budget=2 * MB)
    first = pool.submit(lambda array: time.sleep(60), filled(1))
    threading.Timer(0.3, pool.terminate).start()
    with pytest.raises(PoolClosed):
        pool.submit(nap, np.zeros(2 * ITEM))
    pool.join()
    assert first.cancelled()


def test_callbacks_may_submit_while_others_wait_for_room():
    with Pool(2, memory_budget=2 * MB) as pool:
        later = []
        done = threading.Event()

        def submit_more(_):
            later.append(pool.submit(nap, filled(9)))
            if len(later) == 8:
                done.set()

        for number in range(8):
            pool.apply_async(nap, (filled(number),), callback=submit_more)
        assert done.wait(30)
        assert [future.result(30) for future in later] == [9.0] * 8


def test_event_loops_are_never_held_up():
    async def main(pool):
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticking = asyncio.create_task(tick())
        values = await asyncio.gather(*(pool.run(nap, filled(number)) for number in range(10)))
        ticking.cancel()
        return values, ticks

    with Pool(2, memory_budget=2 * MB) as pool:
        values, ticks = asyncio.run(main(pool))
        assert values == [float(number) for number in range(10)]
        assert ticks > 3


def test_interrupt_reaches_who_waits_for_room():
    def interrupt():
        signal.raise_signal(signal.SIGINT)

    pool = Pool(1, memory_budget=2 * MB)
    pool.submit(lambda array: time.sleep(60), filled(1))
    threading.Timer(0.3, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        pool.submit(nap, np.zeros(2 * ITEM))
    pool.terminate()
    pool.join()


# -- iterators ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["imap", "imap_unordered", "map_unordered"])
def test_endless_input_of_large_items_is_read_as_it_fits(way):
    items, read = counted(filled)
    opened = ProcessPoolExecutor(2, memory_budget=8 * MB) if way == "map_unordered" else Pool(2, memory_budget=8 * MB)
    with opened as pool:
        results = getattr(pool, way)(nap, items)
        for taken in range(1, 60):
            next(results)
            assert len(read) <= taken + 256
        statistics = pool.statistics()
        assert statistics.peak_bytes_in_flight <= 9 * MB
        del results


@pytest.mark.parametrize("sized", [True, False])
def test_results_that_nobody_takes_hold_up_the_input(sized):
    count = 200
    numbers = [ITEM] * count if sized else (ITEM for _ in range(count))
    with Pool(2, memory_budget=8 * MB) as pool:
        results = pool.imap(zeros, numbers)
        assert next(results).nbytes == MB
        time.sleep(0.5)
        assert pool.statistics().result_bytes <= 9 * MB
        assert sum(array.nbytes for array in results) == (count - 1) * MB
        assert pool.statistics().peak_result_bytes <= 9 * MB
        assert pool.statistics().bytes_in_flight == 0


def test_results_that_are_kept_hold_up_nobody():
    with Pool(2, memory_budget=4 * MB) as pool:
        kept = list(pool.imap(zeros, [ITEM] * 40))
        futures = [pool.submit(zeros, ITEM) for _ in range(20)]
        assert len(kept) == 40
        assert list(pool.imap(len, kept)) == [ITEM] * 40
        assert sum(future.result().nbytes for future in futures) == 20 * MB


def test_buffersize_bounds_the_items_that_are_out():
    for way in ("imap", "imap_unordered"):
        items, read = counted(float)
        with Pool(2) as pool:
            results = getattr(pool, way)(abs, items, buffersize=3)
            for taken in range(1, 20):
                next(results)
                time.sleep(0.002)
                assert len(read) <= taken + 4
            del results
            with pytest.raises(ValueError, match="buffersize must be at least 1"):
                getattr(pool, way)(abs, [1], buffersize=0)


def test_amap_reads_as_it_fits():
    async def main(pool):
        items, read = counted(filled)
        taken = 0
        async for _ in pool.amap(nap, items):
            taken += 1
            assert len(read) <= taken + 256
            if taken == 40:
                break

        async def asynchronous():
            for number in range(30):
                yield filled(number)

        return [value async for value in pool.amap(nap, asynchronous())]

    with Pool(2, memory_budget=8 * MB) as pool:
        assert asyncio.run(main(pool)) == [float(number) for number in range(30)]
        assert pool.statistics().peak_bytes_in_flight <= 9 * MB


def test_close_reads_what_is_left_of_an_input_within_the_budget():
    pool = Pool(2, memory_budget=4 * MB)
    results = pool.imap(nap, [filled(number) for number in range(20)])
    pool.close()
    assert list(results) == [float(number) for number in range(20)]
    pool.join()
    assert pool.statistics().peak_input_bytes <= 5 * MB


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_statistics_tell_what_is_under_way():
    with Pool(2) as pool:
        assert pool.statistics().bytes_in_flight == 0
        futures = [pool.submit(zeros, ITEM) for _ in range(4)]
        for future in futures:
            future.wait()
        before = pool.statistics()
        assert (before.input_bytes, before.result_bytes // 10_000) == (0, 4 * MB // 10_000)
        assert before.result_segment_bytes >= 4 * MB
        assert [future.result().nbytes for future in futures] == [MB] * 4
        after = pool.statistics()
        assert after.bytes_in_flight == 0
        assert after.peak_bytes_in_flight >= before.result_bytes
        assert pool.apply(len, (np.zeros(4 * ITEM),)) == 4 * ITEM
        assert pool.statistics().peak_input_bytes >= 4 * MB
        assert pool.statistics().input_segment_bytes >= 4 * MB
    for backend in ("threads", "serial"):
        with Pool(1, backend=backend) as pool:
            assert pool.apply(len, (np.zeros(4 * ITEM),)) == 4 * ITEM
            assert pool.statistics() == paceline.Statistics()
    with ProcessPoolExecutor(1) as executor:
        assert executor.statistics().memory_budget >= MB


def test_budget_that_makes_no_sense_is_refused():
    for wrong, kind in ((0, ValueError), (-1, ValueError), ("much", ValueError), (1.5, TypeError)):
        with pytest.raises(kind, match="memory_budget"):
            Pool(1, memory_budget=wrong)
    with pytest.raises(ValueError, match="memory_budget"):
        Pool(1, backend="threads", memory_budget=MB)


def test_idle_pool_gives_its_memory_back():
    with Pool(2) as pool:
        assert pool.map(functools.partial(np.multiply, 2.0), [np.ones(8 * ITEM)] * 4, chunksize=1)[0][0] == 2.0
        assert pool.statistics().input_segment_bytes >= 8 * MB
        deadline = time.monotonic() + 60
        while (now := pool.statistics()).input_segment_bytes + now.result_segment_bytes > 2 * MB:
            assert time.monotonic() < deadline, now
            time.sleep(0.2)
        # And goes on as before.
        assert pool.map(len, [np.ones(8 * ITEM)] * 4) == [8 * ITEM] * 4


WAITS_BEFORE_ASYNCIO = """
import sys
import paceline

with paceline.Pool(1, memory_budget="4MB") as pool:
    futures = [pool.submit(len, bytes(3_000_000)) for _ in range(3)]
    print([future.result() for future in futures])
assert "asyncio" not in sys.modules

import asyncio

async def main():
    async with asyncio.timeout(60):
        print("under way")

asyncio.run(main())
"""


def test_submission_that_waits_does_not_break_an_asyncio_that_is_imported_later(tmp_path):
    (tmp_path / "script.py").write_text(WAITS_BEFORE_ASYNCIO)
    code, out, err = Program(str(tmp_path / "script.py")).finish()
    assert (code, err) == (0, "")
    assert out.splitlines() == ["[3000000, 3000000, 3000000]", "under way"]
