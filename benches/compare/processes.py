"""What can be seen of a tree of processes from outside: who belongs to it, its memory, its time on the cores.

Who belongs to it is told by a mark in the environment, which children inherit however they are started and to
whomever they are handed later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

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


def own_tree() -> list[int]:
    """The processes of this measurement."""
    return marked(os.environ[MARK])


def kill_marked(mark: str) -> None:
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pss_bytes(pid: int, fields: tuple[str, ...] = ("Pss",)) -> int:
    """A process's memory, what it shares with others counted by its share; or the `fields` of it."""
    total = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name in fields:
                total += int(value.split()[0]) * 1024
    return total


def memory_files(pids: Iterable[int]) -> dict[int, int]:
    """The bytes that lie in each memory file which one of the processes holds open, by its inode."""
    sizes = {}
    for pid in pids:
        for number in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                if str(number.readlink()).startswith("/memfd:"):
                    status = number.stat()
                    sizes[status.st_ino] = status.st_blocks * 512
    return sizes


def held_bytes(pids: Iterable[int]) -> int:
    """What the processes hold together: their own memory, and shared memory whether or not it is mapped just now.

    What lies in `/dev/shm` has no owner there, so it is counted whole: compare with what it was before.
    """
    own = sum(pss_bytes(pid, ("Pss_Anon", "Pss_File")) for pid in pids)
    shared = os.statvfs("/dev/shm")
    return own + sum(memory_files(pids).values()) + (shared.f_blocks - shared.f_bfree) * shared.f_frsize


class Peak:
    """The most that the processes of this measurement hold while a `with` block runs; those there at its beginning."""

    PAUSE_S = 0.005

    def __enter__(self) -> Self:
        self.pids = own_tree()
        self.start_bytes = self.most_bytes = held_bytes(self.pids)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.over.set()
        self.thread.join()

    def watch(self) -> None:
        last = False
        while not last:
            last = self.over.wait(self.PAUSE_S)
            self.most_bytes = max(self.most_bytes, held_bytes(self.pids))


def cpu_seconds(pid: int) -> float:
    """What a process has used of the cores, summed over its threads, to the nanosecond."""
    total_ns = 0
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            total_ns += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total_ns / 1e9
