"""Dask: `backend="dask"`, an address of a scheduler, or `Dask(client)`.

Owns how chunks become tasks of `distributed`, and what its ways of failing mean to Paceline. A worker of Dask's is a
host here: it gets one task for each chunk, and runs that on a local pool with as many processes as it has threads.
"""

from __future__ import annotations

from threading import Lock

from paceline.clusters.cluster import Cluster, HostDied, Run, RunCancelled
from paceline.clusters.host import run_chunk
from paceline.engine import default_workers, end_before_others
from paceline.errors import ClusterError, ClusterLost, ClusterMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from distributed import Client
    from distributed import Future as DaskFuture

__all__ = ["Dask"]

# How long workers are waited for, and an answer of those that there are.
_PATIENCE_S = 30.0
_LEAVE_S = 5.0
# Dask warns of tasks with more bytes in them than twice as many.
_LARGE = 5_000_000
_HINT = "hint: `pip install 'paceline[dask]'`"


class Dask(Cluster):
    """A cluster of Dask's, as a backend: `Pool(backend=Dask(client))`.

    `where` is a `distributed.Client`, the address of a scheduler (`"tcp://host:8786"`), or a cluster object of Dask's.
    Without it, it is the client that is current in this process, or else a scheduler and a worker
    in threads of this process, for as many worker processes as there are CPUs, which end with the last pool on it.
    """

    name = "dask"
    chunk_cost_s = 0.0045

    def __init__(self, where: Client | Any | str | None = None) -> None:
        self._where = where
        self._lock = Lock()
        self._users = 0
        self._client: Client | None = None
        self._made: list[Any] = []

    def open(self) -> None:
        with self._lock:
            if self._users == 0:
                self._connect()
            self._users += 1

    def _connect(self) -> None:
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise ImportError(f"backend='dask' needs `distributed`\n{_HINT}") from error
        # Dask closes its clusters and its client at the end of the program.
        end_before_others()
        where = self._where
        try:
            if isinstance(where, Client):
                self._client = where
                return
            if where is None:
                self._client = _current_client()
                if self._client is not None:
                    return
                # In threads: processes of Dask's would import the user's script again. What is run is in processes
                # anyway.
                where = LocalCluster(
                    n_workers=1,
                    threads_per_worker=default_workers(),
                    processes=False,
                    memory_limit=0,
                    dashboard_address=":0",
                )
                self._made.append(where)
            if isinstance(where, str):
                _knock(where)
            self._client = Client(where, set_as_default=False)
            self._made.append(self._client)
        except OSError as error:
            self._let_go()
            raise ClusterError(f"there is no scheduler of Dask's at {where}: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._let_go()

    def _let_go(self) -> None:
        self._client = None
        while self._made:
            try:
                self._made.pop().close(timeout=_LEAVE_S)
            except Exception:  # It is gone already, or will be.
                pass

    def _connected(self) -> Client:
        client = self._client
        if client is None or client.status not in {"running", "newly-created", "connecting"}:
            raise ClusterLost("the client of Dask's is closed\nhint: open a pool with a new one")
        return client

    def slots(self) -> int:
        client = self._connected()
        threads = sum(client.nthreads().values())
        if threads == 0:
            try:
                client.wait_for_workers(1, timeout=_PATIENCE_S)
            except TimeoutError as error:
                raise ClusterError(
                    f"the scheduler at {client.scheduler.address} has had no workers for {_PATIENCE_S:g} s\n"
                    "hint: start some by `dask worker ADDRESS`"
                ) from error
            threads = sum(client.nthreads().values())
        return max(1, int(threads))

    def everywhere(self, function: Callable[..., Any], *arguments: Any, wait: bool = True) -> list[Any]:
        client = self._connected()
        if not wait:
            # Not `client.run`, which would wait: this may be called by the garbage collector.
            client.loop.add_callback(client._run, function, *arguments, on_error="ignore")  # noqa: SLF001
            return []
        try:
            told = client.sync(client._run, function, *arguments, callback_timeout=_PATIENCE_S)  # noqa: SLF001
            return list(told.values())
        except (OSError, TimeoutError) as error:
            raise ClusterLost(f"the scheduler of Dask's does not answer: {error}") from error
        except Exception as error:
            # What the worker could not unpickle comes back as the text of its exception alone.
            if "ModuleNotFoundError" not in repr(error):
                raise
            raise ClusterMismatch(
                f"a worker of the cluster cannot import Paceline: {error}\nhint: install it on every host"
            ) from error

    def start(self, parcel: bytes, name: str, shares: Sequence[Any]) -> Run:
        client = self._connected()
        try:
            stored = [share.of(client) for share in shares]
            with _silence_about(len(parcel)):
                future = client.submit(_run, parcel, *stored, key=_key(name), pure=False, retries=0)
        except Exception as error:
            raise ClusterLost(f"the scheduler of Dask's takes no more tasks: {error}") from error
        return _Run(future, client)

    def put(self, data: bytes) -> Any:
        return _Stored(data)


def _knock(address: str) -> None:
    """Waits for the scheduler, as long as Dask is told to; a client that finds none would leave threads behind.

    Raises `OSError` if there is none, and `ValueError` for what is no address.
    """
    from socket import create_connection
    from time import monotonic, sleep

    import dask
    from dask.utils import parse_timedelta
    from distributed.comm.addressing import get_address_host_port

    patience = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect", "30s"))
    deadline = monotonic() + patience
    try:
        host = get_address_host_port(address, strict=True)
    except ValueError as error:
        raise ValueError(
            f"{address!r} is no address of a scheduler of Dask's: {error}\n"
            "hint: it is like 'dask://host:8786', or 'dask://[::1]:8786'"
        ) from error
    while True:
        try:
            create_connection(host, timeout=patience).close()
        except OSError:
            if monotonic() > deadline:
                raise
            sleep(min(0.1, patience))
        else:
            return


def _current_client() -> Client | None:
    from distributed import Client

    try:
        return Client.current()
    except ValueError:
        return None


def _lost(client: Client) -> ClusterLost:
    scheduler = client.scheduler
    where = "" if scheduler is None else f" at {scheduler.address}"
    return ClusterLost(
        f"the scheduler of Dask's{where} is gone, or the connection to it\n"
        "hint: what the pool still had to do is lost with it; open a new one when the scheduler is there again"
    )


def _key(name: str) -> str:
    from uuid import uuid4

    # What stands before the last dash is what the dashboard shows.
    return f"{name.replace('-', '_')}-{uuid4().hex}"


def _silence_about(length: int) -> Any:
    """For the sending of so many bytes: Dask warns of much less than it can carry."""
    from contextlib import nullcontext

    import dask

    if length < _LARGE:
        return nullcontext()
    return dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"})


class _Stored:
    """Bytes in the memory of Dask's workers; put there again, should those that had them have died."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._lock = Lock()
        self._future: DaskFuture[bytes] | None = None

    def of(self, client: Client) -> DaskFuture[bytes]:
        """What stands for them in a task. Raises what `scatter` raises."""
        with self._lock:
            if self._future is None or self._future.status in {"cancelled", "lost", "error"}:
                self._future = client.scatter(self._data, hash=False)
            return self._future


class _Run(Run):
    def __init__(self, future: DaskFuture[bytes], client: Client) -> None:
        self._future = future
        self._client = client
        self._is_cancelled = False

    def wait(self) -> bytes:
        from asyncio import CancelledError as CancelledInLoop
        from concurrent.futures import CancelledError

        from distributed.scheduler import KilledWorker

        try:
            reply: bytes = self._future.result()
        except KilledWorker as error:
            raise HostDied(f"{error.last_worker}", error.allowed_failures + 1) from error
        except (CancelledError, CancelledInLoop) as error:
            if self._is_cancelled:
                raise RunCancelled from None
            if self._client.status == "running" and self._client.scheduler_comm is not None:
                raise HostDied("one that had what the task was to read") from error
            raise _lost(self._client) from error
        finally:
            self._future.release()
        return reply

    def cancel(self) -> None:
        self._is_cancelled = True
        try:
            self._future.cancel()
        except Exception:  # The scheduler is gone, and the future with it.
            pass


def _run(parcel: bytes, *shares: bytes) -> bytes:
    """On a worker of Dask's."""
    from distributed import get_worker
    from distributed.worker import thread_state

    worker = get_worker()
    return run_chunk(parcel, worker.state.nthreads, _wanted(worker, thread_state.key), shares)


def _wanted(worker: Any, key: Any) -> Callable[[], bool]:
    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    return is_wanted
