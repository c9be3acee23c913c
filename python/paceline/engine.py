"""The one door to the native module: the opening of engines, and what happens to them when the process ends.

No other file imports `paceline._paceline`. Here is what `Pool` and `ProcessPoolExecutor` share: the set-up that a new
worker is given, and the list of what is still open. It never says what a method of either means.
"""

from __future__ import annotations

import _thread
import atexit
import marshal
import os
import sys

from paceline._paceline import (
    Engine,
    Events,
    Gauge,
    LocalEngine,
    OpenMemory,
    SharedMemory,
    Stream,
    Task,
    TaskFuture,
    Terms,
    current_item,
    current_task,
    default_workers,
    end_processes,
    flush_worker_output,
    is_answering,
    machine_limits,
    next_output,
    number_item,
    preload,
    promise_to_listen,
    renounce_listening,
    sharers,
    worker_stacks,
    write_output,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from threading import Thread
    from typing import Any, Protocol, TypeAlias
    from weakref import WeakKeyDictionary

    # Both have the same methods, and give futures of the same class.
    AnyEngine: TypeAlias = "Engine | LocalEngine"

    class Owner(Protocol):
        """A pool or an executor."""

        _engine: AnyEngine

        def _end_at_exit(self, interrupted: bool, /) -> None: ...


__all__ = [
    "Engine",
    "Events",
    "Gauge",
    "LocalEngine",
    "OpenMemory",
    "SharedMemory",
    "Stream",
    "Task",
    "TaskFuture",
    "Terms",
    "afterwards",
    "choose_seed",
    "current_item",
    "current_task",
    "default_workers",
    "end_before_others",
    "flush_worker_output",
    "is_answering",
    "machine_limits",
    "number_item",
    "on_terms",
    "open_engine",
    "open_engines",
    "open_local_engine",
    "open_pools",
    "preload",
    "register",
    "see_off",
    "sharers",
    "unregister",
    "worker_stacks",
]

# -- opening -----------------------------------------------------------------------------------------------------------

# How workers come into being; see `Pool`.
START_METHODS = ("forkserver", "spawn", "fork")


def open_engine(
    workers: int,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    max_tasks_per_worker: int | None,
    *,
    seed: int | None = None,
    concurrency_per_worker: int = 100,
    threads_per_worker: int | None = None,
    prefix_output: bool = False,
    memory_limit: int | str | None = None,
    memory_budget: int | str | None = None,
    max_memory_per_child: int | str | None = None,
    start_timeout: float | None = None,
    start_method: str = "forkserver",
    resources: Mapping[str, float] | None = None,
) -> Engine:
    """Starts an engine; returns before its workers are ready."""
    if start_method not in START_METHODS:
        raise ValueError(f"start_method must be 'forkserver', 'spawn' or 'fork', not {start_method!r}")
    looks = _looks(workers, threads_per_worker, prefix_output=bool(prefix_output))
    limits: dict[str, Any] = {}
    if resources is not None:
        from paceline.limits import check_resources

        limits["resources"] = list((check_resources(resources) or {}).items())
    if memory_budget is not None:
        from paceline.limits import bytes_of

        limits["memory_budget"] = bytes_of("memory_budget", memory_budget)
    if memory_limit is not None or max_memory_per_child is not None or start_timeout is not None:
        from paceline.limits import bytes_of, nanoseconds_of

        limits["memory_limit"] = bytes_of("memory_limit", memory_limit)
        limits["start_timeout_ns"] = nanoseconds_of("start_timeout", start_timeout)
        looks["most_memory"] = bytes_of("max_memory_per_child", max_memory_per_child)
    engine = Engine(
        workers=workers,
        setup=make_setup(initializer, initargs, seed=seed, concurrency_per_worker=concurrency_per_worker, looks=looks),
        future_type=_future_type,
        max_tasks_per_worker=max_tasks_per_worker,
        prefix_output=bool(prefix_output),
        **limits,
        start_method=start_method,
    )
    _listen_to_workers()
    return engine


def open_local_engine(
    workers: int,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    *,
    prefix: str | None,
    seed: int | None = None,
    carrier: Any = None,
    capacity: int | None = None,
    chunk_cost_s: float = 0.0,
) -> LocalEngine:
    """Opens an engine of at most `workers` threads of this process; each is started when there is work for it.

    The names of the threads are `prefix`, an underscore and a number. Without a prefix there are no threads: every call
    is made by the thread that submits it, before `submit` returns. With a `carrier` (of `paceline.clusters`), the
    threads run nothing themselves, but hand on what they take; `capacity` is how many workers it is said to have then,
    and `chunk_cost_s` how long this process is at it when a chunk is handed on, which the size of chunks depends on.
    Raises `TypeError` for an initializer that cannot be called.
    """
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    return LocalEngine(
        workers=workers,
        future_type=_future_type,
        seed=choose_seed(seed),
        start_thread=None if prefix is None else _starter(prefix),
        initializer=initializer,
        initargs=tuple(initargs),
        carrier=carrier,
        capacity=capacity,
        chunk_cost_ns=round(chunk_cost_s * 1e9),
    )


def on_terms(engine: AnyEngine, terms: Terms) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The engine's `submit` and `map` on these terms; both take what the engine's take after the terms."""
    if (carrier := getattr(engine, "carrier", None)) is not None:
        # What travels further is made ready by whoever carries it.
        bound: tuple[Callable[..., Any], Callable[..., Any]] = carrier.bind(engine, None)
        return bound
    from types import MethodType

    # Cheaper than `functools.partial`, both to import and to call.
    return MethodType(engine.submit, terms), MethodType(engine.map, terms)


def _starter(prefix: str) -> Callable[[Callable[[], None], int], Thread]:
    def start(body: Callable[[], None], number: int) -> Thread:
        from threading import Thread

        # A daemon, because the interpreter would otherwise wait for it before it tells us that the program has ended.
        thread = Thread(target=body, name=f"{prefix}_{number}", daemon=True)
        thread.start()
        return thread

    return start


def _future_type() -> type[TaskFuture]:
    # Importing it takes long, and happens while the first workers start.
    from paceline.future import Future

    return Future  # type: ignore[return-value]


def choose_seed(seed: int | None) -> int:
    """The seed of a pool: the one that was asked for, or a fresh one.

    Raises `TypeError` for what is no integer, `ValueError` for one that is negative or has more than 128 bits.
    """
    if seed is None:
        return int.from_bytes(os.urandom(16), "little")
    try:
        chosen = seed.__index__()
    except AttributeError:
        raise TypeError(f"seed must be an integer or None, not {type(seed).__name__}") from None
    if not 0 <= chosen < 1 << 128:
        raise ValueError("seed must be at least 0 and have at most 128 bits")
    return chosen


def _check_concurrency(coroutines: int) -> int:
    if type(coroutines) is not int:
        raise TypeError(f"concurrency_per_worker must be an integer, not {type(coroutines).__name__}")
    if coroutines < 1:
        raise ValueError(f"concurrency_per_worker must be at least 1, not {coroutines}")
    return coroutines


def make_setup(
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    *,
    seed: int | None = None,
    concurrency_per_worker: int = 100,
    looks: dict[str, Any] | None = None,
) -> bytes:
    """What `paceline.worker.set_up` needs in order to make a new process look like this one.

    Raises `TypeError` for an initializer that cannot be called, `ArgumentNotPicklable` for one that cannot be sent, and
    `TypeError` or `ValueError` for a seed or a number of coroutines that makes no sense.
    """
    numbers = choose_seed(seed), _check_concurrency(concurrency_per_worker)
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    function = positional = None
    if initializer is not None:
        from paceline.pickling import dump_function

        function, _ = dump_function(initializer)
        positional = _dump_arguments(tuple(initargs))
    try:
        folder = os.getcwd()
    except OSError:
        folder = None
    namespace = sys.modules["__main__"].__dict__
    main = {name: namespace[name] for name in ("__file__", "__package__") if type(namespace.get(name)) is str}
    # Not pickled: `_pickle` is imported while the fork server starts, and not before.
    arguments = _plain(getattr(sys, "argv", []))
    surroundings = _plain(sys.path), folder, arguments, main, _authkey()
    return marshal.dumps((*surroundings, function, positional, *numbers, looks or {}))


def _authkey() -> bytes | None:
    """What proves to the managers of `multiprocessing` that a worker is ours; None where there can be no manager."""
    process = sys.modules.get("multiprocessing.process")
    return None if process is None else bytes(process.current_process().authkey)


def _plain(texts: Iterable[Any]) -> list[str]:
    """Only what an interpreter looks at: programs put other things on `sys.path`, and subclasses of str."""
    return [str(text) for text in texts if isinstance(text, str)]


def _dump_arguments(arguments: tuple[Any, ...]) -> bytes:
    from _pickle import dumps

    from paceline.pickling import dump_argument_fallback

    call = (arguments, None)
    try:
        data = dumps(call, 5)
    except Exception:
        return dump_argument_fallback(call)
    return dump_argument_fallback(call) if b"__main__" in data else data


def _looks(workers: int, threads_per_worker: int | None, *, prefix_output: bool) -> dict[str, Any]:
    """What else a worker takes over from this process, or from its pool as a whole."""
    if threads_per_worker is not None:
        if type(threads_per_worker) is not int:
            raise TypeError(f"threads_per_worker must be an integer, not {type(threads_per_worker).__name__}")
        if threads_per_worker < 1:
            raise ValueError(f"threads_per_worker must be at least 1, not {threads_per_worker}")
    environment = dict(os.environb)
    if "paceline.worker" in sys.modules:
        from paceline.worker import threads_chosen

        for name, chosen in threads_chosen.items():
            if os.environ.get(name) == chosen:
                del environment[os.fsencode(name)]
    looks: dict[str, Any] = {
        "environment": environment,
        "sharers": sharers() * workers,
        "threads": threads_per_worker or max(1, default_workers() // max(1, workers)),
        "threads_asked_for": threads_per_worker is not None,
        "prefix": prefix_output,
    }
    if "logging" in sys.modules:
        from paceline.records import levels

        looks["levels"] = levels()
    return looks


# -- what workers say --------------------------------------------------------------------------------------------------


def _listen_to_workers() -> None:
    """Has one thread of this process pass on what workers say; it imports nothing before the first of them does."""
    if promise_to_listen():
        try:
            # Not `threading`, which would have to be imported, and would wait for this thread at the end.
            _thread.start_new_thread(_listen, ())
        except RuntimeError:
            # At the end of the interpreter no thread can be started: whoever closes the pool passes it on.
            renounce_listening()
    if "IPython" in sys.modules:
        from paceline.output import flush_after_cells

        flush_after_cells(_flush_cell)


def _listen() -> None:
    while True:
        sayings = next_output()
        try:
            from paceline.output import pass_on

            pass_on(sayings, write_output)
        except BaseException:  # Whatever happens, the next is listened to.
            pass
        del sayings


def _flush_cell() -> None:
    flush_worker_output(ends_lines=True)


# -- the end -----------------------------------------------------------------------------------------------------------

# In the order in which they were opened.
_open: WeakKeyDictionary[Any, None] | None = None
_left: list[AnyEngine] = []
_home = os.getpid()
# What is to be done when all of them have ended, as the last thing of this process.
afterwards: list[Callable[[], object]] = []


def register(owner: Owner) -> None:
    """Has `owner` told when the interpreter is about to exit."""
    global _home, _open
    if _open is None or os.getpid() != _home:
        from weakref import WeakKeyDictionary

        # If this process was forked from one with pools of its own, those are not ours to end.
        _home = os.getpid()
        _open = WeakKeyDictionary()
        _left.clear()
    _open[owner] = None


def open_engines() -> list[Engine]:
    """The engines of worker processes that are open here."""
    return [engine for _, engine in open_pools() if isinstance(engine, Engine)]


def open_pools() -> list[tuple[str | None, AnyEngine]]:
    """All engines that are open here, each with the name that its owner was given."""
    if os.getpid() != _home:
        return []
    named = [(getattr(owner, "_name", None), owner._engine) for owner in _owners()]  # noqa: SLF001 - no word for users.
    return [*named, *((None, engine) for engine in list(_left))]


def _owners() -> list[Owner]:
    while True:
        try:
            return list(_open or ())
        except RuntimeError:  # Another thread has just opened a pool.
            continue


def unregister(owner: Owner) -> None:
    """There is nothing left to tell it."""
    if _open is not None:
        _open.pop(owner, None)


def see_off(engine: AnyEngine) -> None:
    """Closes the engine of an owner that nobody holds any more; what was submitted still runs, also past the exit."""
    if os.getpid() != _home:
        return
    engine.close()
    # The end of a pool on a cluster is told to all hosts, which is not for whoever happens to collect garbage.
    if getattr(engine, "carrier", None) is not None or not engine.join(0):
        _left.append(engine)
        # Not `threading`: this may be called by the garbage collector in the middle of that module's own work.
        _thread.start_new_thread(_wait_for, (engine,))


def _wait_for(engine: AnyEngine) -> None:
    try:
        engine.join()
    finally:
        _left.remove(engine)


def _end_all() -> None:
    if os.getpid() != _home:
        return
    # The interpreter leaves the exception that ended the program here, after printing it.
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    ends: list[Callable[[bool], object]] = [owner._end_at_exit for owner in _owners()]  # noqa: SLF001 - no word for users.
    ends += [_end_of(engine) for engine in list(_left)]
    for end in ends:
        try:
            end(interrupted)
        except KeyboardInterrupt:
            interrupted = True
            end(interrupted)
        except Exception:  # The rest must be told as well, and nobody is left to hear of it.
            pass
    # A fork server that outlived this process by a moment would be left to the system's first process to bury, and in
    # a container that may be one that never does.
    end_processes(1.0)


def end_before_others() -> None:
    """At the end of this process, has pools end before whatever has registered so far to be ended there."""
    import threading

    try:
        from concurrent.futures import thread  # noqa: F401 - its threads are ended so, and who comes last is first.

        threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way.
    except (AttributeError, RuntimeError):
        # At the end of the interpreter it is too late; then calls that have not ended tell that the cluster is gone.
        pass


def _end_of(engine: AnyEngine) -> Callable[[bool], object]:
    def end(interrupted: bool) -> None:
        if interrupted:
            engine.terminate()
        engine.join()

    return end


def _end() -> None:
    try:
        _end_all()
    finally:
        for action in afterwards:
            action()


atexit.register(_end)
