"""What happens in a pool, told while it happens: `pool.subscribe(callback)`.

Owns the shape of an event and its version, and the thread that calls. It only looks at what happened: the engine notes
that and keeps it in a bounded queue, and whatever a callback does, the pool knows nothing of it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from threading import Thread, current_thread

from paceline.engine import LocalEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, Self, TypeAlias

    from paceline.engine import AnyEngine, Events

    Kind: TypeAlias = Literal["submitted", "ended", "retried", "worker_started", "worker_ended", "closed", "missed"]
    Ending: TypeAlias = Literal["done", "raised", "stopped", "lost", "left", "retired", "failed", "died", "broken"]

__all__ = ["Event", "Subscription"]

VERSION = 1

# What the monotonic clock lacks to the time since the epoch: once, so that no event is told to be older than one before
# it only because somebody has set the clock.
_ANCHOR_NS = time.time_ns() - time.monotonic_ns()


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """Something that has happened in a pool; `kind` says what, and which of the other fields mean something.

    >>> from paceline import Pool
    >>> told = []
    >>> with Pool(1) as pool, pool.subscribe(told.append):
    ...     results = pool.map(abs, [-1, 2, -3], chunksize=2)
    >>> [(event.kind, event.first_item, event.items) for event in told if event.function == "abs"]
    [('submitted', 0, 3), ('ended', 0, 2), ('ended', 2, 1)]

    The kinds, and what belongs to them:

    - `submitted`: a call or a map has been submitted. `function`, `first_item` and `items`.
    - `ended`: a worker has run some items of a call without a break. `function`, `first_item`, `items`, `attempt`,
      `ending` (`"done"`, `"raised"`, `"stopped"`, `"lost"`), `failures`, `exception`, `submitted`, `began`, `seconds`
      and `pid`.
    - `retried`: an item has gone out to be run again. `function`, `first_item`, `items` (1) and `attempt`.
    - `worker_started`: a worker takes calls. `pid`.
    - `worker_ended`: a worker is gone. `pid`, `ending` (`"left"`, `"retired"`, `"failed"`, `"died"`), `exit_code` and
      `signal`.
    - `closed`: the pool has ended, and nothing follows. `ending` (`"done"`, or `"broken"`).
    - `missed`: the callback was so slow that some events did not fit into the queue. `items`: how many.

    `time`, `submitted` and `began` are seconds since the epoch, on a clock that never goes back; `seconds` is a
    duration. Items are numbered in the pool's order of submission, those of a map one after the other. `attempt` counts
    from 1, as `paceline.current_task` does.

    The `ending` of items is the worst of theirs: `"lost"` if their worker ended with them, `"stopped"` if one was over
    its time or cancelled. `failures` of them have no result, and `exception` is the type's name of what the first of
    these raised, where that is known. Of workers, `"left"` means that the pool had no more to do, `"retired"` that it
    left for a fresh one, and `"failed"` that it could not be set up.

    `version` is 1. It grows when a kind or a field changes its meaning; new ones may come without that.
    """

    # The native module makes them, and knows the fields by their order.
    version: int
    kind: Kind
    time: float
    function: str | None = None
    first_item: int | None = None
    items: int | None = None
    attempt: int | None = None
    ending: Ending | None = None
    failures: int | None = None
    exception: str | None = None
    submitted: float | None = None
    began: float | None = None
    seconds: float | None = None
    pid: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    # By what `paceline.telemetry` knows a submission.
    origin: int = field(default=0, compare=False)

    def __repr__(self) -> str:
        # What means nothing here is left out.
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in {"version", "origin"}}
        return f"Event({', '.join(f'{name}={value!r}' for name, value in told.items() if value is not None)})"


class Subscription:
    """What `pool.subscribe` gives: it ends by `close`, with a `with` block, or with the pool; not by being dropped."""

    def __init__(self, engine: AnyEngine, callback: Callable[[Event], object]) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        if isinstance(engine, LocalEngine):
            where = (
                "in this process"
                if engine.carrier is None
                else "on a cluster, which tells of them when they have ended"
            )
            raise ValueError(  # noqa: TRY004 - as a pool's constructor refuses what is not for threads.
                f"events are told by pools of worker processes: this one runs its calls {where}\n"
                "hint: use `backend='processes'`, or have the function itself tell what it does"
            )
        self._events = engine.subscribe(Event, VERSION, _ANCHOR_NS, _name_of_exception)
        # A daemon, because the interpreter would otherwise wait for it before it tells us that the program ends. It
        # holds neither the pool nor this object, so that both can be let go of.
        self._thread = Thread(target=_deliver, args=(self._events, callback), name="paceline-events", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._events.close()
            raise

    def close(self) -> None:
        """Ends the subscription; returns when the callback has returned from everything that had happened before.

        Called by the callback itself, it does not wait: what had happened before is told when the callback has
        returned. May be called several times.
        """
        self._events.close()
        if self._thread is not current_thread() and not sys.is_finalizing():
            self._thread.join()

    @property
    def closed(self) -> bool:
        """Whether the callback will not be called any more."""
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _deliver(events: Events, callback: Callable[[Event], object]) -> None:
    """The life of a subscription's thread."""
    has_raised = False
    while (batch := events.next()) is not None:
        for event in batch:
            try:
                callback(event)
            except BaseException as error:  # It is the callback's own affair, even if it wants to leave.
                if not has_raised:
                    has_raised = True
                    _log(callback, error)
        # While there is nothing to tell, nothing that was told is kept.
        batch = event = None


def _name_of_exception(left: bytes) -> str | None:
    """The name of the type of an exception, from what its worker has packed."""
    from paceline.inert import loads

    try:
        # As `paceline.pickling.pack_exception` puts it together.
        name = loads(left)[3]
    except Exception:  # A worker can leave anything.
        return None
    return name if isinstance(name, str) else None


def _log(callback: Callable[[Event], object], error: BaseException) -> None:
    from logging import getLogger

    getLogger("paceline").error(
        "a callback of `subscribe` raised an exception; more of its exceptions are not shown: %r",
        callback,
        exc_info=error,
    )
