"""What a story has at hand in its process: the pool under test, chance, a folder, and the finding that it writes.

Owns the course of a cell (open, call, try again, close, compare belongings) and the finding. Only where Paceline is
the subject, what was expected is compared with what came.
"""

import contextlib
import functools
import gc
import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from tests.belongings import Belongings
from tests.faults import tasks
from tests.faults.fault import EXCHANGE, RUNNING, SHUTDOWN, WRITING
from tests.faults.subjects import NotSupported, named, within
from tests.faults.tally import first_line, label

TASKS = 40
# How long a call may take; peers are known to hang, so less is waited for them.
PATIENCE_S, PEERS_PATIENCE_S = 15.0, 4.0
SOURCES = Path(__file__).parent


class Skipped(Exception):
    """What a story needs is not allowed on this machine."""


class Scene:
    def __init__(self, name, call, moment, seed, folder, tell, begin_again):
        self.name = name
        self.subject = named(name)
        self.ours = name.startswith("paceline")
        self.call = call
        self.moment = moment
        self.chance = random.Random(seed)
        self.folder = Path(folder)
        self.tell = tell
        # Starts the cell anew in this same process, with more in its environment.
        self.begin_again = begin_again
        self.finding = {"stage": "opening", "surprises": []}
        self.bad = None
        self.tally = None
        self.before = None
        self.patience_s = PATIENCE_S if self.ours else PEERS_PATIENCE_S
        self.notes = self.folder / "notes"
        self.notes.touch()
        self.notes.chmod(0o666)
        os.environ[tasks.NOTES] = str(self.notes)

    def stage(self, name):
        """Where the cell is, told at once, because it may not come further."""
        self.finding["stage"] = name
        self.tell(self.finding)

    def remark(self, text):
        """What the reader of the table should know beside the figures."""
        self.finding.setdefault("remarks", []).append(text)

    def expect(self, condition, what):
        if self.ours and not condition:
            self.finding["surprises"].append(what)

    # -- the course ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def pool(self, *, afterwards="works", ends="close", **options):
        """The pool under test, open; afterwards it is asked for ten more results and closed."""
        self.look_before()
        self.subject.open(**options)
        self.stage("calling")
        yield self.subject
        if afterwards is not None:
            self.stage("afterwards")
            self.try_again(afterwards)
        self.stage("closing")
        self.end(ends)
        self.compare_belongings()

    def look_before(self):
        """What a process has once is started before anything is counted."""
        if self.ours:
            self.subject.open(workers=1)
            self.subject.pool.apply(os.write, (2, b"\n"))
            if self.call == "imap":
                list(self.subject.pool.imap(abs, iter([1])))
            self.subject.close()
            gc.collect()
            self.before = Belongings()

    def try_again(self, expected):
        count = 10
        orders = [(number, 10, None, None) for number in range(1000, 1000 + count)]
        try:
            tally = self.subject.outcomes("submit", tasks.perform, orders, self.patience_s)
        except Exception as error:
            found = label(error)
        else:
            if len(tally.right) == count:
                found = "works"
            elif tally.errors:
                found = tally.errors.most_common(1)[0][0]
            else:
                found = "hangs"
        self.finding["afterwards"] = found
        self.expect(found == expected, f"afterwards it should be {expected!r}, and is {found!r}")

    def end(self, how):
        began = time.monotonic()
        if self.ours:
            getattr(self.subject, how)()
        else:
            stuck = self.tally is not None and self.tally.pending
            method = self.subject.terminate if stuck else getattr(self.subject, how)
            over, _, error = within(self.patience_s + 1, method)
            self.finding["closing"] = "hangs" if not over else "" if error is None else label(error)
            if not over:
                # Whatever else the interpreter waits for at its end would hang as well.
                self.stage("done")
                os._exit(0)
        # A closed pool keeps the memory of its arguments until it is dropped.
        self.subject.pool = None
        self.finding["closing_s"] = round(time.monotonic() - began, 3)

    def compare_belongings(self):
        if self.before is None:
            return
        deadline = time.monotonic() + 5.0
        while True:
            gc.collect()
            surplus = Belongings().beyond(self.before)
            if not surplus:
                return
            if time.monotonic() > deadline:
                self.expect(False, f"left behind in the process: {surplus}")
                return
            time.sleep(0.01)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def orders(self, harm=None, *arguments, size=200, count=TASKS):
        """What the tasks are told; one of them is told to do harm, at this cell's moment."""
        # Where it stands matters to some peers: they lose what comes after it. So all of them have it in the middle.
        self.bad = self.chance.randrange(count) if self.ours else count // 2
        orders = []
        for number in range(count):
            length = self.chance.randrange(size)
            order = (number, length, None, None)
            if self.moment == EXCHANGE:
                order = (number, length, None, tasks.Cargo.of(number, self.chance.randrange(4 << 20)))
            if number == self.bad and harm is not None:
                order = self._bad_order(number, length, harm, arguments, order[3])
            orders.append(order)
        return orders

    def _bad_order(self, number, length, harm, arguments, cargo):
        if self.moment == EXCHANGE:
            return (number, length, None, [cargo, tasks.Arriving(harm, arguments), cargo])
        if self.moment == WRITING:
            return (number, 1 << 20, (WRITING, harm, arguments), None)
        if self.moment == SHUTDOWN:
            harm, arguments = "after", (0.05 + self.chance.random() * 0.05, harm, *arguments)
        return (number, length, (RUNNING, harm, arguments), None)

    def chunksize(self):
        return self.chance.choice([None, 1, 7, TASKS] if self.call == "map" else [1, 1, 5])

    def work(self, orders, *, between=lambda: None, patience_s=None, function=tasks.perform):
        """Makes this cell's call; `between` happens when everything was handed over."""
        if self.moment == SHUTDOWN:
            given = between
            between = lambda: (given(), self.subject.begin_close())  # noqa: E731 - it is what happens in between.
        began = time.monotonic()
        tally = self.subject.outcomes(
            self.call,
            function,
            orders,
            patience_s or self.patience_s,
            between=between,
            chunksize=self.chunksize(),
        )
        self.record(tally, time.monotonic() - began)
        return tally

    def record(self, tally, seconds=0.0):
        self.tally = tally
        self.finding |= {
            "of": len(tally.orders),
            "right": len(tally.right),
            "errors": dict(tally.errors),
            "lines": tally.lines,
            "untold": tally.untold,
            "pending": tally.pending,
            "seconds": round(seconds, 3),
        }
        self.tell(self.finding)
        self.expect(not tally.wrong, f"wrong results: {tally.wrong[:3]}")
        self.expect(tally.told() <= len(tally.orders), f"{tally.told()} outcomes of {len(tally.orders)} tasks")
        if self.ours:
            begun = Counter(self.notes.read_text().split())
            twice = [number for number, times in begun.items() if times > 1]
            self.expect(not twice, f"tasks that were begun twice: {twice[:5]}")

    def expect_outcome(self, right, errors=(), *, lost=0, pending=0):
        """So many right results at least, and beyond them the errors named, `lost` of which may be missing or more."""
        if not self.ours or self.tally is None:
            return
        tally = self.tally
        enough = len(tally.right) >= right - lost
        self.expect(enough, f"{right} right results were expected, and {len(tally.right)} came: {dict(tally.errors)}")
        self.expect(tally.pending == pending, f"{tally.pending} tasks have not ended, and {pending} were expected")
        strangers = [name for name in tally.errors if name not in errors]
        self.expect(not strangers, f"unexpected: {[f'{name}: {tally.lines[name]}' for name in strangers]}")
        most = len(tally.orders) - right + lost
        self.expect(tally.errors.total() <= most, f"{tally.errors.total()} failures, and {most} were expected at most")
        if errors and not lost and not pending:
            self.expect(tally.errors, f"one of {errors} was expected, and nothing failed")

    def raised(self, function, *arguments):
        """What a function raises, or None; and how long it took."""
        began = time.monotonic()
        try:
            function(*arguments)
        except BaseException as error:
            return error, time.monotonic() - began
        return None, time.monotonic() - began

    def says(self, error):
        self.finding["says"] = f"{label(error)}: {first_line(error)}" if error is not None else "no exception"

    # -- what the machine must allow -----------------------------------------------------------------------------------

    def skip(self, reason):
        raise Skipped(reason)

    def limit(self, seconds):
        """The option that limits each task's time, where the subject has one."""
        if not self.subject.has_limit:
            raise NotSupported("has no limits of time")
        return {"limit_s": seconds}

    def library(self, name):
        """A small library in C, built into this cell's folder."""
        target = self.folder / f"{name}.so"
        try:
            subprocess.run(
                ["gcc", "-O0", "-shared", "-fPIC", "-o", str(target), str(SOURCES / f"{name}.c"), "-ldl"],
                check=True,
                capture_output=True,
                timeout=30,
            )
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise Skipped(f"gcc is needed: {error}") from None
        return str(target)

    def later(self, longest_s, act):
        """Does something from another thread, at a moment that chance chooses; gives what waits for that."""
        timer = threading.Timer(self.chance.random() * longest_s, act)
        timer.start()
        return timer.join


def saved(finding):
    return json.dumps(finding)


def story(function):
    """Marks a function that makes stories: called with what differs, it gives a story to be told in a scene."""

    @functools.wraps(function)
    def make(*arguments, **named):
        return lambda scene: function(scene, *arguments, **named)

    return make
