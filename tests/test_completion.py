"""`as_completed`: futures of every origin, in the order in which they end."""

import asyncio
import concurrent.futures
import gc
import weakref

import pytest

import paceline
import tasks


def test_as_completed_gives_futures_in_the_order_in_which_they_end(executor, gate):
    held = executor.submit(tasks.through, gate.path, "held")
    gate.wait_for_arrival()
    quick = executor.submit(tasks.square, 3)
    completed = paceline.as_completed([held, quick])
    assert next(completed) is quick
    gate.let_through()
    assert next(completed) is held
    assert list(completed) == []


def test_as_completed_takes_standard_futures_among_ours(executor):
    standard = [concurrent.futures.Future() for _ in range(3)]
    standard[0].set_result("before")
    standard[1].cancel()
    ours = executor.submit(tasks.square, 3)
    completed = paceline.as_completed(iter([ours, *standard, ours]), 30)
    assert {next(completed) for _ in range(3)} == {ours, standard[0], standard[1]}
    standard[2].set_exception(KeyError())
    assert list(completed) == [standard[2]]


def test_as_completed_raises_timeout_counted_from_the_call(executor, gate):
    held = executor.submit(tasks.through, gate.path)
    quick = executor.submit(tasks.square, 3)
    quick.result()
    completed = paceline.as_completed([held, quick], 0)
    assert next(completed) is quick
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        next(completed)
    with pytest.raises(StopIteration):
        next(completed)
    gate.let_through()


def test_as_completed_of_many_futures_gives_each_once(executor):
    futures = [executor.submit(tasks.square, number) for number in range(5000)]
    assert {future.result() for future in paceline.as_completed(futures)} == {number**2 for number in range(5000)}


def test_as_completed_keeps_neither_what_it_gave_nor_what_ends_after_it():
    futures = [concurrent.futures.Future() for _ in range(2)]
    futures[0].set_result(1)
    completed = paceline.as_completed(futures)
    gone = weakref.ref(futures.pop(0))
    next(completed)
    gc.collect()
    assert gone() is None
    completed.close()
    late = futures.pop()
    gone = weakref.ref(late)
    late.set_result(2)
    del late
    gc.collect()
    assert gone() is None


def test_futures_of_every_origin_are_waited_for_together(executor, gate):
    async def wrapped(future):
        return await asyncio.wrap_future(future)

    standard = concurrent.futures.Future()
    with paceline.ThreadPoolExecutor(1) as threads, concurrent.futures.ThreadPoolExecutor(1) as others:
        held = executor.submit(tasks.through, gate.path, "held")
        gate.wait_for_arrival()
        futures = [threads.submit(tasks.square, 2), others.submit(tasks.square, 3)]
        done, waiting = concurrent.futures.wait([*futures, held, standard], 30, "FIRST_COMPLETED")
        assert done <= set(futures)
        assert waiting >= {held, standard}
        gate.let_through()
        standard.set_result("set")
        done, waiting = concurrent.futures.wait([*futures, held, standard], 30)
        assert {future.result() for future in done} == {4, 9, "held", "set"}
        assert not waiting
        assert set(concurrent.futures.as_completed([*futures, held, standard])) == done
        assert asyncio.run(wrapped(held)) == "held"
