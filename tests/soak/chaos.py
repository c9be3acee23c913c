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
from tests.soak.gauges import is_server

KILL, STOP, KILL_SERVER, STOP_SERVER, CANCEL, FORCE_CANCEL, PLANT = (
    "kill a worker",
    "stop a worker",
    "kill the fork server",
    "stop the fork server",
    "cancel",
    "cancel by force",
    "harm by a task",
)
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


def has_started(pid):
    """Whether it watches its parent already, which takes a thread, and is the last that it does before it is ready."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).num_threads() > 1
    return False


class Chaos:
    def __init__(self, seed, pools, every_s):
        self.chance = random.Random(seed)
        self.pools = pools
        self.every_s = every_s
        self.done = Counter()
        # What the load shall plant and cancel.
        self.to_plant = deque()
        self.to_cancel = deque()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, name="chaos", daemon=True)

    def run(self):
        due = time.monotonic()
        while not self.over.is_set():
            self.act(self.chance.choices(list(WEIGHTS), WEIGHTS.values())[0])
            due = max(due + self.every_s, time.monotonic() - 1.0)
            self.over.wait(max(0.0, due - time.monotonic()))

    def act(self, kind):
        if kind == KILL:
            self.strike(self.worker(), signal.SIGKILL, kind)
        elif kind == STOP:
            # Nobody continues what was stopped.
            self.strike(self.worker(), signal.SIGSTOP, kind)
        elif kind == KILL_SERVER:
            self.strike(self.server(), signal.SIGKILL, kind)
        elif kind == STOP_SERVER:
            self.strike(self.server(), signal.SIGSTOP, kind)
        elif kind == PLANT:
            if len(self.to_plant) < 100:
                harm = self.chance.choice(tasks.HARMS)
                self.to_plant.append(harm)
                self.done[NAMES[harm]] += 1
        elif len(self.to_cancel) < 100:
            self.to_cancel.append(kind == FORCE_CANCEL)
            self.done[kind] += 1

    def worker(self):
        """One of the workers, by chance, idle or at work.

        A pool of which three in a row are killed before they are ready is given up, as it should be; the fault matrix
        sees to that, and here they are spared.
        """
        pids = [pid for pool in list(self.pools) for pid in pool._engine.pids() if pid and has_started(pid)]
        return self.chance.choice(pids) if pids else None

    def server(self):
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if is_server(child):
                    return child.pid
        return None

    def strike(self, pid, number, kind):
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            self.done[kind] += 1

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
