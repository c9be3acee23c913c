"""`Pool`: the names and the meaning of `multiprocessing.Pool`, and `map` and `starmap` for the common case in one line.

Owns how a pool opens and closes, and the views of it that have options of their own. The ways to call a function on it
are those of `paceline.calls`; how work is done is the engine's affair.
"""

from __future__ import annotations

from os import environ

from paceline.backends import chosen_backend, is_elsewhere, open_backend
from paceline.calls import MISSING, Calls, pool_closed
from paceline.engine import (
    LocalEngine,
    Terms,
    choose_seed,
    default_workers,
    on_terms,
    register,
    see_off,
    unregister,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from contextvars import ContextVar
    from threading import Thread
    from types import TracebackType
    from typing import Any, Literal, Self, TypeVar, overload

    from paceline.backends import Backend
    from paceline.context import ContextCarrier
    from paceline.engine import AnyEngine
    from paceline.events import Event, Subscription
    from paceline.failure_policy import OnError
    from paceline.imap import Feeds
    from paceline.options import Options
    from paceline.processes import WorkerProcess
    from paceline.report import Report
    from paceline.statistics import Statistics

    R = TypeVar("R")
    T = TypeVar("T")

__all__ = ["Pool", "map", "map_reduce", "starmap"]


class Pool(Calls):
    """A pool of worker processes, with the methods of `multiprocessing.Pool`.

    >>> from math import factorial
    >>> from paceline import Pool
    >>> with Pool(2) as pool:
    ...     print(pool.map(factorial, range(6)))
    [1, 1, 2, 6, 24, 120]

    `processes` is the number of workers, by default as many as this process may use CPUs. Each calls
    `initializer(*initargs)` before its first task, and leaves for a fresh one after `maxtasksperchild` tasks, if that
    is given. `context` is taken for compatibility, and changes nothing. `name` appears in the pool's `repr`; `timeout`,
    `grace`, `retries`, `retry_on`, `backoff`, `retry_alone` and `priority` are those of every call, as `options` has
    them. The numbers that `paceline.task_rng` gives to a task
    follow from `seed` and the task's place alone; without one, a fresh seed is drawn, which the attribute `seed` tells.
    Of coroutine functions, up to `concurrency_per_worker` calls are under way at a time in each worker
    process; a thread runs each to its end.
    Each call finds the variables of `context_vars` (`ContextVar`s) as they are where it was made.

    What workers print appears in this process's `sys.stdout` and `sys.stderr`, a whole line at a time, and what they
    log in its loggers; leaving the pool waits for it. With `prefix_output`, each line begins with the worker's process
    id and the task. Native libraries (OpenMP, OpenBLAS, MKL) use `threads_per_worker` threads in each worker, by
    default as many as keep all workers together within the CPUs that this process may use, unless the environment says
    how many.

    A worker that has more than `memory_limit` bytes of its own (a number, or a text such as `"500MB"`) is ended, and
    the call that it runs fails with `MemoryLimitExceeded`. One that has more than `max_memory_per_child` after a call
    leaves for a fresh one. At most about `memory_budget` bytes are in flight: inputs whose calls have not ended, and
    results that nobody has taken yet. By default it is 128 MiB for each worker, or 256 MiB if that is more, and at most
    an eighth of the memory that this process may have (of its control group, in a container). `submit` waits until its
    input fits (except in an event loop, which is never held up); `map` sends its input in pieces, and `imap` and `amap`
    read no further ahead. One item is always taken, however large, and results that `submit` and `map` are to give are
    never held back. `statistics` tells how many bytes there are. An initializer that takes longer than `start_timeout`
    seconds breaks the pool.

    `resources` is what the pool's tasks may use at once, by name: `{"gpu": 2, "mem_gb": 64}`. A call takes its part by
    `options(resources={"gpu": 1, "mem_gb": 16})`, and is not sent before there is enough; see there.

    Raises `ValueError` for a number below one, `TypeError` for an initializer that cannot be called, and
    `ArgumentNotPicklable` for one that cannot be sent. An initializer that raises breaks the pool: every call then
    raises `WorkerStartError`, which shows its traceback.

    Functions need not be importable: lambdas, closures and functions of a script, a REPL or a notebook are sent by
    value, with the globals they use. The script itself is never imported again, so it needs no
    `if __name__ == "__main__":`. Arguments are pickled by the call; what cannot be pickled raises there.

    `start_method` says how workers start. `"forkserver"` forks them from a clean process, in a millisecond or two.
    `"spawn"` starts an interpreter for each, which takes longer and shares nothing, for libraries that do not bear a
    fork. `"fork"` forks this process when the pool is opened, and workers from that: modules that are imported have in
    each worker, also in one that replaces another, the state that they had then. As everywhere, a fork has of all
    threads only the one that forks: a lock that another thread holds at that moment (of a library, of a logging
    handler) is never released in the workers, and who waits for it there waits for ever. So open such a pool before
    the program starts threads.

    `backend` says where the functions run: in `"processes"`; in `"threads"` of this process, where nothing is pickled
    and a context variable has the value it had at the call; or `"serial"`, in the thread that calls, before `submit`
    returns, so that a debugger sees it. A thread starts when there is work for it, and is named after the pool. A
    thread cannot be stopped from outside: `terminate` cancels what has not begun, and `join` waits for what runs.
    There, `retries` are for exceptions of the function alone, made by the thread itself, which waits meanwhile;
    `maxtasksperchild`, `start_method` and limits of time and memory are refused. Serial,
    `imap` makes each call when its result is asked for, and Ctrl-C in a call is raised by the method that made it.
    `"dask"`, `"ray"`, an address such as `"dask://host:8786"`, or a cluster of `paceline.clusters`, has the workers of
    a cluster: without `processes` all of them; each host runs chunks on a local pool, and what `docs/clusters.md` has
    as refused is refused. `ClusterError` is raised where that cannot be used. Without a `backend`, the environment's
    `PACELINE_BACKEND` says which, or else it is processes.

    Deliberate differences from `multiprocessing`: leaving a `with` block waits for what was submitted, unless an
    exception is on its way out, which ends everything at once. A worker that dies fails the one call that it was
    running, with `WorkerDied`, and is replaced. `imap` reads its input as results are taken, not all at once.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: object = None,
        *,
        backend: Backend | None = None,
        name: str | None = None,
        timeout: float | None = None,
        grace: float = 1.0,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float = 0.0,
        retry_alone: bool = False,
        memory_limit: int | str | None = None,
        max_memory_per_child: int | str | None = None,
        memory_budget: int | str | None = None,
        start_timeout: float | None = None,
        priority: int = 0,
        seed: int | None = None,
        concurrency_per_worker: int = 100,
        context_vars: Iterable[ContextVar[Any]] = (),
        threads_per_worker: int | None = None,
        prefix_output: bool = False,
        start_method: Literal["forkserver", "spawn", "fork"] = "forkserver",
        resources: Mapping[str, float] | None = None,
    ) -> None:
        if processes is not None and processes < 1:
            raise ValueError("Number of processes must be at least 1")
        del context  # How workers start is said by `start_method`.
        if maxtasksperchild is not None and not (type(maxtasksperchild) is int and maxtasksperchild > 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        backend = chosen_backend(backend)
        self._name = name
        self._given: Options | None = None
        asked: dict[str, Any] = {
            "timeout": timeout,
            "grace": grace,
            "retries": retries,
            "retry_on": retry_on,
            "backoff": backoff,
            "retry_alone": retry_alone,
            "priority": priority,
        }
        if asked != _NOTHING_ASKED:
            from paceline.options import Options

            self._given = Options(**asked)
        self._carrier: ContextCarrier | None = None
        if context_vars:
            from paceline.context import ContextCarrier

            carrier = ContextCarrier(context_vars)
            # To threads, every variable is carried.
            self._carrier = None if backend in {"threads", "serial"} else carrier
        self.seed = choose_seed(seed)
        self._threads_per_worker = threads_per_worker
        self._engine: AnyEngine = open_backend(
            backend,
            processes,
            initializer,
            initargs,
            maxtasksperchild,
            name=name,
            seed=self.seed,
            concurrency_per_worker=concurrency_per_worker,
            threads_per_worker=threads_per_worker,
            prefix_output=prefix_output,
            memory_limit=memory_limit,
            memory_budget=memory_budget,
            max_memory_per_child=max_memory_per_child,
            start_timeout=start_timeout,
            start_method=start_method,
            resources=resources,
        )
        self._submit, self._start_map = self._bind(self._given)
        self._feeds: Feeds | None = None
        self._state = "RUN"
        register(self)
        if "PACELINE_TOP" in environ:
            from paceline.watching import watch_if_asked

            watch_if_asked()

    def options(self, **options: Any) -> PoolView:
        """The pool seen through options: calls made on what is returned have them, and the pool's other options.

        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     print(pool.options(retries=3).submit(divmod, 17, 5).result())
        (3, 2)

        `timeout` is the time limit of each call (of a map: of each item), in seconds from its beginning in its worker.
        At the limit, `TaskInterrupted` is raised in it, so that it can clean up; `grace` seconds later its worker is
        killed, with its process group, and replaced. The future gets `TaskTimeout`, with the stack at the limit. It
        works on code that is stuck in C or ignores all signals; finished items of the same chunk are kept, the others
        run elsewhere.

        `retries` is how often a call may be run again after an exception of `retry_on`: a class or a tuple of classes,
        by default `WorkerDied`; `TaskTimeout`, `MemoryLimitExceeded`, and whatever the function raises may be among
        them. `backoff` is how many seconds it waits before the first retry, doubled each time, and shortened by chance
        to no less than half. With `retry_alone`, what ran out of memory is run again while nothing else of the pool is.
        `paceline.current_task().attempt` tells the function which attempt it is.

        Of the calls that wait, those of the highest `priority` (from -32768 to 32767, zero by default) begin first.
        `name` stands for the function in errors. They are given here because all keywords of `submit` belong to the
        function.

        `resources`, such as `{"gpu": 1, "mem_gb": 4}`, is what a call (of a map: a chunk, by its items in turn) has of
        the pool's `resources` from the moment it is sent to a worker until it has ended. Calls wait until there is
        enough for them, and those that need none of it pass them by; of those that want the same, the older goes first,
        however much it wants. In a pool that runs other calls as well, a higher `priority` has what was given back used
        again at once. Amounts are counted in thousandths. Of `gpu`, a call has whole ones or a part of one; which these
        are tells `paceline.current_task().devices`, and `CUDA_VISIBLE_DEVICES` says so while the call runs, to
        libraries that are initialised in it (for coroutines, which share a process, it does not).

        Raises `TypeError` for other options, and `ValueError` for values that are out of range, and for resources that
        the pool can never give.
        """
        return PoolView(self, self._own_options().replace(**options))

    def _bind(self, options: Options | None) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The engine's `submit` and `map` with these options."""
        submit, start_map = on_terms(self._engine, Terms()) if options is None else options.bind(self._engine)
        if self._carrier is not None:
            submit, start_map = self._carrier.bind(submit, start_map)
        return submit, start_map

    def _own_options(self) -> Options:
        if self._given is None:
            from paceline.options import Options

            self._given = Options()
        return self._given

    def _inputs(self) -> Feeds:
        if self._feeds is None:
            from paceline.imap import Feeds

            self._feeds = Feeds(self._engine)
        return self._feeds

    # -- the whole -----------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """How the work so far was spread over the workers, as an object that prints as a table."""
        from paceline.report import Report

        return Report.of(self._engine, self._threads_per_worker)

    def statistics(self) -> Statistics:
        """How many bytes are in flight and in shared memory, now and at most so far."""
        from paceline.statistics import statistics

        return statistics(self._engine)

    def subscribe(self, callback: Callable[[Event], object]) -> Subscription:
        """Has `callback(event)` called with what happens in the pool from now on: a `paceline.Event` each time.

        >>> from paceline import Pool
        >>> with Pool(1) as pool:
        ...     with pool.subscribe(lambda event: event.kind == "ended" and print(event.function, event.ending)):
        ...         print(pool.apply(abs, (-1,)))
        1
        abs done

        What is returned ends it by `close()`, or as the `with` block here; else it ends with the pool. Both wait until
        the callback has returned from all that had happened before; `join`, and the end of the pool's own `with` block,
        wait for that as well, but no longer than a second.

        Events come in order, one at a time, in a thread of the subscription's own, some milliseconds late. While the
        callback is slow, 65,536 of them are kept; what does not fit is counted, and an event says so. The first
        exception of a callback is logged by the logger `paceline`. Neither slows the pool, except for what the callback
        itself takes of the interpreter.

        Raises `TypeError` for what cannot be called, and `ValueError` if the pool's workers are not processes.
        """
        from paceline.events import Subscription

        return Subscription(self._engine, callback)

    def close(self) -> None:
        """Takes no more calls; the workers leave when everything submitted has ended. Does not wait."""
        if self._state == "RUN":
            self._state = "CLOSE"
            if self._feeds is None:
                self._engine.close()
            else:
                self._feeds.close()

    def terminate(self) -> None:
        """Ends the workers at once; what has not ended is cancelled."""
        self._state = "TERMINATE"
        if self._feeds is not None:
            self._feeds.stop(pool_closed("the pool was terminated"), also_sized=True)
        self._engine.terminate()

    def join(self) -> None:
        """Waits until every worker has left and every callback has been called.

        Raises `ValueError` unless `close` or `terminate` was called before.
        """
        if self._state == "RUN":
            raise ValueError("Pool is still running")
        if self._feeds is not None:
            self._feeds.wait()
        self._engine.join()
        unregister(self)

    def __enter__(self) -> Self:
        if self._state != "RUN":
            raise pool_closed("Pool not running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._state != "TERMINATE":
                if self._feeds is not None:
                    # Inputs without a length may be endless: what was read counts as submitted, the rest does not.
                    self._feeds.stop(pool_closed("the `with` block of the pool was left before this was read"))
                self.close()
                self.join()
        except BaseException:
            self._end_at_exit(False)
            raise
        if kind is not None:
            self._end_at_exit(False)

    @property
    def _pool(self) -> list[WorkerProcess] | list[Thread]:
        """What programs read under this name of `multiprocessing.Pool`."""
        if isinstance(self._engine, LocalEngine):
            from threading import Thread

            threads = self._engine.threads()
            # Programs count the workers by it; those that there has been no work for are threads that have not begun.
            return [*threads, *(Thread() for _ in range(self._engine.workers - len(threads)))]
        from paceline.processes import worker_processes

        return worker_processes(self._engine)

    def __del__(self) -> None:
        # Absent if the constructor raised.
        engine = getattr(self, "_engine", None)
        if engine is not None and not engine.closed:
            see_off(engine)

    def __reduce__(self) -> str:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        name = f" name={self._name!r}" if self._name is not None else ""
        return f"<paceline.Pool{name} state={self._state} pool_size={self._engine.workers}>"

    def _end_at_exit(self, interrupted: bool, /) -> None:  # noqa: ARG002 - a pool is ended either way.
        self.terminate()
        if self._feeds is not None:
            self._feeds.come_to_rest()
        self._engine.join()
        unregister(self)


# The defaults of calls, kept here so that a pool of calls without options need not load their file.
_NOTHING_ASKED = {
    "timeout": None,
    "grace": 1.0,
    "retries": 0,
    "retry_on": None,
    "backoff": 0.0,
    "retry_alone": False,
    "priority": 0,
}


class PoolView(Calls):
    """A pool seen through options: what is called here has them. `Pool.options` makes it; it ends with its pool."""

    def __init__(self, pool: Pool, options: Options) -> None:
        self._pool = pool
        self._options = options
        self._engine = pool._engine  # noqa: SLF001 - a view is the pool itself, seen otherwise.
        self._carrier = pool._carrier  # noqa: SLF001 - the same.
        self._submit, self._start_map = pool._bind(options)  # noqa: SLF001 - the same.

    @property
    def _state(self) -> str:  # type: ignore[override]
        return self._pool._state  # noqa: SLF001 - the same.

    def _inputs(self) -> Feeds:
        return self._pool._inputs()  # noqa: SLF001 - the same.

    def options(self, **options: Any) -> PoolView:
        """A view with some options changed; see `Pool.options`."""
        return PoolView(self._pool, self._options.replace(**options))

    def __repr__(self) -> str:
        return f"<{self._options!r} of {self._pool!r}>"


if TYPE_CHECKING:

    @overload
    def map(  # noqa: A001 - the same.
        fn: Callable[[T], Coroutine[Any, Any, R]],
        iterable: Iterable[T],
        workers: int | None = None,
        *,
        chunksize: int | None = None,
        backend: Backend | None = None,
    ) -> list[R]: ...

    @overload
    def map(  # noqa: A001 - the same.
        fn: Callable[[T], R],
        iterable: Iterable[T],
        workers: int | None = None,
        *,
        chunksize: int | None = None,
        backend: Backend | None = None,
    ) -> list[R]: ...

    @overload
    def map(  # noqa: A001 - the same.
        fn: Callable[[T], Any],
        iterable: Iterable[T],
        workers: int | None = None,
        *,
        chunksize: int | None = None,
        on_error: OnError = "raise",
        max_failures: int | None = None,
        backend: Backend | None = None,
    ) -> list[Any]: ...


def map(  # noqa: A001 - `paceline.map` is the parallel `map`.
    fn: Callable[[T], Any],
    iterable: Iterable[T],
    workers: int | None = None,
    *,
    chunksize: int | None = None,
    on_error: OnError = "raise",
    max_failures: int | None = None,
    backend: Backend | None = None,
) -> list[Any]:
    """Calls `fn(item)` for every item on all cores, and returns the list of results in the items' order.

    >>> import paceline
    >>> paceline.map(len, ["one", "three"])
    [3, 5]

    Starts `workers` processes for this one call (by default as many as there are CPUs to use, and never more than
    items), and ends them after it; where several such calls follow each other, a `Pool` saves a few milliseconds each.
    `on_error` and `max_failures` are those of `Pool.map`, `backend` is that of `Pool`. Raises what that raises.
    """
    items = iterable if isinstance(iterable, (list, tuple, range)) else list(iterable)
    if not items:
        return []
    with Pool(_enough(workers, len(items), backend), backend=backend) as pool:
        return pool.map(fn, items, chunksize, on_error=on_error, max_failures=max_failures)


if TYPE_CHECKING:

    @overload
    def starmap(
        fn: Callable[..., Coroutine[Any, Any, R]],
        iterable: Iterable[Iterable[Any]],
        workers: int | None = None,
        *,
        chunksize: int | None = None,
        backend: Backend | None = None,
    ) -> list[R]: ...

    @overload
    def starmap(
        fn: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        workers: int | None = None,
        *,
        chunksize: int | None = None,
        backend: Backend | None = None,
    ) -> list[R]: ...

    @overload
    def starmap(
        fn: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        workers: int | None = None,
        *,
        chunksize: int | None = None,
        on_error: OnError = "raise",
        max_failures: int | None = None,
        backend: Backend | None = None,
    ) -> list[Any]: ...


def starmap(
    fn: Callable[..., Any],
    iterable: Iterable[Iterable[Any]],
    workers: int | None = None,
    *,
    chunksize: int | None = None,
    on_error: OnError = "raise",
    max_failures: int | None = None,
    backend: Backend | None = None,
) -> list[Any]:
    """Like `map`, but calls `fn(*item)`.

    >>> import paceline
    >>> paceline.starmap(max, [(1, 2), (4, 3)])
    [2, 4]
    """
    items = iterable if isinstance(iterable, (list, tuple)) else list(iterable)
    if not items:
        return []
    with Pool(_enough(workers, len(items), backend), backend=backend) as pool:
        return pool.starmap(fn, items, chunksize, on_error=on_error, max_failures=max_failures)


def map_reduce(
    mapper: Callable[[T], R],
    reducer: Callable[[R, R], R],
    iterable: Iterable[T],
    workers: int | None = None,
    *,
    initial: R = MISSING,
    chunksize: int | None = None,
    commutative: bool = False,
    backend: Backend | None = None,
) -> R:
    """Calls `mapper(item)` for every item on all cores, and combines all results into one by `reducer(left, right)`.

    >>> import paceline
    >>> paceline.map_reduce(len, max, ["one", "three", "four"])
    5

    Starts `workers` processes for this one call, by default as many as there are CPUs to use, and ends them after it.
    What `initial`, `chunksize` and `commutative` mean, and what is raised, is told by `Pool.map_reduce`.
    """
    with Pool(workers, backend=backend) as pool:
        return pool.map_reduce(mapper, reducer, iterable, initial=initial, chunksize=chunksize, commutative=commutative)


def _enough(workers: int | None, items: int, backend: Backend | None) -> int | None:
    if workers is None and is_elsewhere(backend):
        # How many there are is known there.
        return None
    wanted = default_workers() if workers is None else workers
    return wanted if wanted < 1 else min(wanted, items)
