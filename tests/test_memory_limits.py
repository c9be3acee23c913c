"""Limits of memory: the task that is over one fails, and neither the machine nor its neighbours do."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from paceline import MemoryLimitExceeded, Pool, ProcessPoolExecutor, WorkerDied, WorkerStartError
from paceline.limits import bytes_of

MB = 10**6


def eat(limit_bytes):
    kept = []
    while len(kept) * (4 << 20) < limit_bytes:
        kept.append(bytearray(4 << 20))
    return len(kept)


kept_for_good = []


def keep(count):
    kept_for_good.append(bytearray(count))
    return os.getpid()


def test_task_over_the_limit_fails_and_others_go_on():
    with Pool(2, memory_limit="300MB") as pool:
        futures = [pool.submit(eat, 10**12 if number == 5 else 1) for number in range(20)]
        error = futures[5].exception(60)
        assert isinstance(error, MemoryLimitExceeded)
        assert isinstance(error, MemoryError)
        assert isinstance(error, WorkerDied)
        assert (error.memory_limit, error.function, error.arguments) == (300 * MB, "eat", f"({10**12},)")
        assert 300 * MB < error.peak_memory < 3_000 * MB
        assert "over the limit of 300 MB" in str(error)
        assert [future.result(60) for number, future in enumerate(futures) if number != 5] == [1] * 19
        assert pool.map(tasks.square, range(10)) == [number * number for number in range(10)]


def test_item_over_the_limit_costs_no_other_of_its_chunk():
    with ProcessPoolExecutor(1, memory_limit=200 * MB) as executor:
        work = [10**12 if number == 3 else 1 for number in range(8)]
        results = list(executor.map(eat, work, chunksize=8, on_error="return"))
    assert results[:3] + results[4:] == [1] * 7
    assert isinstance(results[3], MemoryLimitExceeded)
    assert results[3].index == 3


def test_memory_below_the_limit_is_nobodys_business():
    with Pool(1, memory_limit="500MB") as pool:
        assert pool.apply(eat, (100 * MB,)) == 24


def test_worker_that_keeps_too_much_is_replaced_between_tasks():
    with Pool(1, max_memory_per_child="200MB") as pool:
        first = pool.apply(keep, (50 * MB,))
        assert pool.apply(tasks.pid) == first
        assert pool.apply(keep, (200 * MB,)) == first
        # The look at its memory comes with the next task at the latest, unless less than 10 ms have passed.
        pids = [pool.apply(tasks.pid) for _ in range(3)]
        while pids[-1] == first:
            pids.append(pool.apply(tasks.spin, (tasks.pid(),)) and pool.apply(tasks.pid))
        assert pids[-1] != first
        assert pool.apply(tasks.pid) == pids[-1]


@pytest.mark.parametrize(
    ("amount", "count"),
    [(None, 0), (1, 1), ("2", 2), ("500MB", 500 * MB), ("1.5 GB", 1500 * MB), ("2GiB", 2**31), ("64k", 64_000)],
)
def test_amounts_of_memory_are_read(amount, count):
    assert bytes_of("memory_limit", amount) == count


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        ("", ValueError),
        ("MB", ValueError),
        ("5 parsecs", ValueError),
        (1.5, TypeError),
    ],
)
def test_amount_that_makes_no_sense_is_refused_at_once(amount, error):
    with pytest.raises(error, match="memory_limit"):
        Pool(1, memory_limit=amount)
    with pytest.raises(error, match="max_memory_per_child"):
        Pool(1, max_memory_per_child=amount)


@pytest.mark.parametrize("backend", ["threads", "serial"])
def test_limits_of_workers_are_refused_where_there_are_none(backend):
    for option in ({"memory_limit": 1}, {"max_memory_per_child": 1}, {"start_timeout": 1}):
        with pytest.raises(ValueError, match="are for worker processes"):
            Pool(1, backend=backend, **option)


def test_initializer_that_takes_too_long_breaks_the_pool():
    import time

    pool = Pool(2, time.sleep, (60,), start_timeout=0.3)
    with pytest.raises(WorkerStartError, match="start_timeout"):
        pool.submit(tasks.square, 3).result(30)
    pool.terminate()
    pool.join()


def test_initializer_in_time_is_nobodys_business():
    with Pool(2, tasks.set_shared, (7,), start_timeout=60) as pool:
        assert pool.apply(tasks.get_shared) == 7


PROGRAM = """
import sys
from pathlib import Path
from paceline import Pool, WorkerDied

def eat(_):
    return [bytearray(4 << 20) for _ in range(250)]

group = Path(sys.argv[1])
with Pool(2) as pool:
    while len(pool._engine.pids()) < 2:
        pool.map(abs, range(4))
    for pid in pool._engine.pids():
        (group / "cgroup.procs").write_text(str(pid))
    (group / "cgroup.procs").write_text(str(__import__("os").getpid()))
    futures = [pool.submit(eat if number == 2 else abs, number) for number in range(6)]
    outcomes = [future.exception() or future.result() for future in futures]
    (error,) = [outcome for outcome in outcomes if isinstance(outcome, WorkerDied)]
    print(error.signal_name, error.is_memory_short, "oom_kill" in error.hint)
    print([outcome for outcome in outcomes if outcome is not error])
"""


def offer():
    """How willingly this process is ended when memory runs out."""
    return int(Path("/proc/self/oom_score_adj").read_text())


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_workers_are_ended_before_the_program_that_runs_them(start_method):
    with Pool(1, start_method=start_method) as pool:
        assert pool.apply(offer) == min(offer() + 500, 1000)


@pytest.fixture
def small_group():
    """A control group that may have 200 MB, of the first version or the second."""
    root = Path("/sys/fs/cgroup/memory")
    limit = "memory.limit_in_bytes"
    if not root.is_dir():
        root, limit = Path("/sys/fs/cgroup"), "memory.max"
    group = root / f"paceline-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(200 * MB))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group with a limit of memory can be made here: {error}")
    yield group
    gc.collect()
    group.rmdir()


def test_kernel_that_ran_out_of_memory_is_recognised(small_group):
    # In a process of its own: its parts are moved into the group, and end with it.
    command = [sys.executable, "-c", PROGRAM, str(small_group)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert answer.stdout.splitlines() == ["SIGKILL True True", "[0, 1, 3, 4, 5]"], answer.stderr


TOO_LARGE = """
import os, sys
from pathlib import Path
import numpy as np
import paceline

with paceline.Pool(1) as pool:
    pool.apply(np.sum, (np.zeros(1_000_000),))
    Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
    array = np.ones(14_000_000)
    for attempt in (
        lambda: pool.submit(np.sum, array),
        lambda: pool.map(np.sum, [array]),
        lambda: paceline.share(array),
        lambda: paceline.empty(15_000_000),
    ):
        try:
            attempt()
        except MemoryError:
            print("refused")
    print(pool.apply(np.sum, (array[:1_000_000],)), pool.statistics().bytes_in_flight)
"""


def test_memory_that_the_group_does_not_have_is_refused_at_the_call(small_group):
    command = [sys.executable, "-c", TOO_LARGE, str(small_group)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert answer.stdout.splitlines() == ["refused"] * 4 + ["1000000.0 0"], answer.stderr


INHERITED = """
import os
from paceline import Pool

data = bytearray(b"x") * 300_000_000

with Pool(2, start_method="fork", memory_limit="150MB", max_memory_per_child="150MB") as pool:
    print(len(set(pool.map(lambda _: os.getpid(), range(50), chunksize=1))) <= 2)
    print(type(pool.submit(lambda: len(bytearray(b"y") * 300_000_000)).exception(30)).__name__)
"""


def test_what_a_fork_has_in_common_with_the_program_is_not_its_own():
    ran = subprocess.run([sys.executable, "-c", INHERITED], capture_output=True, text=True, timeout=150, check=False)
    assert ran.stdout.splitlines() == ["True", "MemoryLimitExceeded"], ran.stderr
