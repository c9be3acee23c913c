"""What every test is held to: nothing of it may be left behind.

After each test there must be no more child processes, threads, file descriptors and mapped memory files than before
it. What one process has once (the fork server and the threads that watch it) is started before the first test.
"""

import gc
import os
import select
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from belongings import nothing_may_remain
from cluster_hosts import DaskCluster, warm_up
from ray_hosts import local_ray


def pytest_collection_finish(session):
    # What the tests have imported stays; looking through all of it after each test takes longer than the test.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def what_a_process_has_once():
    """The fork server and its threads; so that no test is charged with them."""
    from paceline import Pool

    pool = Pool(1)
    # The first line that a worker writes to stderr starts the thread that prints such lines.
    pool.apply(os.write, (2, b"\n"))
    pool.close()
    pool.join()
    # What the standard library's own pools start with the first of their kind, and keep.
    resource_tracker.ensure_running()


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    # Pytest itself would hold the pools of fixtures a little longer.
    with nothing_may_remain(request.node.funcargs.clear):
        yield


@pytest.fixture(scope="session")
def dask():
    """A cluster of Dask's with two hosts, as a backend; whatever it starts once has been started."""
    with DaskCluster() as cluster, cluster.client() as client:
        from paceline import Pool
        from paceline.clusters import Dask

        backend = Dask(client)
        with Pool(backend=backend):
            # Each host has a fork server from its first task on, and a thread that passes on what workers say.
            client.run(warm_up)
            # The client keeps its connections, and has as many as were ever needed at a time.
            with ThreadPoolExecutor(16) as threads:
                list(threads.map(lambda _: client.run(abs, -1), range(16)))
        yield backend


@pytest.fixture(scope="session")
def ray():
    """Ray with one node of two CPUs, as a backend."""
    with local_ray() as backend:
        yield backend


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


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """The folder in which sockets of watched programs have theirs; this program is not watched after the test."""
    from paceline import rendezvous, watching

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("PACELINE_TOP", raising=False)
    # Else a program of the user's own that runs beside the tests would be seen.
    monkeypatch.setattr(rendezvous, "_folders", lambda uid: [f"{tmp_path}/paceline"])
    yield tmp_path
    watching.close()
