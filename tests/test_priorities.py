"""Priorities: what is urgent begins first, on processes; and an engine that cancels what waits when it is closed."""

import os
import random
import signal

import pytest

import tasks
from paceline import Pool, WorkerDied
from paceline.engine import Terms

MANY = 1500  # More than the task table holds.


def lines(path):
    return path.read_text().splitlines()


def test_urgent_call_begins_before_all_that_no_worker_has_begun(gate, tmp_path):
    log = tmp_path / "log"
    with Pool(1) as pool:
        held = pool.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        for number in range(MANY):
            pool.submit(tasks.note, log, number)
        pool.options(priority=-1).submit(tasks.note, log, "last")
        pool.options(priority=1).submit(tasks.note, log, "urgent")
        pool.options(priority=2).starmap_async(tasks.note, [(log, "most urgent"), (log, "and more")], chunksize=1)
        pool.options(priority=1).submit(tasks.note, log, "urgent too")
        gate.let_through()
        held.result()
    numbers = [str(number) for number in range(MANY)]
    assert lines(log) == ["most urgent", "and more", "urgent", "urgent too", *numbers, "last"]


def test_items_of_an_urgent_map_come_back_in_order_between_others(pool):
    low = pool.map_async(tasks.square, range(20_000), chunksize=1)
    order = random.Random(5)
    urgent = [pool.options(priority=order.randrange(-3, 4)).submit(tasks.square, number) for number in range(500)]
    measured = pool.options(priority=9).map(tasks.square, range(5000))
    assert measured == [number**2 for number in range(5000)]
    assert [future.result() for future in urgent] == [number**2 for number in range(500)]
    assert low.get() == [number**2 for number in range(20_000)]


@pytest.mark.parametrize("priority", [32_768, -32_769, 10**30])
def test_priority_out_of_range_is_refused_by_the_engine_as_well(priority):
    with pytest.raises(ValueError, match="priority must be from -32768 to 32767, not"):
        Terms(priority=priority)
    with pytest.raises(TypeError):
        Terms(priority="high")


def test_engine_closed_with_a_cancel_ends_only_what_has_begun(gate):
    pool = Pool(1)
    held = pool.submit(tasks.through, gate.path, "begun")
    gate.wait_for_arrival()
    waiting = [pool.submit(abs, number) for number in range(MANY)]
    waiting.append(pool.map_async(abs, range(10)))
    pool.close()
    assert not any(future.done() for future in waiting)
    pool._engine.close(cancel_pending=True)
    assert all(future.cancelled() for future in waiting)
    gate.let_through()
    assert held.result() == "begun"
    pool.join()


def test_worker_that_dies_with_many_coroutines_loses_each_of_them_and_no_other(gate):
    # No more than these, so that the others are not begun.
    with Pool(1, concurrency_per_worker=20) as pool:
        begun = [pool.submit(tasks.through_later, gate.path) for _ in range(20)]
        for _ in begun:
            pid = gate.wait_for_arrival()
        later = [pool.submit(tasks.square, number) for number in range(100)]
        os.kill(pid, signal.SIGKILL)
        for future in begun:
            with pytest.raises(WorkerDied):
                future.result()
        assert [future.result() for future in later] == [number**2 for number in range(100)]
