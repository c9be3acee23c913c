"""Ray on this machine for tests: one for the whole run, and clusters of several nodes that can be killed.

Owns how they are started and ended. A process can be connected to one Ray only, so a test that kills parts of a cluster
does so in a program of its own.
"""

import contextlib
import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from cluster_hosts import need, warm_up

MARK = "PACELINE_TEST_MARK"


@contextlib.contextmanager
def local_ray(cpus=2):
    """A Ray with one node, as a backend; whatever it starts once has been started."""
    need("ray")
    import ray

    from paceline.clusters import Ray

    with surroundings(), signal_handler_kept(signal.SIGTERM):
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=200 << 20,
        )
    try:
        backend = Ray()
        # While it is open its actors stay.
        backend.open()
        try:
            backend.slots()
            backend.everywhere(warm_up)
            # There are as many connections as were ever needed at a time, and some for what is large.
            with ThreadPoolExecutor(16) as threads:
                list(threads.map(lambda _: backend.everywhere(bytes, bytes(1 << 20)), range(16)))
            yield backend
        finally:
            backend.close()
    finally:
        ray.shutdown()


@contextlib.contextmanager
def surroundings():
    """What Ray's processes get from this one: where the modules of the tests are, and that nothing is told abroad.

    Its workers would stand back behind whatever else runs here, so that other tests could starve them. And what starts
    a server for each client of Ray's forks beside threads of gRPC, whose handlers then abort one start in ten
    (ray-project/ray#63202).
    """
    before = dict(os.environ)
    path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    os.environ.update(
        PYTHONPATH=path,
        RAY_USAGE_STATS_ENABLED="0",
        RAY_worker_niceness="0",
        GRPC_ENABLE_FORK_SUPPORT="0",
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def signal_handler_kept(number):
    """Ray would have the last word on what ends this process."""
    before = signal.getsignal(number)
    try:
        yield
    finally:
        signal.signal(number, before)


class RayCluster:
    """A head and other nodes, with one CPU each; all of them end with this process.

    With a `client_port` the head serves clients of Ray's there, too.
    """

    def __init__(self, nodes=1, client_port=None):
        need("ray")
        from ray.cluster_utils import Cluster

        with surroundings():
            small = {"include_dashboard": False, "object_store_memory": 100 << 20}
            head = {"num_cpus": 1, "ray_client_server_port": client_port, **small}
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
            self.nodes = [self._cluster.add_node(num_cpus=1, wait=False, **small) for _ in range(nodes)]
            self._cluster.wait_for_nodes()

    @property
    def address(self):
        """Of the head."""
        return self._cluster.address

    def kill_node(self, node):
        """Ends a node as a power failure would."""
        kill_all(process for kind in node.all_processes.values() for process in kind)
        self.nodes.remove(node)

    def kill_head(self):
        """The same of the head."""
        kill_all(process for kind in self._cluster.head_node.all_processes.values() for process in kind)


def kill_all(started):
    """Kills these, which Ray has started here, and what they have started."""
    processes = []
    for one in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(one.process.pid)
            processes += [process, *process.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def forget_ended_head():
    """Ray has the address of this machine's last head in a file, also of one that was killed, and would go there."""
    from ray._private.utils import get_ray_address_file, read_ray_address

    from paceline.clusters.ray_address import knock

    if (address := read_ray_address()) is not None:
        try:
            knock(address)
        except OSError:
            Path(get_ray_address_file(None)).unlink(missing_ok=True)


def marked(mark):
    """The processes that have inherited this mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_until_none_is_marked(mark, timeout_s):
    """Fails if a process that has inherited this mark stays."""
    deadline = time.monotonic() + timeout_s
    while left := marked(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
