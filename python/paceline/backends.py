"""Which backend a pool or an executor has: by `backend=`, or by the environment's `PACELINE_BACKEND`.

Owns the names of backends, and which engine is opened for each; what one cannot do is refused here. How an engine works
is its own affair, and how a cluster is reached that of `paceline.clusters`.
"""

from __future__ import annotations

from itertools import count
from os import environ

from paceline.engine import default_workers, open_engine, open_local_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    from paceline.clusters.cluster import Cluster
    from paceline.engine import AnyEngine

    # A name, the address of a cluster, or one that has been made.
    Backend: TypeAlias = str | Cluster

__all__ = ["chosen_backend", "is_elsewhere", "open_backend"]

_LOCAL = ("processes", "threads", "serial")
_CLUSTERS = ("dask", "ray")
_VARIABLE = "PACELINE_BACKEND"
# Of the pools of threads that have no name.
_numbers = count(1)


def chosen_backend(backend: Backend | None) -> Backend:
    """The backend that is asked for, or else what the environment says, or else worker processes.

    Raises `ValueError` for a name that is none, and `TypeError` for what is neither a name nor a cluster.
    """
    if backend is None:
        backend = environ.get(_VARIABLE) or "processes"
        where = f"the environment's {_VARIABLE}"
    elif not isinstance(backend, str):
        if hasattr(type(backend), "everywhere"):
            return backend
        raise TypeError(
            f"backend must be a name, an address or a cluster, not {type(backend).__name__}\n"
            "hint: a client of Dask's goes into `paceline.clusters.Dask(client)`"
        )
    else:
        where = "backend"
    engine, separator, address = backend.partition("://")
    if backend not in _LOCAL and (engine not in _CLUSTERS or (separator and not address)):
        raise ValueError(
            f"{where} must be 'processes', 'threads' or 'serial', 'dask' or 'ray', or an address such as "
            f"'dask://host:8786' or 'ray://host:10001', not {backend!r}"
        )
    return backend


def is_elsewhere(backend: Backend | None) -> bool:
    """Whether the workers of this backend are those of a cluster. Raises what `chosen_backend` raises."""
    return chosen_backend(backend) not in _LOCAL


def open_backend(
    backend: Backend,
    workers: int | None,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    max_tasks_per_worker: int | None,
    *,
    name: str | None,
    seed: int,
    **options: Any,
) -> AnyEngine:
    """Opens the engine of a backend that `chosen_backend` has given.

    Without `workers` it has as many as there are CPUs to use, in this process or in the cluster. `options` are those of
    `paceline.engine.open_engine`. Raises `ValueError` for what the backend cannot do, and `ClusterError` for a cluster
    that cannot be used.
    """
    if backend in _LOCAL and workers is None:
        workers = default_workers()
    if backend == "processes":
        return open_engine(workers or 1, initializer, initargs, max_tasks_per_worker, seed=seed, **options)
    if backend in {"threads", "serial"}:
        _refuse_on_threads(backend, max_tasks_per_worker, options)
        prefix = (name or f"paceline-{next(_numbers)}") if backend == "threads" else None
        count = (workers or 1) if backend == "threads" else 1
        return open_local_engine(count, initializer, initargs, prefix=prefix, seed=seed)
    from paceline.clusters.opening import cluster_of, open_cluster_engine

    cluster = cluster_of(backend)
    if options.get("resources") is not None:
        raise ValueError(
            f"resources are for worker processes of this machine: backend={cluster.name!r} has none to share out\n"
            "hint: give each worker of the cluster what its tasks may use"
        )
    options["max_tasks_per_worker"] = max_tasks_per_worker
    return open_cluster_engine(cluster, workers, initializer, initargs, seed=seed, options=options)


def _refuse_on_threads(backend: str, max_tasks_per_worker: object, options: dict[str, Any]) -> None:
    """Raises `ValueError` for what only worker processes have."""
    if max_tasks_per_worker is not None:
        raise ValueError("maxtasksperchild is for worker processes: threads are never replaced")
    limits = ("memory_limit", "max_memory_per_child", "memory_budget", "start_timeout")
    if any(options.get(limit) is not None for limit in limits):
        raise ValueError(
            "memory_limit, max_memory_per_child, memory_budget and start_timeout are for worker processes: "
            "threads share the memory of this process, and cannot be ended"
        )
    if options.get("resources") is not None:
        raise ValueError("resources are for worker processes: use `backend='processes'`, or a semaphore")
    if options.get("start_method", "forkserver") != "forkserver":
        raise ValueError(f"start_method is for worker processes: backend={backend!r} starts none")
