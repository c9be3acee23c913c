"""Pools in unusual places share the machine, work, and end: in workers, in threads, in processes that were forked."""

import multiprocessing
import os
import signal
import threading
import time

import psutil
import pytest

import paceline
import tasks
from paceline import Pool, WorkerDied
from paceline.engine import default_workers, sharers
from program import Program

CPUS = default_workers()


def look(_=None):
    from paceline.engine import default_workers, sharers

    return default_workers(), sharers()


def wait_until_gone(pids, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while alive := [pid for pid in pids if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.005)


# -- sharing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3 * CPUS])
def test_workers_share_the_cpus_of_their_parent(workers):
    with Pool(workers) as pool:
        assert set(pool.map(look, range(20))) == {(max(1, CPUS // workers), workers)}
    assert (default_workers(), sharers()) == (CPUS, 1)


def test_pools_within_pools_never_multiply():
    def nest(depth):
        import paceline

        here = look()
        if depth == 0:
            return [here]
        with paceline.Pool(2) as inner:
            return [here, *inner.apply(nest, (depth - 1,))]

    with Pool(2) as pool:
        seen = pool.apply(nest, (2,))
    assert seen == [(max(1, CPUS // 2), 2), (max(1, CPUS // 4), 4), (max(1, CPUS // 8), 8)]


def test_a_pool_without_a_number_of_workers_has_its_part_in_a_worker():
    def nest():
        import paceline

        with paceline.Pool() as inner:
            return inner._engine.workers

    with Pool(CPUS) as pool:
        assert pool.apply(nest) == 1


def test_an_initializer_sees_its_part_already():
    def keep():
        tasks.shared = look()

    with Pool(2, initializer=keep) as pool:
        assert pool.apply(lambda: tasks.shared) == (max(1, CPUS // 2), 2)


# -- in a worker -------------------------------------------------------------------------------------------------------


def test_nested_pools_work_in_every_worker_at_once(pool):
    def nest(number):
        import paceline

        with paceline.Pool(2) as inner:
            return sum(inner.map(tasks.square, range(number)))

    assert pool.map(nest, [10, 20, 30, 40], chunksize=1) == [sum(n * n for n in range(k)) for k in (10, 20, 30, 40)]


def hold_pool(gate):
    """Leaves a pool open in a global, with a call in it that never ends."""
    import paceline

    tasks.shared = paceline.Pool(1)
    inner = tasks.shared.apply(tasks.pid)
    tasks.shared.submit(tasks.through, gate)
    return inner, psutil.Process(inner).ppid()


@pytest.mark.parametrize("end", ["leave", "terminate", "kill"])
def test_a_nested_pool_ends_with_its_worker(end, gate):
    pool = Pool(1)
    pids = pool.apply(hold_pool, (gate.path,))
    gate.wait_for_arrival()
    if end == "leave":
        pool.close()
    elif end == "terminate":
        pool.terminate()
    else:
        os.kill(pool.apply(tasks.pid), signal.SIGKILL)
        pool.close()
    pool.join()
    wait_until_gone(pids)


def test_a_worker_killed_within_a_nested_call_takes_the_nested_pool_along(gate):
    def nest():
        import paceline

        with paceline.Pool(1) as inner:
            inner.apply(tasks.through, (gate_path,))

    gate_path = gate.path
    with Pool(1) as pool:
        future = pool.submit(nest)
        inner = gate.wait_for_arrival()
        server = psutil.Process(inner).parent()
        os.kill(server.ppid(), signal.SIGKILL)
        with pytest.raises(WorkerDied):
            future.result()
        wait_until_gone([inner, server.pid])


# -- in threads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("daemon", [False, True])
def test_a_pool_can_be_used_by_a_thread(daemon, capsys):
    answers = []

    def work():
        with Pool(2) as pool:
            pool.apply(print, ("from a worker",))
            answers.append(pool.map(tasks.square, range(10)))

    thread = threading.Thread(target=work, daemon=daemon)
    thread.start()
    thread.join()
    assert answers == [[number * number for number in range(10)]]
    assert capsys.readouterr().out == "from a worker\n"


def test_a_daemon_thread_with_a_pool_does_not_hold_up_the_end(tmp_path):
    source = (
        "import threading, time, paceline\n"
        "ready = threading.Event()\n"
        "def work():\n"
        "    pool = paceline.Pool(2)\n"
        "    pool.apply(print, ('ready',))\n"
        "    futures = [pool.submit(time.sleep, 60) for _ in range(4)]\n"
        "    ready.set()\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "ready.wait()\n"
    )
    (tmp_path / "script.py").write_text(source)
    program = Program(str(tmp_path / "script.py"))
    code, out, err = program.finish()
    assert (code, out, err) == (0, "ready\n", "")
    program.wait_until_nothing_is_left()


# -- in forks ----------------------------------------------------------------------------------------------------------

forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def use_a_pool(queue):
    with paceline.Pool(2) as pool:
        pool.apply(print, ("printed below a fork",))
        queue.put(pool.map(tasks.square, range(10)))


@forks
def test_a_forked_process_of_multiprocessing_can_have_a_pool(pool, capfd):
    pool.apply(print, ("before",))
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=use_a_pool, args=(queue,))
    process.start()
    assert queue.get() == [number * number for number in range(10)]
    process.join()
    assert process.exitcode == 0
    queue.close()
    assert pool.apply(tasks.square, (3,)) == 9


FORKED = """
import os, sys, paceline

def work(number):
    print("worker", number)
    return number

with_own_pool_before = {before}
if with_own_pool_before:
    first = paceline.Pool(1)
    first.apply(work, (0,))
sys.stdout.flush()
child = os.fork()
if child == 0:
    with paceline.Pool(2) as pool:
        pool.map(work, range(1, 4), chunksize=1)
    print("child")
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
if with_own_pool_before:
    first.apply(work, (4,))
    first.close()
    first.join()
"""


@forks
@pytest.mark.parametrize("before", [False, True])
def test_output_of_a_pool_of_a_forked_process_is_heard_once(tmp_path, before):
    (tmp_path / "script.py").write_text(FORKED.format(before=before))
    # From Python 3.12 on, a process with threads is warned when it forks.
    program = Program("-W", "ignore::DeprecationWarning", str(tmp_path / "script.py"))
    code, out, err = program.finish()
    assert (code, err) == (0, ""), err
    expected = [f"worker {number}" for number in range(1, 4)] + ["child"]
    if before:
        expected += ["worker 0", "worker 4"]
    assert sorted(out.splitlines()) == sorted(expected)
    program.wait_until_nothing_is_left()
