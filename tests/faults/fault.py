"""What a fault is: a name, the story that makes it happen in a scene, and where it makes sense.

Owns the words for calls, moments and start methods.
"""

from collections.abc import Callable
from dataclasses import dataclass

CALLS = ("submit", "map", "imap", "await")
STARTS = ("forkserver", "spawn", "fork")
# When the harm is done: before a worker has claimed a task, while it runs, while its result is written, while a large
# argument is handed over (in memory of its own, as an array), while the pool is closed, or from outside at any moment
# among large results.
WAITING, RUNNING, WRITING, EXCHANGE, SHUTDOWN, RANDOM = (
    "waiting",
    "running",
    "writing",
    "exchange",
    "shutdown",
    "random",
)


@dataclass(frozen=True)
class Fault:
    name: str
    title: str
    story: Callable
    calls: tuple = CALLS
    moments: tuple = (RUNNING,)
    starts: tuple = STARTS
    # Every start method with every call and moment; otherwise they take turns, round after round.
    thorough: bool = False
    # Whether it is asked of the peers, and by which calls.
    peers: tuple = ("submit", "map")
    deadline_s: float = 30.0
    peer_deadline_s: float = 20.0
    # It needs so much of the machine that no other cell may run beside it.
    alone: bool = False
