"""What the executors of `concurrent.futures` do and ours must do as well: every test runs on theirs and on ours.

Where they differ on purpose nothing is asked here, but in `test_differences.py`.
"""

import concurrent.futures
import itertools
import threading
from collections import Counter
from functools import partial

import pytest
from backends import EXECUTORS

import tasks

WAIT_S = 60


@pytest.fixture(scope="module", params=EXECUTORS, ids=lambda backend: backend.name)
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def make(backend, request):
    if backend.cluster is None:
        return backend.make
    return partial(backend.make, backend=request.getfixturevalue(backend.cluster))


@pytest.fixture(scope="module")
def slow_executor(backend, make):
    """One for all tests, since the standard one takes long to start."""
    if backend.ours:
        yield None
        return
    with make(2) as executor:
        # Both workers, and every thread and file that come with them.
        list(executor.map(tasks.pid, range(4)))
        yield executor


@pytest.fixture
def executor(slow_executor, make):
    if slow_executor is not None:
        yield slow_executor
        return
    with make(2) as executor:
        yield executor


# -- submit ------------------------------------------------------------------------------------------------------------


def test_submit(executor):
    future = executor.submit(tasks.collect, 1, fn=2, key=[3])
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == ((1,), {"fn": 2, "key": [3]})
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert not future.cancel()
    assert future.exception() is None


@pytest.mark.apart
def test_what_cannot_be_pickled_is_told_by_the_future(executor):
    future = executor.submit(tasks.identity, tasks.Unpicklable())
    with pytest.raises(TypeError, match="stays at home"):
        future.result(WAIT_S)
    assert isinstance(future.exception(), TypeError)
    assert future.done()
    for chunksize in (1, 2):
        results = executor.map(tasks.identity, [1, 2, tasks.Unpicklable(), 4], chunksize=chunksize)
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(TypeError, match="stays at home"):
            next(results)


def test_submit_needs_a_function(executor):
    with pytest.raises(TypeError):
        executor.submit()


@pytest.mark.apart
def test_exception_is_the_functions_with_the_remote_traceback_as_cause(executor):
    future = executor.submit(tasks.fail, "no")
    error = future.exception(WAIT_S)
    assert type(error) is ValueError
    assert error.args == ("no",)
    assert "raise ValueError(message)" in str(error.__cause__)
    with pytest.raises(ValueError, match="no"):
        future.result()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, KeyError, StopIteration, TimeoutError])
def test_exceptions_of_every_kind_are_the_futures(executor, kind):
    with pytest.raises(kind):
        executor.submit(tasks.raise_error, kind, "text").result(WAIT_S)
    assert executor.submit(tasks.square, 2).result() == 4


def test_timeouts(executor, gate):
    future = executor.submit(tasks.through, gate.path, "value")
    for method in (future.result, future.exception):
        with pytest.raises(concurrent.futures.TimeoutError):
            method(timeout=0.01)
        with pytest.raises(TimeoutError):
            method(0)
    assert not future.done()
    gate.let_through()
    assert future.result(WAIT_S) == "value"


def test_callbacks_are_called_in_the_order_in_which_they_were_added(executor, gate):
    called = []
    all_called = threading.Event()
    future = executor.submit(tasks.through, gate.path)
    future.add_done_callback(lambda future: called.append((1, future.done())))
    future.add_done_callback(lambda future: called.append((2, future.done())))
    future.add_done_callback(lambda future: all_called.set())
    gate.let_through()
    assert all_called.wait(WAIT_S)
    assert called == [(1, True), (2, True)]
    future.add_done_callback(called.append)
    assert called[2] is future


def test_callback_that_raises_is_logged_and_the_next_is_called(executor, gate, caplog):
    def broken(future):
        raise KeyError("in the callback")

    called = threading.Event()
    future = executor.submit(tasks.through, gate.path)
    future.add_done_callback(broken)
    future.add_done_callback(lambda future: called.set())
    gate.let_through()
    assert called.wait(WAIT_S)
    future.add_done_callback(broken)
    records = [record for record in caplog.records if record.name == "concurrent.futures"]
    assert len(records) == 2
    assert all("exception calling callback for <Future at" in record.getMessage() for record in records)
    assert all(record.exc_info[0] is KeyError for record in records)
    del records
    caplog.clear()


def test_cancel_what_has_not_begun(executor, gate):
    held = [executor.submit(tasks.through, gate.path) for _ in range(2)]
    for _ in held:
        gate.wait_for_arrival()
    waiting = [executor.submit(tasks.square, number) for number in range(20)]
    assert held[0].running()
    assert not held[0].cancel()
    last = waiting[-1]
    called = []
    last.add_done_callback(called.append)
    assert last.cancel()
    assert last.cancel()
    assert last.cancelled()
    assert last.done()
    assert not last.running()
    for method in (last.result, last.exception):
        with pytest.raises(concurrent.futures.CancelledError):
            method()
    gate.let_through(2)
    assert [future.result(WAIT_S) for future in waiting[:-1]] == [number * number for number in range(19)]
    done, _ = concurrent.futures.wait([last], WAIT_S)
    assert done == {last}
    assert called == [last]


@pytest.mark.parametrize("condition", ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
def test_wait(executor, gate, condition):
    held = executor.submit(tasks.through, gate.path)
    gate.wait_for_arrival()
    failed = executor.submit(tasks.fail)
    failed.exception(WAIT_S)
    done, not_done = concurrent.futures.wait([held, failed], 0.01, condition)
    assert (done, not_done) == ({failed}, {held})
    gate.let_through()
    done, not_done = concurrent.futures.wait([held, failed], WAIT_S)
    assert (done, not_done) == ({held, failed}, set())


def test_as_completed(executor, gate):
    held = executor.submit(tasks.through, gate.path)
    gate.wait_for_arrival()
    quick = executor.submit(tasks.square, 1)
    completed = concurrent.futures.as_completed([held, quick, quick], WAIT_S)
    assert next(completed) is quick
    gate.let_through()
    assert list(completed) == [held]


# -- map ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 3, 1000])
def test_map(executor, chunksize):
    assert list(executor.map(tasks.square, range(20), chunksize=chunksize)) == [number * number for number in range(20)]
    assert list(executor.map(tasks.add, range(3), itertools.count(10), chunksize=chunksize)) == [10, 12, 14]
    assert list(executor.map(tasks.square, [], chunksize=chunksize)) == []
    assert list(executor.map(tasks.square, iter([3]), chunksize=chunksize)) == [9]


def test_map_raises_in_place_and_ends(executor):
    results = executor.map(tasks.fail_on, itertools.repeat(2), range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="bad 2"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_times_out(executor, gate):
    results = executor.map(tasks.through, [gate.path], timeout=0.01)
    with pytest.raises(TimeoutError):
        next(results)
    gate.let_through()


@pytest.mark.apart
def test_map_refuses_a_chunksize_below_one(executor):
    for chunksize in (0, -1):
        with pytest.raises(ValueError, match=r"chunksize must be >= 1\."):
            executor.map(tasks.square, [1], chunksize=chunksize)


def test_map_raises_what_its_input_raises(executor):
    def broken_input():
        yield 1
        raise KeyError("input")

    with pytest.raises(KeyError, match="input"):
        list(executor.map(tasks.square, broken_input()))


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_wrong_options_are_refused(make):
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            make(number)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(1, initializer=3)


@pytest.mark.apart
def test_wrong_numbers_of_tasks_are_refused(make):
    with pytest.raises(TypeError, match="max_tasks_per_child must be an integer"):
        make(1, max_tasks_per_child=1.5)
    with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
        make(1, max_tasks_per_child=0)


def test_initializer_and_shutdown(make):
    with make(1, initializer=tasks.set_shared, initargs=("set",)) as executor:
        future = executor.submit(tasks.get_shared)
    assert future.result(0) == "set"
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(tasks.square, 1)
    executor.shutdown()


def test_shutdown_that_cancels(make, gate):
    executor = make(1)
    held = executor.submit(tasks.through, gate.path, "value")
    gate.wait_for_arrival()
    waiting = [executor.submit(tasks.square, number) for number in range(20)]
    executor.shutdown(wait=False, cancel_futures=True)
    gate.let_through()
    assert held.result(WAIT_S) == "value"
    executor.shutdown()
    assert held.result(0) == "value"
    assert waiting[-1].cancelled()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(tasks.square, [1])


def test_broken_initializer_is_a_broken_executor(make, caplog):
    with make(1, initializer=tasks.fail) as executor:
        future = executor.submit(tasks.square, 1)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            future.result(WAIT_S)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            executor.submit(tasks.square, 1)


@pytest.mark.apart
def test_max_tasks_per_child(make, backend):
    with make(1, max_tasks_per_child=2) as executor:
        pids = Counter(executor.submit(tasks.pid).result(WAIT_S) for _ in range(6))
    assert max(pids.values()) == 2
    # A cluster has a worker on each host, and not each need have come to its last call.
    assert len(pids) == 3 or backend.cluster is not None
