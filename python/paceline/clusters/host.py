"""A host of a cluster: runs chunks on a local pool of worker processes, inside of a worker of the engine's.

Owns those pools: one for each pool of a client that has sent something here, kept from chunk to chunk. Each ends when
its client says so, when it has had nothing to do for a while (the client may be gone), or with the engine's worker.
What is contained by worker processes (time limits, deaths, memory) is contained here, and costs no more than one item.
"""

from __future__ import annotations

import os
from _pickle import dumps, loads
from concurrent.futures import CancelledError
from socket import gethostname
from threading import Condition, Thread
from time import monotonic, monotonic_ns
from typing import NamedTuple

from paceline.clusters.carried import Carried, CarriedCoroutine, MayPass, set_up
from paceline.clusters.parcel import ITEM, LOST, Answer, Reply, pack, unpack, versions
from paceline.clusters.shares import laid_out, leave_pool
from paceline.engine import open_engine, register, unregister
from paceline.errors import MemoryLimitExceeded, TaskTimeout, WorkerDied, WorkerStartError
from paceline.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from paceline.clusters.parcel import Outcome, Part, Spell
    from paceline.engine import AnyEngine

__all__ = ["Presence", "end_pool", "presence", "run_chunk"]

# A pool that has had nothing to do for so long is ended; the next chunk opens it again.
IDLE_S = 20.0
# How often whoever runs a chunk looks whether anybody still wants it.
_LOOK_S = 0.5
# How long the end of a pool is waited for.
_ENDING_S = 2.0


class Presence(NamedTuple):
    """What a worker of the engine's says of itself."""

    host: str
    pid: int
    versions: tuple[str, str]


def presence() -> Presence:
    """Of this process."""
    return Presence(gethostname(), os.getpid(), versions())


class _Pool:
    """The local pool of one pool of a client."""

    def __init__(self, key: str, workers: int, opening: bytes) -> None:
        self.key = key
        path, initializer, arguments, options = loads(opening)
        most = options.pop("most", None)
        recycled = options.pop("max_tasks_per_worker", None)
        self._engine: AnyEngine = open_engine(
            workers if most is None else min(workers, most), set_up, (path, initializer, arguments), recycled, **options
        )
        self.users = 0
        self.used = monotonic()
        self._functions: dict[tuple[Any, ...], Carried] = {}
        self._starts: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        register(self)

    def begin(self, part: Part, shared: dict[str, Any]) -> Any:
        """Starts the calls of a part; the future."""
        asked = part.asked
        submit, start_map = self._bound(part)
        function = self._function(part)
        numbered: list[tuple[Any, ...]] = list(enumerate(part.inputs, part.number))
        if part.shares:
            along = {token: shared[token] for token in part.shares}
            numbered = [(*one, along) for one in numbered]
        if asked.style == ITEM or len(numbered) > 1 or part.first is not None:
            return start_map(function, numbered, on_error="outcomes", base=part.first or 0)
        return submit(function, (numbered[0],), None)

    def _function(self, part: Part) -> Carried:
        asked = part.asked
        key = (part.function, asked.kinds, asked.style, asked.retries, part.name)
        known = self._functions.get(key)
        if known is None:
            if len(self._functions) >= _MOST_KEPT:
                self._functions.clear()
            known = self._functions[key] = (CarriedCoroutine if part.is_coroutine else Carried)(*key)
        return known

    def _bound(self, part: Part) -> tuple[Callable[..., Any], Callable[..., Any]]:
        asked = part.asked
        key = asked[1:8]
        known = self._starts.get(key)
        if known is None:
            kinds = (WorkerDied, TaskTimeout, MemoryLimitExceeded)
            after = tuple(kind for kind, wanted in zip(kinds, asked.again_after, strict=True) if wanted)
            options = Options(
                timeout=asked.timeout,
                grace=asked.grace,
                retries=asked.retries,
                retry_on=(*after, MayPass),
                backoff=asked.backoff,
                retry_alone=asked.retry_alone,
                priority=asked.priority,
            )
            known = self._starts[key] = options.bind(self._engine)
        return known

    def end(self, *, at_once: bool) -> None:
        """Ends it; waits for its workers, unless it is to end at once, when they are killed first."""
        if at_once:
            self._engine.terminate()
        else:
            self._engine.close()
        self._engine.join()
        unregister(self)
        leave_pool(self.key)

    def _end_at_exit(self, interrupted: bool, /) -> None:  # noqa: ARG002 - it is ended either way.
        self.end(at_once=True)


_MOST_KEPT = 64

# -- the pools of this process -----------------------------------------------------------------------------------------

_pools: dict[str, _Pool] = {}
# Those that their clients have ended, the latest last: a chunk that was on its way then must not open its pool again.
_ended: dict[str, None] = {}
_MOST_ENDED = 1024
_changed = Condition()
_janitor: Thread | None = None


def _enter(key: str, workers: int, opening: bytes) -> _Pool:
    global _janitor
    with _changed:
        if key in _ended:
            raise _Unwanted
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = _Pool(key, workers, opening)
            if _janitor is None:
                _janitor = Thread(target=_clear_up, name="paceline-janitor", daemon=True)
                _janitor.start()
        pool.users += 1
    return pool


def _leave(pool: _Pool) -> None:
    with _changed:
        pool.users -= 1
        pool.used = monotonic()
        _changed.notify_all()


def _clear_up() -> None:
    """Ends pools that have had nothing to do for long, until there is none."""
    global _janitor
    while True:
        with _changed:
            if not _pools:
                _janitor = None
                return
            now = monotonic()
            idle = [pool for pool in _pools.values() if pool.users == 0 and now - pool.used >= IDLE_S]
            for pool in idle:
                del _pools[pool.key]
            if not idle:
                waiting = [pool.used + IDLE_S - now for pool in _pools.values() if pool.users == 0]
                _changed.wait(max(0.0, min(waiting, default=IDLE_S)))
        for pool in idle:
            pool.end(at_once=False)


def end_pool(key: str, at_once: bool) -> None:
    """Ends the local pool of that pool of a client, which has ended; waits for that, but not for long.

    It may be the engine's own loop that calls this, and must not be held up.
    """
    with _changed:
        _ended[key] = None
        if len(_ended) > _MOST_ENDED:
            del _ended[next(iter(_ended))]
    _drop_pool(key, at_once)


def _drop_pool(key: str, at_once: bool) -> None:
    """Ends the local pool, if there is one here; the next chunk opens it again."""
    with _changed:
        pool = _pools.pop(key, None)
        _changed.notify_all()
    if pool is not None:
        thread = Thread(target=pool.end, kwargs={"at_once": at_once}, name="paceline-ending", daemon=True)
        thread.start()
        thread.join(_ENDING_S)


class _Unwanted(Exception):
    """Nobody waits for the chunk any more: its client has ended it, or is gone."""


# -- a chunk -----------------------------------------------------------------------------------------------------------


def run_chunk(
    parcel: bytes, workers: int, wanted: Callable[[], bool] | None = None, shares: Sequence[bytes] = ()
) -> bytes:
    """Runs what is in a parcel on a local pool of at most so many workers, and packs what became of it.

    `wanted` tells whether anybody still waits for it: when nobody does, what has not ended is ended with its pool.
    Raises `ClusterMismatch` if the parcel comes from other versions.
    """
    came_ns = monotonic_ns()
    key, opening, parts, tokens = unpack(parcel, "the client")
    pool = None
    begun: list[Any] = []
    try:
        pool = _enter(key, workers, opening)
        shared = laid_out(key, tokens, shares) if tokens else {}
        begun.extend(pool.begin(part, shared) for part in parts)
        answers = [
            _answer(_outcomes(future, len(part.inputs), wanted)) for part, future in zip(parts, begun, strict=True)
        ]
    except _Unwanted:
        for future in begun:
            future.cancel(force=True)
        _drop_pool(key, at_once=True)
        raise
    except WorkerStartError as error:
        _drop_pool(key, at_once=True)
        broken = dumps((error.reason, error.last_words, error.remote_traceback), 5)
        return pack(Reply(gethostname(), came_ns, monotonic_ns(), [], broken))
    except CancelledError:
        # The pool was ended, and not because anybody here wanted that.
        return pack(Reply(gethostname(), came_ns, monotonic_ns(), None))
    finally:
        if pool is not None:
            _leave(pool)
    return pack(Reply(gethostname(), came_ns, monotonic_ns(), answers))


def _outcomes(future: Any, inputs: int, wanted: Callable[[], bool] | None) -> list[Any]:
    """What each call has told, or the exception that stands for it. Raises `CancelledError` if their pool has ended."""
    while not future.wait(_LOOK_S):
        if wanted is not None and not wanted():
            raise _Unwanted
    error = future.exception()
    if error is not None:
        if isinstance(error, WorkerStartError):
            raise error
        # That of the one call, or of all that could not be made.
        return [error] * inputs
    told = future.result()
    return [outcome for _, _, outcome in told] if isinstance(told, list) else [told]


def _answer(told: list[Any]) -> Answer:
    """The outcomes, and the spells: what lies together is told as one."""
    outcomes: list[Outcome] = []
    spells: list[Spell] = []
    for place, one in enumerate(told):
        if isinstance(one, BaseException):
            outcomes.append((LOST, dumps(one, 5)))
            ended_ns = monotonic_ns()
            seconds = getattr(one, "seconds", None) or 0.0
            failed = (0, 1, 0) if isinstance(one, TaskTimeout) else (0, 0, 1)
            busy_ns = int(seconds * 1e9)
            attempt = getattr(one, "attempt", 1) - 1
            spells.append((getattr(one, "pid", 0), place, 1, attempt, failed, ended_ns - busy_ns, ended_ns, busy_ns))
            continue
        kind, data, pid, attempt, began_ns, ended_ns = one
        outcomes.append((kind, data))
        failed = (1 if kind else 0, 0, 0)
        last = spells[-1] if spells else None
        if last is not None and last[:1] == (pid,) and last[3:5] == (attempt - 1, failed) and began_ns >= last[6]:
            spells[-1] = (*last[:2], last[2] + 1, *last[3:6], ended_ns, last[7] + ended_ns - began_ns)
        else:
            spells.append((pid, place, 1, attempt - 1, failed, began_ns, ended_ns, ended_ns - began_ns))
    return Answer(outcomes, spells)
