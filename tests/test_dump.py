"""What workers are doing now, on request and on a signal."""

import io
import itertools
import os
import signal
import textwrap
import threading
import time
from functools import partial

import pytest

import paceline
import tasks
from paceline import Pool
from program import Program


def hold_the_interpreter(path):
    tasks.note(path, "there")
    sum(itertools.repeat(1))


def dumped():
    file = io.StringIO()
    paceline.dump(file)
    return file.getvalue()


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_dump_tells_task_seconds_and_stack(gate):
    with Pool(2) as pool:
        future = pool.submit(tasks.through, gate.path)
        pid = gate.wait_for_arrival()
        text = dumped()
        gate.let_through()
        future.result(30)
    (line,) = [line for line in text.splitlines() if str(pid) in line]
    assert line.startswith(f"worker process {pid}: `through` (task 0 of its pool) for ")
    assert "in through" in text
    assert "idle" in text


def test_dump_tells_the_name_and_the_place_in_a_map(gate):
    with Pool(2) as pool:
        named = pool.options(name="the named one").submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        results = pool.imap(partial(tasks.through, gate.path), range(3))
        gate.wait_for_arrival()
        text = dumped()
        gate.let_through(4)
        assert list(results) == [0, 1, 2]
        named.result(30)
    assert "`the named one` (task 0 of its pool)" in text
    assert "`through[0]` (task 1 of its pool)" in text


def test_dump_shows_what_is_stuck_in_native_code(tmp_path):
    with Pool(1, grace=0.1) as pool:
        future = pool.submit(hold_the_interpreter, str(tmp_path / "note"))
        wait_until((tmp_path / "note").exists)
        assert "in hold_the_interpreter" in dumped()
        future.cancel(force=True)


def start_threads(gate, count):
    for _ in range(count):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return tasks.through(gate)


def test_dump_shows_the_thread_of_the_task_first_and_not_too_many_others(gate):
    with Pool(1) as pool:
        future = pool.submit(start_threads, gate.path, 30)
        gate.wait_for_arrival()
        lines = dumped().splitlines()
        future.cancel(force=True)
    (place,) = [place for place, line in enumerate(lines) if "in start_threads" in line]
    assert place < 10
    assert len(lines) < 60
    assert "more threads" in lines[-1]


def test_dump_says_who_does_not_answer(pool):
    pool.map(tasks.square, range(4))
    pid = pool.apply(tasks.pid)
    os.kill(pid, signal.SIGSTOP)
    text = dumped()
    os.kill(pid, signal.SIGCONT)
    assert f"worker process {pid}: idle\n    no stack: it does not react to signals" in text


def test_dump_disturbs_no_task(pool):
    future = pool.map_async(tasks.spin, range(3000), 50)
    while not future.ready():
        dumped()
    assert future.get() == list(range(3000))


def test_dump_without_a_pool_says_so():
    assert "worker process" in dumped() or dumped() == "no worker processes\n"


def test_signal_dumps():
    program = Program(
        "-c",
        textwrap.dedent("""
        import os, signal, paceline
        paceline.dump_on_signal(signal.SIGUSR1)
        # Workers that are forked have the pipes.
        came, come = os.pipe()
        told, tell = os.pipe()
        def work(_):
            os.write(come, b"!")
            os.read(told, 1)
            return 7
        with paceline.Pool(1, start_method="fork") as pool:
            future = pool.submit(work, 0)
            os.read(came, 1)
            os.kill(os.getpid(), signal.SIGUSR1)
            os.write(tell, b"!")
            print(future.result())
        """),
    )
    code, out, err = program.finish()
    assert (code, out) == (0, "7\n"), err
    assert "`work`" in err
    assert "in work" in err


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_signal_that_no_program_can_handle_is_refused(signum):
    with pytest.raises(ValueError, match="cannot be handled"):
        paceline.dump_on_signal(signum)


def test_signal_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="signal"):
        paceline.dump_on_signal(10_000)
