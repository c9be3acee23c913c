"""The options of a soak, and its course: `python -m tests.soak`; see the package for who does what."""

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.belongings import Belongings
from tests.faults.table import facts
from tests.soak import chaos, ledger, load, summary, tasks
from tests.soak.gauges import Gauges

import paceline

ROOT = Path(__file__).parent.parent.parent
WORKERS = 2
AT_A_TIME = 2
# How long a task may take, which is much longer than any that is well; and how long it then has to end.
LIMIT_S, GRACE_S = 2.0, 0.3


class Soak:
    """The pools and their users: each is used for a while, closed when nobody is at it, and followed by another."""

    def __init__(self, options, folder):
        self.options = options
        self.ledger = ledger.Ledger(options.tasks, folder / "notes")
        os.environ[tasks.NOTES] = str(self.ledger.notes)
        self.over = threading.Event()
        self.innocent = Counter()
        self.pools = []
        self.opened = 0
        self.is_steady = False
        self.began = 0.0
        self.users = Counter()
        self.changed = threading.Condition()
        self.chaos = chaos.Chaos(options.seed, self.pools, options.every_ms / 1000)

    def keep_pace(self):
        """Holds a driver up while the tasks would be done before the time is over."""
        if self.options.flat_out:
            return
        while not self.over.is_set():
            share = (time.monotonic() - self.began + 1.0) / self.options.seconds
            if self.ledger.next <= self.options.tasks * share:
                return
            self.over.wait(0.005)

    def open(self):
        start_method = ("forkserver", "forkserver", "spawn", "fork")[self.opened % 4]
        self.opened += 1
        self.pools.append(paceline.Pool(WORKERS, timeout=LIMIT_S, grace=GRACE_S, start_method=start_method))

    @contextlib.contextmanager
    def pool(self, chance):
        with self.changed:
            self.changed.wait_for(lambda: self.pools)
            pool = chance.choice(self.pools)
            self.users[id(pool)] += 1
        try:
            yield pool
        finally:
            with self.changed:
                self.users[id(pool)] -= 1
                self.changed.notify_all()

    def replace(self):
        """Retires the oldest pool: the next one is there before it goes, and it goes when nobody uses it."""
        self.is_steady = False
        with self.changed:
            self.open()
            pool = self.pools.pop(0)
            over = self.changed.wait_for(lambda: not self.users[id(pool)], load.PATIENCE_S * 2)
            del self.users[id(pool)]
        if not over:
            self.ledger.blame("a pool was not let go of in time")
            return
        self.close(pool)
        self.is_steady = True

    def close(self, pool):
        ended = threading.Event()

        def close():
            pool.close()
            pool.join()
            ended.set()

        threading.Thread(target=close, daemon=True).start()
        if not ended.wait(load.PATIENCE_S):
            self.ledger.blame("closing a pool hangs")
            self.over.set()

    def run(self):
        drivers = [way(self, self.options.seed) for way in load.WAYS]
        self.open()
        self.open()
        self.is_steady = True
        began = self.began = replaced = told = time.monotonic()
        self.chaos.thread.start()
        for driver in drivers:
            driver.start()
        while any(driver.is_alive() for driver in drivers):
            time.sleep(0.1)
            now = time.monotonic()
            if now - began > self.options.seconds:
                self.over.set()
            if self.over.is_set():
                self.is_steady = False
            if now - replaced > self.options.replace_s and not self.over.is_set():
                self.replace()
                replaced = time.monotonic()
            if now - told > 10:
                told = now
                print(f"{now - began:5.0f} s  {self.ledger.next:,} tasks  {sum(self.chaos.done.values()):,} faults")
                sys.stdout.flush()
            if any(isinstance(driver.failure, load.Hangs) for driver in drivers):
                break
        hung = any(isinstance(driver.failure, load.Hangs) for driver in drivers)
        if hung:
            faulthandler.dump_traceback(all_threads=True)
            paceline.dump()
        self.chaos.end()
        if not hung:
            for pool in self.pools:
                self.close(pool)
            self.pools.clear()
        return time.monotonic() - began

    def check_losses(self):
        """Nobody but chaos may have cost a task its worker, and each of its deeds one task only."""
        done = self.chaos.done
        strikes = done[chaos.KILL] + WORKERS * AT_A_TIME * (done[chaos.KILL_SERVER] + done[chaos.STOP_SERVER])
        # A worker that has closed its files may take one more task before it notices.
        strikes += done[chaos.NAMES[tasks.CLOSES]] + done[chaos.STOP]
        lost, late = self.innocent[ledger.LOST], self.innocent[ledger.LATE]
        if lost > strikes:
            self.ledger.blame(f"{lost} tasks were lost by no fault of theirs, and {strikes} workers were struck")
        if late > done[chaos.STOP] + done[chaos.STOP_SERVER]:
            self.ledger.blame(f"{late} tasks were late by no fault of theirs, and {done[chaos.STOP]} workers stopped")


def options():
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="A million tasks among random faults.")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="over which the tasks are spread")
    parser.add_argument("--flat-out", action="store_true", help="as fast as can be; ends when all tasks are done")
    parser.add_argument("--every-ms", type=float, default=50.0, help="between two faults")
    parser.add_argument("--replace-s", type=float, default=15.0, help="after which a pool is closed for another")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--save", type=Path, help="by default docs/soak.md, if no other option was given")
    return parser.parse_args()


def main():
    chosen = options()
    save = chosen.save or (ROOT / "docs" / "soak.md" if len(sys.argv) == 1 else None)
    if chosen.seed is None:
        chosen.seed = random.randrange(1_000_000)
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(chosen, Path(folder))
        with paceline.Pool(1) as pool:
            pool.apply(os.write, (2, b"\n"))
        before = Belongings()
        gauges = Gauges(lambda: soak.is_steady)
        gauges.thread.start()
        seconds = soak.run()
        gauges.end()
        totals = soak.ledger.close()
        soak.check_losses()
        check_belongings(soak, before)
    windows, grown = gauges.verdict()
    for line in grown:
        soak.ledger.blame(line)
    data = {
        "command": "make soak" if len(sys.argv) == 1 else "python -m tests.soak " + " ".join(sys.argv[1:]),
        "seed": chosen.seed,
        "seconds": seconds,
        "every_ms": chosen.every_ms,
        "workers": WORKERS,
        "at_a_time": AT_A_TIME,
        "pools": soak.opened,
        "totals": totals,
        "chaos": dict(soak.chaos.done),
        "windows": windows,
        "samples": gauges.samples[:: max(1, len(gauges.samples) // 60)],
        "faults": soak.ledger.faults,
        "facts": facts(),
    }
    print(summary.markdown(data))
    if save is not None:
        save.write_text(summary.markdown(data), encoding="utf-8")
        save.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    # What hangs would keep the program from ending.
    sys.stdout.flush()
    os._exit(1 if soak.ledger.faults else 0)


def check_belongings(soak, before):
    deadline = time.monotonic() + 10
    while True:
        gc.collect()
        surplus = Belongings().beyond(before)
        if not surplus:
            return
        if time.monotonic() > deadline:
            soak.ledger.blame(f"left behind: {surplus}"[:500])
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main()
