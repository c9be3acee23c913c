"""Tasks that leave their worker in a state that nobody expects, and then answer as if nothing were."""

from tests.faults.fault import RUNNING, SHUTDOWN, Fault
from tests.faults.scene import TASKS, story


@story
def behaves(scene, harm, *arguments):
    """The task's own result is right, and so is everything else."""
    with scene.pool(afterwards=None if scene.moment == SHUTDOWN else "works"):
        scene.work(scene.orders(harm, *arguments))
        scene.expect_outcome(TASKS)


def closes_files(scene):
    """The worker has cut itself off, and is replaced; it may take another task before it notices."""
    with scene.pool():
        scene.work(scene.orders("close-files"))
        scene.expect_outcome(TASKS, {"WorkerDied", "WorkerDied (SIGKILL)", "WorkerDied (exit code 71)"}, lost=2)


def closes_files_before_large_results(scene):
    """A worker that has closed its files is replaced before it has to hand over what needs shared memory."""
    with scene.pool():
        scene.work(scene.orders("close-most-files", size=1 << 20))
        scene.expect_outcome(TASKS, {"WorkerDied", "WorkerDied (SIGKILL)", "WorkerDied (exit code 71)"}, lost=2)


def opens_pool(scene):
    with scene.pool():
        scene.work(scene.orders("open-own-pool" if scene.ours else "open-pool"))
        scene.expect_outcome(TASKS)


BOTH = (RUNNING, SHUTDOWN)

FAULTS = [
    Fault("closes-files", "a task closes all file descriptors", closes_files),
    Fault(
        "closes-files-large",
        "a task closes all but the standard descriptors, among large results",
        closes_files_before_large_results,
    ),
    Fault("changes-folder", "a task changes the working directory", behaves("change-folder")),
    Fault("blocks-signals", "a task blocks all signals", behaves("block-signals"), moments=BOTH),
    Fault("forks", "a task forks, and the child lives on for a while", behaves("fork"), moments=BOTH),
    Fault("forks-twice-back", "a task forks, and both processes return from it", behaves("fork-and-return")),
    Fault("starts-threads", "a task starts threads that never end", behaves("start-threads"), moments=BOTH),
    Fault("nested-pool", "a task opens a pool of its own", opens_pool),
    Fault("replaces-stdout", "a task replaces `sys.stdout`", behaves("replace-stdout")),
    Fault("writes-megabytes", "a task writes 5 MB to stdout", behaves("write-megabytes", 5_000_000)),
]
