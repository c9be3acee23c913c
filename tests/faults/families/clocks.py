"""The clock of the day is set to and fro while tasks run."""

import os

from tests.faults.fault import Fault
from tests.faults.scene import TASKS, story

MARK = "PACELINE_FAULTS_CLOCK"


@story
def jumps(scene, *, limited):
    options = scene.limit(0.4) if limited else {}
    if not os.environ.get(MARK):
        # The process begins again, and it and all its workers are told a time that jumps.
        scene.begin_again({"LD_PRELOAD": scene.library("clock"), MARK: "jumping"})
    with scene.pool(**options):
        scene.work(scene.orders("sleep", 600 if limited else 0.1))
        scene.expect_outcome(TASKS - limited, {"TaskTimeout"} if limited else ())


FAULTS = [
    Fault("clock", "the clock jumps by up to an hour, fifty times a second", jumps(limited=False)),
    Fault("clock-limited", "the same, and a task is over its limit of time", jumps(limited=True)),
]
