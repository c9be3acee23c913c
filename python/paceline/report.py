"""What a pool's workers have done so far, as an object that prints as a table.

Owns the shape and the text of a report. It only looks at what happened, and never starts or stops work. What a run
would have gained from is `paceline.diagnosis`'s to say, pictures are drawn by `paceline.timeline`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path

from paceline.history import Ending, History, Stretch
from paceline.native_threads import NativeThreads, ThreadTime
from paceline.processes import peak_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from pandas import DataFrame

    from paceline.diagnosis import Advice, Transport
    from paceline.engine import AnyEngine
    from paceline.future import Future

_INDICES_SHOWN = 20
# Of saved reports.
_VERSION = 1
# No saved number is as large: nanoseconds of centuries.
_MOST = 2**63
# In the order in which a history counts them.
_FAILURES = ("raised", "stopped", "lost")


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one worker process has done: its `pid`, `busy_seconds` at work, and the `items` it has ended.

    Of a pool of threads it is what one thread has done, and `pid` the thread's id, its `native_id` in `threading`.
    `ranges` holds the items' numbers in the pool's order of submission, as pairs (first, count).

    `idle_seconds` is how long it had nothing to do, and `waiting_seconds` the part of that in which nothing had been
    submitted that had not begun; a worker that was replaced counts from its first to its last item. `peak_bytes` is the
    most memory that the process has had, with what it shares, as long as it lives. Where these are not known they are
    None. `host` is the name of the host, of a worker of a cluster.
    """

    pid: int
    busy_seconds: float
    items: int
    ranges: tuple[tuple[int, int], ...]
    idle_seconds: float | None = None
    waiting_seconds: float | None = None
    peak_bytes: int | None = None
    host: str = ""

    @property
    def place(self) -> str:
        """The process id, with the host if that is another."""
        return f"{self.host}:{self.pid}" if self.host else str(self.pid)

    @property
    def indices(self) -> tuple[int, ...]:
        """The items' numbers, in the pool's order of submission, counted from zero."""
        return tuple(chain.from_iterable(range(first, first + count) for first, count in self.ranges))


@dataclass(frozen=True, slots=True)
class Report:
    """How the work of a pool was spread over its workers.

    >>> print(Report(1.25, (WorkerReport(4916, 1.0, 1, ((0, 1),)), WorkerReport(4917, 1.1, 3, ((1, 2), (9, 1))))))
    Process  1 (4916)    1.0000(s)    1 job(s) (0,)
    Process  2 (4917)    1.1000(s)    3 job(s) (1, 2, 9)
          Total work done (s)       2.1000
          Wall clock time (s)       1.2500

    `wall_seconds` runs from the first submission to the last end so far (to now, while tasks are out). `workers` has
    an entry for each process that has run anything, also for those that have since been replaced. `history` tells what
    each of them did when, `capacity` how many workers the pool has, and `threads` what their native threads did.
    """

    wall_seconds: float
    workers: tuple[WorkerReport, ...]
    history: History | None = field(default=None, repr=False)
    capacity: int = 0
    transport: Transport | None = field(default=None, repr=False)
    threads: NativeThreads | None = field(default=None, repr=False)

    @classmethod
    def of(cls, engine: AnyEngine, threads_per_worker: int | None = None) -> Report:
        """The report of what an engine has done so far; libraries were told to use so many threads in each worker."""
        wall_seconds, told = engine.report()
        transport = threads = None
        # Nothing is handed over to threads.
        if (told_transport := getattr(engine, "transport", None)) is not None:
            from paceline.diagnosis import Transport

            transport = Transport(*told_transport())
        if hasattr(engine, "thread_times"):
            threads = NativeThreads.of(engine, threads_per_worker)
        history = History.of(engine.history())
        idleness = history.idleness(engine.workers, wall_seconds)
        idle: dict[tuple[int, str], tuple[float | None, float | None]] = {}
        idle.update(((history.pids[worker], history.host_of(worker)), times) for worker, times in idleness.items())
        alive = set(engine.pids()) if transport is not None else set()
        workers = tuple(
            WorkerReport(
                pid,
                busy,
                items,
                tuple(ranges),
                *idle.get((pid, host), (None, None)),
                peak_memory(pid) if pid in alive else None,
                host,
            )
            for pid, busy, items, ranges, host in told
            if items
        )
        return cls(wall_seconds, workers, history, engine.workers, transport, threads)

    @classmethod
    def of_call(cls, future: Future[Any]) -> Report:
        """The report of what has been done for one call, or one map."""
        capacity, (wall_seconds, chronicle) = future.history()
        history = History.of(chronicle)
        workers = tuple(
            _account(history.pids[worker], history.host_of(worker), stretches)
            for worker, stretches in history.by_worker()
        )
        return cls(wall_seconds, workers, history, capacity)

    @property
    def work_seconds(self) -> float:
        """The time spent at work, summed over the workers."""
        return sum(worker.busy_seconds for worker in self.workers)

    @property
    def items(self) -> int:
        """How many items have ended: calls, and single items of maps."""
        return sum(worker.items for worker in self.workers)

    @property
    def speedup(self) -> float:
        """How many workers' work was done at a time, on average; zero before anything has been done."""
        return self.work_seconds / self.wall_seconds if self.wall_seconds else 0.0

    @property
    def efficiency(self) -> float:
        """Which part of the workers' time was work: 1 if none of them ever had to wait. Zero where it is not known."""
        return self.work_seconds / (self.wall_seconds * self.capacity) if self.wall_seconds and self.capacity else 0.0

    @property
    def imbalance(self) -> float:
        """How much more than the mean the busiest worker had to do: 1 is perfect balance."""
        busy = [worker.busy_seconds for worker in self.workers]
        return max(busy) * len(busy) / sum(busy) if sum(busy) else 1.0

    @property
    def lower_bound_seconds(self) -> float:
        """No schedule of these tasks on so many workers takes less: their share of the work, or the longest task.

        Of tasks that were sent together nobody knows how long each took, so none of them counts as the longest.
        """
        # A chunk could have been cut, so what it took is no bound.
        longest = max((one.longest for one in self._stretches if one.items == one.merged), default=0.0)
        return max(self.work_seconds / max(1, self.capacity), longest)

    @property
    def failures(self) -> dict[str, int]:
        """How many items ended without results: `raised`, `stopped`, and `lost` with a worker.

        One that was run again counts for each time that it failed. What did not happen is not there.
        """
        failed = (0, 0, 0) if self.history is None else self.history.failed
        return {name: count for name, count in zip(_FAILURES, failed, strict=True) if count}

    @property
    def retries(self) -> int:
        """How many items were begun again after their worker had ended, or after the program was told of a failure."""
        return sum(one.items for one in self._stretches if one.attempt)

    @property
    def advice(self) -> tuple[Advice, ...]:
        """What the run would have gained from, the most first; nothing if there is little to gain.

        Its `kind` is `small tasks`, `arguments` (pickling them), `tail` (long tasks that began late), `waiting for the
        program`, or `native threads` (more than the CPUs).
        """
        if self.history is None:
            return ()
        from paceline.diagnosis import diagnose

        return diagnose(
            self.history,
            workers=self.capacity,
            wall=self.wall_seconds,
            transport=self.transport,
            threads=self.threads,
        )

    def slowest(self, count: int = 5) -> list[Stretch]:
        """The stretches of work that took longest, the longest first: of long tasks there is one in each."""
        return sorted(self._stretches, key=lambda one: one.longest, reverse=True)[:count]

    @property
    def _stretches(self) -> tuple[Stretch, ...]:
        return () if self.history is None else self.history.stretches

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values, for JSON."""
        return {
            "wall_seconds": self.wall_seconds,
            "work_seconds": self.work_seconds,
            "items": self.items,
            "speedup": self.speedup,
            "capacity": self.capacity,
            "efficiency": self.efficiency,
            "imbalance": self.imbalance,
            "lower_bound_seconds": self.lower_bound_seconds,
            "failures": self.failures,
            "retries": self.retries,
            "advice": [{"kind": one.kind, "text": one.text, "seconds": one.seconds} for one in self.advice],
            "workers": [
                {name: getattr(one, name) for name in WorkerReport.__slots__ if name != "ranges"}
                | {"ranges": list(one.ranges)}
                for one in self.workers
            ],
            "stretches": [_plain(one) for one in self._stretches],
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Writes it as JSON, for `Report.load` and `paceline report`."""
        transport = None if self.transport is None else asdict(self.transport)
        threads = None if self.threads is None else asdict(self.threads)
        saved = {"paceline_report": _VERSION, **self.to_dict(), "transport": transport, "threads": threads}
        saved["pids"] = None if self.history is None else self.history.pids
        saved["hosts"] = () if self.history is None else self.history.hosts
        saved["forgotten"] = 0 if self.history is None else self.history.forgotten
        saved["failed"] = None if self.history is None else self.history.failed
        Path(path).write_text(json.dumps(saved))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Report:
        """The report that was saved there.

        Raises `ValueError` if that is none, or one of another version, and `OSError` if it cannot be read.
        """
        try:
            saved = json.loads(Path(path).read_text())
            version = saved["paceline_report"]
            report = cls._of_saved(saved) if version == _VERSION else None
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(f"{path} is no report that Paceline has saved") from None
        if report is None:
            raise ValueError(f"{path} was saved by another version of Paceline")
        return report

    @classmethod
    def _of_saved(cls, saved: Any) -> Report:
        """The same of what stands in the file. Raises `KeyError`, `TypeError` or `ValueError` if anything is wrong."""
        from paceline.diagnosis import Transport

        workers = tuple(
            WorkerReport(
                _count(one["pid"]),
                _number(one["busy_seconds"]),
                _count(one["items"]),
                tuple((_count(first), _count(count)) for first, count in _list(one["ranges"])),
                None if one["idle_seconds"] is None else _number(one["idle_seconds"]),
                None if one["waiting_seconds"] is None else _number(one["waiting_seconds"]),
                None if one["peak_bytes"] is None else _count(one["peak_bytes"]),
                _text(one.get("host", "")),
            )
            for one in _list(saved["workers"])
        )
        history = transport = None
        if saved["pids"] is not None:
            pids = tuple(map(_count, _list(saved["pids"])))
            stretches = tuple(_stretch(one, len(pids)) for one in _list(saved["stretches"]))
            raised, stopped, lost = map(_count, _list(saved["failed"]))
            # Reports of earlier versions know of no hosts.
            hosts = tuple(map(_text, _list(saved.get("hosts", []))))
            if len(hosts) not in {0, len(pids)}:
                raise ValueError("there is not a host for each worker")
            history = History(pids, stretches, _count(saved["forgotten"]), (raised, stopped, lost), hosts)
        if (told := saved["transport"]) is not None:
            largest = None
            if told["largest"] is not None:
                place, kind, size = _list(told["largest"])
                largest = place if isinstance(place, str) else _count(place), _text(kind), _count(size)
            transport = Transport(
                _number(told["seconds"]), _count(told["items"]), _count(told["bytes"]), largest, _number(told["before"])
            )
        threads = None if (told := saved.get("threads")) is None else _threads(told)
        return cls(_number(saved["wall_seconds"]), workers, history, _count(saved["capacity"]), transport, threads)

    def to_pandas(self) -> DataFrame:
        """A row for each stretch of work: worker, pid, function, items, attempt, ending, and moments in seconds.

        Of a pool on a cluster, also the host.         Raises `ModuleNotFoundError` without pandas.
        """
        import pandas as pd

        frame = pd.DataFrame([_plain(one) for one in self._stretches], columns=[*Stretch.__slots__])
        pids = () if self.history is None else self.history.pids
        frame.insert(1, "pid", [pids[worker] for worker in frame["worker"]])
        if self.history is not None and self.history.hosts:
            frame.insert(1, "host", [self.history.hosts[worker] for worker in frame["worker"]])
        return frame

    def plot(self, path: str | PathLike[str], *, dark: bool = False) -> None:
        """Draws who worked on what when, as the suffix of `path` says: `.svg`, `.png`, or a page to look into, `.html`.

        Raises `ValueError` for other suffixes and of a report without a history, and `ModuleNotFoundError` if
        what draws (matplotlib) is missing.
        """
        from paceline.timeline import draw

        draw(self._known_history(), path, dark=dark, workers=self.capacity)

    def to_trace(self, path: str | PathLike[str]) -> None:
        """Writes a trace that Perfetto and Chrome open, compressed if `path` ends with `.gz`."""
        from paceline.trace import write

        write(self._known_history(), path)

    def _known_history(self) -> History:
        if self.history is None:
            raise ValueError("this report has no history: it was made by hand, or saved without one")
        return self.history

    def __str__(self) -> str:
        number_width = max(2, len(str(len(self.workers))))
        pid_width = max((len(worker.place) for worker in self.workers), default=0)
        time_width = max((len(f"{worker.busy_seconds:.4f}") for worker in self.workers), default=0)
        count_width = max((len(str(worker.items)) for worker in self.workers), default=0)
        lines = [
            f"Process {number:>{number_width}} ({worker.place:>{pid_width}})    "
            f"{worker.busy_seconds:>{time_width}.4f}(s)    "
            f"{worker.items:>{count_width}} job(s) {_shortened(worker.ranges)}"
            for number, worker in enumerate(self.workers, 1)
        ]
        lines.append(f"      Total work done (s){self.work_seconds:13.4f}")
        lines.append(f"      Wall clock time (s){self.wall_seconds:13.4f}")
        return "\n".join(lines + self._told())

    def _told(self) -> list[str]:
        """What can be said where the history is known."""
        if not self._stretches:
            return []
        lines = [
            f"      Least possible  (s){self.lower_bound_seconds:13.4f}",
            f"      Efficiency         {100 * self.efficiency:11.1f} %",
        ]
        if any(one.idle_seconds for one in self.workers):
            idle, waiting = (
                sum(getattr(one, name) or 0.0 for one in self.workers) for name in ("idle_seconds", "waiting_seconds")
            )
            lines.append(f"      Workers idle    (s){idle:13.4f}, nothing submitted in {waiting:.4f} of it")
        if peaks := [one.peak_bytes for one in self.workers if one.peak_bytes]:
            lines.append(f"      Largest worker     {max(peaks) / 1e6:13.1f} MB")
        if self.failures:
            lines.append("      Failures           " + ", ".join(f"{n} {what}" for what, n in self.failures.items()))
        if self.retries:
            lines.append(f"      Begun again        {self.retries:13}")
        return lines + [f"hint: {advice}" for advice in self.advice]

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{number}</td><td>{one.pid}</td><td>{one.busy_seconds:.4f}</td>"
            f"<td>{'' if one.idle_seconds is None else f'{one.idle_seconds:.4f}'}</td>"
            f"<td>{'' if one.peak_bytes is None else f'{one.peak_bytes / 1e6:.0f}'}</td><td>{one.items}</td></tr>"
            for number, one in enumerate(self.workers, 1)
        )
        head = (
            "<tr><th>worker</th><th>process</th><th>busy (s)</th><th>idle (s)</th><th>peak (MB)</th><th>items</th></tr>"
        )
        told = "".join(
            f"<div>{escape(' '.join(line.split()))}</div>" for line in str(self).splitlines()[len(self.workers) :]
        )
        return f"<table>{head}{rows}</table>{told}"


# Of a saved report nothing is believed: a number or a name may be anything that JSON has.


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
        raise ValueError("no count")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _MOST:
        raise ValueError("no number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _stretch(saved: dict[str, Any], workers: int) -> Stretch:
    worker, first, items, merged, attempt = (
        _count(saved[name]) for name in ("worker", "first_item", "items", "merged", "attempt")
    )
    times = (_number(saved[name]) for name in ("submitted", "began", "ended", "busy", "longest"))
    ending = Ending[_text(saved["ending"]).upper()]
    one = Stretch(worker, _text(saved["function"]), first, items, merged, attempt, ending, *times)
    if one.worker >= workers or not 1 <= one.merged <= one.items or one.began > one.ended:
        raise ValueError("no stretch")
    return one


def _threads(saved: dict[str, Any]) -> NativeThreads:
    workers = []
    for pid, threads in map(_list, _list(saved["workers"])):
        times = (_list(one) for one in _list(threads))
        told = tuple(ThreadTime(_text(name), _number(ran), _number(waited)) for name, ran, waited in times)
        if not told:
            raise ValueError("no threads")
        workers.append((_count(pid), told))
    teller = None if saved["teller"] is None else _text(saved["teller"])
    cpus, told_threads = _count(saved["cpus"]), _count(saved["told"])
    if not cpus:
        raise ValueError("no count")
    return NativeThreads(cpus, told_threads, teller, tuple(workers))


def _account(pid: int, host: str, stretches: list[Stretch]) -> WorkerReport:
    ranges: list[tuple[int, int]] = []
    for one in stretches:
        if ranges and sum(ranges[-1]) == one.first_item:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + one.items)
        else:
            ranges.append((one.first_item, one.items))
    busy, items = sum(one.busy for one in stretches), sum(one.items for one in stretches)
    return WorkerReport(pid, busy, items, tuple(ranges), host=host)


def _plain(stretch: Stretch) -> dict[str, Any]:
    values = {name: getattr(stretch, name) for name in stretch.__slots__}
    return {**values, "ending": stretch.ending.name.lower()}


def _shortened(ranges: tuple[tuple[int, int], ...]) -> str:
    numbers = chain.from_iterable(range(first, first + count) for first, count in ranges)
    shown = tuple(islice(numbers, _INDICES_SHOWN))
    left = sum(count for _, count in ranges) - len(shown)
    if left <= 0:
        return str(shown)
    return f"({', '.join(map(str, shown))}, ... ({left} more))"
