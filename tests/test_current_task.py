"""What a task knows of itself, and what is told of one that failed."""

import os

import numpy as np
import pytest

import paceline
import tasks
from paceline import Pool, RemoteTraceback, current_task
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
