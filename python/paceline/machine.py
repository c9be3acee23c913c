"""What the system tells of this machine and of what this process may use of it: CPUs, memory, control groups.

Owns the names of what is told; the native module reads it. What a pool makes of it, the engine decides; what a person
should know of it, `doctor.py` says.
"""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["Limits", "cpus", "limits", "usable_cpus"]


class Limits(NamedTuple):
    """What this process may use of the machine, with those beside it. None is what is not told, and no limit.

    `cpu_quota` is in CPUs; what `memory` there is, how much of it is `available`, and the `group_memory_limit` of its
    control groups in bytes. `out_of_memory_kills` is how often the system has ended a process of its group.
    """

    cpu_quota: float | None
    memory: int | None
    available: int | None
    group_memory_limit: int | None
    out_of_memory_kills: int


def limits(root: str = "") -> Limits:
    """What is told now; `root` is the folder in which `/proc` and `/sys` are."""
    # Imported here, because counting CPUs needs no native module.
    from paceline.engine import machine_limits

    return Limits(*machine_limits(root))


def cpus() -> int:
    """How many CPUs the machine has, whoever may use them."""
    return os.sysconf("SC_NPROCESSORS_ONLN")


def usable_cpus() -> int:
    """How many of them the affinity mask leaves to this process."""
    return len(os.sched_getaffinity(0))
