"""Uses of a pool that nobody thought of: from many threads, from a forked child, after its end, as a forked parent."""

import gc
import os
import threading
import time

from tests.faults import tasks
from tests.faults.fault import CALLS, RUNNING, SHUTDOWN, Fault
from tests.faults.scene import TASKS, story
from tests.faults.tally import label


def many_threads(scene):
    """Eight threads, each with its own forty tasks, by this cell's call."""
    wrong = []

    def use(number):
        orders = [(index, 100, None, None) for index in range(number * 1000, number * 1000 + TASKS)]
        try:
            tally = scene.subject.outcomes(scene.call, tasks.perform, orders, scene.patience_s, chunksize=7)
        except BaseException as error:
            wrong.append(label(error))
        else:
            wrong.extend(["lost"] * (TASKS - len(tally.right)))

    with scene.pool():
        threads = [threading.Thread(target=use, args=(number,), daemon=True) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(scene.patience_s + 5)
        scene.finding |= {"of": 8 * TASKS, "right": 8 * TASKS - len(wrong)}
        scene.expect(not wrong, f"{len(wrong)} went wrong: {wrong[:3]}")


def in_child(act, patience_s):
    """Does something in a forked child; what it says, or None if it says nothing in time."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = act()
        except BaseException as error:
            text = label(error)
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + patience_s
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            os.close(reader)
            return None
        time.sleep(0.005)
    with os.fdopen(reader) as file:
        return file.read()


def from_forked_child(scene):
    """It is told that it cannot; the parent's pool is as it was."""

    def act():
        tally = scene.subject.outcomes(scene.call, tasks.perform, [(7, 10, None, None)], 2.0)
        return "works" if tally.right else " ".join(tally.errors) or "no answer"

    with scene.pool():
        scene.work(scene.orders())
        scene.notes.write_text("")
        said = in_child(act, scene.patience_s)
        scene.finding["says"] = f"the child is told: {said}" if said else "the child hangs"
        scene.expect(said not in {None, "works", "no answer", ""}, f"the child was told {said!r}")
        scene.notes.write_text("")
        scene.work(scene.orders())
        scene.expect_outcome(TASKS)


@story
def forked_while_running(scene, *, leaves):
    """The program forks in the middle of a call, for reasons of its own."""
    left = []

    def fork():
        child = os.fork()
        if child == 0:
            # As much of an ordinary end as a child in the middle of a test can have.
            gc.collect()
            if leaves == "exit":
                scene.subject = None
                gc.collect()
                os._exit(0)
            time.sleep(0.3)
            os._exit(0)
        left.append(child)

    with scene.pool(afterwards=None if scene.moment == SHUTDOWN else "works"):
        scene.work(scene.orders(size=1 << 16), between=fork)
        scene.expect_outcome(TASKS)
        for child in left:
            os.waitpid(child, 0)


def after_close(scene):
    with scene.pool(afterwards=None):
        scene.work(scene.orders())
        scene.subject.close()
        scene.notes.write_text("")
        orders = [(7, 10, None, None)]
        try:
            tally = scene.subject.outcomes(scene.call, tasks.perform, orders, scene.patience_s)
        except Exception as error:
            scene.says(error)
            told = label(error)
        else:
            told = " ".join(tally.errors) or ("works" if tally.right else "no answer")
            scene.finding["says"] = told
        scene.expect(told == "PoolClosed", f"a call after `close` should raise PoolClosed, and gives {told}")


def in_a_cycle(scene):
    """A pool that is part of a reference cycle is forgotten while it has work to do."""

    class Holder:
        pass

    with scene.pool(afterwards=None, ends="close"):
        if scene.ours:
            handle = scene.subject.submit(tasks.perform, (7, 10, ("running", "sleep", (0.05,)), None))
            holder = Holder()
            holder.pool, holder.me = scene.subject.pool, holder
            scene.subject.pool = None
            del holder
            gc.collect()
            scene.expect(handle.wait(scene.patience_s), "what was submitted to a forgotten pool has not ended")
            scene.finding |= {"of": 1, "right": int(tasks.is_right((7, 10), handle.result(0)))}
            del handle
            scene.subject.open()
        else:
            scene.skip("the whole process is looked at instead")


FAULTS = [
    Fault("many-threads", "a pool is used by eight threads", many_threads),
    Fault("forked-child", "a pool is used by a forked child", from_forked_child),
    Fault(
        "parent-forks",
        "the program forks while tasks run",
        forked_while_running(leaves="later"),
        moments=(RUNNING, SHUTDOWN),
    ),
    Fault(
        "parent-forks-drops",
        "the same, and the child drops the pool",
        forked_while_running(leaves="exit"),
    ),
    Fault("after-close", "a pool is used after `close`", after_close),
    Fault("cycle", "a pool in a reference cycle is forgotten", in_a_cycle, calls=CALLS[:1], peers=()),
]
