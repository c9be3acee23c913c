"""A worker ends, by its own hand or by another's; or it is stopped, and never goes on."""

import contextlib
import os
import signal
import threading
import time

import psutil
from tests.faults import tasks
from tests.faults.fault import EXCHANGE, RANDOM, RUNNING, SHUTDOWN, WAITING, WRITING, Fault
from tests.faults.scene import TASKS, story
from tests.faults.subjects import WORKERS

INSIDE = (RUNNING, WRITING, EXCHANGE, SHUTDOWN)


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def worker(scene, subject):
    pids = [pid for pid in subject.pids() if pid]
    return scene.chance.choice(pids) if pids else None


@story
def ends(scene, expected, harm, *arguments):
    """One task ends its own worker."""
    if callable(harm):
        harm, arguments = harm(scene)
    with scene.pool(afterwards=None if scene.moment == SHUTDOWN else "works"):
        scene.work(scene.orders(harm, *arguments))
        scene.expect_outcome(TASKS - 1, expected)


@story
def killed(scene, number, expected):
    """A worker is ended from outside; whatever it was doing, that costs one task at most."""
    if scene.moment in INSIDE:
        ends(expected, "kill", number)(scene)
        return
    with scene.pool() as subject:
        scene.work(scene.orders(count=4))
        scene.notes.write_text("")
        orders = scene.orders(size=1 << 23 if scene.moment == RANDOM else 200)

        def strike():
            victim = worker(scene, subject)
            if victim is not None:
                send(victim, number)

        waiting = scene.later(0.15 if scene.moment == RANDOM else 0.0, strike)
        if scene.moment == WAITING:
            waiting()
        scene.work(orders)
        waiting()
        scene.expect_outcome(TASKS, expected, lost=1)


@story
def killed_while_starting(scene, count):
    """A worker is killed, and then one after another that comes for it, as soon as it is there."""
    with scene.pool() as subject:
        scene.work(scene.orders(count=4))
        scene.notes.write_text("")
        wait_until_ready(subject)
        kill_starting(scene, subject, count)
        scene.work(scene.orders())
        scene.expect_outcome(TASKS)


def wait_until_ready(subject):
    """Every worker has answered something, so that none of them is still starting."""
    met, deadline = set(), time.monotonic() + 10
    while len(met) < WORKERS and time.monotonic() < deadline:
        handles = [subject.submit(tasks.where, 0.02) for _ in range(WORKERS)]
        met.update(subject.result(handle) for handle in handles if subject.is_over(handle, 10))


def kill_starting(scene, subject, count):
    first, *others = subject.pids()
    send(first, signal.SIGKILL)
    others, killed = {first, *others}, 0
    deadline = time.monotonic() + 10
    while killed < count and time.monotonic() < deadline:
        for pid in set(subject.pids()) - others:
            if pid:
                killed += send(pid, signal.SIGKILL)
                others.add(pid)
    scene.expect(killed == count, f"{killed} starting workers were killed, and {count} should have been")
    scene.remark(f"{killed} killed while they started")


@story
def killed_for_ever_while_starting(scene):
    """No worker gets ready any more: the pool gives up, says so in every call, and does not hang."""
    with scene.pool(afterwards="WorkerStartError") as subject:
        scene.work(scene.orders(count=4))
        scene.notes.write_text("")
        over = threading.Event()
        killer = threading.Thread(target=kill_all, args=(subject, over), daemon=True)
        killer.start()
        try:
            # Each takes much longer than a worker then has.
            scene.work([(number, 10, (RUNNING, "sleep", (0.05,)), None) for number in range(TASKS)])
        finally:
            over.set()
            killer.join()
        scene.expect(not scene.tally.pending, f"{scene.tally.pending} calls have not ended")
        expected = {"WorkerStartError", "WorkerDied (SIGKILL)"}
        scene.expect(set(scene.tally.errors) <= expected, f"unexpected: {scene.tally.lines}")
        scene.expect("WorkerStartError" in scene.tally.errors, "the pool has not given up")


def kill_all(subject, over):
    while not over.is_set():
        for pid in subject.pids():
            if pid:
                send(pid, signal.SIGKILL)
        time.sleep(0.001)


def killed_while_idle(scene):
    """One idle worker after another is killed, with nothing to do between two deaths."""
    with scene.pool() as subject:
        scene.work(scene.orders(count=4))
        scene.notes.write_text("")
        for _ in range(6):
            before = set(subject.pids())
            victim = worker(scene, subject)
            deadline = time.monotonic() + 5
            if victim is None or not send(victim, signal.SIGKILL):
                continue
            while not is_idle(set(subject.pids()) - before) and time.monotonic() < deadline:
                time.sleep(0.002)
        scene.work(scene.orders())
        scene.expect_outcome(TASKS)


def is_idle(pids):
    """Whether there is a worker among these that has started, and sleeps."""
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.num_threads() > 1 and process.status() == psutil.STATUS_SLEEPING:
                return True
    return False


@story
def stopped(scene, *, limited):
    """A worker is stopped and never continued: the task that it runs does not end by itself."""
    options = scene.limit(0.5) if limited else {}
    if scene.moment == WAITING:
        idle_worker_is_stopped(scene)
        return
    # Nobody is let off sooner than after ten seconds; it is less, and enough for the others.
    patience_s = None if limited else 5.0
    with scene.pool(
        afterwards="works" if scene.moment != SHUTDOWN else None,
        ends="close" if limited else "terminate",
        **options,
    ):
        scene.work(scene.orders("kill", signal.SIGSTOP), patience_s=patience_s)
        if limited:
            scene.expect_outcome(TASKS - 1, {"TaskTimeout (SIGKILL)"})
        elif scene.call == "map":
            # A map tells nothing before all has ended.
            scene.expect_outcome(0, pending=TASKS)
        elif scene.call == "imap":
            # In order: what comes after the stopped one has to wait for it.
            scene.expect_outcome(0, pending=TASKS - len(scene.tally.right))
        else:
            scene.expect_outcome(TASKS - 1, pending=1)


def idle_worker_is_stopped(scene):
    with scene.pool(ends="terminate") as subject:
        scene.work(scene.orders(count=4))
        scene.notes.write_text("")
        victim = worker(scene, subject)
        if victim is not None:
            send(victim, signal.SIGSTOP)
        scene.work(scene.orders(), patience_s=5.0)
        # A worker that was about to claim a task when it was stopped may hold that one.
        pending = scene.tally.pending if scene.tally.pending <= 1 else 0
        scene.expect_outcome(TASKS, lost=1, pending=pending)


def overflow(scene):
    return "overflow", (scene.library("overflow"),)


FAULTS = [
    Fault(
        "sigkill",
        "a worker is killed (SIGKILL)",
        killed(signal.SIGKILL, {"WorkerDied (SIGKILL)"}),
        moments=(RUNNING, WAITING, WRITING, EXCHANGE, SHUTDOWN, RANDOM),
        thorough=True,
    ),
    Fault(
        "killed-starting",
        "two workers in a row are killed as soon as they start",
        killed_while_starting(2),
        peers=(),
    ),
    Fault(
        "killed-always",
        "workers are killed for as long as any come",
        killed_for_ever_while_starting(),
        peers=(),
    ),
    Fault(
        "killed-idle",
        "idle workers are killed, one after another",
        killed_while_idle,
        peers=(),
    ),
    Fault(
        "sigsegv",
        "a worker crashes (SIGSEGV)",
        ends({"WorkerDied (SIGSEGV)"}, "segfault"),
        moments=INSIDE,
    ),
    Fault(
        "sigabrt",
        "native code gives up (SIGABRT)",
        ends({"WorkerDied (SIGABRT)"}, "abort"),
        moments=INSIDE,
    ),
    Fault(
        "sigstop",
        "a worker is stopped for ever (SIGSTOP)",
        stopped(limited=False),
        moments=(RUNNING, WAITING, WRITING, EXCHANGE),
    ),
    Fault(
        "sigstop-limited",
        "the same, where tasks have a limit of time",
        stopped(limited=True),
        moments=(RUNNING, WRITING, EXCHANGE, SHUTDOWN),
    ),
    Fault(
        "os-exit",
        "a task calls `os._exit(3)`",
        ends({"WorkerDied (exit code 3)"}, "os._exit", 3),
        moments=INSIDE,
    ),
    Fault("sys-exit", "a task calls `sys.exit(3)`", ends({"SystemExit"}, "sys.exit", 3)),
    Fault(
        "overflow",
        "the stack overflows in native code",
        ends({"WorkerDied (SIGSEGV)"}, overflow),
        moments=(RUNNING, EXCHANGE),
    ),
]
