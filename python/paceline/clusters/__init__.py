"""Pools whose workers are those of a cluster: `backend="dask"` and `backend="ray"`.

The map. In your process: `opening` begins, `cluster` is what Paceline asks of one, `dask` and `ray` are those that
there are (`ray_address` is how Ray is reached), `sending` makes bytes of functions and inputs, and `carrier` hands
chunks to the cluster and takes in what became of them. On the hosts: `host` runs a chunk on a local pool of worker
processes, `carried` is what those call, and `ray_worker` what an actor of Ray's is. `parcel` is the form of what
travels between the two.

Owns how work gets to the hosts of a cluster and back. What is run when stays the affair of the engine in your process,
and how it is run on a host that of the local engine there.
"""

from __future__ import annotations

from paceline.clusters.dask import Dask
from paceline.clusters.ray import Ray

__all__ = ["Dask", "Ray"]
