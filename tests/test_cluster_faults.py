"""Whatever of a cluster dies, or is not as it should be: what is lost and told, and that nothing hangs or stays behind.

Each fault happens to a cluster of its own, whose processes are really killed.
"""

import os
import signal
import time

import psutil
import pytest

import paceline
import tasks
from cluster_hosts import DaskCluster, at_work, wait_until_gone
from program import Program

WAIT_S = 60

pytest.importorskip("distributed", reason="`distributed` is not installed in this Python")
# Dask imports it sooner or later, and its libraries have threads of their own from then on.
pytest.importorskip("numpy")


@pytest.fixture
def cluster():
    with DaskCluster() as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.client() as client:
        yield client


@pytest.fixture
def backend(client):
    from paceline.clusters import Dask

    return Dask(client)


def test_host_that_dies_in_the_middle_loses_nothing(cluster, backend):
    with paceline.Pool(backend=backend) as pool:
        future = pool.map_async(tasks.nap, range(200))
        at_work(future, 20)
        cluster.kill_host(cluster.hosts[0])
        assert future.result(WAIT_S) == list(range(200))
        assert pool.apply(tasks.nap, (1,)) == 1
        assert sum(worker.items for worker in pool.report().workers) == 200 + 1


def test_worker_of_the_engine_that_dies_is_one_host_less_for_a_moment(cluster, client, backend):
    with paceline.Pool(backend=backend) as pool:
        future = pool.map_async(tasks.nap, range(200))
        at_work(future, 20)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        assert future.result(WAIT_S) == list(range(200))


def kill_host(item):
    # The worker's parent is the fork server of a pool, that of which is the engine's worker.
    if item == 3:
        os.kill(psutil.Process().parent().ppid(), signal.SIGKILL)
        time.sleep(60)
    return item


def test_item_that_kills_every_host_it_comes_to_is_given_up(backend):
    with paceline.Pool(1, backend=backend) as pool:
        results = pool.map(kill_host, range(5), chunksize=1, on_error="return")
    assert results[:3] + results[4:] == [0, 1, 2, 4]
    error = results[3]
    assert type(error) is paceline.WorkerDied
    assert (error.function, error.index, error.arguments) == ("kill_host", 3, "(3,)")
    assert "hosts have died that ran it" in str(error)


def test_scheduler_that_dies_ends_every_wait_with_an_error_that_says_so(cluster, backend):
    with paceline.Pool(backend=backend) as pool:
        future = pool.map_async(tasks.nap, range(500))
        waiting = [pool.submit(tasks.nap, number) for number in range(5)]
        lazy = pool.imap(tasks.nap, range(1000))
        at_work(future, 20)
        cluster.kill_scheduler()
        for one in (future, *waiting):
            with pytest.raises(paceline.ClusterLost, match=r"the scheduler of Dask's at tcp://.* is gone"):
                one.result(WAIT_S)
        with pytest.raises(paceline.ClusterLost):
            list(lazy)
        with pytest.raises(paceline.ClusterLost, match="open a new one"):
            pool.submit(tasks.nap, 1)
        began = time.monotonic()
    assert time.monotonic() - began < 5


CLIENT = """
import sys, tasks, paceline
with paceline.Pool(backend=sys.argv[1]) as pool:
    pool.map(tasks.through, sys.argv[2:], chunksize=1)
"""


def test_client_that_dies_leaves_nothing_running_on_the_hosts(cluster, client, gate):
    address = cluster.address.replace("tcp", "dask")
    program = Program("-c", CLIENT, address, gate.path, gate.path)
    workers = [gate.wait_for_arrival() for _ in range(2)]
    os.kill(program.pid, signal.SIGKILL)
    program.finish()
    wait_until_gone(workers, WAIT_S)
    assert not any(client.run(pools_there).values())


def pools_there():
    from paceline.clusters import host

    deadline = time.monotonic() + WAIT_S
    while host._pools and time.monotonic() < deadline:
        time.sleep(0.02)
    return len(host._pools)


def test_task_that_does_not_unpickle_fails_alone(dask):
    class Trap:
        def __reduce__(self):
            return tasks.explode, ()

    with paceline.Pool(backend=dask) as pool:
        results = pool.map(tasks.identity, [1, Trap(), 3], on_error="return")
        assert (results[0], results[2]) == (1, 3)
        assert isinstance(results[1], paceline.ArgumentNotRebuilt)
        with pytest.raises(paceline.ResultNotPicklable):
            pool.apply(tasks.unpicklable_result)
        assert pool.apply(abs, (-1,)) == 1


def test_other_versions_are_told_when_the_pool_is_opened(dask, monkeypatch):
    from paceline.clusters import parcel

    real = parcel.versions()
    monkeypatch.setattr(parcel, "versions", lambda: ("3.9", real[1]))
    with pytest.raises(
        paceline.ClusterMismatch, match=rf"has Python {real[0]} and .* this process Python 3\.9"
    ) as caught:
        paceline.Pool(backend=dask)
    assert "hint: functions travel as bytecode" in str(caught.value)
    monkeypatch.setattr(parcel, "versions", lambda: (real[0], "0.0.1"))
    with pytest.raises(paceline.ClusterMismatch, match=rf"Paceline {real[1]}, but this process .* Paceline 0\.0\.1"):
        paceline.Pool(backend=dask)


def test_pool_that_cannot_be_opened_leaves_no_client_behind(dask, monkeypatch):
    from paceline.clusters import parcel

    def clients():
        return dask._where.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.clients))

    before = clients()
    monkeypatch.setattr(parcel, "versions", lambda: ("3.9", "0.0.1"))
    with pytest.raises(paceline.ClusterMismatch):
        paceline.Pool(backend=type(dask)(dask._where.scheduler.address))
    assert clients() == before


def test_worker_of_other_versions_that_comes_later_is_told_by_the_calls(dask, monkeypatch):
    from paceline.clusters import parcel

    with paceline.Pool(backend=dask) as pool:
        assert pool.apply(abs, (-1,)) == 1
        real = parcel.versions()
        monkeypatch.setattr(parcel, "versions", lambda: ("3.9", real[1]))
        with pytest.raises(paceline.ClusterMismatch, match=r"the client has Python 3\.9"):
            pool.apply(abs, (-1,))


def test_host_without_paceline_is_told_plainly(tmp_path):
    (tmp_path / "paceline").mkdir()
    (tmp_path / "paceline" / "__init__.py").write_text("")
    with DaskCluster(1, PYTHONPATH=str(tmp_path)) as cluster, cluster.client() as client:
        from paceline.clusters import Dask

        with pytest.raises(paceline.ClusterMismatch, match="cannot import Paceline"):
            paceline.Pool(backend=Dask(client))


def cell(n, part):
    time.sleep(0.001)
    return {"value": n * 10 + part}


@pytest.mark.parametrize("cells", [2000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_experiment_survives_the_loss_of_a_host_with_each_cell_in_its_store_once(cluster, backend, tmp_path, cells):
    import sqlite3
    import threading

    exp = paceline.Experiment(cell, store=tmp_path / "store.sqlite", seed=3)
    exp.add_grid(n=range(cells // 10), part=range(10))

    def kill_in_the_middle():
        deadline = time.monotonic() + WAIT_S
        while exp.status().ok < cells // 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        cluster.kill_host(cluster.hosts[0])

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    results = exp.run(backend=backend)
    killer.join()
    assert len(cluster.hosts) == 1
    assert len(results) == cells
    assert all(
        value == n * 10 + part for n, part, value in zip(results["n"], results["part"], results["value"], strict=True)
    )
    assert exp.status().ok == cells
    with sqlite3.connect(tmp_path / "store.sqlite") as store:
        (table,) = store.execute(
            "select name from sqlite_master where type = 'table' and name like 'attempt%'"
        ).fetchone()
        assert store.execute(f"select count(*) from {table}").fetchone() == (cells,)
    store.close()
