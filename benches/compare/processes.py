"""What can be seen of a tree of processes from outside: who belongs to it, its memory, its time on the cores.

Who belongs to it is told by a mark in the environment, which children inherit however they are started and to
whomever they are handed later.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MARK = "PACELINE_BENCH_MARK"


def marked(mark: str) -> list[int]:
    """The processes whose environment carries the mark."""
    wanted = f"{MARK}={mark}".encode()
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    pids.append(int(folder.name))
    return pids


def kill_marked(mark: str) -> None:
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pss_bytes(pid: int) -> int:
    """A process's memory, what it shares with others counted by its share."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """What a process has used of the cores, summed over its threads, to the nanosecond."""
    total_ns = 0
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            total_ns += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total_ns / 1e9
