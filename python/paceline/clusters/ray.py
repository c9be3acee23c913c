"""Ray: `backend="ray"`, an address such as `"ray://host:10001"`, or `Ray(address)`.

Owns how chunks become calls of one actor on each node, and what Ray's ways of failing mean to Paceline. Such an actor
is a host here: it has all CPUs of its node, so that Ray puts nothing else there, and runs chunks on a local pool with
as many processes.

A process has one connection to Ray, and so all pools of a process share the actors. An actor that dies is not Ray's to
restart: calls of one that is about to come back fail at once. A new one is made on the same node instead, as on nodes
that have come later, and gets chunks when it is there.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import count
from pickle import PickleBuffer
from queue import Empty, SimpleQueue
from threading import Condition, Event, Lock, RLock, Thread, current_thread
from time import monotonic

from paceline.clusters.cluster import Cluster, HostDied, Run, RunCancelled
from paceline.clusters.host import presence
from paceline.clusters.ray_address import head, is_client, knock, reach, resolved, start_locally
from paceline.clusters.ray_worker import Worker
from paceline.engine import end_before_others
from paceline.errors import ClusterError, ClusterLost, ClusterMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["Ray"]

# How long the first actor is waited for, and then the others; and an answer of those that there are.
_PATIENCE_S = 30.0
_REST_PATIENCE_S = 5.0
# How often it is seen whether the head is there, and how many times in a row it may be missed.
_LOOK_S = 1.0
_MOST_MISSED = 12
# From this size on, what is sent goes as a buffer, which takes half the time: it is read where it lies, in the object
# store. Answers do not; it makes no difference to them, and Ray's client cannot read buffers.
_LARGE = 64 << 10
# Calls beside chunks that an actor takes at a time.
_ASIDES = 8
_HINT = "hint: `pip install 'paceline[ray]'`"


class Ray(Cluster):
    """A cluster of Ray's, as a backend: `Pool(backend=Ray("host:6379"))`.

    `address` is what `ray.init` takes: `"auto"`, `"host:port"` of the head, or `"ray://host:10001"` of its client
    server. Without it, it is the cluster that this process is connected to already, or the one that the environment's
    `RAY_ADDRESS` names, or else one on this machine, which ends with the last pool on it.
    """

    name = "ray"
    chunk_cost_s = 0.001

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._lock = RLock()
        self._users = 0
        self._connection: _Connection | None = None

    def open(self) -> None:
        with self._lock:
            if self._users == 0:
                self._connection = _connect(self._address)
            self._users += 1

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._connection is None:
                return
            connection, self._connection = self._connection, None
        connection.leave()

    def _connected(self) -> _Connection:
        connection = self._connection
        if connection is None:
            raise ClusterLost("the connection to Ray is closed\nhint: open a new pool")
        connection.check()
        return connection

    def slots(self) -> int:
        return self._connected().slots()

    def everywhere(self, function: Callable[..., Any], *arguments: Any, wait: bool = True) -> list[Any]:
        connection = self._connected()
        if not wait:
            # By the keeper, for this may be called by the garbage collector, in the middle of anything of Ray's.
            connection.orders.put(partial(connection.tell, function, arguments))
            return []
        return connection.ask(function, arguments)

    def start(self, parcel: bytes, name: str, shares: Sequence[Any]) -> Run:
        return _Run(self._connected(), parcel, name, shares)

    def put(self, data: bytes) -> Any:
        place = _Place(data)
        place.reference(self._connected())
        return place


class _Place:
    """Bytes in the object store; those of a pool that was opened anew on another cluster are put there again."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._lock = Lock()
        self._there: tuple[_Connection | None, Any] = (None, None)

    def reference(self, connection: _Connection) -> Any:
        """What Ray calls them. Raises `ClusterLost`."""
        import ray

        with self._lock:
            known, reference = self._there
            if known is not connection:
                try:
                    reference = ray.put(PickleBuffer(self._data))
                except Exception as error:
                    connection.check()
                    raise ClusterLost(f"nothing can be stored in Ray's cluster: {error}") from error
                self._there = connection, reference
            return reference


# -- the connection of this process ------------------------------------------------------------------------------------

# By the same thread also twice: a pool may end by the garbage collector while another begins.
_connecting = RLock()
_connection: _Connection | None = None


def _connect(address: str | None) -> _Connection:
    """The connection of this process, for one more user. Raises `ClusterError` and `ImportError`."""
    global _connection
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"backend='ray' needs `ray`\n{_HINT}") from error
    # Ray shuts itself down at the end of the program.
    end_before_others()
    with _connecting:
        if _connection is not None and _connection.is_usable():
            if address is not None and address != _connection.address:
                _connection.refuse(address)
            _connection.users += 1
            return _connection
        if address is not None and ray.is_initialized():
            _refuse_another(address)
        connection = _Connection(address)
        try:
            connection.begin()
        except BaseException:
            connection.end()
            raise
        _connection = connection
        return connection


def _refuse_another(address: str) -> None:
    """Raises `ClusterError` unless the connection that there is already is to the head of this address."""
    if head() == resolved(address):
        return
    raise ClusterError(
        f"this process is connected to Ray already, and can be so only once: not to {address} as well\n"
        'hint: `backend="ray"` takes the connection that there is; or call `ray.shutdown()` first'
    )


class _Connection:
    """To Ray, with an actor on each node. One thread, the keeper, makes and ends all of it, and looks after it."""

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.users = 1
        # What the keeper is to do; nothing at all ends it.
        self.orders: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._keeper = Thread(target=self._keep, name="paceline-ray", daemon=True)
        self._has_begun = Event()
        self._error: BaseException | None = None
        self._is_ours = False
        self._head: str | None = None
        # Hosts, runs, and what has become of them.
        self._changed = Condition()
        self._hosts: list[_Host] = []
        self._runs: set[_Run] = set()
        self._loss: str | None = None
        self._most_slots = 0
        self._is_settled = False
        # Nodes where no actor would start, and why the last would not.
        self._barred: set[str] = set()
        self._failure: BaseException | None = None
        self._numbers = count(1)

    def begin(self) -> None:
        """Connects, and has actors started. Raises `ClusterError`."""
        self._keeper.start()
        self._has_begun.wait()
        if self._error is not None:
            raise self._error

    def leave(self) -> None:
        """One user less; the last one ends it."""
        global _connection
        with _connecting:
            self.users -= 1
            if self.users:
                return
            if _connection is self:
                _connection = None
            self.end()

    def end(self) -> None:
        """Ends the actors, and Ray if it was started here; waits for it."""
        self.orders.put(None)
        if self._keeper.is_alive() and self._keeper is not current_thread():
            self._keeper.join()

    def is_usable(self) -> bool:
        """Whether another pool may use it."""
        import ray

        return self._loss is None and bool(ray.is_initialized())

    def refuse(self, address: str) -> None:
        """Raises `ClusterError` unless this is the address of the cluster at hand."""
        if self._head is None or resolved(address) != self._head:
            _refuse_another(address)

    def check(self) -> None:
        """Raises `ClusterLost` if it is lost."""
        if self._loss is not None:
            raise ClusterLost(self._loss)

    # -- what callers want ---------------------------------------------------------------------------------------------

    def slots(self) -> int:
        """CPUs of all actors that are there; waits for them for a while. Raises `ClusterError`."""
        deadline = monotonic() + _PATIENCE_S
        with self._changed:
            while not any(host.is_up for host in self._hosts):
                self.check()
                if not self._hosts and self._failure is not None:
                    raise _not_started(self._failure)
                if not self._changed.wait(max(0.0, deadline - monotonic())) and monotonic() >= deadline:
                    raise ClusterError(
                        f"no node of Ray's had all of its CPUs free for {_PATIENCE_S:g} s\n"
                        "hint: a pool takes whole nodes; end what else runs there, or give that `num_cpus=0`"
                    )
            rest = min(deadline, monotonic() + _REST_PATIENCE_S)
            while not all(host.is_up for host in self._hosts) and not self._is_settled and monotonic() < rest:
                self._changed.wait(max(0.0, rest - monotonic()))
            # Later pools do not wait for nodes that had no room.
            self._is_settled = True
            if self._failure is not None and _is_mismatch(self._failure):
                raise _not_started(self._failure)
            self._most_slots = sum(host.cpus for host in self._hosts if host.is_up)
            return max(1, self._most_slots)

    def ask(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
        """What this returns in every actor that is there. Raises what it raises, and `ClusterLost`."""
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

        told = []
        asked = self.tell(function, arguments)
        deadline = monotonic() + _PATIENCE_S
        for reference in asked:
            try:
                told.append(ray.get(reference, timeout=max(0.0, deadline - monotonic())))
            except RayTaskError as error:
                raise _cause(error) from error
            except RayActorError:  # Whoever has sent something there will be told.
                continue
            except (GetTimeoutError, ConnectionError) as error:
                self.check()
                raise ClusterLost(f"Ray does not answer: {error}") from error
        return told

    def tell(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
        """The same, not waited for."""
        with self._changed:
            there = [host.actor for host in self._hosts if host.is_up]
        return [actor.call.remote(function, *arguments) for actor in there]

    def place(self, run: _Run) -> tuple[_Host, int]:
        """A host for this run, and the number of the call; waits for one if there is none at the moment.

        Raises `ClusterLost`, and `RunCancelled`.
        """
        deadline = None
        with self._changed:
            while True:
                self.check()
                if run.is_cancelled:
                    raise RunCancelled
                there = [host for host in self._hosts if host.is_up]
                if there:
                    deadline = None
                    host = min(there, key=lambda host: host.load / host.most_load)
                    if host.load < host.most_load:
                        host.load += 1
                        self._runs.add(run)
                        return host, next(self._numbers)
                elif deadline is None:
                    deadline = monotonic() + _PATIENCE_S
                elif monotonic() >= deadline:
                    raise ClusterLost(f"Ray's cluster has had no node to use for {_PATIENCE_S:g} s")
                self._changed.wait(None if deadline is None else max(0.0, deadline - monotonic()))

    def leave_host(self, run: _Run, host: _Host) -> None:
        """The call has ended, or nobody waits for it any more."""
        with self._changed:
            if host.load == host.most_load:
                self._changed.notify_all()
            host.load -= 1
            self._runs.discard(run)

    def wake(self) -> None:
        """Has those who wait for a host look at what has changed."""
        with self._changed:
            self._changed.notify_all()

    def bury(self, host: _Host) -> None:
        """A host is no more; another takes its place if its node is still there."""
        with self._changed:
            if host not in self._hosts:
                return
            self._hosts.remove(host)
            self._changed.notify_all()
        self.orders.put(partial(self._replace, host))

    # -- the keeper ----------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        try:
            self._open()
            self._add_hosts()
        except BaseException as error:
            self._error = error
        self._has_begun.set()
        missed = 0
        while self._error is None:
            try:
                order = self.orders.get(timeout=_LOOK_S)
            except Empty:
                order = self._look_around
            if order is None:
                break
            missed = 0 if self._loss is not None or self._is_head_there() else missed + 1
            if missed >= _MOST_MISSED:
                self._lose()
            elif missed:
                # What was to be done is done when the head is there again; it is asked again soon.
                self.orders.put(order)
                Event().wait(_LOOK_S / 4)
            elif self._loss is None:
                try:
                    order()
                except Exception:  # It will be tried again, or the head be missed.
                    pass
        if self._loss is None:
            self._close()

    def _open(self) -> None:
        """Connects. In this thread, for what Ray starts ends with the thread that has started it."""
        import ray

        if not ray.is_initialized():
            self._is_ours = True
            if self.address is None and not os.environ.get("RAY_ADDRESS"):
                start_locally()
            else:
                reach(self.address)
        # A client reaches nothing but its server; whether that is there is known to one that the user has made alone.
        self._head = head() if not is_client() else self.address and self.address.partition("://")[2]

    def _replace(self, host: _Host) -> None:
        """Has another actor started where this one is no more, or has failed in a way that makes it useless."""
        _kill(host)
        self._add_hosts()

    def _add_hosts(self) -> None:
        """Has an actor started on each node that has none."""
        import ray

        with self._changed:
            taken = {host.node for host in self._hosts} | self._barred
        for node in ray.nodes():
            cpus = int(node["Resources"].get("CPU", 0))
            if not node["Alive"] or cpus < 1 or node["NodeID"] in taken:
                continue
            host = _Host(node["NodeID"], node["NodeManagerHostname"], cpus)
            with self._changed:
                self._hosts.append(host)
            host.start(self._on_up)

    def _on_up(self, host: _Host, answer: Any) -> None:
        error = answer.exception()
        with self._changed:
            if error is None:
                host.is_up = True
            elif host in self._hosts:
                self._hosts.remove(host)
                self._barred.add(host.node)
                self._failure = error
            self._changed.notify_all()

    def _look_around(self) -> None:
        """When there are fewer hosts than there were, nodes that have come are welcome."""
        with self._changed:
            is_short = sum(host.cpus for host in self._hosts) < max(1, self._most_slots)
        if is_short:
            self._add_hosts()

    def _is_head_there(self) -> bool:
        import ray

        if not ray.is_initialized():
            return False
        if self._head is None:
            return True
        try:
            knock(self._head)
        except OSError:
            return False
        return True

    def _lose(self) -> None:
        where = "" if self._head is None else f" at {self._head}"
        loss = (
            f"the head of Ray's cluster{where} is gone, or the connection to it\n"
            "hint: what the pool still had to do is lost with it; open a new one when the head is there again"
        )
        with self._changed:
            self._loss = loss
            runs = list(self._runs)
            self._hosts.clear()
            self._changed.notify_all()
        for run in runs:
            run.wake()
        # Ray would end this process in a minute if it still were connected to a head that is not there.
        self._disconnect()

    def _close(self) -> None:
        with self._changed:
            hosts = list(self._hosts)
            self._hosts.clear()
            self._loss = "the connection to Ray is closed\nhint: open a new pool"
        for host in hosts:
            _kill(host)
        self._disconnect()

    def _disconnect(self) -> None:
        import ray

        if self._is_ours:
            try:
                ray.shutdown()
            except Exception:  # It is gone already.
                pass


def _is_mismatch(error: BaseException) -> bool:
    # What an actor could not import comes back as the text of its exception alone.
    return "ModuleNotFoundError" in str(error) or "ImportError" in str(error)


def _not_started(error: BaseException) -> ClusterError:
    if _is_mismatch(error):
        return ClusterMismatch(
            f"a node of the cluster cannot import Paceline: {error}\n"
            "hint: install it on every node, in the same version"
        )
    return ClusterError(f"no actor can be started on the nodes of Ray's cluster: {error}")


def _cause(error: Any) -> BaseException:
    """What a call of an actor has raised."""
    cause = error.cause
    return cause if isinstance(cause, BaseException) else error


# -- hosts, and what runs there ----------------------------------------------------------------------------------------


class _Host:
    """The actor of a node."""

    def __init__(self, node: str, name: str, cpus: int) -> None:
        self.node = node
        self.name = name
        self.cpus = cpus
        # Chunks that are there, and how many may be; each pool sends twice as many as there are CPUs.
        self.load = 0
        self.most_load = max(16, 8 * cpus)
        self.is_up = False
        self.actor: Any = None

    def start(self, on_up: Callable[[_Host, Any], None]) -> None:
        """Has it started; when it is there, or cannot be, `on_up` is called, by a thread of Ray's."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor_class: Any = ray.remote(Worker)
        self.actor = actor_class.options(
            num_cpus=self.cpus,
            # There is always room for what is asked beside the chunks.
            max_concurrency=self.most_load + _ASIDES,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(self.node, soft=False),
        ).remote(self.cpus)
        answer = self.actor.call.remote(presence).future()
        answer.add_done_callback(lambda answer: on_up(self, answer))


class _Run(Run):
    def __init__(self, connection: _Connection, parcel: bytes, name: str, shares: Sequence[Any]) -> None:
        self._connection = connection
        self._parcel = parcel
        self._name = name
        self._shares = shares
        self._news: SimpleQueue[Any] = SimpleQueue()
        self._number = 0
        self._host: _Host | None = None
        self.is_cancelled = False

    def wait(self) -> bytes:
        connection = self._connection
        host, number = connection.place(self)
        try:
            self._host, self._number = host, number
            references = [place.reference(connection) for place in self._shares]
            parcel = PickleBuffer(self._parcel) if len(self._parcel) >= _LARGE else self._parcel
            try:
                answer = host.actor.run.options(name=self._name).remote(number, parcel, *references).future()
            except Exception as error:
                raise self._failed(error) from error
            # Its answer is the only news, unless the run is cancelled or the head is lost.
            answer.add_done_callback(self._news.put)
            if self.is_cancelled or self._news.get() is None:
                connection.check()
                raise RunCancelled
            failure = answer.exception()
            if failure is not None:
                raise self._failed(failure) from failure
            reply: bytes = answer.result()
            return reply
        finally:
            connection.leave_host(self, host)

    def _failed(self, error: BaseException) -> BaseException:
        """What this means."""
        from ray.exceptions import RayError, RayTaskError

        connection, host = self._connection, self._host
        if isinstance(error, RayTaskError):
            return _cause(error)
        if connection._loss is not None:  # noqa: SLF001 - of this file.
            return ClusterLost(connection._loss)  # noqa: SLF001
        if host is not None and isinstance(error, RayError):
            connection.bury(host)
            return HostDied(f"the actor on {host.name}")
        return ClusterLost(f"Ray cannot be reached any more: {error}")

    def wake(self) -> None:
        """Has `wait` return soon."""
        self._news.put(None)

    def cancel(self) -> None:
        self.is_cancelled = True
        self._news.put(None)
        self._connection.wake()
        host, number = self._host, self._number
        if host is not None:
            self._connection.orders.put(partial(_forget, host, number))


def _kill(host: _Host) -> None:
    import ray

    try:
        ray.kill(host.actor)
    except Exception:  # It is gone already.
        pass


def _forget(host: _Host, number: int) -> None:
    host.actor.forget.remote(number)
