"""The program itself ends: killed, by its own hand, by a bug, at its ordinary end with tasks running, or by Ctrl-C."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from tests.faults import tasks
from tests.faults.fault import EXCHANGE, RANDOM, RUNNING, SHUTDOWN, WRITING, Fault
from tests.faults.scene import story
from tests.faults.subjects import NotSupported

MARK = "PACELINE_FAULTS_VICTIM"
# How long a process may outlive the program.
GRACE_S, PEERS_GRACE_S = 1.5, 3.0


class Victim:
    """A program in a session of its own; whatever stems from it is found by a mark in the environment."""

    def __init__(self, scene, how, work=RUNNING):
        if scene.call not in scene.subject.calls:
            raise NotSupported(f"it has no way to {scene.call}")
        name = f"paceline:{scene.subject.start}" if scene.ours else scene.name
        self.mark = f"{os.getpid()}"
        self.errors_path = scene.folder / "victim-errors"
        with self.errors_path.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.victim", name, scene.call, work, how],
                env={**os.environ, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )

    def wait_until_ready(self):
        line = self.process.stdout.readline()
        assert line == b"ready\n", f"the program said {line!r}, and {self.errors()[-500:]!r}"

    def errors(self):
        return self.errors_path.read_text(encoding="utf-8", errors="replace")

    def family(self):
        """Those that carry its mark and are not zombies."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != self.process.pid:
                with contextlib.suppress(OSError, psutil.Error):
                    marked = wanted in (folder / "environ").read_bytes().split(b"\0")
                    if marked and psutil.Process(int(folder.name)).status() != psutil.STATUS_ZOMBIE:
                        found.append(int(folder.name))
        return found

    def end(self):
        for pid in [self.process.pid, *self.family()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def victim(scene, how, work=RUNNING):
    one = Victim(scene, how, work)
    try:
        yield one
    finally:
        one.end()


def look_after(scene, one, *, patience_s, codes):
    """Waits for the program's end, and for that of all that it has started."""
    began = time.monotonic()
    try:
        code = one.process.wait(patience_s)
    except subprocess.TimeoutExpired:
        scene.finding["ends"] = "hangs"
        scene.expect(False, f"the program has not ended within {patience_s} s; it says {one.errors()[-600:]!r}")
        return
    ended_s = time.monotonic() - began
    grace_s = GRACE_S if scene.ours else PEERS_GRACE_S
    deadline = time.monotonic() + grace_s
    while (left := one.family()) and time.monotonic() < deadline:
        time.sleep(0.01)
    lines = one.errors().strip().splitlines()
    scene.finding |= {
        "ends": f"code {code}" if code >= 0 else signal.Signals(-code).name,
        "ended_s": round(ended_s, 3),
        "left": len(left),
        "left_s": grace_s,
        "error_lines": len(lines),
    }
    if lines:
        scene.finding["says"] = lines[-1][:160]
    scene.expect(not left, f"{len(left)} processes have outlived the program by {grace_s} s")
    scene.expect(code in codes, f"the program ended with {code}: {one.errors()[-600:]!r}")


@story
def killed(scene, number):
    with victim(scene, "wait", scene.moment) as one:
        one.wait_until_ready()
        time.sleep(scene.chance.random() * 0.05)
        os.kill(one.process.pid, number)
        look_after(scene, one, patience_s=10, codes={-number})


@story
def killed_beside_stopped(scene, which):
    """A process that is stopped cannot notice that the program has gone; somebody has to end it all the same."""
    with victim(scene, "wait") as one:
        one.wait_until_ready()
        if scene.ours and scene.subject.start == "spawn":
            # Nothing of ours runs in an interpreter that is stopped while it starts, and it has nobody else.
            wait_until_started(one)
        stopped = [pid for pid in one.family() if is_server(pid) == (which == "server")]
        if not stopped:
            scene.skip("there is no such process")
        os.kill(scene.chance.choice(stopped), signal.SIGSTOP)
        os.kill(one.process.pid, signal.SIGKILL)
        look_after(scene, one, patience_s=10, codes={-signal.SIGKILL})


def wait_until_started(one):
    """All workers have begun to watch the program, for which each has a thread."""
    deadline = time.monotonic() + 10
    while not all(psutil.Process(pid).num_threads() > 1 for pid in one.family()):
        assert time.monotonic() < deadline, "a worker has not started"
        time.sleep(0.002)


def is_server(pid):
    """Whether it is what starts the workers: only it has children."""
    return bool(psutil.Process(pid).children())


@story
def ends(scene, how, code):
    with victim(scene, how, scene.moment) as one:
        one.wait_until_ready()
        # A pool is ended at the program's end; an executor waits for its tasks, which here take ten minutes.
        look_after(scene, one, patience_s=15 if scene.ours else 6, codes={code})
        if scene.ours and how in {"cycle", "global"}:
            scene.expect(not one.errors(), f"it should end quietly, and says {one.errors()[-300:]!r}")


@story
def interrupted(scene, *, twice):
    """Ctrl-C at any moment of opening, calling and closing: it ends, soon, and so do all its workers."""
    if scene.chance.random() < 0.5:
        os.environ["PACELINE_FAULTS_SLOW"] = "1"
    with victim(scene, "churn") as one:
        one.wait_until_ready()
        time.sleep(scene.chance.random() * 0.4)
        os.killpg(one.process.pid, signal.SIGINT)
        if twice:
            time.sleep(scene.chance.random() * 0.05)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, signal.SIGINT)
        look_after(scene, one, patience_s=10 if scene.ours else 6, codes={-signal.SIGINT, 130, 1})
        scene.finding["tracebacks"] = one.errors().count("Traceback (most recent call last)")
        scene.expect("panicked" not in one.errors(), f"a panic: {one.errors()[-600:]!r}")


def interrupted_and_caught(scene):
    """A program that catches Ctrl-C goes on with the same pool."""
    with scene.pool() as subject:
        caught = []
        waiting = scene.later(0.1, lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGINT)))
        try:
            orders = [(number, 10, ("running", "sleep", (0.02,)), None) for number in range(500, 520)]
            subject.outcomes(scene.call, tasks.perform, orders, scene.patience_s)
            time.sleep(1.0)
        except KeyboardInterrupt:
            caught.append(True)
        waiting()
        scene.expect(caught, "no KeyboardInterrupt has come")
        scene.work(scene.orders())
        scene.expect_outcome(40)


FAULTS = [
    Fault(
        "parent-killed",
        "the program is killed (SIGKILL)",
        killed(signal.SIGKILL),
        moments=(RUNNING, WRITING, EXCHANGE, SHUTDOWN, RANDOM),
    ),
    Fault("parent-killed-worker-stopped", "the same, beside a stopped worker", killed_beside_stopped("worker")),
    Fault(
        "parent-killed-server-stopped",
        "the same, beside a stopped fork server",
        killed_beside_stopped("server"),
        starts=("forkserver",),
        peers=(),
    ),
    Fault("parent-exits", "the program calls `os._exit(3)`", ends("os._exit", 3), moments=(RUNNING, WRITING)),
    Fault(
        "parent-fails",
        "the program ends by an exception that nobody catches",
        ends("exception", 1),
        moments=(RUNNING, SHUTDOWN),
    ),
    Fault("exit-global", "the program ends with running tasks, its pool in a global", ends("global", 0)),
    Fault("exit-cycle", "the program ends with running tasks, its pool in a cycle", ends("cycle", 0)),
    Fault("ctrl-c", "Ctrl-C at any moment", interrupted(twice=False)),
    Fault("ctrl-c-twice", "Ctrl-C twice", interrupted(twice=True)),
    Fault("ctrl-c-caught", "Ctrl-C that the program catches", interrupted_and_caught, peers=("submit",)),
]
