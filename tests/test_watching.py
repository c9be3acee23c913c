"""Programs that let themselves be watched: their socket, who is let in, and what is told."""

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

import paceline
import tasks
from paceline import Pool, monitor, rendezvous, watching
from watched import connected, look, top, watched

is_root = os.geteuid() == 0
NOBODY = 65534


# -- the socket --------------------------------------------------------------------------------------------------------


def test_socket_is_the_users_alone_from_the_moment_it_exists(runtime, monkeypatch):
    modes = []
    rename = os.rename

    def note_mode(old, new, **folders):
        modes.append(stat.S_IMODE(os.stat(old, dir_fd=folders["src_dir_fd"]).st_mode))
        rename(old, new, **folders)

    monkeypatch.setattr(rendezvous.os, "rename", note_mode)
    monkeypatch.setattr(rendezvous.os, "chmod", None)
    before = os.umask(0)
    try:
        path = Path(paceline.watchable())
    finally:
        os.umask(before)
    assert path == runtime / "paceline" / f"{os.getpid()}.sock"
    status = path.lstat()
    assert stat.S_ISSOCK(status.st_mode)
    assert modes == [0o600] == [stat.S_IMODE(status.st_mode)]
    assert status.st_uid == os.geteuid()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert paceline.watchable() == str(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_closed_program_is_not_watched_and_may_be_again(runtime):
    path = Path(paceline.watchable())
    watching.close()
    watching.close()
    assert not path.exists()
    assert paceline.watchable() == str(path)
    assert look(os.getpid()).pools == ()


def test_without_a_runtime_folder_the_socket_is_below_the_temporary_one(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = Path(paceline.watchable())
    watching.close()
    assert path.parent == tmp_path / f"paceline-{os.geteuid()}"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(not is_root, reason="only root can give a folder away")
def test_runtime_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(theirs))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = Path(paceline.watchable())
    watching.close()
    assert path.parent.parent == tmp_path
    assert not list(theirs.iterdir())


def spoil_by_mode(folder):
    folder.mkdir()
    folder.chmod(0o750)


def spoil_by_link(folder):
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def spoil_by_owner(folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)


def spoil_by_file(folder):
    folder.touch(mode=0o600)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_by_mode, "is open to other users"),
        (spoil_by_link, "is no folder of this user's"),
        (spoil_by_file, "is no folder of this user's"),
        pytest.param(
            spoil_by_owner, "belongs to user 65534", marks=pytest.mark.skipif(not is_root, reason="only root can")
        ),
    ],
)
def test_folder_that_others_may_have_to_do_with_is_refused_by_both_sides(runtime, spoil, says):
    spoil(runtime / "paceline")
    with pytest.raises(PermissionError, match=f"{says}(.|\n)*hint: "):
        paceline.watchable()
    code, _, err = top(runtime, "--once")
    assert code == 1
    assert says in err


def test_program_that_is_asked_to_be_watched_and_cannot_be_goes_on(runtime, monkeypatch):
    (runtime / "paceline").touch()
    monkeypatch.setenv("PACELINE_TOP", "1")
    with pytest.warns(RuntimeWarning, match="PACELINE_TOP is set, but this program cannot be watched"), Pool(1) as pool:
        assert pool.apply(abs, (-1,)) == 1


@pytest.mark.parametrize(("value", "is_there"), [("1", True), ("0", False), ("", False)])
def test_environment_opens_the_socket_with_the_first_pool(runtime, monkeypatch, value, is_there):
    monkeypatch.setenv("PACELINE_TOP", value)
    path = runtime / "paceline" / f"{os.getpid()}.sock"
    assert not path.exists()
    with paceline.ThreadPoolExecutor(1):
        assert path.exists() is is_there


def open_pool_in_worker():
    with Pool(1) as pool:
        return pool.apply(os.getpid)


def test_pool_in_a_worker_does_not_let_the_worker_be_watched(runtime, monkeypatch):
    monkeypatch.setenv("PACELINE_TOP", "1")
    with Pool(1) as pool:
        pool.apply(open_pool_in_worker)
        assert [entry.name for entry in (runtime / "paceline").iterdir()] == [f"{os.getpid()}.sock"]


def sockets_of(pid):
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(entry.readlink())
        except FileNotFoundError:
            continue


@pytest.mark.parametrize("start_method", ["forkserver", "spawn", "fork"])
def test_workers_do_not_have_the_socket(runtime, start_method):
    paceline.watchable()
    ours = f"socket:[{os.fstat(watching._watch.listener.fileno()).st_ino}]"
    assert ours in sockets_of(os.getpid())
    with Pool(1, start_method=start_method) as pool:
        pid = pool.apply(os.getpid)
        assert ours not in sockets_of(pid)
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert parent == os.getpid() or ours not in sockets_of(parent)


def test_fork_of_the_program_does_not_answer(runtime):
    program = watched(
        runtime,
        """
        ours, theirs = os.pipe()
        if os.fork() == 0:
            # Its own socket is another, and the parent's is not removed by this end.
            paceline.watchable()
            os.write(theirs, b".")
            sys.stdin.readline()
            sys.exit()
        os.read(ours, 1)
        print("ready", flush=True)
        time.sleep(600)
        """,
    )
    try:
        children = {int(entry.stem) for entry in (runtime / "paceline").iterdir()} - {program.pid}
        program.process.kill()
        program.process.wait()
        # Were the socket still open in the child, this would wait for an answer.
        with pytest.raises(ConnectionRefusedError):
            rendezvous.ask(rendezvous.Place(program.pid, os.geteuid(), f"{runtime}/paceline"), 20, ask="state")
        (child,) = children
        assert look(child).trouble == ""
        program.process.stdin.write(b"\n")
        program.process.stdin.flush()
        program.wait_until_nothing_is_left()
        assert not list((runtime / "paceline").iterdir())
    finally:
        program.close()


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise ValueError", "os.kill(os.getpid(), 2); time.sleep(60)"])
def test_socket_is_gone_when_the_program_has_ended(runtime, end):
    program = watched(runtime, f"print('ready', flush=True); sys.stdin.readline(); {end}")
    assert (runtime / "paceline" / f"{program.pid}.sock").exists()
    program.finish(b"\n")
    assert not list((runtime / "paceline").iterdir())


def test_program_is_watched_until_its_last_executor_has_ended(runtime):
    program = watched(
        runtime,
        """
        executor = paceline.ProcessPoolExecutor(1)
        executor.submit(time.sleep, 5)
        print("ready", flush=True)
        """,
    )
    try:
        deadline = time.monotonic() + 60
        while not (pools := look(program.pid).pools) or not all(pool.closed for pool in pools):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        program.finish()


def test_socket_of_a_killed_program_is_removed_by_whoever_looks(runtime):
    program = watched(runtime, "print('ready', flush=True); time.sleep(600)")
    program.process.kill()
    program.finish()
    path = runtime / "paceline" / f"{program.pid}.sock"
    assert path.exists()
    code, out, err = top(runtime, "--once")
    assert (code, out) == (1, "")
    assert err.startswith(
        "error: no running program of yours lets itself be watched\nhint: call `paceline.watchable()`"
    )
    assert not path.exists()


def test_socket_that_a_killed_program_of_the_same_number_has_left_is_replaced(runtime, monkeypatch):
    (runtime / "paceline").mkdir(mode=0o700)
    path = runtime / "paceline" / f"{os.getpid()}.sock"
    monkeypatch.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as left, socket.socket(socket.AF_UNIX) as early:
        left.bind(path.name)
        early.bind(f".{path.name}")
    paceline.watchable()
    assert look(os.getpid()).trouble == ""
    assert list(path.parent.iterdir()) == [path]


# -- who is let in -----------------------------------------------------------------------------------------------------


KNOCK = """
import os, socket, sys
os.fchdir(int(sys.argv[1]))
os.setgid(65534)
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as knocking:
    try:
        knocking.connect(sys.argv[2])
    except PermissionError:
        print("refused by the mode")
    else:
        try:
            knocking.sendall(b'{"paceline_top": 1, "ask": "state"}\\n')
            print(knocking.recv(100))
        except ConnectionError:
            print("refused for who he is")
"""


@pytest.mark.skipif(not is_root, reason="only root can become somebody else")
def test_other_user_is_refused_by_the_mode_and_by_who_he_is(runtime):
    path = Path(paceline.watchable())

    def knock():
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            ran = subprocess.run(
                [sys.executable, "-c", KNOCK, str(folder), path.name],
                pass_fds=[folder],
                capture_output=True,
                text=True,
                timeout=150,
                check=False,
            )
        finally:
            os.close(folder)
        return ran.stdout + ran.stderr

    assert knock() == "refused by the mode\n"
    path.parent.chmod(0o755)
    assert knock() == "refused by the mode\n"
    path.chmod(0o777)
    assert knock() == "refused for who he is\n"
    path.parent.chmod(0o700)
    assert look(os.getpid()).trouble == ""


@pytest.mark.skipif(not is_root, reason="only root can become somebody else")
def test_socket_at_which_somebody_else_listens_is_not_believed(runtime, monkeypatch):
    folder = runtime / "paceline"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(folder)
    listens = "import os, socket, time; listener = socket.socket(fileno=0); os.setuid(65534); listener.listen()"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("77.sock")
        with subprocess.Popen(
            [sys.executable, "-c", f"{listens}; print(flush=True); time.sleep(60)"],
            stdin=listener,
            stdout=subprocess.PIPE,
        ) as process:
            process.stdout.readline()
            with pytest.raises(PermissionError, match="somebody else than user 0 listens"):
                rendezvous.ask(rendezvous.Place(77, 0, str(folder)), 20, ask="state")
            process.kill()


def raw(path, line):
    with connected(path) as asking, asking.makefile("rb") as answer:
        asking.sendall(line)
        asking.shutdown(socket.SHUT_WR)
        return answer.read()


def test_question_that_makes_no_sense_is_answered_or_ignored(runtime):
    path = paceline.watchable()
    for nothing in (b"", b"\n", b"[1]\n", b"{"):
        assert raw(path, nothing) == b""
    with pytest.raises(ConnectionError):
        raw(path, b"x" * 100_000)
    for senseless in ({}, {"ask": "riddle"}, {"ask": "stacks"}, {"ask": "cancel", "engine": "one", "item": []}):
        (told,) = raw(path, json.dumps(senseless).encode() + b"\n").splitlines()
        assert "cannot be answered" in json.loads(told)["error"]
    with pytest.raises(ValueError, match="there is no question 'riddle'"):
        rendezvous.ask(rendezvous.Place(os.getpid(), os.geteuid(), f"{runtime}/paceline"), 20, ask="riddle")
    assert look(os.getpid()).trouble == ""


def test_whoever_connects_and_says_nothing_does_not_keep_others_waiting_for_long(runtime, monkeypatch):
    monkeypatch.setattr(watching, "_PATIENCE_S", 0.05)
    with connected(paceline.watchable()):
        assert look(os.getpid()).trouble == ""


# -- what is told ------------------------------------------------------------------------------------------------------


def test_state_has_pools_workers_tasks_and_failures(runtime, gate):
    paceline.watchable()
    with paceline.ThreadPoolExecutor(3), Pool(2, name="one") as pool:
        pool.map(tasks.square, range(100))
        pool.submit(tasks.fail, "worse").wait(30)
        pool.map_async(tasks.fail, ["bad"], chunksize=1).wait(30)
        with pytest.raises(paceline.WorkerDied):
            pool.submit(tasks.die).result(30)
        running = pool.options(name="the gate").submit(tasks.through, gate.path)
        pid = gate.wait_for_arrival()
        waiting = pool.map_async(tasks.through, [gate.path] * 50, chunksize=1)
        gate.wait_for_arrival()
        program = look(os.getpid())
        gate.let_through(51)
        running.result(30)
        waiting.get(30)
    threads, processes = program.pools
    assert threads.engine < processes.engine
    assert (processes.name, processes.workers, processes.busy, processes.closed) == ("one", 2, 2, False)
    assert (processes.ended, processes.unfinished, processes.failed) == (102, 51, 3)
    assert (threads.kind, threads.workers, threads.busy) == ("threads", 3, 0)
    (worker,) = [worker for worker in processes.processes if worker.pid == pid]
    assert worker.memory > 1_000_000
    (task,) = worker.tasks
    assert (task.function, task.item, task.index, task.attempt) == ("the gate", 103, None, 0)
    assert 0 < task.seconds < 60
    ends = [(failure.task, failure.ending, failure.text) for failure in processes.failures]
    assert ends == [
        ("fail", "raised", "ValueError: worse"),
        ("fail[0]", "raised", "ValueError: bad"),
        ("die", "lost", "its worker was ended by SIGKILL"),
    ]


def test_failures_that_are_many_or_large_are_told_in_few_words(runtime):
    paceline.watchable()
    with Pool(2) as pool:
        failed = pool.map(tasks.fail, ["x" * 100_000] + ["y"] * 1000, on_error="return")
        assert len(failed) == 1001
        with pytest.raises(paceline.TaskTimeout):
            pool.options(timeout=0.05).submit(time.sleep, 60).result(30)
        (told,) = look(os.getpid()).pools
    assert told.failed == 1002
    assert 1 < len(told.failures) <= 16
    assert told.failures[-1].text == "was stopped at its time limit"
    assert max(len(failure.text) for failure in told.failures) <= 300


def test_rate_is_that_between_two_looks(runtime):
    paceline.watchable()
    watcher = monitor.Monitor()
    with Pool(1) as pool:
        pool.map(abs, range(10))
        (first,) = watcher.look()
        pool.map(abs, range(1000))
        (second,) = watcher.look()
    assert first.pools[0].rate is None
    seconds = second.now - first.now
    assert second.pools[0].rate == pytest.approx(1000 / seconds)
    assert second.pools[0].processes[0].rate == pytest.approx(1000 / seconds)


def test_looking_again_and_again_disturbs_no_task(runtime):
    paceline.watchable()
    with Pool(2) as pool:
        future = pool.map_async(tasks.spin, range(3000), 50)
        while not future.ready():
            assert look(os.getpid()).trouble == ""
        assert future.get() == list(range(3000))


def test_stack_of_a_worker_that_is_stuck_in_native_code(runtime):
    program = watched(
        runtime,
        """
        future = pool.submit(stuck)
        while not future.running():
            time.sleep(0.01)
        print("ready", flush=True)
        time.sleep(600)
        """,
    )
    try:
        seen = look(program.pid)
        idle, busy = sorted(seen.pools[0].processes, key=lambda worker: len(worker.tasks))
        deadline = time.monotonic() + 60
        while not any("in stuck" in line for line in monitor.stack(seen, busy.pid)):
            assert time.monotonic() < deadline
        assert not any("in stuck" in line for line in monitor.stack(seen, idle.pid))
        assert monitor.stack(seen, 1) == ["no stack: the worker is gone"]
    finally:
        program.close()


def test_cancelled_task_ends_as_by_its_future_and_its_worker_goes_on(runtime, gate):
    paceline.watchable()
    with Pool(1) as pool:
        pool.submit(abs, 1).result()
        future = pool.submit(tasks.through, gate.path)
        pid = gate.wait_for_arrival()
        program = look(os.getpid())
        (seen,) = program.pools
        (worker,) = seen.processes
        (task,) = worker.tasks
        assert monitor.cancel(program, seen, task.item) == "cancelled"
        with pytest.raises(CancelledError):
            future.result(30)
        assert pool.submit(os.getpid).result(30) == pid
        assert monitor.cancel(program, seen, task.item) == "it had ended already"
        assert look(os.getpid()).pools[0].failed == 0


def test_cancelling_without_force_leaves_alone_what_runs(runtime, gate):
    paceline.watchable()
    place = rendezvous.Place(os.getpid(), os.geteuid(), f"{runtime}/paceline")
    with Pool(1) as pool:
        running = pool.submit(tasks.through, gate.path, 7)
        gate.wait_for_arrival()
        waiting = pool.map_async(tasks.square, range(5), chunksize=1)
        (seen,) = look(os.getpid()).pools
        asked = {"ask": "cancel", "engine": seen.engine}
        assert rendezvous.ask(place, 20, item=0, **asked)["cancelled"] is False
        assert rendezvous.ask(place, 20, item=3, **asked)["cancelled"] is True
        assert rendezvous.ask(place, 20, item=99, **asked)["cancelled"] is None
        assert rendezvous.ask(place, 20, item=0, ask="cancel", engine=10**6)["cancelled"] is None
        gate.let_through()
        assert running.result(30) == 7
        assert waiting.cancelled()
