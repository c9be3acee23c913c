"""How an engine is opened whose work is done by a cluster.

Owns that: which cluster an address means, the checks that come first, and how many lanes there are. Everything after it
is the carrier's.
"""

from __future__ import annotations

from paceline.clusters.carrier import Carrier, opening_of
from paceline.engine import open_local_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from paceline.clusters.cluster import Cluster
    from paceline.engine import LocalEngine

__all__ = ["cluster_of", "open_cluster_engine"]


# Where schedulers of Dask's listen unless they are told otherwise.
_DASK_PORT = 8786


def cluster_of(backend: str | Cluster) -> Cluster:
    """The cluster of that name or address; not connected yet."""
    if not isinstance(backend, str):
        return backend
    engine, _, address = backend.partition("://")
    if engine == "dask":
        from paceline.clusters.dask import Dask

        if not address:
            return Dask()
        return Dask(f"tcp://{address}" if ":" in address else f"tcp://{address}:{_DASK_PORT}")
    from paceline.clusters.ray import Ray

    ray: Cluster = Ray(backend if address else None)
    return ray


# Threads that wait cost little, but are not free.
_MOST_LANES = 512
# What the engine counts workers with.
_MOST_WORKERS = 65_535


def open_cluster_engine(
    cluster: Cluster,
    workers: int | None,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    *,
    seed: int,
    options: dict[str, Any],
) -> LocalEngine:
    """Opens an engine whose calls run on a cluster: on all of it, or as if it had at most so many `workers`.

    `options` are those of the local pools on its hosts. Raises `ClusterError` if the cluster cannot be used.
    """
    opening = opening_of(initializer, tuple(initargs), {**options, "seed": seed, "most": workers})
    cluster.open()
    try:
        carrier = Carrier(cluster, opening)
        slots = cluster.slots()
        carrier.check()
        shown = slots if workers is None else workers
        lanes = 2 * slots if shown >= slots else shown
        return open_local_engine(
            min(lanes, _MOST_LANES),
            None,
            (),
            prefix="paceline-lane",
            seed=seed,
            carrier=carrier,
            capacity=min(shown, _MOST_WORKERS),
            chunk_cost_s=cluster.chunk_cost_s,
        )
    except BaseException:
        cluster.close()
        raise
