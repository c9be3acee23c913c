"""Beginnings and ends: of pools, of the process that holds them, and of what was forked from it."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import psutil
import pytest

import paceline
import tasks
from paceline import Pool, ProcessPoolExecutor

# -- pools -------------------------------------------------------------------------------------------------------------


def test_leaving_the_block_waits_for_what_was_submitted():
    with Pool(2) as pool:
        futures = [pool.submit(tasks.spin, number) for number in range(500)]
    assert [future.result() for future in futures] == list(range(500))


def test_leaving_the_block_with_an_exception_gives_the_rest_up(gate):
    futures = []

    def leave():
        with Pool(1) as pool:
            futures.append(pool.submit(tasks.through, gate.path))
            gate.wait_for_arrival()
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    assert futures[0].cancelled()


def test_terminate_ends_workers_that_run_and_futures_that_wait(gate):
    pool = Pool(2)
    futures = [pool.submit(tasks.through, gate.path) for _ in range(10)]
    workers = {gate.wait_for_arrival(), gate.wait_for_arrival()}
    pool.terminate()
    pool.join()
    assert not any(psutil.pid_exists(pid) for pid in workers)
    assert all(future.cancelled() for future in futures)


def test_a_pool_that_is_forgotten_finishes_its_work_and_goes():
    pool = Pool(2)
    future = pool.submit(tasks.spin, 7)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert future.result(30) == 7


def test_a_pool_in_a_cycle_is_collected():
    class Holder:
        pass

    holder = Holder()
    holder.pool = Pool(1)
    holder.me = holder
    holder.pool.apply(len, ("",))
    gone = weakref.ref(holder.pool)
    del holder
    gc.collect()
    assert gone() is None


def test_a_future_outlives_its_pool():
    with Pool(1) as pool:
        future = pool.submit(tasks.square, 3)
    del pool
    gc.collect()
    assert future.result() == 9
    assert future.done()
    assert not future.cancel()


def test_pools_come_and_go_by_the_hundred():
    for number in range(100):
        with Pool(1) as pool:
            assert pool.apply(tasks.square, (number,)) == number * number


def test_a_second_pool_uses_the_same_fork_server(pool):
    def grandparents(one):
        return {psutil.Process(pid).ppid() for pid in one.map(tasks.pid, range(20))}

    with Pool(2) as second:
        assert grandparents(pool) == grandparents(second)


def test_a_killed_fork_server_is_replaced_and_its_workers_go_on(pool, gate):
    future = pool.submit(tasks.through, gate.path, 5)
    worker = gate.wait_for_arrival()
    server = psutil.Process(worker).parent()
    server.kill()
    server.wait()
    gate.let_through()
    assert future.result(30) == 5
    assert pool.map(tasks.square, range(50)) == [number * number for number in range(50)]
    with Pool(2) as second:
        assert second.apply(tasks.square, (3,)) == 9
    # One that dies now is replaced by the new server's.
    with pytest.raises(paceline.WorkerDied):
        pool.apply(tasks.die)
    assert pool.map(tasks.square, range(50)) == [number * number for number in range(50)]


def test_workers_retire_after_so_many_tasks():
    with Pool(1, maxtasksperchild=3) as pool:
        pids = [pool.apply(tasks.pid) for _ in range(9)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]


def test_an_idle_pool_uses_no_processor_time(pool):
    pool.map(tasks.square, range(100))
    workers = [psutil.Process(pid) for pid in set(pool.map(tasks.pid, range(50)))]

    def used():
        return sum(sum(worker.cpu_times()[:2]) for worker in workers)

    # The last search before sleeping takes a moment.
    time.sleep(0.2)
    before = used()
    time.sleep(1.0)
    assert used() - before <= 0.02


# -- the process -------------------------------------------------------------------------------------------------------


def run(source, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        **options,
    )


SURVIVORS = """
import os, signal, sys, time
import psutil
import paceline

pool = paceline.Pool(2)
pool.map(abs, range(10))
slow = [pool.submit(time.sleep, 60) for _ in range(4)]
while len(pids := pool._engine.pids()) < 2 or not all(psutil.Process(pid).status() == "sleeping" for pid in pids):
    pass
print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
"""


def left_after_a_second(pids):
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline and (alive := [pid for pid in pids if is_alive(pid)]):
        time.sleep(0.01)
    return alive if time.monotonic() >= deadline else []


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(3)", "sys.exit(0)", "raise SystemExit", "1 / 0", "os.abort()"],
)
def test_however_the_parent_ends_no_worker_outlives_it_by_a_second(end):
    # At its own exit a pool is terminated, whatever its workers are doing.
    ran = run(SURVIVORS + end)
    pids = [int(word) for word in ran.stdout.split()]
    assert len(pids) >= 3, ran.stderr
    assert left_after_a_second(pids) == []


def test_a_stopped_parent_that_is_killed_leaves_no_worker():
    process = subprocess.Popen([sys.executable, "-c", SURVIVORS + "signal.pause()"], stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in process.stdout.readline().split()]
    process.send_signal(signal.SIGSTOP)
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(pids) >= 3
    assert left_after_a_second(pids) == []


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_stopped_worker_does_not_outlive_its_parent(method):
    # It cannot look for itself, and the program ends before it has even stopped.
    code = (
        "import os, signal, time, paceline\n"
        f"pool = paceline.Pool(2, start_method={method!r})\n"
        "met = set()\n"
        "while len(met) < 2: met.update(pool.map(lambda _: time.sleep(0.01) or os.getpid(), range(4), 1))\n"
        "print(*met, flush=True)\n"
        "for pid in met: os.kill(pid, signal.SIGSTOP)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = run(code)
    pids = [int(word) for word in ran.stdout.split()]
    assert len(pids) == 2, ran.stderr
    assert left_after_a_second(pids) == []


def test_a_forked_sibling_does_not_keep_workers_alive():
    # It inherits the parent's ends of the life lines, so that no end of file comes.
    fork = "child = os.fork()\nif not child:\n    time.sleep(2)\n    os._exit(0)\n"
    ran = run(
        SURVIVORS + fork + "os.close(1); os.close(2); os.kill(os.getpid(), signal.SIGKILL)", stdin=subprocess.DEVNULL
    )
    pids = [int(word) for word in ran.stdout.split()]
    assert len(pids) >= 3, ran.stderr
    assert left_after_a_second(pids) == []


def test_an_executor_at_exit_waits_for_what_was_submitted(tmp_path):
    path = tmp_path / "notes"
    ran = run(
        "import paceline\n"
        "def note(number):\n"
        f"    with open({str(path)!r}, 'a') as notes: notes.write(f'{{number}}\\n')\n"
        "executor = paceline.ProcessPoolExecutor(2)\n"
        "for number in range(20): executor.submit(note, number)\n"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert sorted(map(int, path.read_text().split())) == list(range(20))


def test_a_pool_in_a_global_ends_quietly_with_the_interpreter():
    ran = run(
        "import time, paceline\npool = paceline.Pool(2)\nfutures = [pool.submit(time.sleep, 30) for _ in range(9)]"
    )
    assert ran.returncode == 0
    assert ran.stderr == ""


@pytest.mark.parametrize("opening", ["Pool(1)", "ProcessPoolExecutor(1)"])
def test_an_exit_while_an_input_is_being_pickled_is_an_ordinary_one(opening):
    ran = run(
        "import threading, time, paceline\n"
        "begun = threading.Event()\n"
        "class Slow:\n"
        "    def __reduce__(self):\n"
        "        begun.set()\n"
        "        end = time.monotonic() + 0.5\n"
        "        while time.monotonic() < end: pass\n"
        "        return int, ()\n"
        f"pool = paceline.{opening}\n"
        "calls = getattr(pool, 'imap', None) or pool.map_unordered\n"
        "results = calls(abs, (Slow() for _ in range(9)))\n"
        "begun.wait()\n"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_what_a_worker_wrote_at_the_end_is_printed_before_the_exit():
    ran = run(
        "import sys, paceline\n"
        "def speak(n): print('line', n, file=sys.stderr)\n"
        "with paceline.Pool(2) as pool: pool.map(speak, range(100), chunksize=1)\n"
    )
    assert sorted(ran.stderr.splitlines()) == sorted(f"line {number}" for number in range(100))


# -- forks -------------------------------------------------------------------------------------------------------------


def in_a_fork(act):
    """Does something in a forked child; what it returned, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        text = "nothing"
        try:
            text = str(act())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, text.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_cannot_use_its_parents_pool_and_is_told_so(pool):
    pool.apply(len, ("",))
    pending = pool.submit(tasks.square, 3)
    assert "forked" in in_a_fork(lambda: pool.apply(len, ("",)))
    assert "forked" in in_a_fork(lambda: pool.map(len, ["", ""]))
    assert pending.result(30) == 9
    assert pool.map(tasks.square, range(20)) == [number * number for number in range(20)]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_can_have_a_pool_of_its_own(pool):
    def act():
        with Pool(2) as own:
            return own.map(tasks.square, range(5))

    assert in_a_fork(act) == "[0, 1, 4, 9, 16]"
    assert pool.apply(tasks.square, (4,)) == 16


def test_a_task_that_forks_answers_once(pool):
    def fork_and_return():
        import os

        return os.fork() == 0

    assert pool.apply(fork_and_return) is False
    assert pool.map(tasks.square, range(20)) == [number * number for number in range(20)]


def test_a_pool_can_be_opened_by_a_thread_that_ends():
    made = []
    thread = threading.Thread(target=lambda: made.append(Pool(1)))
    thread.start()
    thread.join()
    with made[0] as pool:
        assert pool.apply(tasks.square, (5,)) == 25


def test_a_worker_can_have_a_pool_of_its_own(pool):
    def nested():
        with paceline.Pool(1) as inner:
            return inner.map(abs, [-1, -2])

    assert pool.apply(nested) == [1, 2]


def holdings(pids):
    """The paths of all that these processes have open or mapped."""
    held = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            # The descriptor of this very listing is gone by now.
            with contextlib.suppress(FileNotFoundError):
                held.add(str(file.readlink()))
        held |= {part.path for part in psutil.Process(pid).memory_maps(grouped=False)}
    return held


def test_nothing_has_a_name_in_a_file_system():
    before = holdings([os.getpid()])
    with Pool(2) as pool:
        workers = set(pool.map(tasks.pid, range(50)))
        pool.map(tasks.zeros, [1 << 20] * 4)
        servers = {psutil.Process(worker).ppid() for worker in workers}
        more = holdings({os.getpid(), *workers, *servers}) - before
    assert {path for path in more if path.startswith(("/dev/shm", "/tmp", "/run"))} == set()


def test_an_executor_and_a_pool_side_by_side():
    with Pool(1) as pool, ProcessPoolExecutor(1) as executor:
        assert pool.apply(tasks.square, (3,)) + executor.submit(tasks.square, 4).result() == 25
