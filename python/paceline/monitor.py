"""What `paceline top` knows of the programs that let themselves be watched, from one look to the next.

Owns the looking: who is asked, what is made of those who do not answer, and the rates, which follow from two looks.
What programs tell is taken for what it is, the word of another process: an answer that is not of the form that it must
have is none, and no text of theirs holds anything but characters to be read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from paceline.rendezvous import ask, ask_all, find

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.rendezvous import Place

__all__ = ["Failure", "Monitor", "PoolSeen", "ProgramSeen", "Task", "Worker", "readable"]

# How long programs are waited for that do not answer: stopped ones, and those that hold the interpreter.
PATIENCE_S = 0.5
# A worker may need half a second for its stack.
STACK_PATIENCE_S = 2.0

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """What a worker runs."""

    item: int
    function: str
    index: int | None
    attempt: int
    seconds: float

    @property
    def name(self) -> str:
        return self.function if self.index is None else f"{self.function}[{self.index}]"


@dataclass(frozen=True)
class Worker:
    """A worker process; `tasks` has what has been running for longest first, `rate` is in items per second."""

    pid: int
    busy_seconds: float
    items: int
    memory: int | None
    tasks: tuple[Task, ...]
    rate: float | None = None


@dataclass(frozen=True)
class Failure:
    """A task that failed."""

    task: str
    item: int
    attempt: int
    pid: int
    seconds_ago: float
    ending: str
    text: str


@dataclass(frozen=True)
class PoolSeen:
    """A pool of a program, by the number that it has there."""

    engine: int
    name: str | None
    kind: str
    workers: int
    closed: bool
    busy: int
    ended: int = 0
    unfinished: int = 0
    failed: int = 0
    bytes_in_flight: int = 0
    memory_budget: int = 0
    processes: tuple[Worker, ...] = ()
    failures: tuple[Failure, ...] = ()
    rate: float | None = None


@dataclass(frozen=True)
class ProgramSeen:
    """A program; without an answer of it, `trouble` says why."""

    pid: int
    program: str = ""
    memory: int | None = None
    now: float = 0.0
    pools: tuple[PoolSeen, ...] = ()
    trouble: str = ""
    place: Place | None = field(default=None, repr=False)


class Monitor:
    """Looks at all programs of this user, or at one of whoever's it is, by its process id."""

    def __init__(self, pid: int | None = None) -> None:
        self.pid = pid
        self.refused: list[str] = []
        self._last: dict[int, ProgramSeen] = {}

    def look(self) -> list[ProgramSeen]:
        """The programs as they are now; those that are gone are left out, and rates are since the look before."""
        places, self.refused = find(self._owner(), self.pid)
        seen = []
        for place, answer in ask_all(places, PATIENCE_S, ask="state").items():
            if isinstance(answer, (ConnectionError, FileNotFoundError)):
                continue
            if isinstance(answer, Exception):
                program = ProgramSeen(place.pid, trouble=readable(answer), place=place)
            else:
                try:
                    program = replace(_program(place.pid, answer["state"]), place=place)
                except (KeyError, TypeError, ValueError):
                    program = ProgramSeen(place.pid, trouble="what it answers cannot be read", place=place)
            seen.append(_with_rates(program, self._last.get(place.pid)))
        self._last = {program.pid: program for program in seen if not program.trouble}
        return sorted(seen, key=lambda program: program.pid)

    def _owner(self) -> int:
        if self.pid is not None and os.geteuid() == 0:
            try:
                return os.stat(f"/proc/{self.pid}").st_uid
            except FileNotFoundError:
                pass
        return os.geteuid()


def stack(program: ProgramSeen, pid: int) -> list[str]:
    """What a worker is doing; or a line that says why it is not known."""
    try:
        told = _asked(program, ask="stacks", pid=pid)["stacks"]
        lines = [readable(line) for one in told if one["pid"] == pid for line in one["lines"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"no stack: {readable(error)}"]
    if not told:
        return ["no stack: the worker is gone"]
    return lines or ["no stack: it does not react to signals"]


def cancel(program: ProgramSeen, pool: PoolSeen, item: int) -> str:
    """Cancels a task by force, with the map that it belongs to; what came of it, in words."""
    try:
        cancelled = _asked(program, ask="cancel", engine=pool.engine, item=item, force=True)["cancelled"]
    except (OSError, ValueError, KeyError) as error:
        return f"not cancelled: {readable(error)}"
    if cancelled is None:
        return "it had ended already"
    return "cancelled" if cancelled else "it could not be cancelled"


def _asked(program: ProgramSeen, **question: Any) -> dict[str, Any]:
    if program.place is None:
        raise ValueError("the program is gone")
    return ask(program.place, STACK_PATIENCE_S, **question)


def readable(text: object) -> str:
    """Text of another process's, on one line, without what would steer a terminal."""
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in str(text))


# -- rates -------------------------------------------------------------------------------------------------------------


def _with_rates(program: ProgramSeen, before: ProgramSeen | None) -> ProgramSeen:
    if before is None or (seconds := program.now - before.now) <= 0:
        return program
    pools_before = {pool.engine: pool for pool in before.pools}
    pools = []
    for pool in program.pools:
        earlier = pools_before.get(pool.engine)
        if earlier is None or pool.kind != "processes":
            pools.append(pool)
            continue
        items = {worker.pid: worker.items for worker in earlier.processes}
        workers = tuple(
            # One that was not there has done all that it did in between.
            replace(worker, rate=max(0, worker.items - items.get(worker.pid, 0)) / seconds)
            for worker in pool.processes
        )
        rate = max(0, pool.ended - earlier.ended) / seconds
        pools.append(replace(pool, processes=workers, rate=rate))
    return replace(program, pools=tuple(pools))


# -- reading -----------------------------------------------------------------------------------------------------------


def _program(pid: int, told: dict[str, Any]) -> ProgramSeen:
    pools = tuple(_pool(pool) for pool in told["pools"])
    return ProgramSeen(pid, readable(told["program"]), _maybe(int, told["memory"]), float(told["now"]), pools)


def _pool(told: dict[str, Any]) -> PoolSeen:
    name = _maybe(readable, told["name"])
    known = (int(told["engine"]), name, readable(told["kind"]), int(told["workers"]), bool(told["closed"]))
    if told["kind"] != "processes":
        return PoolSeen(*known, int(told["busy"]))
    return PoolSeen(
        *known,
        busy=int(told["busy"]),
        ended=int(told["ended"]),
        unfinished=int(told["unfinished"]),
        failed=int(told["failed"]),
        bytes_in_flight=int(told["bytes_in_flight"]),
        memory_budget=int(told["memory_budget"]),
        processes=tuple(_worker(worker) for worker in told["processes"]),
        failures=tuple(_failure(failure) for failure in told["failures"]),
    )


def _worker(told: dict[str, Any]) -> Worker:
    tasks = sorted((_task(task) for task in told["tasks"]), key=lambda task: -task.seconds)
    busy_seconds, items = float(told["busy_seconds"]), int(told["items"])
    return Worker(int(told["pid"]), busy_seconds, items, _maybe(int, told["memory"]), tuple(tasks))


def _task(told: dict[str, Any]) -> Task:
    index, seconds = _maybe(int, told["index"]), float(told["seconds"])
    return Task(int(told["item"]), readable(told["function"]), index, int(told["attempt"]), seconds)


def _failure(told: dict[str, Any]) -> Failure:
    task, item, attempt, pid = readable(told["task"]), int(told["item"]), int(told["attempt"]), int(told["pid"])
    ago, ending, text = float(told["seconds_ago"]), readable(told["ending"]), readable(told["text"])
    return Failure(task, item, attempt, pid, ago, ending, text)


def _maybe(of: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else of(value)
