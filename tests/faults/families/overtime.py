"""Tasks that are over their limit of time, and do not want to be ended."""

from tests.faults.fault import RUNNING, SHUTDOWN, Fault
from tests.faults.scene import TASKS, story


@story
def over(scene, harm, *arguments, expected="TaskTimeout"):
    """What can be asked to end ends with its worker alive; what does not is killed with it, and the error says so."""
    with scene.pool(afterwards=None if scene.moment == SHUTDOWN else "works", **scene.limit(0.4)):
        scene.work(scene.orders(harm, *arguments))
        scene.expect_outcome(TASKS - 1, {expected})


BOTH = (RUNNING, SHUTDOWN)
KILLED = "TaskTimeout (SIGKILL)"

FAULTS = [
    Fault("limit-sleep", "over its limit of time: in `time.sleep`", over("sleep", 600), moments=BOTH),
    Fault("limit-loop", "over its limit of time: in a loop", over("loop")),
    Fault(
        "limit-native",
        "over its limit of time: in native code that holds the GIL",
        over("loop-in-native-code", expected=KILLED),
        moments=BOTH,
    ),
    Fault("limit-ignored", "over its limit of time: catches every exception", over("ignore-requests", expected=KILLED)),
    Fault("limit-deaf", "over its limit of time: with all signals blocked", over("sleep-deaf", expected=KILLED)),
]
