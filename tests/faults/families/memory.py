"""Memory runs out: in a limited cgroup, by a limit of the process, by Paceline's own; and much of it is moved."""

import contextlib
import os
import time
from pathlib import Path

from tests.faults import tasks
from tests.faults.fault import EXCHANGE, RUNNING, Fault
from tests.faults.scene import TASKS, Skipped, story

V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")
LIMIT_BYTES = 400 << 20
GIB = 1 << 30


@contextlib.contextmanager
def limited_group(name):
    """Moves this process into a cgroup with little memory, and out of it again."""
    v1 = (V1 / "memory.limit_in_bytes").exists()
    parent = V1 if v1 else V2
    group = parent / f"paceline-faults-{name}"
    try:
        group.mkdir()
    except OSError as error:
        raise Skipped(f"no cgroup can be made: {error}") from None
    try:
        try:
            (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(LIMIT_BYTES))
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            raise Skipped(f"no cgroup can be limited: {error}") from None
        yield
    finally:
        remove(group, parent)


def remove(group, parent):
    deadline = time.monotonic() + 5.0
    while True:
        with contextlib.suppress(OSError):
            # The fork server stays as long as this process, and has to come out with it.
            for pid in (group / "cgroup.procs").read_text().split():
                (parent / "cgroup.procs").write_text(pid)
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def out_of_memory(scene):
    with limited_group(os.getpid()), scene.pool():
        scene.work(scene.orders("eat", 2 * GIB))
        scene.expect_outcome(TASKS - 1, {"WorkerDied (SIGKILL)", "MemoryLimitExceeded"})


def out_of_address_space(scene):
    with scene.pool():
        scene.work(scene.orders("eat-under-limit", 64 << 20))
        scene.expect_outcome(TASKS - 1, {"MemoryError"})


def over_memory_limit(scene):
    if not scene.ours:
        scene.skip("has no limits of memory")
    with scene.pool(memory_limit="300MB"):
        scene.work(scene.orders("eat", 4 * GIB))
        scene.expect_outcome(TASKS - 1, {"MemoryLimitExceeded (SIGKILL)"})


def huge_result(scene):
    available = int(next(line for line in open("/proc/meminfo") if line.startswith("MemAvailable")).split()[1]) >> 20  # noqa: PTH123, SIM115
    if available < 16:
        scene.skip(f"a result of 5 GiB needs 16 GiB of free memory, and there are {available}")
    size = 5 * GIB
    with scene.pool() as subject:
        handle = subject.submit(tasks.zeros, size)
        if not subject.is_over(handle, 120.0):
            scene.finding |= {"of": 1, "right": 0, "pending": 1}
            return
        try:
            result = subject.result(handle)
        except Exception as error:
            scene.says(error)
            scene.finding |= {"of": 1, "right": 0, "errors": {type(error).__name__: 1}}
            scene.expect(False, f"the result did not come: {error!r}"[:300])
        else:
            right = len(result) == size and result[:100] == bytes(100) == result[-100:]
            scene.finding |= {"of": 1, "right": int(right)}
            scene.expect(right, f"{len(result)} bytes came")
        handle = result = None


@story
def many_pending(scene, count):
    """A hundred thousand tasks wait when a worker is killed."""
    with scene.pool() as subject:
        orders = [(number, 0, None, None) for number in range(count)]
        orders[500] = (500, 0, (RUNNING, "kill", (9,)), None)
        # Each noting itself would take longer than all the rest.
        os.environ.pop(tasks.NOTES)
        began = time.monotonic()
        tally = subject.outcomes(
            scene.call, tasks.perform, orders, max(scene.patience_s, 15.0) * 2, chunksize=scene.chunksize()
        )
        scene.record(tally, time.monotonic() - began)
        scene.expect_outcome(count - 1, {"WorkerDied (SIGKILL)"})


FAULTS = [
    Fault(
        "oom-cgroup",
        "memory runs out in a limited cgroup",
        out_of_memory,
        moments=(RUNNING, EXCHANGE),
        peer_deadline_s=30,
    ),
    Fault("oom-rlimit", "memory runs out by `RLIMIT_AS`", out_of_address_space),
    Fault("memory-limit", "a task is over `memory_limit`", over_memory_limit, peers=()),
    Fault(
        "pending",
        "100,000 tasks wait, and a worker is killed",
        many_pending(100_000),
        deadline_s=90,
        peer_deadline_s=60,
    ),
    Fault(
        "huge-result",
        "a result of 5 GiB",
        huge_result,
        calls=("submit",),
        deadline_s=150,
        peer_deadline_s=150,
        alone=True,
    ),
]
