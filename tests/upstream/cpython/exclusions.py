"""Which of CPython's own tests are not asked of Paceline, and why.

Owns the list: `conftest.py` marks these tests as ones that must fail, so an exclusion that is no
longer needed makes the run fail, and `test_exclusions.py` holds the list below a tenth of all tests. Two reasons count:
the test looks at private parts of the standard implementation, or it asks for something that Paceline does otherwise
on purpose; `docs/differences.md` has the latter. A test with a fault that later Pythons have mended is no test.
"""

import fnmatch
import sys
from typing import NamedTuple


class Exclusion(NamedTuple):
    """Tests that are not asked of us."""

    tests: str  # A pattern, of the shape of shell's, for `Case.test`.
    reason: str
    passes_by_chance: bool = False  # Depends on who is quicker: it may pass.
    since: tuple[int, int] = (3, 11)  # The first Python that has them.
    until: tuple[int, int] = (4, 0)  # The first Python that has mended them.
    never_ends: bool = False  # Cannot be shown to fail.


MENDED = "the test itself: "
PRIVATE = "private parts: "
DIFFERENCE = "a difference in docs/differences.md: "

EXCLUSIONS = [
    Exclusion("WithProcessesTestPool.test_resource_warning", PRIVATE + "sets `_state` of a pool that has ended"),
    Exclusion("WithThreadsTestPool.test_resource_warning", PRIVATE + "sets `_state` of a pool that has ended"),
    Exclusion(
        "WithThreadsTestPool.test_terminate",
        MENDED + "waits for a thread that sleeps five minutes, unless `terminate` is quicker than its start",
        until=(3, 13),
        never_ends=True,
    ),
    Exclusion(
        "WithProcessesTestPool.test_map_unplicklable",
        DIFFERENCE
        + "what cannot be pickled raises `ArgumentNotPicklable`, with the original as its cause (unpicklable-argument)",
    ),
    Exclusion("WithProcessesTestPoolWorkerLifetime.test_pool_worker_lifetime", PRIVATE + "calls `_repopulate_pool`"),
    Exclusion(
        "WithProcessesTestPoolWorkerErrors.test_unpickleable_result",
        DIFFERENCE + "a lambda can be returned (closures)",
    ),
    Exclusion("ProcessPool*.test_del_shutdown", PRIVATE + "waits for `_executor_manager_thread` and `_call_queue`"),
    Exclusion("ProcessPool*.test_shutdown_no_wait", PRIVATE + "waits for `_executor_manager_thread` and `_call_queue`"),
    # With `fork`, the standard executor starts them all at once, and these tests skip themselves.
    Exclusion("ProcessPoolForkserver*.test_idle_process_reuse_*", PRIVATE + "counts what is in `_processes` so far"),
    Exclusion("ProcessPoolSpawn*.test_idle_process_reuse_*", PRIVATE + "counts what is in `_processes` so far"),
    Exclusion("ProcessPool*FailingInitializerTest.test_initializer", PRIVATE + "reads `_broken`, and sends a queue"),
    Exclusion(
        "FailingInitializerResourcesTest.*", PRIVATE + "runs the one above, which reads `_broken`", since=(3, 12)
    ),
    Exclusion(
        "ProcessPool*.test_python_finalization_error",
        PRIVATE + "breaks the second thread that is started",
        since=(3, 13),
    ),
    Exclusion("ProcessPool*.test_killed_child", DIFFERENCE + "an executor goes on after a death (lost-worker)"),
    # With `fork`, the standard executor starts all of its processes at once, too.
    Exclusion("ProcessPoolForkserver*.test_processes_terminate", PRIVATE + "counts what is in `_processes` so far"),
    Exclusion("ProcessPoolSpawn*.test_processes_terminate", PRIVATE + "counts what is in `_processes` so far"),
    Exclusion("ProcessPool*.test_cancel_futures", DIFFERENCE + "what has not begun is cancelled (cancel)", True),
]


def exclusion_of(name):
    """The exclusion of a test of this Python's, or None."""
    for exclusion in EXCLUSIONS:
        if fnmatch.fnmatchcase(name, exclusion.tests) and exclusion.since <= sys.version_info < exclusion.until:
            return exclusion
    return None
