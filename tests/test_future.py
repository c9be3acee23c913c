"""Futures: as those of `concurrent.futures`, as `AsyncResult`, and on an event loop."""

import asyncio
import concurrent.futures
import gc
import multiprocessing
import threading
import time
import weakref

import pytest

import tasks
from paceline import Future, Pool

WAIT_S = 60

# -- alone -------------------------------------------------------------------------------------------------------------


def test_future_goes_through_its_states(gate):
    with Pool(1) as pool:
        running = pool.submit(tasks.through, gate.path, "done")
        waiting = pool.submit(tasks.square, 3)
        gate.wait_for_arrival()
        assert running.running()
        assert not running.done()
        assert not running.cancel()
        assert not waiting.running()
        assert not waiting.done()
        gate.let_through()
        assert waiting.result() == 9
        assert running.done()
        assert not running.running()
        assert not running.cancel()
        assert not running.cancelled()


def test_future_that_has_not_begun_can_be_cancelled(gate):
    with Pool(1) as pool:
        running = pool.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        waiting = pool.submit(tasks.square, 3)
        assert waiting.cancel()
        assert waiting.cancel()
        assert waiting.cancelled()
        assert waiting.done()
        for method in (waiting.result, waiting.exception, waiting.get):
            with pytest.raises(concurrent.futures.CancelledError):
                method()
        assert waiting.wait(0)
        assert not waiting.successful()
        gate.let_through()
        assert running.result() is None


def test_future_of_a_map_can_be_cancelled_while_nothing_of_it_has_begun(gate):
    with Pool(1) as pool:
        running = pool.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        waiting = pool.map_async(tasks.square, range(1000))
        assert waiting.cancel()
        gate.let_through()
        assert running.result() is None
    assert pool.report().items == 1


def test_exception_is_had_without_being_raised(pool):
    future = pool.submit(tasks.fail)
    error = future.exception()
    assert type(error) is ValueError
    assert future.exception() is error
    with pytest.raises(ValueError, match="no") as caught:
        future.result()
    assert caught.value is error
    assert pool.submit(tasks.square, 2).exception() is None


def test_result_is_the_same_object_each_time(pool):
    future = pool.submit(tasks.identity, [1])
    assert future.result() is future.result()


def test_result_times_out_and_comes_later(pool, gate):
    future = pool.submit(tasks.through, gate.path, "done")
    for method in (future.result, future.exception, future.get):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            method(0.05)
        assert 0.04 < time.monotonic() - started < 5
        with pytest.raises(TimeoutError):
            method(timeout=0)
    assert future.wait(0.01) is False
    gate.let_through()
    assert future.result(WAIT_S) == "done"


def test_timeout_of_get_is_known_to_multiprocessing(pool, gate):
    future = pool.apply_async(tasks.through, (gate.path,))
    with pytest.raises(multiprocessing.TimeoutError):
        future.get(0)
    gate.let_through()


def test_timeout_error_of_the_function_is_not_taken_for_ours(pool):
    future = pool.submit(tasks.raise_error, TimeoutError, "from the function")
    with pytest.raises(TimeoutError, match="from the function"):
        future.get(WAIT_S)


def test_async_result_names(pool, gate):
    future = pool.apply_async(tasks.through, (gate.path,))
    assert not future.ready()
    with pytest.raises(ValueError, match="not ready"):
        future.successful()
    gate.let_through()
    future.wait()
    assert future.ready()
    assert future.successful()
    failed = pool.apply_async(tasks.fail)
    failed.wait()
    assert not failed.successful()


def test_done_callback_is_called_with_the_future(pool, gate):
    called = threading.Event()
    seen = []

    def callback(future):
        seen.append(future)
        called.set()

    future = pool.submit(tasks.through, gate.path, "done")
    future.add_done_callback(callback)
    gate.let_through()
    assert called.wait(WAIT_S)
    assert seen == [future]
    future.add_done_callback(seen.append)
    assert seen == [future, future]


def test_done_callback_of_a_cancelled_future_is_called(gate):
    called = threading.Event()
    with Pool(1) as pool:
        pool.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        future = pool.submit(tasks.square, 1)
        future.add_done_callback(lambda _: called.set())
        future.cancel()
        assert called.wait(WAIT_S)
        gate.let_through()


def test_several_threads_can_wait_for_one_future(pool, gate):
    future = pool.submit(tasks.through, gate.path, "done")
    results = []
    threads = [threading.Thread(target=lambda: results.append(future.result(WAIT_S))) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.wait_for_arrival()
    gate.let_through()
    for thread in threads:
        thread.join()
    assert results == ["done"] * 5


def test_repr_tells_the_state_and_leaves_the_result_packed(pool, gate):
    future = pool.submit(tasks.through, gate.path)
    gate.wait_for_arrival()
    assert repr(future).endswith("state=running>")
    gate.let_through()
    future.wait()
    assert repr(future).startswith("<Future at 0x")
    assert repr(future).endswith("state=finished>")


def test_future_that_nobody_holds_is_collected(pool):
    future = pool.submit(tasks.square, 2)
    assert future.result() == 4
    watch = weakref.ref(future)
    del future
    gc.collect()
    assert watch() is None


def test_future_with_a_cycle_through_its_callback_is_collected(pool):
    future = pool.submit(tasks.square, 2)
    future.add_done_callback(lambda _, future=future: None)
    future.wait()
    watch = weakref.ref(future)
    del future
    deadline = time.monotonic() + WAIT_S
    while watch() is not None and time.monotonic() < deadline:
        gc.collect()
    assert watch() is None


def test_future_class_is_generic_for_annotations():
    assert Future[int] is not None


# -- concurrent.futures ------------------------------------------------------------------------------------------------


def test_wait_for_all_and_for_the_first(pool, gate):
    held = pool.submit(tasks.through, gate.path, "held")
    gate.wait_for_arrival()
    quick = [pool.submit(tasks.square, number) for number in range(10)]
    done, not_done = concurrent.futures.wait([held, *quick], WAIT_S, concurrent.futures.FIRST_COMPLETED)
    assert held in not_done
    assert done <= set(quick)
    done, not_done = concurrent.futures.wait([held, *quick], 0.05)
    assert not_done == {held}
    gate.let_through()
    done, not_done = concurrent.futures.wait([held, *quick], WAIT_S)
    assert not_done == set()
    assert len(done) == 11


def test_wait_for_the_first_exception(pool, gate):
    held = pool.submit(tasks.through, gate.path)
    gate.wait_for_arrival()
    failing = pool.submit(tasks.fail)
    done, not_done = concurrent.futures.wait([held, failing], WAIT_S, concurrent.futures.FIRST_EXCEPTION)
    assert done == {failing}
    assert not_done == {held}
    gate.let_through()


@pytest.mark.parametrize("count", [1, 100])
def test_as_completed_yields_each_once(pool, count):
    futures = [pool.submit(tasks.square, number) for number in range(count)]
    yielded = list(concurrent.futures.as_completed(futures, WAIT_S))
    assert sorted(future.result() for future in yielded) == [number * number for number in range(count)]


def test_as_completed_yields_the_held_one_last(pool, gate):
    held = pool.submit(tasks.through, gate.path)
    gate.wait_for_arrival()
    futures = [held, *(pool.submit(tasks.square, number) for number in range(20))]
    order = []
    for future in concurrent.futures.as_completed(futures, WAIT_S):
        order.append(future)
        if len(order) == 20:
            gate.let_through()
    assert order[-1] is held


def test_as_completed_times_out(pool, gate):
    held = pool.submit(tasks.through, gate.path)
    with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
        list(concurrent.futures.as_completed([held], 0.05))
    gate.let_through()


def test_waiters_see_cancellation(gate):
    with Pool(1) as pool:
        pool.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        future = pool.submit(tasks.square, 1)
        started = threading.Event()
        seen = []

        def wait():
            started.set()
            seen.extend(concurrent.futures.as_completed([future], WAIT_S))

        thread = threading.Thread(target=wait)
        thread.start()
        started.wait()
        future.cancel()
        thread.join()
        gate.let_through()
    assert seen == [future]


def test_ours_and_standard_futures_wait_together(pool):
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        futures = [executor.submit(tasks.square, number) for number in range(50) for executor in (pool, threads)]
        done, not_done = concurrent.futures.wait(futures, WAIT_S)
        assert not not_done
        assert len(done) == 100
        assert len(list(concurrent.futures.as_completed(futures, WAIT_S))) == 100


def test_wait_misses_no_end_however_it_is_timed(pool):
    # The end may come before, between or after the steps in which `wait` installs itself.
    for _ in range(500):
        futures = [pool.submit(tasks.identity, number) for number in range(3)]
        done, not_done = concurrent.futures.wait(futures, WAIT_S, concurrent.futures.ALL_COMPLETED)
        assert len(done) == 3, not_done
        future = pool.submit(tasks.identity, 1)
        assert list(concurrent.futures.as_completed([future], WAIT_S)) == [future]


# -- asyncio -----------------------------------------------------------------------------------------------------------


def test_futures_can_be_awaited_through_wrap_future(pool):
    async def main():
        wrapped = [asyncio.wrap_future(pool.submit(tasks.square, number)) for number in range(100)]
        return await asyncio.gather(*wrapped)

    assert asyncio.run(main()) == [number * number for number in range(100)]


def test_executor_serves_run_in_executor(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, tasks.square, number) for number in range(100)))

    assert asyncio.run(main()) == [number * number for number in range(100)]


def test_exceptions_arrive_where_they_are_awaited(pool):
    async def main():
        await asyncio.wrap_future(pool.submit(tasks.fail))

    with pytest.raises(ValueError, match="no"):
        asyncio.run(main())


def test_cancelling_the_awaiting_task_cancels_the_call(gate):
    with Pool(1) as pool:
        pool.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        future = pool.submit(tasks.square, 1)

        async def main():
            waiter = asyncio.ensure_future(asyncio.wrap_future(future))
            await asyncio.sleep(0)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter

        asyncio.run(main())
        assert future.cancelled()
        gate.let_through()


def test_timeout_of_asyncio_does_not_wait_for_the_call(pool, gate):
    async def main():
        async with asyncio.timeout(0.05):
            await asyncio.wrap_future(pool.submit(tasks.through, gate.path))

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    gate.let_through()


def test_timeout_error_can_be_pickled(pool, gate):
    import multiprocessing
    import pickle

    future = pool.submit(tasks.through, gate.path)
    with pytest.raises(multiprocessing.TimeoutError, match="no result") as caught:
        future.get(0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, TimeoutError)
    assert again.args == caught.value.args
    gate.let_through()
