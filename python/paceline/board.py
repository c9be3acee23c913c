"""The lines of `paceline top`: programs, pools, workers and failures as text of a given width.

Owns how things are put into words and columns, and what is left out where there is little room. Never asks anybody, and
never writes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from paceline.errors import shown_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.monitor import Failure, PoolSeen, ProgramSeen, Worker

    Style: TypeAlias = Literal["program", "pool", "heading", "worker", "failure", "trouble", "plain"]

__all__ = ["Row", "Subject", "cut", "failure_rows", "rows", "stack_line", "summary", "width_of"]

# In this width, and from this on, a worker's line has these columns beside its task.
_NARROW, _MIDDLE, _WIDE = 0, 52, 76
FAILURES_SHOWN = 5


@dataclass(frozen=True)
class Subject:
    """Whom a line is about: a worker, with its pool and its program."""

    program: ProgramSeen
    pool: PoolSeen
    worker: Worker

    @property
    def key(self) -> tuple[int, int]:
        """Tells it from others, from one look to the next."""
        return self.program.pid, self.worker.pid


@dataclass(frozen=True)
class Row:
    """A line, what kind it is of, and whom it is about."""

    text: str
    style: Style
    subject: Subject | None = None


def rows(programs: list[ProgramSeen], width: int) -> list[Row]:
    """All programs, their pools, and their workers."""
    return [row for program in programs for row in _of_program(program, width)]


def _of_program(program: ProgramSeen, width: int) -> Iterator[Row]:
    if program.trouble:
        yield Row(cut(f"{program.pid}: {program.trouble}", width), "trouble")
        return
    memory = "" if program.memory is None else f" {shown_bytes(program.memory)}"
    named = cut(f"{program.pid} {program.program}", width - width_of(memory))
    yield Row(cut(named + memory, width), "program")
    if not program.pools:
        yield Row(cut("  no pool is open", width), "plain")
    for pool in program.pools:
        yield Row(cut(f"  {_pool_line(pool)}", width), "pool")
        if pool.processes:
            yield Row(cut(_columns(("PID", "RUNS FOR", "MEMORY", "ITEMS", "PER S", "TASK"), width), width), "heading")
        for worker in pool.processes:
            yield Row(cut(_worker_line(worker, width), width), "worker", Subject(program, pool, worker))


def _pool_line(pool: PoolSeen) -> str:
    name = "" if pool.name is None else f" {pool.name!r}"
    of_what = "" if pool.kind == "processes" else f" of {pool.kind}"
    facts = [f"{pool.busy} of {pool.workers} busy"]
    if pool.kind == "processes":
        if pool.rate is not None:
            facts.append(f"{_rate(pool.rate)} items/s")
        facts.append(f"{pool.unfinished:,} to do")
        if pool.failed:
            facts.append(f"{pool.failed:,} failed")
        facts.append(f"{pool.ended:,} ended")
        if pool.bytes_in_flight:
            facts.append(f"{shown_bytes(pool.bytes_in_flight)} in flight")
    if pool.closed:
        facts.append("closed")
    return f"pool {pool.engine}{of_what}{name}: {', '.join(facts)}"


def _worker_line(worker: Worker, width: int) -> str:
    if worker.tasks:
        longest = worker.tasks[0]
        again = f" (attempt {longest.attempt + 1})" if longest.attempt else ""
        others = f" and {len(worker.tasks) - 1} more" if len(worker.tasks) > 1 else ""
        seconds, task = _duration(longest.seconds), f"{longest.name}{again}{others}"
    else:
        seconds, task = "-", "idle"
    memory = "-" if worker.memory is None else shown_bytes(worker.memory)
    rate = "-" if worker.rate is None else _rate(worker.rate)
    return _columns((str(worker.pid), seconds, memory, f"{worker.items:,}", rate, task), width)


def _columns(texts: tuple[str, str, str, str, str, str], width: int) -> str:
    pid, seconds, memory, items, rate, task = texts
    parts = [f"  {pid:>8}", f"{seconds:>8}"]
    if width >= _MIDDLE:
        parts.append(f"{memory:>9}")
    if width >= _WIDE:
        parts += [f"{items:>11}", f"{rate:>7}"]
    return " ".join([*parts, "", task])


def failure_rows(programs: list[ProgramSeen], width: int, most: int) -> list[Row]:
    """The latest failures of all pools, the latest first."""
    found = [(failure, pool) for program in programs for pool in program.pools for failure in pool.failures]
    found.sort(key=lambda one: one[0].seconds_ago)
    return [Row(cut(_failure_line(failure, pool), width), "failure") for failure, pool in found[:most]]


def _failure_line(failure: Failure, pool: PoolSeen) -> str:
    again = f", attempt {failure.attempt + 1}" if failure.attempt else ""
    where = f"task {failure.item} of pool {pool.engine}{again}, process {failure.pid}"
    return f"{_duration(failure.seconds_ago)} ago: {failure.task}: {failure.text} ({where})"


def summary(programs: list[ProgramSeen]) -> str:
    """How much there is of everything."""
    pools = [pool for program in programs for pool in program.pools]
    workers = sum(len(pool.processes) if pool.kind == "processes" else pool.workers for pool in pools)
    busy = sum(pool.busy for pool in pools)
    rate = sum(pool.rate or 0.0 for pool in pools)
    counts = [_counted(len(programs), "program"), _counted(len(pools), "pool"), _counted(workers, "worker")]
    return f"{', '.join(counts)}, {busy} busy, {_rate(rate)} items/s"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02}" if hours else f"{minutes} m {whole:02}"


# -- stacks ------------------------------------------------------------------------------------------------------------

_FRAME = re.compile(r'\s*File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)')


def stack_line(text: str, width: int) -> str:
    """A line of a stack, beginning with what matters most: the function, then the end of the file's path.

    >>> stack_line('  File "/home/somebody/work/model.py", line 12 in fit', 24)
    '  fit  ...rk/model.py:12'
    """
    frame = _FRAME.fullmatch(text)
    if frame is None:
        return cut(text, width)
    function, place = f"  {frame['function']}  ", f"{frame['file']}:{frame['line']}"
    room = width - width_of(function)
    if width_of(place) > room > 3:
        while width_of(place) > room - 3:
            place = place[1:]
        place = f"...{place}"
    return cut(function + place, width)


# -- widths ------------------------------------------------------------------------------------------------------------


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_width_of_character, text))


def _width_of_character(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def cut(text: str, width: int) -> str:
    """The text, shortened so that it takes no more columns than these.

    >>> cut("a_function_with_a_long_name", 12)
    'a_functio...'
    """
    if width_of(text) <= width:
        return text
    ending = "..."[: max(0, width)]
    kept, room = [], width - len(ending)
    for character in text:
        room -= _width_of_character(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + ending
