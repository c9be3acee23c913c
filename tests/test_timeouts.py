"""Time limits, and the forced cancel: what runs too long ends, whatever it does, and costs nobody else anything."""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from concurrent.futures import CancelledError, as_completed
from pathlib import Path

import pytest

import tasks
from paceline import Pool, ProcessPoolExecutor, TaskInterrupted, TaskTimeout, ThreadPoolExecutor, WorkerDied

LIMIT_S = 0.2
GRACE_S = 0.3
# What the promise allows on top, and what a machine with other things to do may take.
LATE_S = 0.1
NOISE_S = 1.5


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def loop_for_ever(_):
    while True:
        pass


def hold_the_interpreter(seconds):
    """Stuck in C, with the interpreter: neither a signal's handler nor another thread has a turn."""
    del seconds
    sum(itertools.repeat(1))


def ignore(seconds):
    """Swallows whatever is raised in it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(BaseException):
            time.sleep(seconds)


def block_all_signals(seconds):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(seconds)


def leave_child():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    return pid


def never_stop():
    while True:
        with contextlib.suppress(TaskInterrupted):
            time.sleep(60)


def clean_up(path):
    try:
        time.sleep(60)
    finally:
        Path(path).write_text("cleaned up")


def swallow_and_return(_):
    try:
        time.sleep(60)
    except TaskInterrupted:
        return "a result after all"


SOFT = [(sleep, 60), (loop_for_ever, 0)]
HARD = [(hold_the_interpreter, 60), (ignore, 60), (block_all_signals, 60)]


@pytest.fixture
def limited():
    with Pool(2, timeout=LIMIT_S, grace=GRACE_S) as pool:
        # Not the workers' start is measured. One that is there may do all of a short map before the other is.
        while len(pool._engine.pids()) < 2:
            pool.map(tasks.square, range(8))
        yield pool


def time_of(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.mark.parametrize(("task", "argument"), SOFT)
def test_task_over_its_limit_is_asked_and_its_worker_goes_on(limited, task, argument):
    pids = set(limited._engine.pids())
    future = limited.submit(task, argument)
    took = time_of(lambda: future.wait(30))
    error = future.exception()
    assert isinstance(error, TaskTimeout)
    assert isinstance(error, TimeoutError)
    assert LIMIT_S <= took < LIMIT_S + LATE_S + NOISE_S
    assert (error.limit, error.function, error.attempt) == (LIMIT_S, task.__name__, 1)
    assert error.arguments == f"({argument},)"
    assert error.pid in pids
    assert task.__name__ in error.stack
    assert set(limited._engine.pids()) == pids
    assert limited.map(tasks.square, range(20)) == [number * number for number in range(20)]


@pytest.mark.parametrize(("task", "argument"), HARD)
def test_task_that_does_not_stop_is_ended_with_its_worker_in_time(limited, task, argument):
    future = limited.submit(task, argument)
    took = time_of(lambda: future.wait(30))
    error = future.exception()
    assert isinstance(error, TaskTimeout)
    assert LIMIT_S + GRACE_S <= took < LIMIT_S + GRACE_S + LATE_S + NOISE_S
    assert error.signal_name == "SIGKILL"
    assert "was ended with its worker" in str(error)
    assert limited.map(tasks.square, range(20)) == [number * number for number in range(20)]
    assert error.pid not in limited._engine.pids()


def test_stack_of_a_task_that_is_stuck_in_c_is_told(limited):
    error = limited.submit(hold_the_interpreter, 60).exception()
    assert "in hold_the_interpreter" in error.stack


@pytest.mark.parametrize("chunksize", [1, 3, 10, None])
def test_item_over_its_limit_costs_no_other_item_of_its_chunk(limited, tmp_path, chunksize):
    path = str(tmp_path / "notes")

    def work(value):
        tasks.note(path, value)
        return sleep(60) if value == 4 else value

    future = limited.map_async(work, range(10), chunksize, on_error="return")
    results = future.result(30)
    assert results[:4] + results[5:] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert isinstance(results[4], TaskTimeout)
    assert results[4].task.endswith("work[4]")
    assert sorted(map(int, Path(path).read_text().split())) == list(range(10))


@pytest.mark.parametrize("chunksize", [1, 3, 10])
def test_item_that_does_not_stop_costs_no_other_item_of_its_chunk(limited, chunksize):
    work = [60 if number == 4 else 0 for number in range(10)]
    results = limited.map(ignore, work, chunksize, on_error="return")
    assert results[:4] + results[5:] == [None] * 9
    assert isinstance(results[4], TaskTimeout)


def test_limit_is_each_items_and_not_the_chunks():
    with Pool(1, timeout=1.0) as pool:
        assert pool.map(sleep, [0.3] * 4, 4) == [0.3] * 4


def test_limit_counts_from_the_beginning_and_not_from_the_submission():
    with Pool(1, timeout=1.0) as pool:
        assert pool.map(sleep, [0.2] * 8, 1) == [0.2] * 8


def test_task_may_clean_up(limited, tmp_path):
    with pytest.raises(TaskTimeout):
        limited.submit(clean_up, str(tmp_path / "note")).result(30)
    assert (tmp_path / "note").read_text() == "cleaned up"


def test_task_that_swallows_the_request_counts_as_stopped(limited):
    assert isinstance(limited.submit(swallow_and_return, 0).exception(30), TaskTimeout)


def test_process_group_ends_with_the_worker():
    with Pool(1) as pool:
        pid = pool.apply(leave_child)
        with pytest.raises(TaskTimeout):
            pool.options(timeout=LIMIT_S, grace=0).submit(never_stop).result(30)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_limit_of_a_view_is_for_its_calls_only(pool):
    with pytest.raises(TaskTimeout):
        pool.options(timeout=0.05).apply(sleep, (60,))
    assert pool.apply(sleep, (0.1,)) == 0.1


def test_limit_of_an_executor(executor):
    futures = [executor.options(timeout=0.5).submit(sleep, seconds) for seconds in (60, 0, 60)]
    assert {type(future.exception()) for future in as_completed(futures)} == {TaskTimeout, type(None)}
    with ProcessPoolExecutor(1, timeout=0.1) as limited:
        assert isinstance(limited.submit(sleep, 60).exception(), TaskTimeout)


def test_limit_of_coroutines_stops_the_one_and_not_those_beside_it():
    async def nap(seconds):
        await asyncio.sleep(seconds)
        return seconds

    with Pool(1, timeout=0.5, grace=30) as pool:
        futures = [pool.submit(nap, seconds) for seconds in (60, 0.1, 0.2, 60)]
        outcomes = [future.exception(30) for future in futures]
        assert [type(outcome) for outcome in outcomes] == [TaskTimeout, type(None), type(None), TaskTimeout]
        assert "in nap" in outcomes[0].stack
        assert futures[2].result() == 0.2
        assert pool.submit(nap, 0).result(30) == 0


def test_coroutine_that_never_awaits_is_stopped_as_well():
    async def busy():
        while True:
            pass

    with Pool(1, timeout=0.2, grace=0.2) as pool:
        assert isinstance(pool.submit(busy).exception(30), TaskTimeout)
        assert pool.apply(tasks.square, (3,)) == 9


def test_awaited_call_over_its_limit_raises():
    async def main():
        with Pool(1) as pool:
            with pytest.raises(TaskTimeout):
                await pool.options(timeout=0.1).run(sleep, 60)
            return await pool.run(tasks.square, 3)

    assert asyncio.run(main()) == 9


@pytest.mark.parametrize("backend", ["threads", "serial"])
def test_limit_is_refused_where_it_cannot_be_kept(backend):
    with pytest.raises(ValueError, match="a thread cannot be stopped"):
        Pool(1, backend=backend, timeout=1)
    with Pool(1, backend=backend) as pool, pytest.raises(ValueError, match="a thread cannot be stopped"):
        pool.options(timeout=1).submit(tasks.square, 2)
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="a thread cannot be stopped"):
        executor.options(timeout=1)


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("timeout", 0, ValueError),
        ("timeout", -1, ValueError),
        ("timeout", float("nan"), ValueError),
        ("timeout", "1", TypeError),
        ("timeout", True, TypeError),
        ("grace", -1, ValueError),
        ("grace", None, TypeError),
    ],
)
def test_limit_that_makes_no_sense_is_refused_at_once(option, value, error):
    with pytest.raises(error, match=option):
        Pool(1, **{option: value})


# -- forced cancel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "argument"), [*SOFT, *HARD])
def test_running_task_is_cancelled_by_force(gate, task, argument):
    with Pool(1, grace=GRACE_S) as pool:

        def arrive_and(path, work, value):
            with open(path + ".arrived", "wb", buffering=0) as arrived:  # noqa: PTH123
                arrived.write(b"%d\n" % os.getpid())
            return work(value)

        future = pool.submit(arrive_and, gate.path, task, argument)
        gate.wait_for_arrival()
        assert not future.cancel()
        assert future.cancel(force=True)
        assert future.wait(GRACE_S + LATE_S + NOISE_S + 5)
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result(0)
        assert pool.apply(tasks.square, (3,)) == 9


def test_waiting_task_is_cancelled_at_once_by_force(gate):
    with Pool(1) as pool:
        running = pool.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        waiting = pool.submit(tasks.square, 3)
        assert waiting.cancel(force=True)
        assert waiting.cancelled()
        gate.let_through()
        assert running.result(30) is None


def test_map_is_cancelled_by_force_with_all_that_runs(gate, tmp_path):
    path = str(tmp_path / "notes")

    def work(value):
        tasks.note(path, value)
        return tasks.through(gate.path)

    with Pool(2, grace=0.1) as pool:
        future = pool.map_async(work, range(100), 5)
        gate.wait_for_arrival()
        gate.wait_for_arrival()
        assert future.cancel(force=True)
        assert future.wait(30)
        assert future.cancelled()
        assert pool.map(tasks.square, range(10)) == [number * number for number in range(10)]
    assert len(Path(path).read_text().split()) == 2


def test_ended_task_is_not_cancelled_by_force(pool):
    future = pool.submit(tasks.square, 3)
    assert future.result() == 9
    assert not future.cancel(force=True)
    assert future.result() == 9


def test_task_of_a_thread_is_not_stopped(gate):
    with Pool(1, backend="threads") as pool:
        future = pool.submit(tasks.through, gate.path, 7)
        gate.wait_for_arrival()
        assert not future.cancel(force=True)
        gate.let_through()
        assert future.result(30) == 7


def test_tasks_cancelled_by_force_at_any_moment_end_as_cancelled_or_done():
    with Pool(2, grace=0.05) as pool:
        futures = [pool.submit(sleep, 0.0005 * (number % 4)) for number in range(400)]
        said = [future.cancel(force=True) for future in futures]
        for future, was_cancelled in zip(futures, said, strict=True):
            assert future.wait(30)
            assert future.cancelled() == was_cancelled
        assert pool.map(tasks.square, range(100)) == [number * number for number in range(100)]


def test_pool_terminates_whatever_its_workers_do():
    pool = Pool(2)
    pool.map(tasks.square, range(4))
    futures = [pool.submit(hold_the_interpreter, 60), pool.submit(block_all_signals, 60)]
    deadline = time.monotonic() + 60
    while not all(future.running() for future in futures):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    pool.terminate()
    assert time_of(pool.join) < 1 + NOISE_S
    assert all(future.cancelled() for future in futures)


def test_limit_and_death_of_neighbours_at_once():
    with Pool(2, timeout=0.2, grace=0.1) as pool:
        work = [(ignore, 60), (tasks.die, signal.SIGKILL), (sleep, 60), (tasks.square, 3)] * 4
        futures = [pool.submit(task, argument) for task, argument in work]
        kinds = [type(future.exception(60)) for future in futures]
        assert kinds == [TaskTimeout, WorkerDied, TaskTimeout, type(None)] * 4
