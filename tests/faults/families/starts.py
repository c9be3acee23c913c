"""Workers that cannot start: their initializer raises, leaves, dies or never ends."""

import time

from tests.faults import tasks
from tests.faults.fault import Fault
from tests.faults.scene import TASKS, story
from tests.faults.subjects import NotSupported, within


@story
def cannot_start(scene, initializer):
    with scene.pool(initializer=initializer, afterwards="WorkerStartError", ends="close"):
        scene.work(scene.orders())
        only = set(scene.finding["errors"]) == {"WorkerStartError"}
        scene.expect(only, f"every call should raise WorkerStartError, and they raised {scene.finding['errors']}")
        scene.expect(not scene.tally.pending, "a call has not ended")


def hangs_at_start(scene):
    """Without a limit, nothing can end it but `terminate`, which must."""
    with scene.pool(initializer=tasks.hang_at_start, afterwards=None, ends="terminate"):
        scene.work(scene.orders(), patience_s=1.0)
        scene.expect(scene.tally.pending == TASKS, f"{scene.tally.pending} of {TASKS} wait")


def hangs_at_start_limited(scene):
    if not scene.ours:
        raise NotSupported("has no limits of time for it")
    began = time.monotonic()
    with scene.pool(initializer=tasks.hang_at_start, start_timeout=0.5, afterwards="WorkerStartError"):
        scene.work(scene.orders())
        scene.expect(not scene.tally.pending, "a call has not ended")
        scene.expect(time.monotonic() - began < 20, "it took much longer than the limit")


def interrupted_at_close(scene):
    """The workers are still starting when the pool is ended."""
    with scene.pool(afterwards=None, ends="terminate"):
        over, _, error = within(20.0, scene.subject.begin_close)
        scene.expect(over and error is None, f"closing while workers start: {error!r}")


FAULTS = [
    Fault("initializer-raises", "an initializer raises", cannot_start(tasks.fail_to_start)),
    Fault("initializer-exits", "an initializer ends its process", cannot_start(tasks.leave_at_start)),
    Fault("initializer-hangs", "an initializer never ends", hangs_at_start),
    Fault("initializer-limited", "the same, with a `start_timeout`", hangs_at_start_limited, peers=()),
    Fault("ended-at-once", "a pool is ended while its workers start", interrupted_at_close, calls=("submit",)),
]
