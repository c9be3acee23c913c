"""What native threads did in a pool's workers, as the system counts it: those of OpenMP, of BLAS, of any library.

Owns the shape of it, and who had libraries start how many. It is read when somebody asks; what follows from it is
`paceline.diagnosis`'s to say.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

from paceline.worker import THREAD_VARIABLES, threads_chosen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class KnowsThreads(Protocol):
        """An engine of worker processes."""

        @property
        def workers(self) -> int: ...
        def thread_times(self) -> tuple[int, list[tuple[int, list[tuple[str, float, float]]]]]: ...


__all__ = ["NativeThreads", "ThreadTime"]


class ThreadTime(NamedTuple):
    """What one thread did: its `name`, for how many seconds it `ran`, and for how many it `waited` for a CPU."""

    name: str
    ran: float
    waited: float


@dataclass(frozen=True, slots=True)
class NativeThreads:
    """What the threads of workers did, by the workers' process ids; of each worker the main thread comes first.

    There are `cpus` for all of them, and libraries were told to use `told` threads in each worker: by `teller`, which
    is a variable with its value, or an argument; None if it is the workers' part of the CPUs. Of workers that were
    killed, and of those that left and had no other threads, nothing is known, nor where the system does not count.
    """

    cpus: int
    told: int
    teller: str | None
    workers: tuple[tuple[int, tuple[ThreadTime, ...]], ...]

    @classmethod
    def of(cls, engine: KnowsThreads, threads_per_worker: int | None) -> NativeThreads:
        """What the threads of an engine's workers have done so far; they were told to be `threads_per_worker`."""
        cpus, workers = engine.thread_times()
        told, teller = max(1, cpus // max(1, engine.workers)), None
        if threads_per_worker is not None:
            told, teller = threads_per_worker, f"threads_per_worker={threads_per_worker}"
        else:
            for name, value in _of_the_environment().items():
                # Of a list, the first is that of the outermost level.
                first = value.split(",")[0].strip()
                if first.isdecimal() and int(first) > told:
                    told, teller = int(first), f"{name}={value}"
        return cls(
            cpus, told, teller, tuple((pid, tuple(ThreadTime(*one) for one in threads)) for pid, threads in workers)
        )


def _of_the_environment() -> dict[str, str]:
    """The variables that somebody has set; in a worker, those that were chosen for it are chosen anew for its own."""
    found = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return {name: value for name, value in found.items() if threads_chosen.get(name) != value}
