"""What the system tells of this machine and of what this process may use of it: CPUs, memory, control groups.

Owns where it is read. What a pool makes of it, the engine decides; what a person should know of it, `doctor.py` says.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cpu_quota", "cpus", "group_memory_limit", "memory", "out_of_memory_kills", "usable_cpus"]


def cpus() -> int:
    """How many CPUs the machine has, whoever may use them."""
    return os.sysconf("SC_NPROCESSORS_ONLN")


def usable_cpus() -> int:
    """How many of them the affinity mask leaves to this process."""
    return len(os.sched_getaffinity(0))


def cpu_quota(root: str = "") -> float | None:
    """How many CPUs' time the control groups of this process give it, the least of all; None for no quota."""
    return min(_cpu_quotas(root), default=None)


def memory(name: str, root: str = "") -> int | None:
    """An amount of `/proc/meminfo`, such as `MemTotal`, in bytes; None if it is not told."""
    kib = _amount(_read(f"{root}/proc/meminfo"), f"{name}:")
    return None if kib is None else kib * 1024


def group_memory_limit(root: str = "") -> int | None:
    """How many bytes the control groups of this process let it have, with those beside it; None for no limit."""
    found = []
    for folder, is_first_version in _groups("memory", root):
        text = _read(f"{folder}/{'memory.limit_in_bytes' if is_first_version else 'memory.max'}").strip()
        # The first version writes a number of about 2**63 where there is no limit.
        if text.isdecimal() and int(text) < 2**60:
            found.append(int(text))
    return min(found, default=None)


def out_of_memory_kills(root: str = "") -> int:
    """How often the system has ended a process of this one's control group for want of memory, if it tells."""
    for folder, is_first_version in reversed(list(_groups("memory", root))):
        text = _read(f"{folder}/{'memory.oom_control' if is_first_version else 'memory.events'}")
        kills = _amount(text, "oom_kill")
        if kills is not None:
            return kills
    return 0


def _cpu_quotas(root: str) -> Iterator[float]:
    for folder, is_first_version in _groups("cpu", root):
        if is_first_version:
            parts = [_read(f"{folder}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        else:
            parts = _read(f"{folder}/cpu.max").split()
        # No quota is `max` or `-1`.
        if len(parts) == 2 and all(part.isdecimal() for part in parts) and int(parts[1]) > 0:
            yield int(parts[0]) / int(parts[1])


def _groups(controller: str, root: str) -> Iterator[tuple[str, bool]]:
    """The folders of this process's control groups, outermost first, and whether they are of the first version."""
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        is_first_version = controller in controllers.split(",")
        if controllers and not is_first_version:
            continue
        folder = f"{root}/sys/fs/cgroup/{controller}" if is_first_version else f"{root}/sys/fs/cgroup"
        # In a container the group may be mounted at the root, which is among its ancestors' names.
        yield folder, is_first_version
        for part in path.strip("/").split("/"):
            if part:
                folder = f"{folder}/{part}"
                yield folder, is_first_version


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _amount(text: str, name: str) -> int | None:
    """The number behind a name that is the first word of a line."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return None
