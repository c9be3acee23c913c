"""What cannot travel: arguments, results and exceptions that pickle refuses, or that cannot be rebuilt."""

from tests.faults.fault import RUNNING, Fault
from tests.faults.scene import TASKS, story
from tests.faults.tasks import Unpicklable


@story
def gives(scene, harm, expected):
    with scene.pool():
        scene.work(scene.orders(harm))
        scene.expect_outcome(TASKS - 1, expected)


def argument_that_cannot_be_pickled(scene):
    with scene.pool():
        orders = scene.orders()
        orders[scene.bad] = (scene.bad, 1, None, Unpicklable())
        scene.work(orders)
        # The arguments of a map travel together: it fails where it is called, and nothing is run.
        scene.expect_outcome(0 if scene.call == "map" else TASKS - 1, {"ArgumentNotPicklable"})


@story
def cannot_be_rebuilt(scene, harm, expected):
    with scene.pool():
        orders = scene.orders()
        from tests.faults.tasks import Arriving

        orders[scene.bad] = (scene.bad, 1, None, Arriving(harm, ()))
        scene.work(orders)
        scene.expect_outcome(TASKS - 1, expected)


FAULTS = [
    Fault("unpicklable-argument", "an argument cannot be pickled", argument_that_cannot_be_pickled),
    Fault(
        "argument-not-rebuilt",
        "an argument cannot be unpickled",
        cannot_be_rebuilt("raise", {"ArgumentNotRebuilt"}),
    ),
    Fault(
        "unpicklable-result",
        "a result cannot be pickled",
        gives("unpicklable-result", {"ResultNotPicklable"}),
        moments=(RUNNING,),
    ),
    Fault("unpicklable-exception", "an exception cannot be pickled", gives("unpicklable-exception", {"RemoteError"})),
    Fault(
        "selective-exception",
        "an exception's constructor fails when it is unpickled",
        gives("selective-exception", {"Selective"}),
    ),
    Fault(
        "stubborn-exception",
        "an exception cannot be unpickled at all",
        gives("stubborn-exception", {"RemoteError"}),
    ),
]
