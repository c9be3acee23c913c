"""Worker processes as `multiprocessing` would show them, for programs that look behind a pool or an executor.

Owns what such programs find under the standard library's private names (`_processes`, `_pool`): who the workers are at
this moment, ways to watch and end them, and how much memory they had. It never says what a pool does about a worker
that ended.
"""

from __future__ import annotations

import os
import select
from signal import SIGKILL, SIGTERM
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import Signals
    from typing import Protocol

    class HasWorkers(Protocol):
        """An engine of worker processes."""

        @property
        def closed(self) -> bool: ...
        @property
        def workers(self) -> int: ...
        def pids(self) -> list[int]: ...


__all__ = ["WorkerProcess", "peak_memory", "send_signal", "worker_processes"]

# Workers start in tens of milliseconds; after this long, some machine has other troubles.
_PATIENCE_S = 5.0


class WorkerProcess:
    """One worker process, with the methods of `multiprocessing.Process` that make sense from outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.name = f"Paceline-{pid}"
        try:
            # The process that this number means now, even if the number is given to another later.
            self._watch = os.pidfd_open(pid)
        except ProcessLookupError:
            self._watch = -1

    def is_alive(self) -> bool:
        """Tells whether the process is still there."""
        return not self._has_ended(0)

    def join(self, timeout: float | None = None) -> None:
        """Waits until the process has ended, at most `timeout` seconds."""
        self._has_ended(timeout)

    def terminate(self) -> None:
        """Sends SIGTERM; what the worker was running fails with `WorkerDied`."""
        if self.is_alive():
            send_signal(self.pid, SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL; what the worker was running fails with `WorkerDied`."""
        if self.is_alive():
            send_signal(self.pid, SIGKILL)

    def _has_ended(self, timeout: float | None) -> bool:
        if self._watch < 0:
            return True
        poll = select.poll()
        poll.register(self._watch, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def __del__(self) -> None:
        watch, self._watch = getattr(self, "_watch", -1), -1
        if watch >= 0:
            os.close(watch)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} pid={self.pid} {'started' if self.is_alive() else 'stopped'}>"


def worker_processes(engine: HasWorkers) -> list[WorkerProcess]:
    """The workers of an engine; if it has just been opened, waits until they have process ids."""
    deadline = monotonic() + _PATIENCE_S
    while len(pids := engine.pids()) < engine.workers and not engine.closed and monotonic() < deadline:
        sleep(0.001)
    return [WorkerProcess(pid) for pid in pids]


def send_signal(pid: int, signal: Signals) -> None:
    """Sends a signal to a worker; one that has ended in the meantime is no error."""
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass


def peak_memory(pid: int) -> int | None:
    """How many bytes of memory a process has had at most, with what it shares; None if it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            lines = [line for line in status if line.startswith("VmHWM:")]
    except OSError:
        return None
    return int(lines[0].split()[1]) * 1024 if lines else None
