"""What is to be stopped is stopped, whatever its worker is at when that comes, and nothing else is."""

import asyncio
import ctypes
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

import paceline
import tasks
from paceline import Pool, ProcessPoolExecutor, TaskTimeout, TooManyFailures, WorkerDied
from paceline.inert import loads


class Slow:
    """Takes its time to be unpickled."""

    def __reduce__(self):
        return make_slow, (0.6,)


def make_slow(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return Slow()


async def take(_):
    return 1


async def wait_for_ever(number):
    if number == 0:
        await asyncio.sleep(0.1)
        sum(range(40_000_000))  # One long call of native code, during which all the others come to their limit.
    await asyncio.sleep(60)


async def wait_and_return():
    await asyncio.sleep(3)
    return "fine"


def test_limit_that_passes_while_a_coroutine_is_made_is_its_own():
    with Pool(1) as pool:
        pool.submit(take, 1).result()
        assert isinstance(pool.options(timeout=0.2).submit(take, Slow()).exception(30), TaskTimeout)
        assert pool.map(abs, [-7, -8], chunksize=2) == [7, 8]
        cancelled = pool.submit(take, Slow())
        time.sleep(0.2)
        assert cancelled.cancel(force=True)
        assert pool.map(abs, [-7, -8], chunksize=2) == [7, 8]


def test_stops_that_come_together_are_all_heard():
    with Pool(1, grace=20) as pool:
        pool.submit(take, 1).result()
        pid = pool.submit(os.getpid).result()
        beside = pool.submit(wait_and_return)
        limited = [pool.options(timeout=0.3).submit(wait_for_ever, number) for number in range(6)]
        assert all(isinstance(future.exception(30), TaskTimeout) for future in limited)
        assert beside.result(30) == "fine"
        assert pool.submit(os.getpid).result() == pid


def in_a_pool_within():
    with Pool(1, backend="serial") as pool:
        return pool.map(time.sleep, [0.05] * 400)


def test_task_is_interrupted_in_a_serial_pool_of_its_own():
    with Pool(1, grace=20) as pool:
        pool.submit(abs, 1).result()
        pid = pool.submit(os.getpid).result()
        begin = time.monotonic()
        assert isinstance(pool.options(timeout=0.3).submit(in_a_pool_within).exception(30), TaskTimeout)
        assert time.monotonic() - begin < 15
        assert pool.submit(os.getpid).result() == pid


def sleep_in_c(seconds):
    return ctypes.CDLL(None).sleep(seconds)


def test_call_that_was_cut_short_by_the_limit_is_no_success():
    with Pool(1) as pool:
        results = pool.options(timeout=0.2).map(sleep_in_c, [3] * 5, chunksize=1, on_error="return")
        assert [type(result) for result in results] == [TaskTimeout] * 5


def test_dump_cuts_no_call_short(capsys):
    with Pool(1) as pool:
        pool.submit(abs, 1).result()
        future = pool.submit(sleep_in_c, 1)
        time.sleep(0.3)
        paceline.dump()
        assert future.result() == 0
    assert "sleep_in_c" in capsys.readouterr().err


class Passing(Exception):
    pass


class Lasting(Exception):
    pass


def fail_when_stopped():
    try:
        time.sleep(10)
    except BaseException:
        raise Passing from None


def fail_and_count(path):
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("x")
    raise Lasting


def test_exception_of_a_stopped_task_makes_no_other_pass(tmp_path):
    with Pool(1, retries=2, retry_on=Passing) as pool:
        for number in range(10):
            assert isinstance(
                pool.options(timeout=0.05, retries=0).submit(fail_when_stopped).exception(30), TaskTimeout
            )
            path = tmp_path / str(number)
            assert isinstance(pool.submit(fail_and_count, str(path)).exception(30), Lasting)
            assert path.read_text() == "x"


BOMB = """
import os, paceline

class Bomb:
    def __reduce__(self):
        return os._exit, (3,)

with paceline.Pool(1) as pool:
    print(pool.submit(str, Bomb()).exception(30).arguments)
    lost = pool.map(str, [1, Bomb(), 3], on_error="return")[1]
    print(lost.exit_code, lost.arguments)
"""


def test_argument_that_ends_its_worker_does_not_end_the_program():
    ran = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, timeout=150, check=False)
    assert ran.stdout.splitlines() == ["(_exit(3),)", "3 (_exit(3),)"], ran.stderr


GUARD = """
import faulthandler, time
from paceline import Pool

faulthandler.dump_traceback_later(30, exit=True)

class Guard:
    def __reduce__(self):
        return int, (1,)

    def __del__(self):
        pool.submit(abs, 1)

def guarded():
    guard = Guard()
    return lambda x: guard and x

pool = Pool(1)
for _ in range(5):
    pool.submit(time.sleep, 0.1)
    pool.map_async(guarded(), [1], chunksize=1, on_error="return")
    for number in range(300):
        exec(f"def unlike_{number}(x): return x")
        pool.submit(eval(f"unlike_{number}"), 1)
    last = pool.submit(abs, 1)
    while not last.done():
        pass
pool.close()
pool.join()
print("over")
"""


def test_code_that_runs_when_a_map_is_let_go_of_may_use_its_pool():
    ran = subprocess.run([sys.executable, "-c", GUARD], capture_output=True, text=True, timeout=150, check=False)
    assert ran.stdout == "over\n", ran.stderr


def fail_at_zero(number):
    if number == 0:
        raise ValueError
    time.sleep(0.02)


def test_too_many_failures_drop_the_rest_of_an_executors_map():
    begin = time.monotonic()
    with pytest.raises(TooManyFailures), ProcessPoolExecutor(2) as executor:
        list(executor.map(fail_at_zero, range(2_000), on_error="skip", max_failures=0))
    assert time.monotonic() - begin < 15, "all of it was run"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({1, 2}, "{1, 2}"),
        (Slow(), "make_slow(0.6)"),
        ([tasks.square, 3], "[square, 3]"),
        (bytes(20_000), "<20 kB>"),
    ],
)
def test_what_is_read_to_be_shown_is_not_made(value, shown):
    assert repr(loads(pickle.dumps(value))) == shown


class Own(WorkerDied):
    """An error of a program's own."""


def test_errors_of_tasks_and_what_a_task_is_can_be_pickled():
    error = pickle.loads(pickle.dumps(Own("work", index=3, signal=9)))
    assert (type(error), error.task, error.signal_name) == (Own, "work[3]", "SIGKILL")
    with Pool(1) as pool:
        told = pool.submit(paceline.current_task).result()
    assert (told.index, told.number, told.attempt) == (0, 0, 1)
    assert told == pickle.loads(pickle.dumps(told))
