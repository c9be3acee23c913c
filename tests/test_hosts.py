"""A cluster of several hosts, each with a network and a name of its own: a host loses its power, or its cable.

Run by `make test-hosts` alone: it needs root, and makes network namespaces.
"""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

import paceline
import tasks
from cluster_hosts import need
from network import Network

# What Dask has in a process once, the fixture of that name has started.
pytestmark = [pytest.mark.hosts, pytest.mark.usefixtures("dask")]

PATIENCE_S = 60.0
# After so many seconds without a word from a host, Dask takes it for lost.
SILENCE_S = 10


@pytest.fixture
def cluster(tmp_path):
    """Two hosts with a worker of Dask's each; the scheduler is here, where the program is."""
    need("distributed")
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{SILENCE_S}s"}
    options = {"env": environment, "cwd": tmp_path, "stdin": subprocess.DEVNULL}
    with Network() as network, (tmp_path / "log").open("ab") as log:
        options |= {"stdout": log, "stderr": log}
        listen = ["--host", network.address, "--port", "8786", "--no-dashboard"]
        scheduler = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", *listen], **options)
        try:
            for _ in range(2):
                work = ["--nthreads", "2", "--no-dashboard", "--local-directory", str(tmp_path)]
                command = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://{network.address}:8786", *work]
                network.add_host().start(*command, **options)
            await_workers(network.address, 2, tmp_path / "log")
            yield network
        finally:
            scheduler.kill()
            scheduler.wait()


def await_workers(address, count, log):
    from distributed import Client

    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with Client(f"tcp://{address}:8786", set_as_default=False, timeout=5) as client:
                client.wait_for_workers(count, timeout=PATIENCE_S)
                return
        except OSError:  # The scheduler is not there yet.
            assert time.monotonic() < deadline, log.read_text()


def backend_of(network):
    return f"dask://{network.address}:8786"


def note_host(folder, number):
    """Leaves the number in a file of the host's."""
    host = socket.gethostname()
    with open(f"{folder}/{host}", "a", buffering=1) as file:  # noqa: PTH123
        file.write(f"{number}\n")
    time.sleep(0.002)
    return number * number


def await_notes(path):
    """Waits until a host has done a thousand tasks or so."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() or path.stat().st_size < 5_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_report_names_the_hosts(cluster):
    with paceline.Pool(backend=backend_of(cluster)) as pool:
        assert pool.map(tasks.square, range(2_000)) == [number * number for number in range(2_000)]
        seen = set(pool.map(hostname_after, [0.05] * 80, chunksize=1))
        assert seen == {"host-1", "host-2"}
        text = str(pool.report())
        assert all(host in text for host in seen), text


def hostname_after(seconds):
    time.sleep(seconds)
    return socket.gethostname()


@pytest.mark.parametrize("loss", ["power_off", "unplug"])
def test_experiment_survives_the_loss_of_a_host(cluster, tmp_path, loss):
    """10,000 cells: nothing is lost, and nothing is run twice in the store."""
    folder = tmp_path / "notes"
    folder.mkdir()
    exp = paceline.Experiment(note_host, tmp_path / "results.db")
    exp.add_grid(folder=[str(folder)], number=range(10_000))
    lost = cluster.hosts[1]

    def lose_a_host():
        await_notes(folder / lost.name)
        getattr(lost, loss)()

    losing = threading.Thread(target=lose_a_host)
    losing.start()
    results = exp.run(backend=backend_of(cluster))
    losing.join()
    assert results["value"] == [number * number for number in range(10_000)]
    attempts = paceline.open_store(tmp_path / "results.db").results(every_attempt=True)
    assert len(attempts) == 10_000
    assert set(attempts["status"]) == {"ok"}
    # It was lost in the middle: it had done some of it, and the other has done what it had not.
    noted = {host.name: len((folder / host.name).read_text().split()) for host in cluster.hosts}
    assert 1_000 <= noted["host-2"] < 8_000
    assert noted["host-1"] > 2_000


@pytest.mark.parametrize("loss", ["power_off", "unplug"])
def test_map_survives_the_loss_of_a_host(cluster, tmp_path, loss):
    lost = cluster.hosts[0]
    with paceline.Pool(backend=backend_of(cluster)) as pool:
        future = pool.starmap_async(note_host, [(str(tmp_path), number) for number in range(20_000)])
        await_notes(tmp_path / lost.name)
        getattr(lost, loss)()
        assert future.get(120) == [number * number for number in range(20_000)]
        assert pool.apply(tasks.square, (7,)) == 49
