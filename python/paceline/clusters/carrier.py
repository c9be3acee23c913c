"""The carrier: what the lanes of a pool on a cluster call with each chunk, and get back what became of it.

Owns the way of a chunk to the cluster and back: its parcel, whether it is sent again when a host has died, whose clock
a moment is of, and what is told of failures. Which chunk is sent when is the engine's decision, and how it is run the
host's.

A *lane* is a thread of the local engine that runs nothing itself: it takes a chunk, is here until that has ended, and
takes the next. There are twice as many as the cluster runs at once, so that the next chunk is there when one has ended.
"""

from __future__ import annotations

import sys
from _pickle import dumps, loads
from os import urandom
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from time import monotonic_ns

from paceline.clusters.cluster import HostDied, RunCancelled
from paceline.clusters.host import end_pool, presence
from paceline.clusters.parcel import CALL, ITEM, LOST, RESULT, STAR, Asked, Part, Reply, check_versions, pack, unpack
from paceline.clusters.sending import Functions, dump_input, dump_inputs, shown
from paceline.clusters.shares import Along, by_value
from paceline.elsewhere import collecting
from paceline.engine import Terms
from paceline.errors import CarriedNoMore, ClusterLost, WorkerDied, WorkerStartError, task_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from paceline.clusters.cluster import Cluster, Run
    from paceline.clusters.parcel import Answer
    from paceline.clusters.sending import Sent
    from paceline.clusters.shares import Entry
    from paceline.engine import LocalEngine
    from paceline.options import Options

    # A chunk, as the lane tells it: function, inputs, number, index, what is asked, name.
    Handed: TypeAlias = tuple[Sent, list[bytes | Along], int, int | None, "Bound", str | None]

__all__ = ["Carrier"]

# A chunk on which so many hosts have died is not sent again.
_MOST_DEATHS = 3
# Of inputs that are longer on average, a chunk has no more bytes than these, whatever they take.
_LARGE_INPUT = 256 << 10
_LARGEST_CHUNK = 16 << 20


class Bound:
    """What is asked for calls in one way, as the engine keeps it with them."""

    __slots__ = ("asked", "name")

    def __init__(self, asked: Asked, name: str | None) -> None:
        self.asked = asked
        self.name = name


class Carrier:
    """Hands chunks of one pool to a cluster; the engine calls it from all of its lanes."""

    def __init__(self, cluster: Cluster, opening: bytes) -> None:
        self.cluster = cluster
        self._opening = opening
        self._key = urandom(8).hex()
        self._functions = Functions()
        self._lock = Lock()
        self._runs: set[Run] = set()
        self._is_terminated = False
        self._is_closed = False
        self._is_lost = False
        # Of each host: how much its clock is ahead of ours, and how exactly that is known.
        self._clocks: dict[str, tuple[int, int]] = {}
        # Ends of calls that somebody wants to be told of, and the thread that does it.
        self._announcements: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._announcer: Thread | None = None

    # -- calls ---------------------------------------------------------------------------------------------------------

    def bind(self, engine: LocalEngine, options: Options | None) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The engine's `submit` and `map` with these options; both take what the engine's take after the terms."""
        call, item, star = (self._terms(options, style) for style in (CALL, ITEM, STAR))

        def submit(function: Any, args: Any, kwargs: Any, /, **rest: Any) -> Any:
            sent = self._functions.of(function)
            return engine.submit(call, sent, (dump_input((args, kwargs)),), None, **rest)  # type: ignore[arg-type]

        def start_map(function: Any, items: Any, /, *, star: bool = False, on_error: str = "raise", **rest: Any) -> Any:
            sent = self._functions.of(function)
            inputs = dump_inputs(items, fails_alone=on_error != "raise")
            if rest.get("chunksize") is None and inputs:
                rest["chunksize"] = _largest_chunk(inputs, engine.workers)
            return engine.map(starred if star else item, sent, inputs, on_error=on_error, **rest)  # type: ignore[arg-type]

        starred = star
        return submit, start_map

    def _terms(self, options: Options | None, style: int) -> Terms:
        if options is None:
            return Terms(carried=Bound(Asked(style), None))
        if options.resources is not None:
            raise ValueError(
                f"resources are for worker processes of this machine: backend={self.cluster.name!r} cannot share them\n"
                "hint: give the engine's own workers what each may use"
            )
        after, kinds = (True, False, True), None
        if options.retry_on is not None:
            from paceline.errors import MemoryLimitExceeded, TaskTimeout
            from paceline.pickling import dump_argument_fallback

            after = (
                any(issubclass(WorkerDied, kind) for kind in options.retry_on),
                any(issubclass(TaskTimeout, kind) for kind in options.retry_on),
                any(issubclass(MemoryLimitExceeded, kind) for kind in options.retry_on),
            )
            kinds = dump_argument_fallback(options.retry_on) if options.retries else None
        asked = Asked(
            style,
            options.timeout,
            options.grace,
            options.retries,
            options.backoff,
            options.retry_alone,
            options.priority,
            after,
            kinds,
        )
        return Terms(priority=options.priority, name=options.name, carried=Bound(asked, options.name))

    # -- chunks --------------------------------------------------------------------------------------------------------

    def __call__(self, handed: list[Handed]) -> list[tuple[list[Any], list[tuple[int, BaseException]], list[Any]]]:
        """Has some chunks run, and tells of each: results, failures by place, and who did what."""
        entries: dict[str, Entry] = {}
        parts = [_part(one, entries) for one in handed]
        parcel = pack((self._key, self._opening, parts, list(entries)))
        places = [entry.place(self.cluster) for entry in entries.values()]
        died: list[str] = []
        deaths = 0
        while True:
            sent_ns = monotonic_ns()
            run = self._begin(parcel, parts[0].name, places)
            try:
                reply = Reply(*unpack(run.wait(), "a worker of the cluster"))
                answers = reply.answers
                if answers is None:
                    raise HostDied(f"the one on {reply.host}, which had its own workers ended")
            except HostDied as death:
                died.append(str(death))
                deaths += death.deaths
                if deaths >= _MOST_DEATHS:
                    return [self._lost(part, deaths, died) for part in parts]
                continue
            except RunCancelled:
                raise CarriedNoMore from None
            except ClusterLost:
                self._is_lost = True
                raise
            finally:
                with self._lock:
                    self._runs.discard(run)
            break
        if reply.broken is not None:
            raise WorkerStartError(*loads(reply.broken))
        ahead_ns = self._clock_ahead(reply, sent_ns, monotonic_ns())
        return [self._taken_in(part, answer, reply.host, ahead_ns) for part, answer in zip(parts, answers, strict=True)]

    def _begin(self, parcel: bytes, name: str, places: list[Any]) -> Run:
        with self._lock:
            if self._is_terminated:
                raise CarriedNoMore
            run = self.cluster.start(parcel, name, places)
            self._runs.add(run)
        return run

    def _clock_ahead(self, reply: Reply, sent_ns: int, came_ns: int) -> int:
        """How much the host's clock is ahead: the way there and the way back are taken to be equally long."""
        ways_ns = (came_ns - sent_ns) - (reply.left_ns - reply.came_ns)
        ahead_ns = ((reply.came_ns - sent_ns) + (reply.left_ns - came_ns)) // 2
        with self._lock:
            known = self._clocks.get(reply.host)
            if known is None or ways_ns < known[1]:
                known = self._clocks[reply.host] = (ahead_ns, ways_ns)
        return known[0]

    def _taken_in(
        self, part: Part, answer: Answer, host: str, ahead_ns: int
    ) -> tuple[list[Any], list[tuple[int, BaseException]], list[Any]]:
        values: list[Any] = []
        failures: list[tuple[int, BaseException]] = []
        outcomes, spells = answer
        for place, (kind, data) in enumerate(outcomes):
            if kind == RESULT:
                try:
                    values.append(loads(data))
                    continue
                except BaseException as error:
                    from paceline.pickling import result_not_rebuilt

                    failures.append((place, result_not_rebuilt(error)))
            else:
                failures.append((place, self._failure(part, place, kind, data, host)))
            values.append(None)
        told = [
            (host, pid, first, count, attempt, failed, began - ahead_ns, ended - ahead_ns, busy)
            for pid, first, count, attempt, failed, began, ended, busy in spells
        ]
        return values, failures, told

    def _failure(self, part: Part, place: int, kind: int, data: bytes, host: str) -> BaseException:
        index = None if part.first is None else part.first + place
        if kind != LOST:
            from paceline.pickling import unpack_exception

            return unpack_exception(data, {"function": part.name, "index": index})
        error: BaseException = loads(data)
        if hasattr(error, "function"):
            arguments = shown(part.asked.style, part.inputs[place])
            vars(error).update(function=part.name, index=index, task=task_name(part.name, index), arguments=arguments)
        error.add_note(f"on host {host}")
        return error

    def _lost(
        self, part: Part, deaths: int, died: list[str]
    ) -> tuple[list[Any], list[tuple[int, BaseException]], list[Any]]:
        """What is told of a chunk on which one host after the other has died."""
        failures: list[tuple[int, BaseException]] = []
        for place, data in enumerate(part.inputs):
            index = None if part.first is None else part.first + place
            note = f"{deaths} hosts have died that ran it, the last being {'; '.join(died)}"
            details = {"index": index, "arguments": shown(part.asked.style, data), "attempt": deaths, "note": note}
            failures.append((place, WorkerDied(part.name, **details)))
        return [None] * len(part.inputs), failures, []

    def announce(self, announcement: Callable[[], None]) -> None:
        """Has a future told of its end, with its callbacks; one after the other, all by the same thread."""
        if self._announcer is None:
            with self._lock:
                if self._announcer is None:
                    self._announcer = Thread(target=self._announce_all, name="paceline-callbacks", daemon=True)
                    self._announcer.start()
        self._announcements.put(announcement)

    def _announce_all(self) -> None:
        while (announcement := self._announcements.get()) is not None:
            announcement()
            del announcement

    # -- the end -------------------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Ends what is under way at once; nothing more is sent."""
        with self._lock:
            self._is_terminated = True
            runs = list(self._runs)
        for run in runs:
            run.cancel()

    def close(self) -> None:
        """Nothing is under way any more: ends the local pools on the hosts, and lets go of the cluster."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        if self._announcer is not None:
            self._announcements.put(None)
            # A callback may be what ends the pool.
            if self._announcer is not current_thread():
                self._announcer.join()
        self._functions.forget()
        try:
            if not self._is_lost:
                self.cluster.everywhere(end_pool, self._key, self._is_terminated)
        except Exception:  # A worker that cannot be reached ends its pool when that has been idle for long enough.
            pass
        self.cluster.close()

    def check(self) -> None:
        """Raises `ClusterMismatch` if a worker of the cluster is of other versions."""
        for one in self.cluster.everywhere(presence):
            check_versions(one.versions, f"the worker on host {one.host} (process {one.pid})")


def _largest_chunk(inputs: list[bytes | Along], workers: int) -> int | None:
    """How many inputs a chunk has because of their bytes; None if that is for measured time to say."""
    sizes = [len(one.data if isinstance(one, Along) else one) for one in inputs]
    mean = sum(sizes) / len(sizes)
    if mean < _LARGE_INPUT:
        return None
    return max(1, min(int(_LARGEST_CHUNK / mean), len(sizes) // (4 * workers)))


def _part(handed: Handed, entries: dict[str, Entry]) -> Part:
    """The part of a chunk; the shared objects that it refers to are added to `entries`."""
    sent, inputs, number, index, bound, name = handed
    own = dict(sent.entries)
    data = []
    for one in inputs:
        if isinstance(one, Along):
            own |= one.entries
            data.append(one.data)
        else:
            data.append(one)
    entries |= own
    return Part(bound.name or name or "?", sent.data, sent.is_coroutine, data, number, index, bound.asked, tuple(own))


def opening_of(initializer: Callable[..., object] | None, initargs: tuple[Any, ...], options: dict[str, Any]) -> bytes:
    """What a host needs in order to open a local pool. Raises `TypeError` and `ArgumentNotPicklable`."""
    function = arguments = None
    if initializer is not None:
        if not callable(initializer):
            raise TypeError("initializer must be a callable")
        from paceline.pickling import dump_argument_fallback, dump_function

        with collecting(by_value):
            function, _ = dump_function(initializer)
            arguments = dump_argument_fallback((initargs, None))
    path = [folder for folder in sys.path if folder]
    return dumps((path, function, arguments, options), 5)
