"""What Paceline asks of a cluster's engine, whichever that is: `Cluster`, and `Run` for one task of it.

Owns the interface, and the few exceptions that cross it. Never names an engine.

An adapter (`dask.py`, `ray.py`) has the engine call `paceline.clusters.host.run_chunk(parcel, workers, wanted, shares)`
on one of its workers, as one task, and hands back the bytes that this returns. It decides nothing: which chunk is sent
when, and what is sent again, is the carrier's and the engine's affair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["Cluster", "HostDied", "Run", "RunCancelled"]


class HostDied(Exception):
    """The engine's worker that ran a task has ended in the middle of it; the message names it, as far as it is known.

    `deaths` is how many have, one after the other, if the engine itself has run the task again.
    """

    def __init__(self, message: str, deaths: int = 1) -> None:
        super().__init__(message)
        self.deaths = deaths


class RunCancelled(Exception):
    """The run was cancelled here; nobody wants to know what became of it."""


class Run(ABC):
    """One task of the cluster: a chunk on its way."""

    @abstractmethod
    def wait(self) -> bytes:
        """What `run_chunk` has returned, when it has; raises what that has raised.

        Raises `HostDied` if its host died, `ClusterLost` if the cluster cannot be reached any more, and `RunCancelled`
        after `cancel`. Called by one thread, once.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Has `wait` return soon, whatever becomes of the task; called by another thread, at any time, also twice."""


class Cluster(ABC):
    """An engine's cluster. Its methods may be called by several threads at once."""

    # What users call it: the `backend`.
    name: str
    # How long a chunk keeps this program busy, whatever is in it, as measured (docs/scale.md).
    chunk_cost_s: float

    @abstractmethod
    def open(self) -> None:
        """Connects. Called once by each pool, which calls `close` as often; what was made for it ends with the last.

        Raises `ClusterError` if there is no cluster there, `ImportError` (with a hint) if the engine is not installed.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of the cluster. Never raises for one that is gone."""

    @abstractmethod
    def slots(self) -> int:
        """How many tasks its workers run at once, together; at least one, waiting for it for a while."""

    @abstractmethod
    def everywhere(self, function: Callable[..., Any], *arguments: Any, wait: bool = True) -> list[Any]:
        """Has `function(*arguments)` called once in every worker; what they have returned.

        Without `wait` it returns at once, with nothing. Raises what the function raises, `ClusterMismatch` if a worker
        cannot import Paceline, and `ClusterLost`.
        """

    @abstractmethod
    def start(self, parcel: bytes, name: str, shares: Sequence[Any]) -> Run:
        """Has `run_chunk` called somewhere with this parcel, and with the contents of what `put` gave, in that order.

        `name` is what the engine may show for the task. Raises `ClusterLost`. Called by several threads at once; must
        not wait for the task.
        """

    @abstractmethod
    def put(self, data: bytes) -> Any:
        """Stores bytes in the cluster; what stands for them. They are there as long as that is held by somebody.

        Raises `ClusterLost`.
        """
