"""Pools on Ray: what an actor on each node is good for, and whatever of a cluster dies.

The contract of pools and executors, and the table of promises, are asked of Ray in `tests/contract`, and what it has in
common with Dask in `test_clusters.py`. A process can be connected to one Ray only, so that what needs another, or ends
it, is a program of its own.
"""

import os
import signal
import socket
import threading
import time
import uuid
from contextlib import nullcontext
from importlib.util import find_spec

import psutil
import pytest

import paceline
import tasks
from cluster_hosts import at_work, need
from program import Program
from ray_hosts import MARK, forget_ended_head, marked, surroundings, wait_until_none_is_marked

WAIT_S = 60

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="`ray` is not installed in this Python")


@pytest.fixture
def pool(ray):
    with paceline.Pool(backend=ray) as pool:
        yield pool


def test_items_of_many_bytes_go_there_and_back_as_they_are(pool):
    items = [os.urandom(size) for size in (0, 1, 65_000, 70_000, 3_000_000)]
    assert pool.map(tasks.identity, items, chunksize=1) == items
    assert pool.map(tasks.identity, items, chunksize=5) == items


def test_pools_of_one_process_share_the_actors(ray, pool):
    hosts = ray.everywhere(os.getpid)
    with paceline.Pool(1, backend="ray") as other, paceline.Pool(backend="ray") as third:
        assert other.apply(abs, (-1,)) == third.apply(abs, (-1,)) == pool.apply(abs, (-1,)) == 1
        assert ray.everywhere(os.getpid) == hosts


def thread_variable(_):
    return os.environ["OMP_NUM_THREADS"]


def test_libraries_use_a_share_of_the_cpus_each_and_not_what_ray_gives_the_actor(pool, monkeypatch):
    if "OMP_NUM_THREADS" in os.environ:
        pytest.skip("OMP_NUM_THREADS is set")
    assert set(pool.map(thread_variable, range(4))) == {"1"}


# -- limits and deaths -------------------------------------------------------------------------------------------------


def test_worker_of_the_local_pool_that_dies_costs_the_one_call(ray, pool):
    hosts = ray.everywhere(os.getpid)
    results = pool.starmap(tasks.die_on, [(1, number) for number in range(4)], on_error="return")
    assert results[:1] + results[2:] == [0, 2, 3]
    assert type(results[1]) is paceline.WorkerDied
    assert ray.everywhere(os.getpid) == hosts


def test_actor_that_dies_in_the_middle_loses_nothing(ray, pool):
    future = pool.map_async(tasks.nap, range(100))
    at_work(future, 20)
    (before,) = ray.everywhere(os.getpid)
    os.kill(before, signal.SIGKILL)
    assert future.result(WAIT_S) == list(range(100))
    (after,) = ray.everywhere(os.getpid)
    assert after != before
    assert sum(worker.items for worker in pool.report().workers) == 100


def kill_host(item):
    # The worker's parent is the fork server of a pool, that of which is the actor.
    if item == 1:
        os.kill(psutil.Process().parent().ppid(), signal.SIGKILL)
        time.sleep(60)
    return item


def test_item_that_kills_every_actor_it_comes_to_is_given_up(ray):
    with paceline.Pool(1, backend=ray) as pool:
        results = pool.map(kill_host, range(3), chunksize=1, on_error="return")
    assert (results[0], results[2]) == (0, 2)
    assert type(results[1]) is paceline.WorkerDied
    assert "hosts have died that ran it, the last being the actor on" in str(results[1])


# -- the end -----------------------------------------------------------------------------------------------------------


def test_closed_pool_leaves_no_workers_and_no_threads_waiting(ray):
    def below_the_actor():
        return {child.pid for child in psutil.Process(ray.everywhere(os.getpid)[0]).children(recursive=True)}

    before = below_the_actor()
    with paceline.Pool(backend=ray) as pool:
        pool.map(tasks.nap, range(4))
        assert len(below_the_actor() - before) == 2
    assert below_the_actor() <= before
    assert not [one.name for one in threading.enumerate() if one.name.startswith("paceline-lane")]


# -- what is told ------------------------------------------------------------------------------------------------------


def test_other_versions_are_told_when_the_pool_is_opened(ray, monkeypatch):
    from paceline.clusters import parcel

    real = parcel.versions()
    monkeypatch.setattr(parcel, "versions", lambda: (real[0], "0.0.1"))
    with pytest.raises(paceline.ClusterMismatch, match=rf"Paceline {real[1]}, but this process .* Paceline 0\.0\.1"):
        paceline.Pool(backend=ray)


def test_second_cluster_of_a_process_is_refused(ray):
    with pytest.raises(paceline.ClusterError, match="connected to Ray already") as caught:
        paceline.Pool(backend="ray://host:10001")
    assert 'hint: `backend="ray"` takes the connection that there is' in str(caught.value)
    with paceline.Pool(backend=type(ray)("auto")) as pool:
        assert pool.apply(abs, (-1,)) == 1


@pytest.mark.parametrize(("failures", "tries"), [(1, 2), (9, 2)])
def test_client_whose_server_does_not_come_up_tries_once_more(monkeypatch, failures, tries):
    import ray as ray_itself

    from paceline.clusters.ray_address import reach

    tried = []

    def init(**options):
        tried.append(options)
        if len(tried) <= failures:
            raise ConnectionAbortedError("Starting Ray client server failed")

    # Ray's own fault cannot be had when it is wanted.
    monkeypatch.setattr(ray_itself, "init", init)
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = nullcontext() if failures < tries else pytest.raises(paceline.ClusterError, match="client server failed")
        with told:
            reach(f"ray://127.0.0.1:{server.getsockname()[1]}")
    assert len(tried) == tries


# -- programs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Runs a script to its end, and checks that nothing is left of it and of its Ray."""

    def run(source, *arguments, code=0, **environment):
        mark = uuid.uuid4().hex
        script = tmp_path / "script.py"
        script.write_text(source)
        with surroundings():
            program = Program("-W", "error", str(script), *arguments, cwd=tmp_path, **{MARK: mark, **environment})
        try:
            got, out, err = program.finish()
            assert got == code, out + err
            wait_until_none_is_marked(mark, 60.0)
        finally:
            for process in marked(mark):
                process.kill()
            forget_ended_head()
        return out, err

    return run


ON_THE_SPOT = """
import os, threading, paceline

def say(item):
    print("said", item)
    return item * item, os.getppid()

def make():
    global pool
    pool = paceline.Pool()

# What Ray starts ends with the thread that starts it; this one has no say in it.
thread = threading.Thread(target=make)
thread.start()
thread.join()
# Ray prints what comes with its prefix.
assert [square for square, _ in pool.map(say, range(3))] == [0, 1, 4]
with paceline.ProcessPoolExecutor(1) as executor:
    assert list(executor.map(abs, [-1, -2])) == [1, 2]
exp = paceline.Experiment(lambda n: n * n)
exp.add_grid(n=range(3))
assert list(exp.run()["value"]) == [0, 1, 4]
os.write(1, b"%d\\n" % os.getpid())
# The pool is left to the end of the program.
"""


def test_ray_that_is_started_on_the_spot_serves_a_whole_program_and_is_gone_with_it(run):
    out, err = run(ON_THE_SPOT, PACELINE_BACKEND="ray")
    assert "Traceback" not in err, err
    assert int(out.splitlines()[-1].split()[-1])


LOSSES = """
import os, time
import paceline, ray
from paceline.clusters import Ray, ray as ours
from cluster_hosts import at_work
from ray_hosts import RayCluster
import tasks

@ray.remote(num_cpus=1)
class Other:
    def here(self):
        return 1

def main():
    cluster = RayCluster()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    others = [Other.remote() for _ in range(2)]
    assert ray.get([other.here.remote() for other in others]) == [1, 1]
    ours._PATIENCE_S = 1.0
    try:
        paceline.Pool(backend="ray")
    except paceline.ClusterError as error:
        assert "no node of Ray's had all of its CPUs free for 1 s" in str(error), error
    else:
        raise AssertionError("there was room")
    ours._PATIENCE_S = 30.0
    # What the program has connected itself it has to disconnect.
    assert ray.is_initialized()
    ray.shutdown()
    print("taken", flush=True)
    with paceline.Pool(backend=Ray(cluster.address)) as pool:
        assert "pool_size=2" in repr(pool)
        future = pool.map_async(tasks.nap, range(200))
        at_work(future, 20)
        cluster.kill_node(cluster.nodes[0])
        assert future.result(30) == list(range(200))
        print("node", flush=True)
        future = pool.map_async(tasks.nap, range(5000))
        waiting = [pool.submit(tasks.nap, number) for number in range(5)]
        at_work(future, 20)
        cluster.kill_head()
        began = time.monotonic()
        for one in (future, *waiting):
            try:
                one.result(30)
            except paceline.ClusterLost as error:
                assert "the head of Ray's cluster at" in str(error), error
                assert "hint:" in str(error)
            else:
                raise AssertionError("it was not lost")
        try:
            pool.submit(tasks.nap, 1)
        except paceline.ClusterLost:
            pass
        else:
            raise AssertionError("it was not refused")
    print("head", time.monotonic() - began < 15)

main()
os.write(1, b"end")
"""


def test_nodes_that_are_taken_are_told_one_that_dies_loses_nothing_and_a_head_that_dies_ends_every_wait(run):
    out, err = run(LOSSES)
    told = ["taken", "node", "head True", "end"]
    assert [line for line in out.splitlines() if line in told] == told, err


ABROAD = """
import functools, os
import paceline
from paceline.clusters import Ray
from ray._private import services

# Of a cluster that has ended without a word; and no other is running on this machine.
os.makedirs("ray")
with open("ray/ray_current_cluster", "w") as file:
    file.write("127.0.0.1:9")
os.environ["RAY_TMPDIR"] = os.getcwd()
services.find_gcs_addresses = functools.cache(set)
for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "auto"):
    try:
        paceline.Pool(backend=Ray(address))
    except (paceline.ClusterError, ImportError) as error:
        assert address.replace("auto", ":9: ") in str(error), error
        assert isinstance(error, paceline.ClusterError) or "paceline[ray]" in str(error)
    else:
        raise AssertionError
"""


def test_cluster_that_is_not_there_is_told_plainly(run):
    run(ABROAD)


WITHOUT = """
import os, sys
import ray, paceline
os.makedirs("without/paceline")
open("without/paceline/__init__.py", "w").close()
before, os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"], os.path.abspath("without")
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
os.environ["PYTHONPATH"] = before
try:
    paceline.Pool(backend="ray")
except paceline.ClusterMismatch as error:
    assert "a node of the cluster cannot import Paceline" in str(error), error
    assert "hint: install it on every node" in str(error), error
else:
    raise AssertionError
assert ray.is_initialized()
ray.shutdown()
"""


def test_node_without_paceline_is_told_plainly_and_the_users_own_connection_is_left_alone(run):
    run(WITHOUT)


CLIENTS = """
import os, subprocess, sys
from cluster_hosts import free_port
from ray_hosts import RayCluster

port = free_port()
cluster = RayCluster(client_port=port)
for script, address in (("client.py", f"ray://127.0.0.1:{port}"), ("other.py", cluster.address)):
    subprocess.run([sys.executable, script, address], check=True)
os.write(1, b"end")
"""

CLIENT = """
import sys, time
import paceline, tasks

factor = 3
with paceline.Pool(backend=sys.argv[1]) as pool:
    assert "pool_size=2" in repr(pool), pool
    assert pool.map(lambda n: n * factor, range(1000)) == [n * factor for n in range(1000)]
    assert pool.map(len, [bytes(3_000_000)] * 3) == [3_000_000] * 3
    assert len(pool.apply(bytes, (3_000_000,))) == 3_000_000
    words = paceline.share([str(n) for n in range(5000)])
    assert pool.starmap(list.__getitem__, [(words, n) for n in range(20)]) == [str(n) for n in range(20)]
    try:
        pool.options(timeout=0.2, grace=0.1).submit(time.sleep, 30).result(20)
    except paceline.TaskTimeout:
        pass
    else:
        raise AssertionError
    died = [pool.submit(tasks.die_on, 1, n) for n in range(3)]
    assert [type(one.exception(20)).__name__ for one in died] == ["NoneType", "WorkerDied", "NoneType"]
    left = pool.map_async(tasks.nap, range(100_000))
    pool.terminate()
    assert left.cancelled()
"""

# What a Ray of another version would say when it is connected to.
OTHER = """
import sys
import ray
ray.__version__ = "2.0.0"
import paceline
from paceline.clusters import Ray
try:
    paceline.Pool(backend=Ray(sys.argv[1]))
except paceline.ClusterMismatch as error:
    assert f"the cluster of Ray's at {sys.argv[1]} is of other versions" in str(error), error
    assert "2.0.0" in str(error) and "hint: " in str(error), error
else:
    raise AssertionError
"""


def test_client_of_ray_serves_a_program_and_one_of_another_version_is_told_so(run, tmp_path):
    need("grpc")
    (tmp_path / "client.py").write_text(CLIENT)
    (tmp_path / "other.py").write_text(OTHER)
    out, err = run(CLIENTS)
    assert out.endswith("end"), err
