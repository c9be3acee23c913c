"""What is special about the pool that runs everything in its caller: when, in which thread, and what is let through."""

import contextvars
import itertools
import threading

import pytest

import paceline
import tasks


@pytest.fixture
def pool():
    with paceline.Pool(backend="serial") as pool:
        yield pool


def test_call_is_made_by_the_caller_before_submit_returns(pool):
    calls = []
    future = pool.submit(lambda: calls.append(threading.current_thread()))
    assert calls == [threading.current_thread()]
    assert future.done()
    assert not future.running()
    assert not future.cancel()
    assert pool._engine.threads() == pool._engine.pids() == []


def test_map_and_its_callback_run_in_the_caller(pool):
    got = []
    future = pool.map_async(lambda _: threading.current_thread(), range(3), callback=got.append)
    assert got == [[threading.current_thread()] * 3] == [future.get(0)]


def test_exception_is_raised_by_the_result_with_the_frames_of_the_call(pool):
    future = pool.submit(tasks.fail, "no")
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="no"):
        future.result()
    future = pool.map_async(tasks.fail_on, [1, 2])
    with pytest.raises(TypeError):
        future.get()


@pytest.mark.parametrize("how", ["submit", "map", "imap"])
def test_keyboard_interrupt_in_a_call_is_the_callers(pool, how):
    calls = []

    def interrupt(number):
        calls.append(number)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        {
            "submit": lambda: pool.submit(interrupt, 1),
            "map": lambda: pool.map(interrupt, [1, 2, 3]),
            "imap": lambda: next(pool.imap(interrupt, itertools.repeat(1, 1))),
        }[how]()
    assert calls == [1]
    assert pool.apply(abs, (-1,)) == 1


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize(
    "source", [lambda: range(10), lambda: iter(range(10)), itertools.count], ids=["sized", "iterator", "endless"]
)
def test_imap_makes_each_call_when_it_is_asked_for(pool, method, source):
    calls = []
    results = getattr(pool, method)(lambda number: calls.append(number) or number, source())
    assert calls == []
    for number in range(5):
        assert next(results) == number
        assert calls == list(range(number + 1))


def test_close_makes_the_calls_that_nobody_has_asked_for():
    calls = []
    pool = paceline.Pool(backend="serial")
    results = pool.imap(calls.append, range(5))
    next(results)
    pool.close()
    pool.join()
    assert calls == list(range(5))
    assert list(results) == [None] * 4


def test_nested_calls_keep_their_own_task():
    def outer(_):
        before = paceline.task_random().random()
        return before, pool.apply(inner), paceline.task_random() is paceline.task_random()

    def inner():
        return paceline.task_random().random()

    with paceline.Pool(backend="serial", seed=1) as pool:
        first, second, is_same = pool.apply(outer, (0,))
    assert first != second
    assert is_same


VARIABLE = contextvars.ContextVar("VARIABLE", default=0)


def test_context_variables_that_a_task_sets_stay_its_own(pool):
    VARIABLE.set(1)
    assert pool.apply(VARIABLE.get) == 1
    pool.apply(VARIABLE.set, (2,))
    assert pool.map(lambda value: (VARIABLE.get(), VARIABLE.set(value))[0], [5, 6]) == [1, 1]
    assert VARIABLE.get() == 1


def test_initializer_runs_in_the_caller_before_the_first_call():
    calls = []
    with paceline.Pool(4, calls.append, ("set up",), backend="serial") as pool:
        assert calls == []
        pool.apply(calls.append, ("call",))
        pool.apply(calls.append, ("call",))
    assert calls == ["set up", "call", "call"]


def test_initializer_that_raises_breaks_the_pool():
    pool = paceline.Pool(1, tasks.fail, ("not today",), backend="serial")
    for _ in range(2):
        with pytest.raises(paceline.WorkerStartError, match="not today"):
            pool.submit(tasks.identity, 1)
    pool.terminate()
    pool.join()


def test_report_names_the_thread_of_the_caller(pool):
    pool.map(tasks.spin, range(3))
    (worker,) = pool.report().workers
    assert worker.pid == threading.get_native_id()
    assert worker.indices == (0, 1, 2)
    assert worker.busy_seconds > 0


def test_closed_pool_refuses():
    pool = paceline.Pool(backend="serial")
    pool.close()
    with pytest.raises(paceline.PoolClosed):
        pool.submit(abs, 1)
    pool.join()
