"""Clusters on this machine for tests, each of processes of its own: a scheduler, and hosts that can be killed.

Owns how they are started and ended, and why a test is skipped where the engine is not installed.
"""

import contextlib
import functools
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

PATIENCE_S = 60.0


def need(engine):
    """Skips the test unless the engine is installed."""
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"`{engine}` is not installed in this Python")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def warm_up():
    """On a host: has it start what each process has once."""
    from paceline import Pool

    with Pool(1, backend="processes") as pool:
        # The first line that a worker writes to stderr starts the thread that passes such lines on.
        pool.apply(os.write, (2, b"\n"))


def at_work(future, done):
    """Waits until so many items have ended."""
    deadline = time.monotonic() + PATIENCE_S
    while future.progress()[1] < done:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_gone(pids, timeout_s):
    """Fails if one of these processes stays."""
    deadline = time.monotonic() + timeout_s
    while left := [pid for pid in pids if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


class DaskCluster:
    """A scheduler of Dask's, and hosts: each a nanny with a worker process, which it starts again when that dies."""

    def __init__(self, hosts=2, threads=1, **settings):
        need("distributed")
        self._folder = tempfile.TemporaryDirectory(prefix="paceline-dask-")
        path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
        self._environment = {**os.environ, "PYTHONPATH": path, **settings}
        self.hosts = []
        # Hosts can be started at the same time: they wait for the file. A port that is free now may be taken by another
        # process before the scheduler has it, and that may even be a Dask.
        self._place = Path(self._folder.name) / "scheduler.json"
        self.scheduler = self._start("dask_scheduler", "--port", "0", *self._where())
        for _ in range(hosts):
            self.add_host(threads)

    def add_host(self, threads=1):
        """Starts one more."""
        options = ["--nthreads", str(threads), "--death-timeout", "20", "--local-directory", self._folder.name]
        host = self._start("dask_worker", *options, *self._where())
        self.hosts.append(host)
        return host

    def _where(self):
        return ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(self._place)]

    @functools.cached_property
    def address(self):
        """Of the scheduler, once it is there."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return json.loads(self._place.read_text())["address"]
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.01)

    def _start(self, command, *options):
        with (Path(self._folder.name) / f"{command}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{command}", *options],
                env=self._environment,
                cwd=self._folder.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @contextlib.contextmanager
    def client(self):
        """A client of it, once all of its hosts are there."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=PATIENCE_S) as client:
            client.wait_for_workers(len(self.hosts), timeout=PATIENCE_S)
            yield client

    def kill_host(self, host):
        """Ends a host as a power failure would: nanny, worker, and whatever they have started."""
        processes = [psutil.Process(host.pid), *psutil.Process(host.pid).children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        host.wait()
        self.hosts.remove(host)

    def kill_scheduler(self):
        """The same of the scheduler."""
        self.scheduler.kill()
        self.scheduler.wait()

    def close(self):
        """Ends all of it; nothing is left."""
        for host in list(self.hosts):
            self.kill_host(host)
        self.kill_scheduler()
        self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
