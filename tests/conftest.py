"""What every test is held to: nothing of it may be left behind.

After each test there must be no more child processes, threads, file descriptors and mapped memory files than before
it. What one process has once (the fork server and the threads that watch it) is started before the first test.
"""

import gc
import os
import select
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

PATIENCE_S = 5.0


class Belongings:
    """What this process has at one moment."""

    def __init__(self):
        # A child may end while it is being looked at; then it is none.
        self.children = Counter()
        for child in psutil.Process().children(recursive=True):
            try:
                self.children[f"{child.pid} {' '.join(child.cmdline()[:3])[:200]} {child.status()}"] += 1
            except psutil.NoSuchProcess:
                continue
        self.threads = Counter(task_names())
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


@pytest.fixture(scope="session", autouse=True)
def what_a_process_has_once():
    """The fork server and its threads; so that no test is charged with them."""
    from paceline import Pool

    pool = Pool(1)
    # The first line that a worker writes to stderr starts the thread that prints such lines.
    pool.apply(os.write, (2, b"\n"))
    pool.close()
    pool.join()


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    gc.collect()
    before = Belongings()
    yield
    # Pytest itself would hold the pools of fixtures a little longer.
    request.node.funcargs.clear()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        gc.collect()
        surplus = Belongings().beyond(before)
        if not surplus:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {surplus}")
        time.sleep(0.01)


@pytest.fixture
def pool():
    from paceline import Pool

    with Pool(2) as pool:
        yield pool


@pytest.fixture
def executor():
    from paceline import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as executor:
        yield executor


class Gate:
    """A place where tasks wait until the test lets them through; see `tasks.through`."""

    def __init__(self, path):
        self.path = str(path)
        os.mkfifo(self.path)
        os.mkfifo(self.path + ".arrived")
        self._entrance = os.open(self.path, os.O_RDWR)
        self._arrivals = os.open(self.path + ".arrived", os.O_RDWR)
        self._text = b""

    def wait_for_arrival(self, timeout_s=30.0):
        """The process id of the next worker to have arrived."""
        while b"\n" not in self._text:
            readable, _, _ = select.select([self._arrivals], [], [], timeout_s)
            assert readable, "nobody arrived at the gate"
            self._text += os.read(self._arrivals, 4096)
        line, _, self._text = self._text.partition(b"\n")
        return int(line)

    def let_through(self, count=1):
        os.write(self._entrance, b"." * count)

    def close(self):
        # Who comes late shall find no gate, rather than wait at one that nobody opens.
        Path(self.path).unlink()
        Path(self.path + ".arrived").unlink()
        os.close(self._entrance)
        os.close(self._arrivals)


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()
