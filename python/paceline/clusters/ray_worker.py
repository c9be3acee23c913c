"""What is in an actor of Ray's, on a node: runs chunks on the local pool of its process.

Owns that, and what in such a process is other than elsewhere. How many actors there are, and which gets what, is
decided where they are made.
"""

from __future__ import annotations

import os

from paceline.clusters.host import run_chunk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Worker"]


class Worker:
    """What is in an actor, on a node."""

    def __init__(self, cpus: int) -> None:
        import logging

        self._cpus = cpus
        self._unwanted: set[int] = set()
        # What has failed is told by the process that has asked for it.
        logging.getLogger("paceline").setLevel(logging.ERROR)
        _leave_threads_to_paceline()

    def __repr__(self) -> str:
        """What Ray prints before each line that workers print."""
        return "paceline"

    def run(self, number: int, parcel: Any, *shares: Any) -> bytes:
        """Runs a chunk."""
        try:
            return run_chunk(parcel, self._cpus, lambda: number not in self._unwanted, shares)
        finally:
            self._unwanted.discard(number)

    def forget(self, number: int) -> None:
        """Nobody waits for that chunk any more."""
        self._unwanted.add(number)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Whatever is to be done once on each host."""
        return function(*arguments)


def _leave_threads_to_paceline() -> None:
    """Ray tells libraries to use all CPUs of an actor; a worker process of its local pool is to use its share.

    What the user has set is in the environment that this process was started with.
    """
    from paceline.worker import threads_chosen

    variable = "OMP_NUM_THREADS"
    try:
        with open("/proc/self/environ", "rb") as file:
            is_users = any(entry.startswith(variable.encode() + b"=") for entry in file.read().split(b"\0"))
    except OSError:
        is_users = False
    if not is_users and variable in os.environ:
        threads_chosen[variable] = os.environ[variable]
