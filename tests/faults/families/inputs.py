"""Iterables of arguments that raise, that block, or that never end."""

import asyncio
import itertools
import threading
import time

from tests.faults import tasks
from tests.faults.fault import Fault
from tests.faults.subjects import within
from tests.faults.tally import label

COUNT = 20


def orders():
    for number in range(COUNT):
        yield (number, 10, None, None)


def raising():
    yield from orders()
    raise OSError("the input is broken")


def read(scene, source, count):
    """The first results of a call over an input: how many were right, and what was raised."""
    pool = scene.subject.pool
    right, raised = 0, None
    if scene.call == "await":

        async def take():
            nonlocal right
            async for result in pool.amap(tasks.perform, source):
                right += tasks.is_right((right, 10), result)
                if right == count:
                    return

        try:
            asyncio.run(take())
        except Exception as error:
            raised = error.with_traceback(None)  # It would keep the event loop.
        return right, raised
    try:
        lazily = scene.call == "imap"
        for result in scene.subject.stream(tasks.perform, source) if lazily else pool.map(tasks.perform, source):
            right += tasks.is_right((right, 10), result)
            if right == count:
                break
    except Exception as error:
        raised = error
    return right, raised


def report(scene, over, answer):
    right, raised = answer if over else (0, None)
    scene.finding |= {"of": COUNT, "right": right, "pending": 0 if over else COUNT}
    scene.finding["errors"] = {label(raised): 1} if raised is not None else {}
    scene.expect(over, "it hangs")
    return right, raised


def raises(scene):
    with scene.pool():
        over, answer, _ = within(scene.patience_s, lambda: read(scene, raising(), COUNT + 1))
        right, raised = report(scene, over, answer)
        expected = 0 if scene.call == "map" else COUNT
        scene.expect(right == expected, f"{right} results came before the input failed, not {expected}")
        scene.expect(isinstance(raised, OSError), f"the input's own error should come, not {raised!r}")


def blocks(scene):
    """What was read before is answered while the input blocks."""
    opened = threading.Event()

    def source():
        yield from orders()
        opened.wait(60)

    try:
        with scene.pool():
            if scene.call == "await":
                # An ordinary iterable is read by the event loop itself; one that blocks has to be asynchronous.
                over, answer, _ = within(scene.patience_s, lambda: read(scene, blocking_later(), COUNT))
            else:
                over, answer, _ = within(scene.patience_s, lambda: read(scene, source(), COUNT))
            right, _ = report(scene, over, answer)
            scene.expect(right == COUNT, f"{right} of {COUNT} results came")
            opened.set()
    finally:
        opened.set()


async def blocking_later():
    for order in orders():
        yield order
    await asyncio.sleep(600)


def never_ends(scene):
    with scene.pool():
        endless = ((number, 10, None, None) for number in itertools.count())
        began = time.monotonic()
        over, answer, _ = within(scene.patience_s, lambda: read(scene, endless, COUNT))
        right, _ = report(scene, over, answer)
        scene.expect(right == COUNT, f"{right} of {COUNT} results came")
        scene.finding["seconds"] = round(time.monotonic() - began, 3)


LAZY = ("imap", "await")

FAULTS = [
    Fault("input-raises", "an iterable of arguments raises", raises, calls=("map", *LAZY), peers=("imap",)),
    Fault("input-blocks", "an iterable of arguments blocks", blocks, calls=LAZY, peers=("imap",)),
    Fault("input-endless", "an iterable of arguments never ends", never_ends, calls=LAZY, peers=("imap",)),
]
