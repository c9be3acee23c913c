"""What is special about `ThreadPoolExecutor`; what it shares with the standard one stands in the contract."""

import concurrent.futures
import threading
from concurrent.futures.thread import BrokenThreadPool

import pytest

import paceline
import tasks
from program import run_script

WAIT_S = 60


@pytest.fixture
def executor():
    with paceline.ThreadPoolExecutor(2) as executor:
        yield executor


def test_default_number_of_workers_is_the_standard_one():
    standard = concurrent.futures.ThreadPoolExecutor()
    ours = paceline.ThreadPoolExecutor()
    assert ours._max_workers == standard._max_workers
    standard.shutdown()
    ours.shutdown()


@pytest.mark.parametrize("workers", [0, -1])
def test_number_of_workers_below_one_is_refused(workers):
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        paceline.ThreadPoolExecutor(workers)


def test_threads_are_named_after_the_prefix():
    with paceline.ThreadPoolExecutor(1, "mine") as executor:
        assert executor.submit(threading.current_thread).result().name == "mine_0"
    with paceline.ThreadPoolExecutor(1) as executor:
        assert executor.submit(threading.current_thread).result().name.startswith("ThreadPoolExecutor-")


def test_submit_hands_over_the_objects_themselves(executor):
    thing = threading.Lock()
    assert executor.submit(tasks.identity, thing).result() is thing
    assert list(executor.map(tasks.identity, [thing])) == [thing]


def test_map_with_a_buffer_reads_no_further_than_it():
    read = []

    def numbers():
        for number in range(100):
            read.append(number)
            yield number

    with paceline.ThreadPoolExecutor(1) as executor:
        results = executor.map(tasks.square, numbers(), buffersize=3)
        assert read == [0, 1, 2]
        assert next(results) == 0
        assert read == [0, 1, 2, 3]


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_raises_in_the_place_of_the_call(executor, chunksize):
    results = executor.map(lambda number: 1 // number, [1, 0, 2, 3], chunksize=chunksize)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_unordered_gives_what_ends_first(executor):
    door = threading.Event()
    results = executor.map_unordered(lambda number: number or (door.wait(WAIT_S), 0)[1], range(4))
    assert sorted(next(results) for _ in range(3)) == [1, 2, 3]
    door.set()
    assert next(results) == 0


def test_shutdown_with_cancel_futures_cancels_what_waits():
    door = threading.Event()
    begun = threading.Event()
    executor = paceline.ThreadPoolExecutor(1)
    running = executor.submit(lambda: (begun.set(), door.wait(WAIT_S)))
    waiting = [executor.submit(tasks.identity, number) for number in range(5)]
    assert begun.wait(WAIT_S)
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert not running.done()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(tasks.identity, 1)
    door.set()
    executor.shutdown()
    assert running.done()


def test_initializer_that_raises_breaks_the_executor():
    with paceline.ThreadPoolExecutor(1, initializer=tasks.fail, initargs=("not today",)) as executor:
        with pytest.raises(BrokenThreadPool, match="not today"):
            executor.submit(tasks.identity, 1).result()
        with pytest.raises(BrokenThreadPool, match="not today"):
            executor.submit(tasks.identity, 1)


def test_program_that_ends_runs_what_was_submitted(tmp_path):
    out = run_script(
        tmp_path,
        "import time, paceline\n"
        "executor = paceline.ThreadPoolExecutor(1)\n"
        "def task(number):\n"
        "    time.sleep(0.05)\n"
        "    print(number, flush=True)\n"
        "for number in range(4):\n"
        "    executor.submit(task, number)\n",
    )
    assert out.split() == ["0", "1", "2", "3"]


def test_task_that_submits_while_the_program_ends_is_refused(tmp_path):
    out = run_script(
        tmp_path,
        "import atexit, threading, paceline\n"
        "ending = threading.Event()\n"
        "executor = paceline.ThreadPoolExecutor(1)\n"
        "def task():\n"
        "    ending.wait()\n"
        "    while True:\n"
        "        try:\n"
        "            executor.submit(abs, 1).cancel()\n"
        "        except RuntimeError as error:\n"
        "            print(error)\n"
        "            return\n"
        "executor.submit(task)\n"
        "atexit.register(ending.set)\n",
    )
    assert out == "cannot schedule new futures after interpreter shutdown\n"
