"""The process that starts workers is killed or stopped."""

import contextlib
import os
import signal

import psutil
from tests.faults.families.deaths import send, worker
from tests.faults.fault import EXCHANGE, RANDOM, RUNNING, SHUTDOWN, WAITING, Fault
from tests.faults.scene import TASKS, story


def servers():
    """The fork servers of this process."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("serve_forks" in word for word in child.cmdline()):
                found.append(child.pid)
    return found


@story
def struck(scene, number):
    """Workers that run go on, or say that they could not; the next pool has a server again."""
    with scene.pool(afterwards=None if scene.moment == SHUTDOWN else "works"):
        size = 1 << 21 if scene.moment == RANDOM else 200
        longest_s = 0.1 if scene.moment == RANDOM else 0.01
        found = servers()
        if not found:
            scene.skip("there is no fork server")
        strike = lambda: [send(pid, number) for pid in found]  # noqa: E731 - it is what happens in between.
        if scene.moment == WAITING:
            strike()
            scene.work(scene.orders(size=size))
        else:
            waiting = []
            scene.work(scene.orders(size=size), between=lambda: waiting.append(scene.later(longest_s, strike)))
            waiting[0]()
        # Workers that are told to go with their server lose what they were running.
        scene.expect_outcome(TASKS, {"WorkerDied", "WorkerDied (SIGKILL)"}, lost=2)
        scene.notes.write_text("")


@story
def stopped_and_worker_killed(scene):
    """A death beside a server that cannot report it: the task fails all the same, and its worker is replaced."""
    with scene.pool() as subject:
        scene.work(scene.orders(count=4))
        scene.notes.write_text("")
        found = servers()
        if not found:
            scene.skip("there is no fork server")
        for pid in found:
            send(pid, signal.SIGSTOP)
        if scene.moment == WAITING:
            victim = worker(scene, subject)
            if victim is not None:
                send(victim, signal.SIGKILL)
            scene.work(scene.orders())
            scene.expect_outcome(TASKS, {"WorkerDied", "WorkerDied (SIGKILL)"}, lost=1)
        else:
            scene.work(scene.orders("kill", signal.SIGKILL))
            scene.expect_outcome(TASKS - 1, {"WorkerDied", "WorkerDied (SIGKILL)"})


@story
def opened_beside_stopped(scene):
    """A second pool while the server is stopped."""
    with scene.pool(afterwards=None):
        scene.work(scene.orders(count=4))
        scene.notes.write_text("")
        found = servers()
        if not found:
            scene.skip("there is no fork server")
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        first, scene.subject.pool = scene.subject.pool, None
        scene.subject.open()
        try:
            scene.work(scene.orders())
            scene.expect_outcome(TASKS)
        finally:
            scene.subject.terminate()
            scene.subject.pool = first


ONLY = ("forkserver",)
MOMENTS = (WAITING, RUNNING, EXCHANGE, SHUTDOWN, RANDOM)

FAULTS = [
    Fault(
        "server-killed",
        "the fork server is killed",
        struck(signal.SIGKILL),
        moments=MOMENTS,
        starts=ONLY,
        peers=(),
        deadline_s=15,
    ),
    Fault(
        "server-stopped",
        "the fork server is stopped for ever",
        struck(signal.SIGSTOP),
        moments=MOMENTS,
        starts=ONLY,
        peers=(),
        deadline_s=15,
    ),
    Fault(
        "server-stopped-death",
        "the fork server is stopped, and a worker is killed",
        stopped_and_worker_killed(),
        moments=(WAITING, RUNNING),
        starts=ONLY,
        peers=(),
        deadline_s=15,
    ),
    Fault(
        "server-stopped-open",
        "the fork server is stopped, and a pool is opened",
        opened_beside_stopped(),
        starts=ONLY,
        peers=(),
        deadline_s=15,
    ),
]
