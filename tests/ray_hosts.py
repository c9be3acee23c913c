"""A cluster of Ray's on this machine for tests, of processes of its own: a head, and nodes that can be killed.

Owns how it is started and ended. As `cluster_hosts.DaskCluster`, which see.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from cluster_hosts import need

PATIENCE_S = 60.0


class RayCluster:
    """A head without CPUs, and hosts: each a node with a raylet, and the workers that this starts."""

    def __init__(self, hosts=2, cpus=1):
        need("ray")
        # Sockets lie in it, whose paths may not be long.
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")
        path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
        self._environment = {**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        port = self.address.rpartition(":")[2]
        head = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats"]
        self.head = self._start(*head, f"--temp-dir={self._folder.name}/r")
        self._wait_until(self._is_listening)
        self.hosts = []
        for _ in range(hosts):
            self.add_host(cpus)

    def add_host(self, cpus=1):
        """Starts one more."""
        host = self._start(f"--address={self.address}", f"--num-cpus={cpus}")
        self.hosts.append(host)
        return host

    def _start(self, *options):
        local = ["--node-ip-address=127.0.0.1", f"--object-store-memory={150 << 20}", "--num-gpus=0", "--block"]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *local],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def _log(self):
        return Path(self._folder.name) / "log"

    def _is_listening(self):
        host, _, port = self.address.partition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return True
        return False

    def _wait_until(self, holds):
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.head.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def connect(self):
        """Connects this process, once all hosts are there."""
        import ray

        os.environ["RAY_AUTH_MODE"] = "disabled"
        ray.init(address=self.address, logging_level="ERROR", log_to_driver=False)
        self._wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == len(self.hosts) + 1)

    def kill_host(self, host):
        """Ends a host as a power failure would: raylet, workers, and whatever they have started."""
        end_all(host)
        self.hosts.remove(host)

    def close(self):
        """Ends all of it; nothing is left."""
        for host in list(self.hosts):
            self.kill_host(host)
        end_all(self.head)
        self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def end_all(root):
    """Ends a process and all below it."""
    processes = [psutil.Process(root.pid), *psutil.Process(root.pid).children(recursive=True)]
    for sent in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(sent)
    root.wait()
