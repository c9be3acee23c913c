"""What a task can know of itself: `current_task`.

Owns what is told. Which task is running is the native module's knowledge.
"""

from __future__ import annotations

from paceline.devices import numbers
from paceline.engine import current_task as _current_task

__all__ = ["CurrentTask", "current_task"]


class CurrentTask:
    """The task that is running, as it sees itself; unchangeable.

    `index` is its place among the items of its map, or of all items of an iterator such as `imap`, and zero for a
    single call; `number` its place in the pool's order of submission; `attempt` counts from one, and is higher when it
    is run again; `devices` are the numbers of the GPUs that it has, if it was called with `resources={"gpu": ...}`.
    """

    __slots__ = ("attempt", "devices", "index", "number")

    index: int
    number: int
    attempt: int
    devices: tuple[int, ...]

    def __init__(self, index: int, number: int, attempt: int, devices: tuple[int, ...] = ()) -> None:
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "number", number)
        object.__setattr__(self, "attempt", attempt)
        object.__setattr__(self, "devices", devices)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("what a task is cannot be changed")

    def __reduce__(self) -> tuple[type[CurrentTask], tuple[int, int, int, tuple[int, ...]]]:
        return CurrentTask, self._parts()

    def _parts(self) -> tuple[int, int, int, tuple[int, ...]]:
        return self.index, self.number, self.attempt, self.devices

    def __eq__(self, other: object) -> bool:
        return self._parts() == other._parts() if isinstance(other, CurrentTask) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        devices = f", devices={self.devices}" if self.devices else ""
        return f"CurrentTask(index={self.index}, number={self.number}, attempt={self.attempt}{devices})"


def current_task() -> CurrentTask:
    """The task whose code is running.

    >>> import paceline
    >>> def attempt(item):
    ...     return paceline.current_task().index, paceline.current_task().attempt
    >>> with paceline.Pool(1) as pool:
    ...     print(pool.map(attempt, "ab"))
    [(0, 1), (1, 1)]

    Raises `RuntimeError` outside of a task. The coroutines of one worker have each their own, and so has what they
    start with `asyncio.create_task` or `asyncio.to_thread`; other threads that a task starts are not part of it.
    """
    task = _current_task()
    if task is None:
        raise RuntimeError("no task is running here\nhint: `current_task` is for functions that a pool calls")
    return CurrentTask(task.index, task.item, task.attempt + 1, numbers(task.devices) if task.devices else ())
