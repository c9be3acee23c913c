"""Something goes wrong every fifty milliseconds, and chance says what.

Owns the choice, and what is done from outside: workers and fork servers are killed or stopped. What has to happen
inside of a task is asked of the load, which plants it in one of its next tasks.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter, deque

import psutil
from tests.soak import tasks

KILL, STOP, KILL_SERVER, STOP_SERVER, CANCEL, FORCE_CANCEL, PLANT = (
    "kill a worker",
    "stop a worker",
    "kill the fork server",
    "stop the fork server",
    "cancel",
    "cancel by force",
    "harm by a task",
)
# How long a worker has to start undisturbed.
SPARED_S = 0.12
WEIGHTS = {KILL: 30, STOP: 6, KILL_SERVER: 1, STOP_SERVER: 1, CANCEL: 10, FORCE_CANCEL: 8, PLANT: 44}
NAMES = {
    tasks.EXITS: "a task exits",
    tasks.CRASHES: "a task crashes",
    tasks.RAISES: "a task raises",
    tasks.OVERRUNS: "a task is over its limit",
    tasks.UNPICKLABLE: "a task returns what cannot be pickled",
    tasks.CLOSES: "a task closes its files",
    tasks.FORKS: "a task forks",
}


class Chaos:
    def __init__(self, seed, pools, every_s):
        self.chance = random.Random(seed)
        self.pools = pools
        self.every_s = every_s
        self.done = Counter()
        # What the load shall plant and cancel.
        self.to_plant = deque()
        self.to_cancel = deque()
        self.stopped = []
        # When each worker was seen first.
        self.seen = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, name="chaos", daemon=True)

    def run(self):
        due = time.monotonic()
        while not self.over.is_set():
            self.act(self.chance.choices(list(WEIGHTS), WEIGHTS.values())[0])
            self.go_on(time.monotonic())
            due = max(due + self.every_s, time.monotonic() - 1.0)
            self.over.wait(max(0.0, due - time.monotonic()))
        self.go_on(float("inf"))

    def act(self, kind):
        if kind == KILL:
            self.strike(self.worker(), signal.SIGKILL, kind)
        elif kind == STOP:
            # Nobody has to continue it, because its task has a limit of time.
            self.strike(self.worker(), signal.SIGSTOP, kind)
        elif kind == KILL_SERVER:
            self.strike(self.server(), signal.SIGKILL, kind)
        elif kind == STOP_SERVER:
            self.strike(self.server(), signal.SIGSTOP, kind, 0.1 + self.chance.random() * 0.5)
        elif kind == PLANT:
            if len(self.to_plant) < 100:
                harm = self.chance.choice(tasks.HARMS)
                self.to_plant.append(harm)
                self.done[NAMES[harm]] += 1
        elif len(self.to_cancel) < 100:
            self.to_cancel.append(kind == FORCE_CANCEL)
            self.done[kind] += 1

    def worker(self):
        """One of the workers, by chance; a pool whose workers all end while they start is given up, as it should be."""
        pools, now = list(self.pools), time.monotonic()
        pids = {pid for pool in pools for pid in pool._engine.pids() if pid}
        self.seen = {pid: self.seen.get(pid, now) for pid in pids}
        grown = [pid for pid, since in self.seen.items() if now - since > SPARED_S]
        return self.chance.choice(grown) if grown else None

    def server(self):
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if any("serve_forks" in word for word in child.cmdline()):
                    return child.pid
        return None

    def strike(self, pid, number, kind, lasts_s=None):
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            self.done[kind] += 1
            if lasts_s is not None:
                self.stopped.append((time.monotonic() + lasts_s, pid))

    def go_on(self, now):
        """Continues those that were stopped for a while only."""
        for until, pid in [entry for entry in self.stopped if entry[0] <= now]:
            self.stopped.remove((until, pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def plant(self):
        with contextlib.suppress(IndexError):
            return self.to_plant.popleft()
        return tasks.FINE

    def cancels(self):
        """Whether a future shall be cancelled now: None, or whether by force."""
        with contextlib.suppress(IndexError):
            return self.to_cancel.popleft()
        return None

    def end(self):
        self.over.set()
        self.thread.join()
