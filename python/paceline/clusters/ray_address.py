"""Where Ray is: its addresses, how it is reached, and how one is started on this machine.

Owns what is told when it cannot be reached, or is of other versions. What is done there is none of its business.
"""

from __future__ import annotations

import os

from paceline.engine import default_workers
from paceline.errors import ClusterError, ClusterMismatch

__all__ = ["head", "is_client", "knock", "reach", "resolved", "start_locally"]

_KNOCK_S = 2.0
_HINT = "hint: `pip install 'paceline[ray]'`"


def resolved(address: str) -> str | None:
    """The address as Ray tells it; none of `"auto"` if nothing says where that is."""
    if address == "auto":
        return os.environ.get("RAY_ADDRESS") or head()
    from ray.util import get_node_ip_address

    host, _, port = address.rpartition(":")
    # Ray calls this machine by another name.
    return f"{get_node_ip_address()}:{port}" if host in {"localhost", "127.0.0.1"} else address


def head() -> str | None:
    """The address of the head this process is connected to; none for a client, which does not know."""
    import ray

    try:
        address: str = ray.get_runtime_context().gcs_address
    except Exception:
        return None
    return address


def is_client() -> bool:
    """Whether this process is connected by `ray://`."""
    try:
        from ray.util.client import ray as client
    except ImportError:
        return False
    return bool(client.is_connected())


def knock(address: str) -> None:
    """Raises `OSError` if nobody answers there."""
    from socket import create_connection

    host, _, port = address.rpartition(":")
    create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


def start_locally() -> None:
    """Starts a Ray of this machine's, without what it would tell others and without a page."""
    import logging

    import ray

    usage = "RAY_USAGE_STATS_ENABLED"
    before = os.environ.get(usage)
    os.environ[usage] = "0"
    try:
        ray.init(address="local", num_cpus=default_workers(), include_dashboard=False, logging_level=logging.ERROR)
    except Exception as error:
        raise ClusterError(f"Ray cannot be started on this machine: {error}") from error
    finally:
        if before is None:
            del os.environ[usage]
        else:
            os.environ[usage] = before


def _left_behind() -> str | None:
    """Where Ray believes that there is a cluster on this machine, also if it has ended; none if it does not say."""
    try:
        from ray._private.services import canonicalize_bootstrap_address

        found: str | None = canonicalize_bootstrap_address("auto")
    except Exception:  # There is none, or it is looked for in another way.
        return None
    return found


def reach(address: str | None) -> None:
    """Connects to a cluster. Raises `ClusterError`."""
    import logging

    import ray

    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        if where == "auto":
            where = _left_behind() or where
        if ":" in where:
            # Ray itself would try for a minute, and then end this process.
            knock(where.partition("://")[2] or where)
        try:
            ray.init(address=address, logging_level=logging.ERROR)
        except ConnectionAbortedError:
            # What serves this client has not come up, which is luck: it is forked beside threads of gRPC
            # (ray-project/ray#63202).
            ray.init(address=address, logging_level=logging.ERROR)
    except ImportError as error:
        raise ImportError(f"an address such as {where!r} needs `ray[client]`\n{_HINT}") from error
    except Exception as error:
        if "version mismatch" in str(error).lower():
            raise ClusterMismatch(
                f"the cluster of Ray's at {where} is of other versions: {error}\n"
                "hint: functions travel as bytecode; install the same versions on both sides"
            ) from error
        raise ClusterError(f"there is no cluster of Ray's at {where}: {error}") from error
