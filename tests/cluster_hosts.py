"""Clusters on this machine for tests, each of processes of its own: a scheduler, and hosts that can be killed.

Owns how they are started and ended, and why a test is skipped where the engine is not installed.
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

PATIENCE_S = 30.0


def need(engine):
    """Skips the test unless the engine is installed."""
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"`{engine}` is not installed in this Python")


def warm_up():
    """On a host: has it start what each process has once."""
    from paceline import Pool

    with Pool(1, backend="processes") as pool:
        # The first line that a worker writes to stderr starts the thread that passes such lines on.
        pool.apply(os.write, (2, b"\n"))


class DaskCluster:
    """A scheduler of Dask's, and hosts: each a nanny with a worker process, which it starts again when that dies."""

    def __init__(self, hosts=2, threads=1, **settings):
        need("distributed")
        self._folder = tempfile.TemporaryDirectory(prefix="paceline-dask-")
        self._file = Path(self._folder.name) / "scheduler.json"
        path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
        self._environment = {**os.environ, "PYTHONPATH": path, **settings}
        self.hosts = []
        options = ["--scheduler-file", str(self._file), "--no-dashboard"]
        self.scheduler = self._start("dask_scheduler", "--port", "0", "--host", "127.0.0.1", *options)
        for _ in range(hosts):
            self.add_host(threads)

    @property
    def address(self):
        """Of the scheduler, when it is there."""
        from json import loads

        return loads(self._file.read_text())["address"]

    def add_host(self, threads=1):
        """Starts one more."""
        options = ["--scheduler-file", str(self._file), "--no-dashboard", "--death-timeout", "20"]
        folder = ["--local-directory", self._folder.name]
        host = self._start("dask_worker", "--nthreads", str(threads), "--host", "127.0.0.1", *options, *folder)
        self.hosts.append(host)
        return host

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

        self.wait_until(self._file.exists)
        with Client(self.address, set_as_default=False, timeout=PATIENCE_S) as client:
            client.wait_for_workers(len(self.hosts), timeout=PATIENCE_S)
            yield client

    def wait_until(self, holds):
        """Waits for something, as long as the scheduler lives."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.scheduler.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def log(self):
        """What its processes have said."""
        return "\n".join(path.read_text() for path in Path(self._folder.name).glob("*.log"))

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
