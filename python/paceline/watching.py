"""A program that lets itself be watched by `paceline top`: `watchable`, and what is answered to whoever looks.

Owns the socket of this process, the one thread that answers on it, and what it tells of pools. Where the socket is and
who is let in is the affair of `paceline.rendezvous`; what is made of the answers, that of `paceline.top`. While nobody
looks, the thread sleeps, and nothing is kept for it.
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import count
from time import monotonic
from weakref import WeakKeyDictionary

from paceline import rendezvous
from paceline.engine import LocalEngine, afterwards, open_pools, worker_stacks
from paceline.errors import task_name
from paceline.failures import stacks_shown
from paceline.history import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import Any

    from paceline.engine import AnyEngine

__all__ = ["close", "state", "watch_if_asked", "watchable"]

# How long a question, or whoever is to take the answer, may take.
_PATIENCE_S = 2.0
# How long a worker may take to write down its stack.
_STACK_PATIENCE_S = 0.5
# How long it is until the next attempt where the system had no descriptor for a connection.
_PAUSE_S = 1.0
_MOST_PROGRAM_CHARACTERS = 200
_MOST_TEXT_CHARACTERS = 300


def watchable() -> str:
    r"""Lets `paceline top` show what the pools of this process are doing; the path of the socket at which it does.

    >>> import paceline
    >>> paceline.watchable() == paceline.watchable()
    True

    From then on `paceline top`, run by the same user or by root, shows pools, workers, what they run and for how many
    seconds, memory and failures, can show a worker's stack, and can cancel a task. Another call changes nothing. A
    program that is started with `PACELINE_TOP=1` in its environment does the same when it opens its first pool.

    The socket has the process's id for a name, in `$XDG_RUNTIME_DIR/paceline`, or in a folder of the user's below the
    temporary one. It is there until the program ends. A child that is forked from this process is not watched, unless
    it calls this itself.

    Raises `OSError` where there is no place for the socket, and `PermissionError` where its folder belongs to somebody
    else, or is open to others.
    """
    global _watch
    with _lock:
        if _watch is None:
            _watch = _Watch()
        return _watch.path


def watch_if_asked() -> None:
    """The same, if the environment asks for it; where that cannot be, it is said in a warning, and the program goes on.

    A worker of ours is not asked: it has the environment of its program.
    """
    worker = sys.modules.get("paceline.worker")
    is_worker = worker is not None and worker.stacks >= 0
    if _watch is not None or is_worker or os.environ.get("PACELINE_TOP", "") in {"", "0"}:
        return
    try:
        watchable()
    except OSError as error:
        from warnings import warn

        warn(f"PACELINE_TOP is set, but this program cannot be watched: {error}", RuntimeWarning, stacklevel=2)


def close() -> None:
    """Lets nobody watch any more, and leaves nothing behind."""
    global _watch
    with _lock:
        watch, _watch = _watch, None
        if watch is not None:
            watch.close()


class _Watch:
    """The socket, and the thread that answers on it."""

    def __init__(self) -> None:
        self.listener, self.path, self.identity = rendezvous.listen()
        self.connection: socket | None = None
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._serve, name="paceline-top", daemon=True)
        try:
            self.thread.start()
        except BaseException:
            self.closing.set()
            rendezvous.take_away(self.path, self.identity)
            self.listener.close()
            raise

    def close(self) -> None:
        from socket import SHUT_RDWR

        self.closing.set()
        rendezvous.take_away(self.path, self.identity)
        # Wakes the thread, which closing the descriptor would not.
        self.listener.shutdown(SHUT_RDWR)
        self.thread.join(_PATIENCE_S + _STACK_PATIENCE_S)
        self.listener.close()

    def forget(self) -> None:
        """In a fork of the process: the socket is its parent's, and stays where it is."""
        self.listener.close()
        connection = self.connection
        if connection is not None:
            connection.close()

    def _serve(self) -> None:
        from signal import SIG_BLOCK, pthread_sigmask, valid_signals

        # Signals are for the program's own threads.
        pthread_sigmask(SIG_BLOCK, valid_signals())
        while not self.closing.is_set():
            try:
                self.connection, _ = self.listener.accept()
            except OSError:
                # It was closed; or there was no descriptor left.
                self.closing.wait(_PAUSE_S)
                continue
            try:
                self.connection.settimeout(_PATIENCE_S)
                if rendezvous.is_trusted(self.connection):
                    _answer(self.connection)
            except Exception:  # Whoever asked has left, or says nothing; the next one may.
                pass
            finally:
                self.connection.close()
                self.connection = None


_watch: _Watch | None = None
_lock = threading.Lock()


def _forget() -> None:
    global _lock, _watch
    _lock = threading.Lock()
    watch, _watch = _watch, None
    if watch is not None:
        watch.forget()


os.register_at_fork(after_in_child=_forget)
# Whoever looks sees also how the last pools end.
afterwards.append(close)


# -- answers -----------------------------------------------------------------------------------------------------------


def _answer(connection: socket) -> None:
    question = rendezvous.receive(connection)
    if question is None:
        return
    try:
        answer = _answer_to(question)
    except Exception as error:
        answer = {"error": f"this cannot be answered: {type(error).__name__}: {error}"}
    rendezvous.send(connection, answer)


def _answer_to(question: dict[str, Any]) -> dict[str, Any]:
    match question["ask"]:
        case "state":
            return {"state": state()}
        case "stacks":
            stacks = worker_stacks(_STACK_PATIENCE_S, int(question["pid"]))
            return {"stacks": [{"pid": pid, "lines": stacks_shown(text)} for pid, text in stacks]}
        case "cancel":
            return {"cancelled": _cancel(int(question["engine"]), int(question["item"]), bool(question.get("force")))}
        case other:
            raise ValueError(f"there is no question {other!r}")


def _cancel(number: int, item: int, force: bool) -> bool | None:
    for _, engine in open_pools():
        if not isinstance(engine, LocalEngine) and _number_of(engine) == number:
            return engine.cancel_item(item, force=force)
    return None


def state() -> dict[str, Any]:
    """What the pools of this process are doing, in plain values."""
    return {
        "pid": os.getpid(),
        "program": _program()[:_MOST_PROGRAM_CHARACTERS],
        "memory": _memory_of(os.getpid()),
        "now": monotonic(),
        # Those that were there first come first, from one look to the next.
        "pools": sorted((_pool(name, engine) for name, engine in open_pools()), key=lambda pool: pool["engine"]),
    }


def _program() -> str:
    """What was started, with its arguments."""
    first, *rest = map(str, getattr(sys, "argv", None) or [""])
    return " ".join([os.path.basename(first), *rest])


def _pool(name: str | None, engine: AnyEngine) -> dict[str, Any]:
    told = {"engine": _number_of(engine), "name": name, "workers": engine.workers, "closed": engine.closed}
    if isinstance(engine, LocalEngine):
        kind = "serial" if engine.runs_in_caller else "threads"
        if engine.carrier is not None:
            kind = engine.carrier.cluster.name
        return {**told, "kind": kind, "busy": max(0, len(engine.threads()) - engine.idle_threads())}
    ended, unfinished, failed, workers, failures = engine.glance()
    tasks: dict[int, list[dict[str, Any]]] = {}
    for pid, function, item, index, attempt, seconds in engine.running():
        task = {"function": function, "item": item, "index": index, "attempt": attempt, "seconds": seconds}
        tasks.setdefault(pid, []).append(task)
    statistics = dict(engine.statistics())
    return {
        **told,
        "kind": "processes",
        "busy": len(tasks),
        "ended": ended,
        "unfinished": unfinished,
        "failed": failed,
        "bytes_in_flight": statistics["bytes_in_flight"],
        "memory_budget": statistics["memory_budget"],
        "processes": [
            {
                "pid": pid,
                "busy_seconds": busy_seconds,
                "items": items,
                "memory": _memory_of(pid),
                "tasks": tasks.get(pid, []),
            }
            for pid, busy_seconds, items in workers
        ],
        "failures": [_failure(*failure) for failure in failures],
    }


_numbers: WeakKeyDictionary[AnyEngine, int] = WeakKeyDictionary()
_next_number = count(1)


def _number_of(engine: AnyEngine) -> int:
    """By what whoever looks knows a pool: no other of this process has or will have the same."""
    if engine not in _numbers:
        _numbers[engine] = next(_next_number)
    return _numbers[engine]


def _memory_of(pid: int) -> int | None:
    """The bytes of memory that a process alone has touched; None if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return None
    # Memory that is shared belongs to the pool.
    return max(0, resident - shared) * os.sysconf("SC_PAGE_SIZE")


# -- failures ----------------------------------------------------------------------------------------------------------


def _failure(
    function: str,
    item: int,
    index: int | None,
    attempt: int,
    pid: int,
    seconds_ago: float,
    ending: int,
    said: bytes | None,
    death: tuple[int | None, int | None, str | None, bool] | None,
) -> dict[str, Any]:
    how = Ending(ending)
    if how is Ending.RAISED:
        text = _raised(said)
    elif how is Ending.STOPPED:
        text = "was stopped at its time limit"
    else:
        text = _lost(*(death or (None, None, None, False)))
    return {
        "task": task_name(function, index),
        "item": item,
        "attempt": attempt,
        "pid": pid,
        "seconds_ago": seconds_ago,
        "ending": how.name.lower(),
        "text": text[:_MOST_TEXT_CHARACTERS],
    }


def _raised(said: bytes | None) -> str:
    """What a worker has told of an exception, without making it."""
    from paceline.inert import loads

    try:
        _, _, _, class_name, message, *_ = loads(said or b"")
        return f"{class_name}: {message}".partition("\n")[0]
    except Exception:  # It was too long to be kept, or is damaged.
        return "raised an exception"


def _lost(signal: int | None, code: int | None, note: str | None, is_over_limit: bool) -> str:
    if is_over_limit:
        return "its worker had more memory than it may"
    if signal is not None:
        from signal import Signals

        try:
            name = Signals(signal).name
        except ValueError:
            name = f"signal {signal}"
        return f"its worker was ended by {name}" + (f": {note}" if note else "")
    return "its worker ended" if code is None else f"its worker ended with exit code {code}"
