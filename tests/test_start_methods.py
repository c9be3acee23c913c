"""The ways in which workers start: what holds for each of them, and what is different."""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import paceline
import tasks
from paceline import Pool, ProcessPoolExecutor, WorkerDied, WorkerStartError
from program import Program, run_script

METHODS = ["forkserver", "spawn", "fork"]

each = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(params=METHODS)
def started(request):
    with Pool(2, start_method=request.param) as pool:
        yield pool


def parent_of(pid):
    return psutil.Process(pid).ppid()


def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 60
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- what is asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["threads", "", None, "Fork"])
@pytest.mark.parametrize("kind", [Pool, ProcessPoolExecutor])
def test_another_method_is_refused(kind, method):
    with pytest.raises(ValueError, match="start_method must be 'forkserver', 'spawn' or 'fork', not"):
        kind(1, start_method=method)


@pytest.mark.parametrize("backend", ["threads", "serial"])
def test_a_pool_without_processes_starts_none(backend):
    with pytest.raises(ValueError, match="start_method is for worker processes"):
        Pool(1, backend=backend, start_method="fork")
    with Pool(1, backend=backend, start_method="forkserver") as pool:
        assert pool.apply(tasks.square, (3,)) == 9


def test_the_workers_stem_from_where_the_method_says(pool):
    with Pool(2, start_method="spawn") as spawned, Pool(2, start_method="fork") as forked:
        pools = [pool, spawned, forked]
        server, us, own = ({parent_of(pid) for pid in one.map(tasks.pid, range(50))} for one in pools)
        assert us == {os.getpid()}
        assert len(own) == 1
        assert own.isdisjoint(server | us)
        assert {parent_of(*own)} == {os.getpid()} == {parent_of(*server)}


# -- what holds for each -----------------------------------------------------------------------------------------------


def test_results_come_back_in_order(started):
    assert started.map(tasks.square, range(1000)) == [number * number for number in range(1000)]
    assert started.apply(tasks.size, (bytes(10_000_000),)) == 10_000_000
    assert len(started.apply(tasks.zeros, (10_000_000,))) == 10_000_000


def test_exceptions_come_back(started):
    with pytest.raises(ValueError, match="of the task"):
        started.apply(tasks.fail, ("of the task",))
    assert started.apply(lambda: 5) == 5


@each
def test_an_initializer_runs_in_each_worker(method):
    before = tasks.shared
    with Pool(2, tasks.set_shared, (7,), start_method=method) as pool:
        assert set(pool.map(tasks.get_shared, range(20), 1)) == {7}
    assert tasks.shared is before


@each
def test_an_initializer_that_raises_breaks_the_pool(method):
    pool = Pool(2, tasks.fail, ("not like this",), start_method=method)
    with pytest.raises(WorkerStartError) as caught:
        pool.apply(tasks.pid)
    assert "not like this" in str(caught.value.__cause__)
    pool.terminate()
    pool.join()


def test_a_worker_that_is_killed_costs_one_task_and_is_replaced(started):
    with pytest.raises(WorkerDied) as caught:
        started.apply(tasks.die)
    assert caught.value.signal_name == "SIGKILL"
    with pytest.raises(WorkerDied) as caught:
        started.apply(tasks.leave, (3,))
    assert caught.value.exit_code == 3
    with pytest.raises(WorkerDied) as caught:
        started.apply(tasks.say_and_die, ("first\nlast",))
    assert caught.value.last_words == "first\nlast"
    assert started.map(tasks.square, range(100)) == [number * number for number in range(100)]
    victims = started._engine.pids()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert started.apply(tasks.square, (3,)) == 9
    # No zombie is left: whoever is the parent has waited.
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in victims):
        assert time.monotonic() < deadline
        time.sleep(0.001)


@each
def test_workers_retire_after_so_many_tasks(method):
    with Pool(1, maxtasksperchild=2, start_method=method) as pool:
        pids = [pool.apply(tasks.pid) for _ in range(6)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


@each
def test_output_and_records_appear_here_once(method, capsys, caplog):
    def speak():
        print("printed")
        print("complained", file=sys.stderr)
        os.write(1, b"raw\n")
        logging.getLogger("some.where").warning("logged by %d", os.getpid())
        return os.getpid()

    print("before", end=" ")
    with Pool(1, start_method=method) as pool:
        pid = pool.apply(speak)
    assert tuple(capsys.readouterr()) == ("before printed\nraw\n", "complained\n")
    assert [record.getMessage() for record in caplog.records] == [f"logged by {pid}"]


@each
def test_an_executor_has_the_same(method):
    with ProcessPoolExecutor(2, start_method=method, max_tasks_per_child=3) as executor:
        assert list(executor.map(tasks.square, range(20))) == [number * number for number in range(20)]
        with pytest.raises(WorkerDied):
            executor.submit(tasks.die).result()


@each
def test_a_coroutine_function_runs(method):
    with Pool(2, start_method=method) as pool:
        assert pool.map(tasks.square_later, range(20)) == [number * number for number in range(20)]


@each
@pytest.mark.parametrize("end", ["terminate", "close"])
def test_a_pool_ends_when_it_is_told_to(method, end, gate):
    pool = Pool(2, start_method=method)
    future = pool.submit(tasks.through, gate.path, 5)
    worker = gate.wait_for_arrival()
    server = parent_of(worker)
    getattr(pool, end)()
    if end == "close":
        gate.let_through()
    pool.join()
    assert future.cancelled() if end == "terminate" else future.result() == 5
    assert not psutil.pid_exists(worker)
    assert psutil.pid_exists(server) == (method != "fork")


@each
def test_a_pool_that_is_forgotten_finishes_its_work_and_goes(method):
    future = Pool(1, start_method=method).submit(tasks.spin, 7)
    assert future.result(30) == 7


@each
def test_a_pool_can_be_opened_by_a_thread_that_ends(method):
    made = []
    thread = threading.Thread(target=lambda: made.append(Pool(1, start_method=method)))
    thread.start()
    thread.join()
    with made[0] as pool:
        assert pool.apply(tasks.square, (5,)) == 25


@pytest.mark.parametrize("outer", METHODS)
@each
def test_pools_within_pools(outer, method):
    def nest(number):
        with Pool(2, start_method=method) as inner:
            inner.apply(print, ("from deep within",))
            inner.apply(logging.getLogger("deep").error, ("logged deep within",))
            with pytest.raises(WorkerDied):
                inner.apply(tasks.die)
            item = inner.apply(paceline.engine.current_item)
            return inner.map(tasks.square, range(number)), item

    with Pool(1, start_method=outer) as pool:
        pool.apply(tasks.pid)
        # Its number in the inner pool, not that of the task which opened that.
        assert pool.apply(nest, (50,)) == ([number * number for number in range(50)], 3)


SCRIPT = """
import os, sys, paceline

if len(sys.argv) == 1:
    raise SystemExit("this script is not to be imported again")
factor = 3
def times(number):
    return factor * number
class Point:
    def __init__(self, x):
        self.x = x
with paceline.Pool(2, start_method=sys.argv[1]) as pool:
    print(pool.map(times, range(5)), pool.apply(lambda: os.path.basename(__file__)))
    factor = 4
    print(pool.map(times, range(5)), type(pool.apply(Point, (1,))) is Point)
    pool.apply(print, ("printed by a worker",))
print("the end")
"""


@each
def test_functions_of_a_script_need_no_guard(method, tmp_path):
    out = run_script(tmp_path, SCRIPT, method)
    assert out.splitlines() == [
        "[0, 3, 6, 9, 12] script.py",
        "[0, 4, 8, 12, 16] True",
        "printed by a worker",
        "the end",
    ]


SURVIVORS = """
import os, signal, sys, time
import psutil
import paceline

pool = paceline.Pool(2, start_method=sys.argv[1])
pool.map(abs, range(10))
slow = [pool.submit(time.sleep, 60) for _ in range(4)]
while len(pids := pool._engine.pids()) < 2 or not all(psutil.Process(pid).status() == "sleeping" for pid in pids):
    pass
print("ready", flush=True)
"""


@each
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(3)", "sys.exit(0)", "1 / 0"])
def test_however_the_parent_ends_no_process_outlives_it_by_a_second(method, end, tmp_path):
    (tmp_path / "script.py").write_text(SURVIVORS + end)
    program = Program(str(tmp_path / "script.py"), method)
    try:
        assert program.read_line() == "ready"
        program.process.wait(20)
        program.wait_until_nothing_is_left()
    finally:
        program.close()


def test_ctrl_c_is_for_the_caller_alone(tmp_path):
    source = SURVIVORS.replace("print(", "paceline.Pool(1, start_method='spawn').apply(abs, (1,)); print(")
    (tmp_path / "script.py").write_text(source + "slow[0].result()\n")
    program = Program(str(tmp_path / "script.py"), "fork")
    assert program.read_line() == "ready"
    program.interrupt()
    code, _, err = program.finish()
    assert code != 0
    assert err.count("Traceback") == err.count("KeyboardInterrupt") == 1
    program.wait_until_nothing_is_left()


# -- fork --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept():
    yield tasks
    tasks.shared = None


def test_forked_workers_have_what_modules_held_when_the_pool_was_opened(kept):
    kept.shared = threading.Lock()
    with Pool(2, start_method="fork") as pool:
        kept.shared = 3
        assert set(pool.map(tasks.kind_of_shared, range(50), 1)) == {"lock"}
        for _ in range(2):
            with pytest.raises(WorkerDied):
                pool.apply(tasks.die)
        assert set(pool.map(tasks.kind_of_shared, range(50), 1)) == {"lock"}


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_other_workers_have_nothing_of_it(method, kept):
    kept.shared = 3
    with Pool(1, start_method=method) as pool:
        assert pool.apply(tasks.kind_of_shared) == "NoneType"


def connections(pid):
    links = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        # The descriptor of this very listing is gone by now.
        with contextlib.suppress(FileNotFoundError):
            links.append(str(file.readlink()))
    return {link for link in links if link.startswith(("socket:", "pipe:"))}


def test_a_fork_holds_none_of_what_connects_the_program_to_its_other_workers():
    before = connections(os.getpid())
    with Pool(2) as pool:
        pool.map(tasks.square, range(20))
        others = connections(os.getpid()) - before
        assert len(others) >= 2 * 4
        with Pool(1, start_method="fork") as forked:
            worker = forked.apply(tasks.pid)
            for pid in (worker, parent_of(worker)):
                assert connections(pid) & others == set()


def test_a_lost_fork_of_the_program_breaks_its_pool_and_no_other(pool):
    forked = Pool(1, start_method="fork")
    server = psutil.Process(parent_of(forked.apply(tasks.pid)))
    server.kill()
    deadline = time.monotonic() + 60
    while server.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert forked.apply(tasks.square, (3,)) == 9, "its worker goes on"
    with pytest.raises(WorkerDied):
        forked.apply(tasks.die)
    with pytest.raises(WorkerStartError, match="cannot be made again"):
        forked.map(tasks.pid, range(100))
    forked.terminate()
    forked.join()
    assert pool.apply(tasks.square, (3,)) == 9


def test_what_runs_at_the_exit_of_the_program_does_not_run_in_its_forks(tmp_path):
    source = (
        "import atexit, sys, time, weakref, paceline\n"
        "class Thing: pass\n"
        "thing = Thing()\n"
        "weakref.finalize(thing, print, 'finalized')\n"
        "atexit.register(print, 'at exit')\n"
        "sys.stdout.write('unfinished')\n"
        "with paceline.Pool(2, maxtasksperchild=1, start_method='fork') as pool:\n"
        "    pool.map(abs, range(10), 1)\n"
        "print('.')\n"
    )
    assert run_script(tmp_path, source) == "unfinished.\nat exit\nfinalized\n"


def test_a_fork_in_the_middle_of_an_event_loop(tmp_path):
    source = (
        "import asyncio, paceline\n"
        "async def later(x):\n"
        "    await asyncio.sleep(0)\n"
        "    return x * x\n"
        "async def main():\n"
        "    with paceline.Pool(2, start_method='fork') as pool:\n"
        "        print(await pool.run(abs, -1), await asyncio.gather(*(pool.run(later, x) for x in range(5))))\n"
        "asyncio.run(main())\n"
    )
    assert run_script(tmp_path, source) == "1 [0, 1, 4, 9, 16]\n"


def test_the_warning_of_forks_with_threads_is_spared_and_no_filter_is_lost(recwarn):
    import warnings

    before = warnings.filters[:]
    with Pool(1, start_method="fork") as pool:
        assert [str(warning.message) for warning in recwarn] == []
        assert warnings.filters == before
        assert pool.apply(lambda: "ignore" in {entry[0] for entry in __import__("warnings").filters[:1]}) is False


# -- spawn -------------------------------------------------------------------------------------------------------------


def test_spawned_workers_share_nothing_of_the_fork_server(pool):
    paceline.preload("colorsys")
    loaded = "'colorsys' in __import__('sys').modules"
    with Pool(2) as shared, Pool(1, start_method="spawn") as spawned:
        assert shared.apply(eval, (loaded,))
        assert not spawned.apply(eval, (loaded,))
        server = psutil.Process(parent_of(pool.apply(tasks.pid)))
        server.kill()
        assert spawned.apply(tasks.square, (3,)) == 9
        with pytest.raises(WorkerDied):
            spawned.apply(tasks.die)
        assert spawned.apply(tasks.square, (3,)) == 9
    # The next test is not charged with the server that takes the killed one's place.
    assert paceline.map(tasks.square, [3]) == [9]


def test_an_interpreter_that_does_not_start_breaks_the_pool(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/at/all")
    with pytest.raises(WorkerStartError, match="could not be started: No such file"):
        Pool(1, start_method="spawn").apply(tasks.pid)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerStartError, match="exit code 1"):
        Pool(1, start_method="spawn").apply(tasks.pid)


# -- stopped -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_a_stopped_fork_server_hangs_nothing(method):
    with Pool(2, start_method=method) as first:
        first.map(tasks.square, range(20))
        server = parent_of(first.apply(tasks.pid))
        stop(server)
        with Pool(2, start_method=method) as second:
            assert second.map(tasks.square, range(20)) == [number * number for number in range(20)]
        with pytest.raises(WorkerDied):
            first.apply(tasks.die)
        if method == "forkserver":
            assert first.map(tasks.square, range(20)) == [number * number for number in range(20)]
            assert not psutil.pid_exists(server)


@each
def test_a_stopped_worker_costs_its_task(method, gate):
    with Pool(1, start_method=method) as pool:
        future = pool.submit(tasks.through, gate.path)
        worker = gate.wait_for_arrival()
        stop(worker)
        with pytest.raises(WorkerDied, match="it had been stopped") as caught:
            future.result()
        assert (caught.value.pid, caught.value.signal_name) == (worker, "SIGKILL")
        assert pool.apply(tasks.square, (3,)) == 9
