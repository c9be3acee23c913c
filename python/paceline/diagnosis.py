"""What a run would have gained from, in plain words: each advice follows from times that were measured.

Owns the rules. It only reads a history and some sums, and says nothing where there is little to gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.history import History, Stretch
    from paceline.native_threads import NativeThreads

__all__ = ["Advice", "Transport", "diagnose"]

# Below these, there is nothing to be gained that anybody would notice.
_LEAST_SECONDS = 0.05
_LEAST_SHARE = 0.1
# Tasks are small if they take less than handing them over one by one does, with some room.
_SMALL_S = 20e-6
_MANY = 1_000
_OFTEN = 10
_PAUSE_S = 1.0
# A thread is at work with its worker's tasks if it wants a CPU for this part of their time.
_AT_WORK = 0.25
# More than that is no chance.
_CLEARLY = 1.1


@dataclass(frozen=True, slots=True)
class Transport:
    """What handing over arguments that had to be pickled took, in the program: `seconds`, for `items` with `bytes`.

    So many of the seconds were `before` the pool's first submission. `largest` is the argument that has most of the
    bytes of a large call, as its place among them or its name, the name of its type and its bytes as a pickle.
    """

    seconds: float = 0.0
    items: int = 0
    bytes: int = 0
    largest: tuple[int | str, str, int] | None = None
    before: float = 0.0


@dataclass(frozen=True, slots=True)
class Advice:
    """What could be done: `kind` for programs, `text` for people, and about how many seconds of the run it may save."""

    kind: str
    text: str
    seconds: float

    def __str__(self) -> str:
        return self.text


def diagnose(
    history: History,
    *,
    workers: int,
    wall: float,
    transport: Transport | None = None,
    threads: NativeThreads | None = None,
) -> tuple[Advice, ...]:
    """What a run on so many workers, which took `wall` seconds, would have gained from; the most first."""
    if not history.stretches or workers < 1:
        return ()
    found = [
        _small_tasks(history, wall),
        _arguments(transport or Transport(), wall),
        _tail(history, workers),
        _caller(history, workers, wall, transport or Transport()),
        None if threads is None else _native_threads(history, workers, threads),
    ]
    worth = [advice for advice in found if advice is not None and _is_worth(advice.seconds, wall)]
    return tuple(sorted(worth, key=lambda advice: -advice.seconds))


def _is_worth(seconds: float, wall: float) -> bool:
    return seconds >= _LEAST_SECONDS and seconds >= _LEAST_SHARE * wall


def _seconds(seconds: float) -> str:
    """A time for people.

    >>> [_seconds(time) for time in (1e-7, 4e-6, 0.0123, 9.04, 75.0)]
    ['100 ns', '4 µs', '12 ms', '9.0 s', '75 s']
    """
    if seconds < 1e-6:
        return f"{seconds * 1e9:.0f} ns"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _size(size: float) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _small_tasks(history: History, wall: float) -> Advice | None:
    """Many short calls that were submitted one by one."""
    singly = [one for one in history.stretches if one.items == one.merged]
    items = sum(one.items for one in singly)
    if items < _MANY:
        return None
    typical = median(one.busy / one.items for one in singly)
    if typical > _SMALL_S:
        return None
    busy = sum(one.busy for one in singly)
    span = max(one.ended for one in singly) - min(one.submitted for one in singly)
    # Of a map in chunks of one, all are submitted at once.
    if len({one.submitted for one in singly}) > len(singly) / 2:
        what, cure = "submitted one by one", "hand them over together, by `map`, which sends many at a time"
    else:
        what, cure = (
            "sent one at a time",
            "leave `chunksize` to Paceline, which sends many at a time where they are short",
        )
    text = f"{items:,} tasks of some {_seconds(typical)} were {what}, which takes longer than the tasks: {cure}"
    return Advice("small tasks", text, min(span, wall) - busy)


def _arguments(transport: Transport, wall: float) -> Advice | None:
    """Pickling arguments took much of the time."""
    if not transport.items:
        return None
    # The wall clock runs from the first submission on. Several threads may pickle at a time.
    span = max(wall + transport.before, transport.seconds)
    share = f"{100 * transport.seconds / span:.0f} %" if span else "much"
    mean = transport.bytes / transport.items
    which, each = "the arguments", _size(mean)
    if transport.largest is not None:
        place, kind, size = transport.largest
        which = f"argument {place + 1 if isinstance(place, int) else f'`{place}`'} ({kind})"
        each = _size(size) if size <= 2 * mean else f"up to {_size(size)}"
    text = (
        f"{share} of the time went into pickling {which}, {each} each time: if calls have it in common, "
        "share it once with `paceline.share`, or bind it with `functools.partial` for a `map`"
    )
    return Advice("arguments", text, transport.seconds)


def _tail(history: History, workers: int) -> Advice | None:
    """Long tasks that began late kept one worker busy while the others had nothing to do."""
    last: dict[int, Stretch] = {}
    for one in history.stretches:
        if one.worker not in last or one.ended > last[one.worker].ended:
            last[one.worker] = one
    end = max(one.ended for one in last.values())
    # Workers that were replaced ended early for another reason.
    final = sorted(last.values(), key=lambda one: one.ended)[-workers:]
    idle_from = final[0].ended if len(final) == workers else 0.0
    work = sum(one.busy for one in history.stretches)
    longest = max(one.longest for one in history.stretches)
    begin = min(one.began for one in history.stretches)
    gain = end - begin - max(work / workers, longest)
    late = [one for one in final if one.ended > idle_from and one.busy >= (end - idle_from) / 2]
    # None could have begun before it was submitted.
    gain = min([gain, *(one.began - one.submitted for one in late)])
    items = sum(one.items for one in history.stretches)
    if gain <= 0 or not late or end - idle_from <= 0 or items <= workers:
        return None
    typical = median(one.busy / one.items for one in history.stretches)
    # If those at the end are like all others, only smaller tasks would help.
    if max(one.longest for one in late) < 3 * typical:
        return None
    count = sum(one.items for one in late)
    text = (
        f"{count} task{'s' if count > 1 else ''} of {items:,} held the run up by {_seconds(end - idle_from)}, because "
        f"{'they' if count > 1 else 'it'} began late: have the longest begin first, by giving `map` a `cost=`"
    )
    return Advice("tail", text, min(gain, end - idle_from))


def _caller(history: History, workers: int, wall: float, transport: Transport) -> Advice | None:
    """The workers had nothing to do again and again, because nothing had been submitted."""
    # A program that pauses for long, or seldom, does something else meanwhile.
    gaps = [end - begin for begin, end in _without_work(history.stretches) if end - begin < _PAUSE_S]
    starved = sum(gaps) - (transport.seconds - transport.before)
    busy = sum(one.busy for one in history.stretches)
    if len(gaps) < _OFTEN or starved < 0.3 * wall or busy < _LEAST_SECONDS:
        return None
    text = (
        f"for {100 * starved / wall:.0f} % of the time no task was there, and the workers waited for the program: "
        "submit more before you wait for results (`map` and `imap` do), or make less between them"
    )
    # What could be done at the same time, at most.
    return Advice("waiting for the program", text, min(starved, busy / workers))


def _without_work(stretches: Iterable[Stretch]) -> list[tuple[float, float]]:
    """When, between the first and the last stretch, nothing ran and nothing was there to be run."""
    # Each piece of work is there from its submission to its end.
    spans = sorted((one.submitted, one.ended) for one in stretches)
    gaps, covered = [], spans[0][1]
    for (_, _), (submitted, ended) in pairwise(spans):
        if submitted > covered:
            gaps.append((covered, submitted))
        covered = max(covered, ended)
    return gaps


def _native_threads(history: History, workers: int, threads: NativeThreads) -> Advice | None:
    """The workers' own threads were more than the CPUs, and waited for each other.

    That a thread waits may be another program's doing. For how long threads wanted a CPU, running or waiting, is not.
    """
    busy: dict[int, float] = {}
    for worker, stretches in history.by_worker():
        busy[history.pids[worker]] = busy.get(history.pids[worker], 0.0) + sum(one.busy for one in stretches)
    crews = []
    wanted = known = 0.0
    for pid, times in threads.workers:
        # What was done before the first task and beside them is nothing of the tasks'.
        if span := busy.get(pid, 0.0):
            wants = [min(one.ran + one.waited, span) for one in times]
            wanted, known = wanted + sum(wants), known + span
            crew = [one for one, want in zip(times, wants, strict=True) if want >= _AT_WORK * span]
            crews.append((span, crew, times[0].name))
    active = history.active_seconds
    if not known or not active or wanted < _CLEARLY * known or wanted < _CLEARLY * threads.cpus * active:
        return None
    # So many workers were at work at a time, and so many threads of theirs.
    at_once = max(1.0, min(known / active, workers))
    crowd = sum(span * len(crew) for span, crew, _ in crews) / known * at_once
    if crowd <= threads.cpus:
        return None
    # If they share the CPUs evenly, a thread waits for so long for each second that it runs.
    fair = crowd / threads.cpus - 1
    gain = sum(sum(min(one.waited, one.ran * fair) for one in crew) / len(crew) for _, crew, _ in crews if crew)
    waited = sum(one.waited for _, crew, _ in crews for one in crew)
    most = max(len(crew) for _, crew, _ in crews)
    alike = all(len(crew) == most for _, crew, _ in crews)
    who = "the worker" if len(crews) == 1 else "each worker"
    cpus = f"{threads.cpus} CPU{'s' if threads.cpus > 1 else ''}"
    names = sorted({one.name for _, crew, main in crews for one in crew if one.name != main})
    text = (
        f"{who} ran {'' if alike else 'up to '}{most} native threads on {cpus}, and they waited "
        f"{_seconds(waited)} for a CPU: {_fewer(threads, workers, names)}"
    )
    return Advice("native threads", text, gain / at_once)


def _fewer(threads: NativeThreads, workers: int, names: list[str]) -> str:
    """How to have fewer threads, of which those that are not called as their worker have these names."""
    fitting = max(1, threads.cpus // workers)
    if names:
        shown = ", ".join(f"`{name}`" for name in names[:3]) + (", ..." if len(names) > 3 else "")
        return f"have the library that calls them {shown} start fewer, by its own setting"
    if threads.told <= fitting:
        return f"some library does not keep to the {threads.told} that it was told, and has a setting of its own"
    cure = f"open the pool with `threads_per_worker={fitting}`"
    if threads.teller is None or threads.teller.startswith("threads_per_worker"):
        return cure
    return f"{cure}, or without `{threads.teller}` in the environment"
