"""Hosts on this machine with networks and names of their own, for tests of clusters: `Network`.

Owns namespaces and cables: each host is a network namespace and a hostname, with a cable to a switch that this process
is at as well. A host can lose its power, or its cable. What runs on it is its user's affair. It needs root, and `ip`
(iproute2).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from itertools import count

import pytest

_numbers = count(1)


def need_namespaces():
    """Skips the test, with the reason, where no network namespaces can be made."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("network namespaces are made by `ip` and `unshare`, which are not installed")
    tried = subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"network namespaces are not allowed here: {tried.stderr.strip()}")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Host:
    """One host: its name, its address, and what was started on it."""

    def __init__(self, network, number):
        self.name = f"host-{number}"
        self.address = f"{network.prefix}.{number + 1}"
        self.namespace = f"{network.name}h{number}"
        self.processes = []
        # Interfaces have names of at most 15 characters.
        self._here, there = f"{network.name}v{number}", f"{network.name}w{number}"
        ip("netns", "add", self.namespace)
        ip("link", "add", self._here, "type", "veth", "peer", "name", there)
        ip("link", "set", there, "netns", self.namespace, "name", "eth0")
        ip("link", "set", self._here, "master", network.name, "up")
        self._ip("addr", "add", f"{self.address}/24", "dev", "eth0")
        self._ip("link", "set", "eth0", "up")
        self._ip("link", "set", "lo", "up")

    def _ip(self, *arguments):
        ip("-netns", self.namespace, *arguments)

    def start(self, *command, **options):
        """Starts a program on the host."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name, *command]
        process = subprocess.Popen(["ip", "netns", "exec", self.namespace, *named], start_new_session=True, **options)
        self.processes.append(process)
        return process

    def pids(self):
        """Of everything that runs on it."""
        told = subprocess.run(["ip", "netns", "pids", self.namespace], check=False, capture_output=True, text=True)
        return [int(pid) for pid in told.stdout.split()]

    def unplug(self):
        """Cuts its cable: whatever is on its way is lost, and nobody is told."""
        ip("link", "set", self._here, "down")

    def power_off(self):
        """Ends all of its processes at once; its cable is cut first, so that no connection is closed in good order."""
        if self.namespace is None:
            return
        with contextlib.suppress(subprocess.CalledProcessError):
            self.unplug()
        deadline = time.monotonic() + 60
        while pids := self.pids():
            assert time.monotonic() < deadline, f"{pids} do not end"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self.processes:
                process.poll()
            time.sleep(0.01)
        for process in self.processes:
            process.wait()
        # The kernel would do it a little later.
        ip("link", "delete", self._here)
        ip("netns", "delete", self.namespace)
        self.namespace = None


class Network:
    """A switch, at which this process is `address`, and hosts."""

    def __init__(self):
        need_namespaces()
        self.name = f"pl{os.getpid() % 100_000}n{next(_numbers)}"
        self.prefix = f"10.{177 + os.getpid() % 60}.{os.getpid() // 60 % 250}"
        self.address = f"{self.prefix}.1"
        self.hosts = []
        ip("link", "add", self.name, "type", "bridge")
        ip("addr", "add", f"{self.address}/24", "dev", self.name)
        ip("link", "set", self.name, "up")

    def add_host(self):
        """One more host, on which nothing runs yet."""
        host = Host(self, len(self.hosts) + 1)
        self.hosts.append(host)
        return host

    def close(self):
        """Nothing of it is left."""
        for host in self.hosts:
            host.power_off()
        ip("link", "delete", self.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
