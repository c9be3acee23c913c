"""Deaths, one by one: each costs one task, with its cause told, and nothing else."""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from functools import partial

import psutil
import pytest

import tasks
from paceline import Pool, ProcessPoolExecutor, WorkerDied, WorkerStartError
from program import Program

# -- a worker dies -----------------------------------------------------------------------------------------------------


def test_worker_killed_by_its_task_fails_that_task_only(pool):
    futures = [pool.submit(tasks.die_on, 100, number) for number in range(200)]
    with pytest.raises(WorkerDied) as caught:
        futures[100].result()
    assert [future.result() for number, future in enumerate(futures) if number != 100] == [
        number for number in range(200) if number != 100
    ]
    error = caught.value
    assert error.signal == signal.SIGKILL
    assert error.signal_name == "SIGKILL"
    assert error.exit_code is None
    assert error.function == "die_on"
    assert error.pid not in pool._engine.pids()
    assert "hint: possibly the kernel's out-of-memory killer" in str(error)


@pytest.mark.parametrize("chunksize", [None, 1, 7, 200])
def test_worker_killed_in_a_map_costs_one_item(pool, chunksize):
    future = pool.map_async(partial(tasks.die_on, 100), range(200), chunksize)
    results, error = future.prefix()
    assert results == list(range(100))
    assert isinstance(error, WorkerDied)
    assert "100" in error.task
    assert pool.map(tasks.square, range(100)) == [number * number for number in range(100)]


def test_worker_killed_in_a_map_runs_no_item_twice(pool, tmp_path):
    path = str(tmp_path / "notes")

    def work(value):
        tasks.note(path, value)
        return tasks.die_on(100, value)

    pool.map_async(work, range(200), 50).wait()
    assert sorted(map(int, (tmp_path / "notes").read_text().split())) == list(range(200))


def test_every_item_of_a_chunk_kills_its_worker(pool):
    results = pool.imap(tasks.die, [signal.SIGKILL] * 10)
    for _ in range(10):
        with pytest.raises(WorkerDied):
            next(results)
    assert pool.apply(tasks.square, (3,)) == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV, signal.SIGUSR1])
def test_signal_is_told_by_name(pool, number):
    with pytest.raises(WorkerDied) as caught:
        pool.apply(tasks.die, (number,))
    assert caught.value.signal_name == number.name


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_is_told(pool, code):
    with pytest.raises(WorkerDied) as caught:
        pool.apply(tasks.leave, (code,))
    assert caught.value.exit_code == code
    assert caught.value.signal is None
    assert f"exited with code {code}" in str(caught.value)


def test_sys_exit_is_an_exception_like_any_other(pool):
    with pytest.raises(SystemExit, match="3"):
        pool.apply(sys.exit, (3,))
    assert pool.apply(tasks.square, (3,)) == 9


def test_segmentation_fault_leaves_its_traceback_as_last_words(pool):
    def crash():
        import ctypes

        return ctypes.string_at(1)

    with pytest.raises(WorkerDied) as caught:
        pool.apply(crash)
    assert caught.value.signal_name == "SIGSEGV"
    assert "Segmentation fault" in caught.value.last_words
    assert "in crash" in caught.value.last_words


def test_stack_overflow_in_native_code_is_a_death_like_any_other(pool):
    def overflow():
        sys.setrecursionlimit(10**8)

        class Nested:
            def __repr__(self):
                return repr(self)

        return repr(Nested())

    with pytest.raises((WorkerDied, RecursionError)):
        pool.apply(overflow)
    assert pool.apply(tasks.square, (3,)) == 9


def test_last_words_are_kept(pool):
    with pytest.raises(WorkerDied) as caught:
        pool.apply(tasks.say_and_die, ("first line\nlast line",))
    assert caught.value.last_words.splitlines()[-2:] == ["first line", "last line"]
    assert "    last line" in str(caught.value)


def test_huge_output_before_death_does_not_block_and_is_cut(pool):
    with pytest.raises(WorkerDied) as caught:
        pool.apply(tasks.say_and_die, (("x" * 79 + "\n") * 20_000,))
    assert 0 < len(caught.value.last_words) < 100_000


def test_idle_worker_that_is_killed_is_replaced_and_costs_nothing(pool):
    pool.map(tasks.identity, range(10), 1)
    victims = pool._engine.pids()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert pool.map(tasks.square, range(100)) == [number * number for number in range(100)]
    deadline = time.monotonic() + 60
    while len(set(pool._engine.pids()) - set(victims)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_stopped_worker_holds_up_no_other_task(gate):
    with Pool(2) as pool:
        held = pool.submit(tasks.through, gate.path, "held")
        pid = gate.wait_for_arrival()
        os.kill(pid, signal.SIGSTOP)
        assert pool.map(tasks.square, range(100)) == [number * number for number in range(100)]
        os.kill(pid, signal.SIGCONT)
        gate.let_through()
        assert held.result() == "held"


def test_executor_survives_the_death_of_a_worker():
    with ProcessPoolExecutor(2) as executor:
        with pytest.raises(WorkerDied):
            executor.submit(tasks.die).result()
        assert list(executor.map(tasks.square, range(10))) == [number * number for number in range(10)]


def test_callbacks_hear_of_a_death(pool):
    heard = []
    pool.apply_async(tasks.die, error_callback=heard.append).wait()
    assert [type(error) for error in heard] == [WorkerDied]


def kill_at_random(seed, rounds, submit, expected):
    """Kills workers at random moments; every task ends, rightly or with `WorkerDied`, and one death costs one task."""
    chance = random.Random(seed)
    with Pool(2) as pool:
        for _ in range(rounds):
            futures = submit(pool)
            time.sleep(chance.random() * 0.004)
            pids = pool._engine.pids()
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(pids), signal.SIGKILL)
            deaths = 0
            for future, right in zip(futures, expected, strict=True):
                error = future.exception(30)
                if error is None:
                    assert future.result() == right
                else:
                    assert isinstance(error, WorkerDied)
                    assert error.signal == signal.SIGKILL
                    deaths += 1
            assert deaths <= 1


def test_kills_at_random_moments_100_times_among_200_tasks():
    kill_at_random(
        1,
        100,
        lambda pool: [pool.submit(tasks.spin, number) for number in range(200)],
        range(200),
    )


def test_kills_at_random_moments_among_large_results():
    data = [bytes([number]) * 300_000 for number in range(20)]
    kill_at_random(2, 50, lambda pool: [pool.submit(tasks.identity, item) for item in data], data)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(20))
def test_kills_at_random_moments_for_long(seed):
    kill_at_random(seed, 500, lambda pool: [pool.submit(tasks.spin, number) for number in range(200)], range(200))


def test_kills_during_a_map_cost_one_item_each(pool):
    chance = random.Random(3)
    for _ in range(30):
        future = pool.map_async(tasks.spin, range(2000))
        time.sleep(chance.random() * 0.02)
        while not (pids := pool._engine.pids()):
            pass  # Those of the rounds before are only just being replaced.
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
        results, error = future.prefix()
        assert results == list(range(len(results)))
        assert error is None or isinstance(error, WorkerDied)


# -- a worker cannot start ---------------------------------------------------------------------------------------------


def test_broken_initializer_is_one_clear_error():
    pool = Pool(2, tasks.fail, ("the initializer is broken",))
    futures = [pool.apply_async(tasks.square, (number,)) for number in range(10)]
    for future in futures:
        with pytest.raises(WorkerStartError):
            future.get()
    with pytest.raises(WorkerStartError) as caught:
        pool.apply(tasks.square, (1,))
    text = str(caught.value.__cause__)
    assert "ValueError: the initializer is broken" in text
    assert "in fail" in text
    pool.close()
    pool.join()


def test_initializer_that_cannot_be_loaded_is_one_clear_error(monkeypatch):
    def initialize():
        import module_that_is_nowhere  # noqa: F401

    with Pool(1, initialize) as pool, pytest.raises(WorkerStartError) as caught:
        pool.apply(tasks.square, (1,))
    assert "module_that_is_nowhere" in str(caught.value.__cause__)


@pytest.mark.parametrize("initializer", [tasks.leave, tasks.die])
def test_initializer_that_ends_the_process_is_one_clear_error(initializer):
    with Pool(2, initializer, (9,)) as pool, pytest.raises(WorkerStartError) as caught:
        pool.apply(tasks.square, (1,))
    assert "SIGKILL" in str(caught.value) or "code 9" in str(caught.value)


def test_initializer_that_exits_is_one_clear_error():
    with Pool(1, sys.exit, (4,)) as pool, pytest.raises(WorkerStartError):
        pool.apply(tasks.square, (1,))


def test_with_block_over_a_broken_pool_ends():
    with pytest.raises(WorkerStartError), Pool(2, tasks.fail) as pool:
        pool.map(tasks.square, range(10))


def test_imap_over_a_broken_pool_ends():
    with Pool(1, tasks.fail) as pool:
        results = pool.imap(tasks.square, range(1000))
        with pytest.raises(WorkerStartError):
            next(results)


# -- the parent dies ---------------------------------------------------------------------------------------------------

PARENT = """
import sys, os, time, tasks
from paceline import Pool
pool = Pool(3)
pool.map(tasks.identity, range(100), 1)
futures = [pool.submit(time.sleep, 600) for _ in range(5)]
print(os.getpid(), flush=True)
{end}
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_parent_that_is_killed_leaves_no_process(number):
    program = Program("-c", PARENT.format(end="time.sleep(600)"))
    program.read_line()
    assert len(program.survivors()) >= 4
    os.kill(program.pid, number)
    program.wait_until_nothing_is_left()
    assert program.finish()[0] == -number


def test_parent_that_leaves_by_os_exit_leaves_no_process():
    program = Program("-c", PARENT.format(end="os._exit(3)"))
    program.read_line()
    assert program.finish()[0] == 3
    program.wait_until_nothing_is_left()


def test_parent_that_is_killed_leaves_no_process_even_in_native_code():
    # The workers hold the interpreter the whole time, so no Python thread of theirs could notice.
    end = "big = 3 ** 20_000_000\nfutures += [pool.submit(pow, 7, 200_000_000) for _ in range(3)]\ntime.sleep(600)"
    program = Program("-c", PARENT.format(end="pool.terminate(); pool = Pool(3); " + end.partition("\n")[2]))
    program.read_line()
    deadline = time.monotonic() + 60
    while sum(busy(process) for process in program.survivors()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(program.pid, signal.SIGKILL)
    program.wait_until_nothing_is_left()
    program.finish()


def busy(process):
    try:
        return process.cpu_times().user > 0.1
    except psutil.NoSuchProcess:
        return False


# -- the fork server dies ----------------------------------------------------------------------------------------------


def test_fork_server_that_is_killed_is_replaced():
    servers = [child for child in psutil.Process().children() if "serve_forks" in " ".join(child.cmdline())]
    assert len(servers) == 1
    servers[0].kill()
    with Pool(2) as pool:
        assert pool.map(tasks.square, range(10)) == [number * number for number in range(10)]


def test_fork_server_killed_under_running_tasks_costs_no_result(gate):
    with Pool(1) as pool:
        future = pool.submit(tasks.through, gate.path, "done")
        gate.wait_for_arrival()
        for child in psutil.Process().children():
            if "serve_forks" in " ".join(child.cmdline()):
                child.kill()
        gate.let_through()
        # The worker may go with its server; then the task says so, and others run.
        error = future.exception(30)
        assert error is None or isinstance(error, WorkerDied)
        assert pool.apply(tasks.square, (3,)) == 9
    with Pool(1) as pool:
        assert pool.apply(tasks.square, (3,)) == 9


# -- odd calls ---------------------------------------------------------------------------------------------------------


def test_keyboard_interrupt_raised_by_a_function_is_its_exception(pool):
    with pytest.raises(KeyboardInterrupt):
        pool.apply(tasks.raise_error, (KeyboardInterrupt,))
    assert pool.apply(tasks.square, (3,)) == 9


def test_worker_that_closes_every_file_is_replaced(pool):
    # It may even begin with one more task before it notices that it is cut off.
    pool.submit(os.closerange, 0, 1000).wait()
    futures = [pool.submit(tasks.square, number) for number in range(100)]
    futures += [pool.map_async(tasks.square, range(20), 1) for _ in range(10)]
    deaths = [error for error in (future.exception(30) for future in futures) if error is not None]
    assert len(deaths) <= 1
    assert all(isinstance(error, WorkerDied) for error in deaths)


def test_large_results_after_a_task_that_closed_every_file_are_not_refused_in_its_chunk(pool):
    def close_files_at(number):
        if number == 5:
            os.closerange(3, 4096)
        # Each needs more shared memory than the worker has from the ones before.
        return bytes(200 if number < 6 else 100_000 * number)

    results = pool.map(close_files_at, range(20), 20, on_error="return")
    failures = [result for result in results if isinstance(result, BaseException)]
    # The one that was the first to need what was closed is lost with the worker.
    assert [type(failure) for failure in failures] == [WorkerDied]
    assert [len(results[number]) for number in (0, 19)] == [200, 1_900_000]


def test_threads_of_a_worker_do_not_keep_it_from_leaving(tmp_path):
    def start_thread():
        threading.Thread(target=time.sleep, args=(600,)).start()
        return os.getpid()

    with Pool(1) as pool:
        pid = pool.apply(start_thread)
    assert not psutil.pid_exists(pid)


def test_children_of_a_worker_that_was_killed_do_not_hold_up_the_pool(pool):
    def fork_and_die():
        import subprocess

        subprocess.Popen(["/bin/sleep", "2"])
        os.kill(os.getpid(), signal.SIGKILL)

    started = time.monotonic()
    with pytest.raises(WorkerDied):
        pool.apply(fork_and_die)
    assert time.monotonic() - started < 1.5
    assert pool.apply(tasks.square, (3,)) == 9
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:2] == ["/bin/sleep", "2"]:
                process.kill()
