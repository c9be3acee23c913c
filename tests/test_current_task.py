"""What a task knows of itself, and what is told of one that failed."""

import asyncio
import os
import threading
from functools import partial

import numpy as np
import pytest

import paceline
import tasks
from paceline import (
    ArgumentNotPicklable,
    Pool,
    ProcessPoolExecutor,
    RemoteTraceback,
    ThreadPoolExecutor,
    WorkerDied,
    current_task,
)
from paceline.failures import arguments_shown, size_shown


def index_and_number(_):
    return current_task().index, current_task().number


@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
def test_task_knows_its_index_and_number(backend):
    with Pool(2, backend=backend) as pool:
        pool.apply(abs, (1,))
        assert pool.map(index_and_number, range(5), 2) == [(number, number + 1) for number in range(5)]
        assert pool.apply(index_and_number, (0,)) == (0, 6)
        assert pool.apply(lambda: repr(current_task())) == "CurrentTask(index=0, number=7, attempt=1)"


def test_coroutine_knows_its_index():
    async def index(_):
        return current_task().index

    with Pool(1) as pool:
        assert pool.map(index, range(4)) == [0, 1, 2, 3]


def index(_):
    return current_task().index


@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
@pytest.mark.parametrize("chunksize", [1, 3])
def test_index_counts_from_the_start_of_the_input_however_it_is_cut(backend, chunksize):
    async def through_amap(pool):
        return [place async for place in pool.amap(index, range(7), chunksize=chunksize)]

    with Pool(2, backend=backend) as pool:
        assert list(pool.imap(index, range(7), chunksize)) == list(range(7))
        assert sorted(pool.imap_unordered(index, iter(range(7)), chunksize)) == list(range(7))
        assert list(pool.imap(index, range(7), chunksize, on_error="return")) == list(range(7))
        assert asyncio.run(through_amap(pool)) == list(range(7))


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
@pytest.mark.parametrize("chunksize", [1, 3])
def test_index_counts_from_the_start_for_executors_too(kind, chunksize):
    with kind(2) as executor:
        assert list(executor.map(index, range(7), chunksize=chunksize)) == list(range(7))
        assert list(executor.map(index, range(7), chunksize=chunksize, on_error="return")) == list(range(7))
        assert sorted(executor.map_unordered(index, range(7), chunksize=chunksize)) == list(range(7))


@pytest.mark.parametrize("chunksize", [1, 3])
def test_lost_item_of_an_iterator_tells_its_index(pool, chunksize):
    results = pool.imap(partial(tasks.die_on, 4), range(7), chunksize)
    errors = []
    while True:
        try:
            next(results)
        except WorkerDied as error:
            errors.append(error)
        except StopIteration:
            break
    assert [error.task for error in errors] == ["die_on[4]"]


def test_item_that_cannot_be_pickled_counts():
    async def failures(pool):
        items = [0, threading.Lock(), 2, 3]
        results = pool.amap(partial(tasks.fail_on, 3), items, chunksize=2, on_error="return")
        return [result async for result in results]

    with Pool(1) as pool:
        first, unpicklable, third, failed = asyncio.run(failures(pool))
    assert (first, third) == (0, 2)
    assert isinstance(unpicklable, ArgumentNotPicklable)
    assert failed.__cause__.details.startswith("task `fail_on[3]` ")


def test_no_task_is_running_here():
    with pytest.raises(RuntimeError, match="no task is running"):
        current_task()


def test_what_a_task_is_cannot_be_changed(pool):
    def change():
        current_task().attempt = 7

    with pytest.raises(AttributeError, match="cannot be changed"):
        pool.apply(change)


# -- what is told of a failure -----------------------------------------------------------------------------------------


def test_raised_exception_tells_its_task(pool):
    with pytest.raises(ValueError, match="bad 3") as caught:
        pool.starmap(tasks.fail_on, [(3, number) for number in range(5)])
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.details.startswith("task `fail_on[3]` called with (3, 3): process ")
    assert "attempt 1" in cause.details
    assert "peak memory" in cause.details
    assert cause.details in str(cause)


def test_single_call_tells_keywords_and_seconds(pool):
    def fail(left, *, right):
        raise KeyError(left)

    with pytest.raises(KeyError) as caught:
        pool.submit(fail, [1] * 100, right="x" * 1000).result()
    details = caught.value.__cause__.details
    assert "called with ([1, 1, 1, 1, 1, 1, ...], right='xxx" in details
    assert len(details) < 400
    assert ", after " in details


def test_lost_task_tells_its_arguments(pool):
    error = pool.submit(tasks.die_on, 3, 3).exception(30)
    assert error.arguments == "(3, 3)"
    assert error.seconds is not None
    assert error.peak_memory > 10**6
    assert "called with (3, 3), after " in str(error)


def test_long_arguments_are_told_by_their_size(pool):
    error = pool.submit(lambda data: os._exit(3), bytes(100_000)).exception(30)
    assert error.arguments == "100 kB of arguments"


def test_name_of_the_options_stands_for_the_function(pool):
    error = pool.options(name="the one").submit(tasks.leave, 3).exception(30)
    assert error.task == "the one"


class Hopeless:
    def __repr__(self):
        raise RuntimeError


def test_arguments_that_cannot_be_shown_are_said_to_be():
    assert arguments_shown(1, Hopeless()).startswith("(<Hopeless instance at")
    assert arguments_shown(3, (1, 2)) == "arguments that cannot be shown (TypeError)"
    assert size_shown(7, ValueError()) == "arguments that could not be rebuilt here (ValueError)"
    assert arguments_shown(3, ((1,), {"x": 2})) == "(1, x=2)"
    assert arguments_shown(3, ((1,), None)) == "(1,)"
    assert arguments_shown(0, ((1,), {"x": 2})) == "((1,), {'x': 2})"
    assert arguments_shown(2, [1, 2]) == "(1, 2)"


def test_array_is_shown_on_one_line():
    assert "\n" not in arguments_shown(1, np.zeros((100, 100)))


def test_every_name_of_the_package_can_be_had():
    for name in paceline.__all__:
        assert getattr(paceline, name) is not None
