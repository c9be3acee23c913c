"""A history as a trace that Perfetto and Chrome's `about:tracing` open: the Trace Event Format, in JSON.

Owns the events. It only looks at what happened, and never asks the engine for anything.

The pool is one process in the trace, and each worker a thread of it, named by its number and its process id; one that
did several things at a time is several threads, because viewers drop what overlaps. The operating system gives a
process id away again, and then the stretches of two workers would be told as one thread's; so the ids in the events
are our own. Two counters belong to the process: the items that wait, and the calls that run.
"""

from __future__ import annotations

import gzip
import json
import os

from paceline.chart import tracks
from paceline.history import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from paceline.history import History, Stretch

    Event = dict[str, Any]

# Tools treat process and thread 0 as the idle task, and a thread with the process's id as the main one.
_POOL = 1
_FIRST_THREAD = 2
# A counter with more points than can be seen only makes the file large.
_MOST_POINTS = 10_000


def trace(history: History) -> dict[str, Any]:
    """The history in the Trace Event Format, as an object for `json`: metadata first, then all events in time's order.

    A stretch is a complete event (`X`) with the function's name; its category is how it ended. The death of a worker
    is an instant event (`i`) at the end of what was lost with it. `backlog` counts the items that had been submitted
    and not begun (what is tried again counts once, and what the history tells as one stretch leaves at its beginning);
    `busy` counts the calls that were being run. Both are counter events (`C`).
    """
    stretches: list[Event] = []
    deaths: list[Event] = []
    waiting: dict[int, int] = {}
    busy: dict[int, int] = {}
    metadata = [_named("process_name", _POOL, name="Paceline pool")]
    in_tracks = [
        (worker, place, track) for worker, each in history.by_worker() for place, track in enumerate(tracks(each))
    ]
    for thread, (worker, place, track) in enumerate(in_tracks, _FIRST_THREAD):
        pid = history.pids[worker] if worker < len(history.pids) else 0
        told = history.name_of(worker) if worker < len(history.pids) else ""
        beside = f", beside it {place}" if place else ""
        metadata.append(_named("thread_name", thread, name=f"worker {worker + 1} ({told or pid}){beside}"))
        metadata.append(_named("thread_sort_index", thread, sort_index=thread))
        for stretch, began, ended in _in_turn(track):
            stretches.append(_complete(stretch, thread, pid, began, ended))
            if stretch.ending is Ending.LOST:
                deaths.append(_death(stretch, thread, pid, ended))
            busy[began] = busy.get(began, 0) + 1
            busy[ended] = busy.get(ended, 0) - 1
            if stretch.attempt == 0:
                submitted = min(_ns(stretch.submitted), began)
                waiting[submitted] = waiting.get(submitted, 0) + stretch.items
                waiting[began] = waiting.get(began, 0) - stretch.items
    events = [
        *stretches,
        *deaths,
        *_counter("backlog", "items", waiting),
        *_counter("busy", "calls", busy),
    ]
    events.sort(key=lambda event: event["ts"])
    return {
        "displayTimeUnit": "ms",
        "otherData": {"writer": "paceline", "forgotten": history.forgotten},
        "traceEvents": [*metadata, *events],
    }


def write(history: History, path: str | os.PathLike[str]) -> None:
    """Writes `trace(history)` as a file for https://ui.perfetto.dev; packed, if the name ends with `.gz`."""
    name = os.fspath(path)
    # Names of functions may hold what no encoding has; as escapes of ASCII they are all valid.
    text = json.dumps(trace(history), separators=(",", ":"), ensure_ascii=True)
    if name.endswith(".gz"):
        with gzip.open(name, "wt", compresslevel=6, encoding="ascii") as packed:
            packed.write(text)
    else:
        with open(name, "w", encoding="ascii") as plain:
            plain.write(text)


def _in_turn(stretches: Iterable[Stretch]) -> Iterator[tuple[Stretch, int, int]]:
    """The stretches of a track with their beginnings and ends, none beginning before the one before it has ended.

    Viewers drop what overlaps by as little as a clock's noise.
    """
    over = 0
    for stretch in stretches:
        began = max(_ns(stretch.began), over)
        over = max(_ns(stretch.ended), began)
        yield stretch, began, over


def _complete(stretch: Stretch, thread: int, pid: int, began: int, ended: int) -> Event:
    args = {
        "first item": stretch.first_item,
        "items": stretch.items,
        "attempt": stretch.attempt,
        "ending": stretch.ending.name.lower(),
        "waited ms": round(max(0.0, stretch.began - stretch.submitted) * 1e3, 3),
        "pid": pid,
    }
    if stretch.merged > 1:
        args |= {
            "stretches told as one": stretch.merged,
            "busy ms": round(stretch.busy * 1e3, 3),
            "longest ms": round(stretch.longest * 1e3, 3),
        }
    return {
        "ph": "X",
        "name": stretch.function,
        "cat": stretch.ending.name.lower() if stretch.attempt == 0 else f"{stretch.ending.name.lower()},retry",
        "pid": _POOL,
        "tid": thread,
        "ts": began / 1e3,
        "dur": (ended - began) / 1e3,
        "args": args,
    }


def _death(stretch: Stretch, thread: int, pid: int, ended: int) -> Event:
    return {
        "ph": "i",
        "name": "worker died",
        "cat": "death",
        "s": "t",
        "pid": _POOL,
        "tid": thread,
        "ts": ended / 1e3,
        "args": {"pid": pid, "function": stretch.function, "first item": stretch.first_item},
    }


def _counter(name: str, unit: str, changes: dict[int, int]) -> Iterator[Event]:
    """A counter's value whenever it has changed; where changes are too many, the highest of those close together."""
    moments = sorted(moment for moment, change in changes.items() if change)
    step = (moments[-1] - moments[0]) // _MOST_POINTS if len(moments) > _MOST_POINTS else 0
    value = 0
    until, shown, highest = -1, -1, 0
    for moment in moments:
        if moment > until and shown >= 0:
            yield _point(name, unit, shown, highest)
            shown = -1
        value += changes[moment]
        if shown < 0:
            shown, highest, until = moment, value, moment + step
        highest = max(highest, value) if step else value
    if shown >= 0:
        if step and moments[-1] > shown:
            yield _point(name, unit, shown, highest)
            shown = moments[-1]
        # The last point is what is left at the end, and not the highest before it.
        yield _point(name, unit, shown, value)


def _point(name: str, unit: str, moment: int, value: int) -> Event:
    return {"ph": "C", "name": name, "pid": _POOL, "tid": _POOL, "ts": moment / 1e3, "args": {unit: value}}


def _named(what: str, thread: int, **args: str | int) -> Event:
    return {"ph": "M", "name": what, "pid": _POOL, "tid": thread, "ts": 0, "args": args}


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
