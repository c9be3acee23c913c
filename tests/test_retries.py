"""Calls that are run again: after which failures, how often, when, and that they know of it."""

import asyncio
import itertools
import os
import signal
import threading
import time
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path

import pytest

import tasks
from paceline import (
    MemoryLimitExceeded,
    Pool,
    ProcessPoolExecutor,
    TaskTimeout,
    ThreadPoolExecutor,
    WorkerDied,
    current_task,
)


class Passing(Exception):
    """Goes away by itself."""


def fail_until(attempt, value, kind=Passing):
    if current_task().attempt < attempt:
        raise kind(value)
    return value, current_task().attempt


def die_until(attempt, value):
    if current_task().attempt < attempt:
        tasks.die()
    return value, current_task().attempt


def sleep_until(attempt, value):
    if current_task().attempt < attempt:
        time.sleep(60)
    return value, current_task().attempt


# Each has a pool of two workers, whatever they are.
BACKENDS = ["processes", "threads", "serial"]


@pytest.mark.parametrize("backend", BACKENDS[:1])
@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_failure_that_may_pass_is_tried_again(backend, chunksize):
    with Pool(2, backend=backend, retries=2, retry_on=Passing) as pool:
        assert pool.starmap(fail_until, [(1 + number % 3, number) for number in range(12)], chunksize) == [
            (number, 1 + number % 3) for number in range(12)
        ]
        assert pool.submit(fail_until, 3, "x").result() == ("x", 3)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_failure_that_may_pass_is_tried_again_on_threads(backend):
    counts = {}
    lock = threading.Lock()

    def flaky(value):
        with lock:
            counts[value] = counts.get(value, 0) + 1
        if counts[value] < 3:
            raise Passing(value)
        return value

    with Pool(2, backend=backend, retries=2, retry_on=(Passing, KeyError)) as pool:
        assert pool.map(flaky, range(10)) == list(range(10))
        assert set(counts.values()) == {3}


@pytest.mark.parametrize("backend", BACKENDS)
def test_failure_is_raised_when_its_retries_are_used_up(backend, tmp_path):
    def fail(value):
        tasks.note(str(tmp_path / str(value)), "begun")
        raise Passing(value)

    with Pool(2, backend=backend, retries=3, retry_on=Passing) as pool:
        futures = [pool.submit(fail, number) for number in range(3)]
        for number, future in enumerate(futures):
            with pytest.raises(Passing, match=str(number)):
                future.result(30)
            assert (tmp_path / str(number)).read_text().split() == ["begun"] * 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_failure_of_another_kind_is_not_tried_again(backend, tmp_path):
    def fail(value):
        tasks.note(str(tmp_path / "notes"), value)
        raise KeyError(value)

    with Pool(1, backend=backend, retries=3, retry_on=Passing) as pool, pytest.raises(KeyError):
        pool.submit(fail, 1).result(30)
    assert (tmp_path / "notes").read_text().split() == ["1"]


def test_exceptions_are_not_tried_again_unless_asked_for(tmp_path):
    with Pool(1, retries=3) as pool:
        with pytest.raises(ValueError, match="no"):
            pool.submit(tasks.fail).result(30)
        assert pool.submit(die_until, 3, "x").result(30) == ("x", 3)


def test_deaths_are_not_tried_again_if_only_exceptions_are(pool):
    with pytest.raises(WorkerDied) as caught:
        pool.options(retries=3, retry_on=Passing).submit(die_until, 2, "x").result(30)
    assert caught.value.attempt == 1


def test_deaths_and_exceptions_both(pool):
    both = pool.options(retries=3, retry_on=(Passing, WorkerDied))

    def either(value):
        return die_until(2, value) if current_task().attempt == 1 else fail_until(3, value)

    assert both.submit(either, "x").result(30) == ("x", 3)


def test_overruns_are_tried_again_if_asked_for(pool):
    limited = pool.options(timeout=0.2, grace=0.2, retries=1)
    assert isinstance(limited.submit(sleep_until, 2, "x").exception(30), TaskTimeout)
    again = limited.options(retry_on=TimeoutError)
    assert again.submit(sleep_until, 2, "x").result(30) == ("x", 2)
    error = again.submit(sleep_until, 3, "x").exception(30)
    assert isinstance(error, TaskTimeout)
    assert error.attempt == 2


@pytest.mark.parametrize("kind", [WorkerDied, TaskTimeout, MemoryLimitExceeded])
def test_what_the_engine_tells_may_also_be_raised_by_the_function(pool, kind):
    def raise_as_from_a_pool_of_its_own():
        if current_task().attempt < 3:
            raise kind("inner")
        return "done"

    assert pool.options(retries=2, retry_on=kind).submit(raise_as_from_a_pool_of_its_own).result(30) == "done"


def test_any_exception_includes_deaths_and_overruns(pool):
    anything = pool.options(timeout=0.2, retries=3, retry_on=Exception)

    def trouble(value):
        match current_task().attempt:
            case 1:
                tasks.die()
            case 2:
                time.sleep(60)
            case 3:
                raise KeyError(value)
        return value, current_task().attempt

    assert anything.submit(trouble, "x").result(30) == ("x", 4)


def test_task_that_kills_each_worker_is_quarantined_and_others_go_on(pool, tmp_path):
    def deadly(value):
        tasks.note(str(tmp_path / "notes"), os.getpid())
        tasks.die(signal.SIGSEGV)

    stubborn = pool.options(retries=4).submit(deadly, 1)
    others = [pool.submit(tasks.square, number) for number in range(100)]
    assert [other.result(60) for other in others] == [number * number for number in range(100)]
    error = stubborn.exception(60)
    assert isinstance(error, WorkerDied)
    assert (error.attempt, error.is_quarantined) == (5, True)
    assert "it is not run again" in str(error)
    assert len(set((tmp_path / "notes").read_text().split())) == 5


def test_backoff_is_waited_out_and_doubles(tmp_path):
    path = tmp_path / "times"

    def fail(_):
        tasks.note(str(path), time.monotonic())
        raise Passing

    with Pool(1, retries=3, retry_on=Passing, backoff=0.1) as pool, pytest.raises(Passing):
        pool.submit(fail, 0).result(30)
    times = list(map(float, path.read_text().split()))
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(waits) == 3
    for number, wait in enumerate(waits):
        assert wait >= 0.1 * 2**number / 2


def test_others_run_while_a_call_waits_out_its_backoff():
    with Pool(1) as pool:
        waiting = pool.options(retries=1, retry_on=Passing, backoff=20).submit(fail_until, 2, "x")
        assert pool.map(tasks.square, range(50)) == [number * number for number in range(50)]
        assert not waiting.done()
        assert waiting.cancel(force=True)
        assert waiting.cancelled()


def test_closed_pool_still_runs_what_waits_out_its_backoff():
    pool = Pool(1)
    future = pool.options(retries=1, retry_on=Passing, backoff=0.3).submit(fail_until, 2, "x")
    pool.close()
    pool.join()
    assert future.result(0) == ("x", 2)


def wait_until_tried(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def note_and_fail(path):
    tasks.note(path, "tried")
    raise Passing


def test_call_that_waits_out_its_backoff_can_be_cancelled(tmp_path):
    with Pool(1, retries=1, retry_on=Passing, backoff=3600) as pool:
        future = pool.submit(note_and_fail, str(tmp_path / "note"))
        wait_until_tried(tmp_path / "note")
        # Its worker has said that it failed before it takes the next.
        assert pool.submit(abs, -1).result(30) == 1
        assert not future.running()
        assert future.cancel()
        assert future.cancelled()


def test_shutdown_that_cancels_does_not_wait_for_a_backoff(tmp_path):
    executor = ProcessPoolExecutor(1, retries=1, retry_on=Passing, backoff=3600)
    future = executor.submit(note_and_fail, str(tmp_path / "note"))
    wait_until_tried(tmp_path / "note")
    assert executor.submit(abs, -1).result(30) == 1
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_pool_of_threads_that_is_ended_waits_out_no_backoff(is_coroutine):
    tried = threading.Event()

    def note_and_fail():
        tried.set()
        raise Passing

    async def note_and_fail_later():
        note_and_fail()

    pool = Pool(1, backend="threads", retries=3, retry_on=Passing, backoff=3600)
    future = pool.submit(note_and_fail_later if is_coroutine else note_and_fail)
    assert tried.wait(30)
    pool.terminate()
    pool.join()
    assert isinstance(future.exception(30), Passing)


def test_shutdown_of_threads_that_cancels_waits_out_no_backoff():
    tried = threading.Event()

    def note_and_fail():
        tried.set()
        raise Passing

    with ThreadPoolExecutor(1, retries=3, retry_on=Passing, backoff=3600) as executor:
        future = executor.submit(note_and_fail)
        assert tried.wait(30)
        executor.shutdown(cancel_futures=True)
    assert isinstance(future.exception(0), Passing)


@pytest.mark.parametrize("backend", BACKENDS)
def test_task_knows_its_attempt(backend):
    async def later():
        return fail_until(3, "later")

    with Pool(1, backend=backend, retries=2, retry_on=Passing) as pool:
        assert pool.submit(fail_until, 3, "now").result(30) == ("now", 3)
        assert pool.map(partial(fail_until, 2), "ab") == [("a", 2), ("b", 2)]
        assert pool.submit(later).result(30) == ("later", 3)
        assert pool.apply(lambda: current_task().attempt) == 1


def die_or_wait(gate, item):
    if item == 0:
        tasks.die()
    return tasks.through(gate, item)


def test_chunk_of_which_an_item_waits_out_its_backoff_ends_with_a_shutdown_that_cancels(gate):
    executor = ProcessPoolExecutor(1, retries=1, backoff=3600)
    results = executor.map(partial(die_or_wait, gate.path), range(2), chunksize=2)
    gate.wait_for_arrival()
    executor.shutdown(wait=False, cancel_futures=True)
    gate.let_through()
    with pytest.raises(CancelledError):
        next(results)
    executor.shutdown()


class Flaky:
    """A callable with attributes of its own, and no name."""

    def __init__(self):
        self._wait = self._rest = self._awaited = 5

    def __call__(self, value):
        return fail_until(2, value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_callable_objects_are_tried_again_and_named_by_their_class(backend, caplog):
    with Pool(1, backend=backend, retries=1, retry_on=Passing) as pool:
        assert pool.apply(Flaky(), ("x",)) == ("x", 2)
        pool.map(partial(fail_until, 9), [1], on_error="skip")
    assert [record.message for record in caplog.records] == ["fail_until[0] failed: Passing: 1"]


def test_coroutine_knows_its_attempt_wherever_it_looks():
    async def attempts():
        task = current_task()
        if task.attempt == 1:
            raise Passing
        return task.attempt, await asyncio.to_thread(lambda: current_task().attempt)

    async def from_a_loop(pool):
        return pool.apply(attempts)

    for backend in BACKENDS:
        with Pool(1, backend=backend, retries=2, retry_on=Passing) as pool:
            assert pool.apply(attempts) == (2, 2)
            assert asyncio.run(from_a_loop(pool)) == (2, 2)


def test_killed_workers_run_nothing_again(gate):
    executor = ProcessPoolExecutor(1, retries=3)
    future = executor.submit(tasks.through, gate.path)
    gate.wait_for_arrival()
    executor.kill_workers()
    error = future.exception(30)
    assert isinstance(error, WorkerDied)
    assert error.attempt == 1
    executor.shutdown()


def test_coroutines_are_tried_again(pool):
    async def flaky(value):
        await asyncio.sleep(0.001)
        return fail_until(2, value)

    again = pool.options(retries=1, retry_on=Passing)
    assert [future.result(30) for future in [again.submit(flaky, number) for number in range(5)]] == [
        (number, 2) for number in range(5)
    ]


def test_imap_and_awaited_calls_are_tried_again():
    async def main(pool):
        return [pair async for pair in pool.amap(lambda value: fail_until(2, value), range(5))]

    with Pool(2, retries=1, retry_on=Passing) as pool:
        expected = [(number, 2) for number in range(5)]
        assert list(pool.imap(lambda value: fail_until(2, value), range(5), 2)) == expected
        assert asyncio.run(main(pool)) == expected


def test_exception_class_of_a_script_is_known_by_retry_on():
    class Local(Exception):
        pass

    def flaky(value):
        if current_task().attempt == 1:
            raise Local
        return value

    with ProcessPoolExecutor(1, retries=1, retry_on=Local) as executor:
        assert list(executor.map(flaky, range(3))) == [0, 1, 2]


def test_nothing_is_run_again_that_succeeded(tmp_path):
    path = tmp_path / "notes"

    def work(value):
        tasks.note(str(path), value)
        return fail_until(2 if value % 5 == 0 else 1, value)[0]

    with Pool(2, retries=1, retry_on=Passing) as pool:
        assert pool.map(work, range(40), 10) == list(range(40))
    notes = sorted(map(int, path.read_text().split()))
    assert notes == sorted([*range(40), *range(0, 40, 5)])


def test_large_results_beside_failures_survive_the_retry():
    def work(value):
        if value % 4 == 1:
            fail_until(2, value)
        return bytes([value]) * 200_000

    with Pool(1, retries=1, retry_on=Passing) as pool:
        results = pool.map(work, range(12), 12)
    assert [(len(result), result[0]) for result in results] == [(200_000, number) for number in range(12)]


def test_out_of_memory_is_tried_again_alone(tmp_path):
    path = tmp_path / "notes"

    def hungry(value):
        if current_task().attempt == 1:
            kept = []
            while True:
                kept.append(bytearray(8 << 20))
        tasks.note(str(path), f"begin-{value}")
        time.sleep(0.1)
        tasks.note(str(path), f"end-{value}")
        return value

    def ordinary(value):
        tasks.note(str(path), f"begin-{value}")
        time.sleep(0.02)
        tasks.note(str(path), f"end-{value}")

    with Pool(2, memory_limit="250MB") as pool:
        alone = pool.options(retries=1, retry_alone=True, retry_on=MemoryLimitExceeded).submit(hungry, "alone")
        others = [pool.submit(ordinary, number) for number in range(30)]
        assert alone.result(60) == "alone"
        for other in others:
            other.result(60)
    notes = Path(path).read_text().split()
    place = notes.index("begin-alone")
    assert notes[place + 1] == "end-alone", "nothing else ran meanwhile"
    assert notes[:place].count("begin") == notes[:place].count("end")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retries": -1}, ValueError),
        ({"retries": 1.5}, TypeError),
        ({"retry_on": ValueError("an instance")}, TypeError),
        ({"retry_on": (ValueError, "KeyError")}, TypeError),
        ({"retry_on": int}, TypeError),
        ({"backoff": -0.1}, ValueError),
        ({"backoff": "1"}, TypeError),
    ],
)
def test_retries_that_make_no_sense_are_refused_at_once(options, error):
    (name,) = options
    with pytest.raises(error, match=name):
        Pool(1, **options)
