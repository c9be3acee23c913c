"""Callbacks that raise, or never come back."""

import logging
import threading

from tests.faults import tasks
from tests.faults.fault import Fault
from tests.faults.scene import story
from tests.faults.subjects import NotSupported
from tests.faults.tally import Tally


def attach(scene, callback):
    """Ten calls, each with a callback, by the subject's own name for it."""
    orders = [(number, 10, None, None) for number in range(10)]
    pool = scene.subject.pool
    if scene.call == "submit" and hasattr(pool, "apply_async"):
        handles = [pool.apply_async(tasks.perform, (order,), callback=callback) for order in orders]
    elif scene.call == "submit":
        handles = [scene.subject.submit(tasks.perform, order) for order in orders]
        for handle in handles:
            handle.add_done_callback(callback)
    elif hasattr(pool, "map_async"):
        handles = [pool.map_async(tasks.perform, orders, callback=callback)]
    else:
        raise NotSupported("has no callbacks of a map")
    return orders, handles


def count(scene, orders, handles, patience_s):
    tally = Tally(orders)
    for handle in handles:
        if scene.subject.is_over(handle, patience_s):
            result = scene.subject.result(handle)
            for one in result if isinstance(result, list) else [result]:
                tally.add_result(one)
    tally.close(over=False)
    scene.record(tally)


def raises(scene):
    logging.disable()

    def callback(_result):
        raise ValueError("a bug in a callback")

    with scene.pool():
        orders, handles = attach(scene, callback)
        count(scene, orders, handles, scene.patience_s / len(handles))
        scene.expect_outcome(10)


@story
def blocks(scene):
    """While a callback blocks, other calls go on; results whose callback has not ended may be kept until it has."""
    released = threading.Event()
    with scene.pool():
        orders, handles = attach(scene, lambda _result: released.wait(60))
        others = [(number, 10, None, None) for number in range(100, 110)]
        try:
            tally = scene.subject.outcomes("submit", tasks.perform, others, scene.patience_s / 2)
            scene.remark(f"{len(tally.right)} of 10 other calls answered meanwhile")
            scene.expect(len(tally.right) == 10, f"{len(tally.right)} of 10 other calls answered meanwhile")
        finally:
            released.set()
        count(scene, orders, handles, scene.patience_s / len(handles))
        scene.expect_outcome(10)


CALLS = ("submit", "map")

FAULTS = [
    Fault("callback-raises", "a callback raises", raises, calls=CALLS),
    Fault("callback-blocks", "a callback blocks", blocks(), calls=CALLS),
]
