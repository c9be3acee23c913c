"""What a test process has, and whether a test has left something of it behind.

Owns what counts: child processes, threads, file descriptors and mapped memory files. `conftest.py` says who is held to
account, and when.
"""

import contextlib
import gc
import time
from collections import Counter
from pathlib import Path

import psutil

PATIENCE_S = 15.0

# Threads of libraries, which have them at some moment after the import, and keep them: Arrow's allocator, and gRPC, by
# which Ray's processes talk.
WHEN_THEY_LIKE = {
    "default-executo",
    "event_engine",
    "grpc_global_tim",
    "jemalloc_bg_thd",
    "resolver-execut",
    "timer_manager",
}


class Belongings:
    """What this process has at one moment."""

    def __init__(self):
        # A child may end while it is being looked at; then it is none.
        self.children = Counter()
        for child in psutil.Process().children(recursive=True):
            try:
                self.children[f"{child.pid} {' '.join(child.cmdline()[:3])[:200]} {child.status()}"] += 1
            except psutil.ZombieProcess:
                self.children[f"{child.pid} zombie"] += 1
            except psutil.NoSuchProcess:
                continue
        self.threads = Counter(name for name in task_names() if name not in WHEN_THEY_LIKE)
        self.files = Counter(open_files())
        self.mappings = Counter(mapped_memory_files())

    def beyond(self, before):
        kinds = ("children", "threads", "files", "mappings")
        surplus = {kind: getattr(self, kind) - getattr(before, kind) for kind in kinds}
        # A fork server that was replaced is another process and other files, but not more of them.
        return {
            kind: dict(more)
            for kind, more in surplus.items()
            if getattr(self, kind).total() > getattr(before, kind).total()
        }


def task_names():
    for task in Path("/proc/self/task").iterdir():
        try:
            yield (task / "comm").read_text().strip()
        except OSError:
            continue


def open_files():
    for file in Path("/proc/self/fd").iterdir():
        try:
            yield str(file.readlink()).partition(":")[0]
        except OSError:
            continue


def mapped_memory_files():
    with Path("/proc/self/maps").open() as maps:
        return [line.split(maxsplit=5)[5].strip() for line in maps if "memfd:" in line]


@contextlib.contextmanager
def nothing_may_remain(before_looking=lambda: None):
    """Fails unless, soon after the block, there is no more than there was before it."""
    import pytest  # Programs that only count have no use for it.

    gc.collect()
    before = Belongings()
    yield
    before_looking()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        gc.collect()
        surplus = Belongings().beyond(before)
        if not surplus:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {surplus}")
        time.sleep(0.01)
