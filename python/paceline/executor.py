"""`ProcessPoolExecutor` and `ThreadPoolExecutor`: the classes of those names in `concurrent.futures`, on our engines.

Owns their signatures and their meaning, error types and messages included; everything else is the engine's.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections import deque
from functools import cache, partial
from itertools import count, islice
from signal import SIGKILL, SIGTERM
from time import monotonic

from paceline.engine import (
    LocalEngine,
    default_workers,
    open_engine,
    open_local_engine,
    register,
    see_off,
    unregister,
)
from paceline.errors import ArgumentNotPicklable, PoolClosed, WorkerError
from paceline.processes import send_signal, worker_processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from signal import Signals
    from threading import Thread
    from types import TracebackType
    from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, overload

    from paceline.engine import AnyEngine
    from paceline.future import Future
    from paceline.imap import Feeds, ImapIterator
    from paceline.processes import WorkerProcess
    from paceline.report import Report

    P = ParamSpec("P")
    R = TypeVar("R")

    class Context(Protocol):
        """A context of `multiprocessing`."""

        def get_start_method(self, allow_none: bool = ...) -> str | None: ...


__all__ = ["EngineExecutor", "ProcessPoolExecutor", "ThreadPoolExecutor"]


_AT_EXIT = "cannot schedule new futures after interpreter shutdown"


class EngineExecutor(concurrent.futures.Executor):
    """What all executors have in common, whatever their workers are: the calls, and the shutdown."""

    _engine: AnyEngine
    # Whether `map` sends its items in chunks.
    _takes_chunks = True

    def _open(self, engine: AnyEngine) -> None:
        self._engine = engine
        self._refusal: str | None = None
        self._feeds: Feeds | None = None
        register(self)

    if TYPE_CHECKING:

        @overload
        def submit(
            self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
        ) -> Future[R]: ...

        @overload
        def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...

    def submit(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Future[Any]:
        """Calls `fn(*args, **kwargs)` in a worker, and returns the future of it at once.

        Raises `PoolClosed` (a `RuntimeError`) after `shutdown`. As in the standard library, what cannot be pickled is
        told by the future, with `ArgumentNotPicklable`. The future can be cancelled as long as no worker has begun with
        the call.
        """
        if self._refusal is not None:
            raise self._refuse()
        future: Future[Any]
        try:
            future = self._engine.submit(fn, args, kwargs or None)
        except ArgumentNotPicklable as error:
            future = _here().submit(_raise, (error,), None)
        return future

    if TYPE_CHECKING:

        @overload
        def map(
            self,
            fn: Callable[..., Coroutine[Any, Any, R]],
            *iterables: Iterable[Any],
            timeout: float | None = None,
            chunksize: int = 1,
            buffersize: int | None = None,
        ) -> Iterator[R]: ...

        @overload
        def map(
            self,
            fn: Callable[..., R],
            *iterables: Iterable[Any],
            timeout: float | None = None,
            chunksize: int = 1,
            buffersize: int | None = None,
        ) -> Iterator[R]: ...

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Calls `fn` with one item of each iterable, until the shortest ends; an iterator over the results, in order.

        All items are read and submitted at once, unless `buffersize` says how many calls (chunks, if `chunksize` is
        above one) may be submitted before their results are taken. The iterator raises what a call raised, in its
        place, and ends there, cancelling what has not begun; it raises `TimeoutError` when a result is not there
        `timeout` seconds after this call.
        """
        if not self._takes_chunks:
            chunksize = 1
        _check(chunksize, buffersize)
        deadline = None if timeout is None else monotonic() + timeout
        items = zip(*iterables)  # noqa: B905 - to the shortest, as the standard library does.
        if chunksize == 1:
            futures = (self.submit(fn, *item) for item in items)
        else:
            futures = (self._submit_chunk(fn, chunk) for chunk in iter(lambda: list(islice(items, chunksize)), []))
        return _results(deque(islice(futures, buffersize)), futures, deadline, chunked=chunksize > 1)

    if TYPE_CHECKING:

        @overload
        def map_unordered(
            self,
            fn: Callable[..., Coroutine[Any, Any, R]],
            *iterables: Iterable[Any],
            chunksize: int = 1,
            buffersize: int | None = None,
        ) -> ImapIterator[R]: ...

        @overload
        def map_unordered(
            self, fn: Callable[..., R], *iterables: Iterable[Any], chunksize: int = 1, buffersize: int | None = None
        ) -> ImapIterator[R]: ...

    def map_unordered(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], chunksize: int = 1, buffersize: int | None = None
    ) -> ImapIterator[Any]:
        """Like `map`, but gives the results in the order in which the calls end, and reads the input as they are taken.

        >>> from itertools import count
        >>> from paceline import ProcessPoolExecutor
        >>> with ProcessPoolExecutor(2) as executor:
        ...     squares = executor.map_unordered(pow, count(1), [2, 2, 2])
        ...     print(sorted(squares))
        [1, 4, 9]

        At most `buffersize` calls (chunks, if `chunksize` is above one) are submitted before their results are taken;
        by default as many as keep the workers busy. So the input may be endless, and it may wait for earlier results.
        It is `Pool.imap_unordered` for executors: a call that raises does so in its place, and the iterator goes on
        after it; `next(timeout)` of the iterator waits at most `timeout` seconds; dropping it half-way cancels what has
        not begun.
        """
        from paceline.imap import Feed, Feeds, ImapIterator

        _check(chunksize, buffersize)
        if self._refusal is not None:
            raise self._refuse()
        if len(iterables) == 1:
            starts: tuple[Callable[..., Any], Callable[..., Any]] = (self._engine.submit, self._engine.map)
            (items,) = iterables
        else:
            starts = (self._submit_item, partial(self._engine.map, star=True))
            items = zip(*iterables)  # noqa: B905 - to the shortest, as `map` does.
        feed = Feed(starts, self._engine.workers, fn, items, chunksize, ordered=False)
        if isinstance(self._engine, LocalEngine):
            feed.stay_in_this_process(in_caller=False)
        if buffersize is not None:
            feed.limit = buffersize
        if self._feeds is None:
            self._feeds = Feeds(self._engine)
        self._feeds.add(feed)
        feed.start()
        return ImapIterator(feed, self)

    def _submit_item(self, fn: Callable[..., Any], item: tuple[tuple[Any, ...]], _: None, **options: Any) -> Any:
        return self._engine.submit(fn, item[0], None, **options)

    def _submit_chunk(self, fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> Future[Any]:
        if self._refusal is not None:
            raise self._refuse()
        future: Future[Any]
        try:
            future = self._engine.map(fn, chunk, star=True, chunksize=len(chunk))
        except ArgumentNotPicklable as error:
            future = _here().map(_raise, [error])
        return future

    def _refuse(self) -> Exception:
        # The exit of the interpreter is nobody's doing, and no time for a hint.
        return RuntimeError(self._refusal) if self._refusal == _AT_EXIT else PoolClosed(self._refusal)

    def report(self) -> Report:
        """How the work so far was spread over the workers, as an object that prints as a table."""
        from paceline.report import Report, WorkerReport

        wall_seconds, workers = self._engine.report()
        return Report(wall_seconds, tuple(WorkerReport(*worker[:3], tuple(worker[3])) for worker in workers))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls; with `wait`, returns when everything submitted has ended and the workers have left.

        `cancel_futures` cancels what has not begun. Of an input of `map_unordered`, what has been read counts as
        submitted, and the rest too if it has a length. May be called several times.
        """
        self._refusal = self._refusal or "cannot schedule new futures after shutdown"
        if self._feeds is not None:
            # Inputs without a length may be endless.
            self._feeds.stop(PoolClosed("the executor was shut down before this was read"), also_sized=cancel_futures)
            self._feeds.close()
        self._engine.close(cancel_pending=cancel_futures)
        if wait:
            self._engine.join()
            unregister(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._end_at_exit(True)
            return
        try:
            self.shutdown(wait=True)
        except KeyboardInterrupt:
            self._end_at_exit(True)
            raise

    def __del__(self) -> None:
        # Absent if the constructor raised.
        engine = getattr(self, "_engine", None)
        if engine is not None and not engine.closed:
            see_off(engine)

    def __reduce__(self) -> str:
        raise NotImplementedError("executors cannot be passed between processes or pickled")

    def _end_at_exit(self, interrupted: bool, /) -> None:
        self._refusal = _AT_EXIT
        if self._feeds is not None:
            self._feeds.stop(PoolClosed("the interpreter exits"), also_sized=True)
        if interrupted:
            self._engine.terminate()
        else:
            self._engine.close()
        self._engine.join()
        unregister(self)

    # What programs read under the standard executors' private names.

    @property
    def _max_workers(self) -> int:
        return self._engine.workers


class ProcessPoolExecutor(EngineExecutor):
    """An executor of worker processes, with the methods of `concurrent.futures.ProcessPoolExecutor`.

    >>> from paceline import ProcessPoolExecutor
    >>> with ProcessPoolExecutor(2) as executor:
    ...     future = executor.submit(pow, 2, 10)
    ...     print(future.result(), list(executor.map(abs, [-1, 2])))
    1024 [1, 2]

    `max_workers` is the number of workers, by default as many as this process may use CPUs. Each calls
    `initializer(*initargs)` before its first task, and leaves for a fresh one after `max_tasks_per_child` tasks, if
    that is given. `mp_context` is taken for compatibility, and changes nothing: whatever its start method, workers
    start from a clean process of Paceline's own, and functions bring the globals they use with them.

    Raises `ValueError` for numbers below one, and for `max_tasks_per_child` with a `fork` context, which the standard
    executor refuses too; `TypeError` for an initializer that cannot be called; `ArgumentNotPicklable` for one that
    cannot be sent.

    A worker that dies fails the one call that it was running, with `WorkerDied`, and is replaced: the executor goes on.
    Only an initializer that raises breaks it, with `WorkerStartError`. Both are a `BrokenProcessPool`. Leaving a `with`
    block waits for everything submitted, except for Ctrl-C, which ends everything at once. Functions and arguments are
    pickled by `submit`.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Context | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = default_workers()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            if mp_context is not None and mp_context.get_start_method(allow_none=False) == "fork":
                raise ValueError(
                    "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
                    "supply a different mp_context."
                )
        self._context = mp_context
        self._open(open_engine(max_workers, initializer, initargs, max_tasks_per_child))

    def terminate_workers(self) -> None:
        """Shuts down at once: cancels what has not begun, and sends SIGTERM to every worker.

        What was running fails with `WorkerDied`. Does not wait, and takes no more calls.
        """
        self._end_workers(SIGTERM)

    def kill_workers(self) -> None:
        """Like `terminate_workers`, but with SIGKILL, which no worker can ignore."""
        self._end_workers(SIGKILL)

    def _end_workers(self, signal: Signals) -> None:
        self.shutdown(wait=False, cancel_futures=True)
        for pid in self._engine.pids():
            send_signal(pid, signal)

    # What programs read under the standard executor's private names.

    @property
    def _processes(self) -> dict[int, WorkerProcess]:
        return {process.pid: process for process in worker_processes(self._engine)}

    @property
    def _broken(self) -> bool:
        try:
            # Only the engine knows, and it tells those who want something done.
            self._engine.submit(bool, (), None).cancel()
        except WorkerError:
            return True
        except PoolClosed:
            pass
        return False

    @property
    def _executor_manager_thread(self) -> _Manager:
        return _Manager(self._engine)

    @property
    def _mp_context(self) -> Context:
        from multiprocessing import get_context

        spawn: Any = get_context("spawn")
        return self._context or spawn


class _Manager:
    """Ends when the executor has: what can be joined where the standard executor has a thread."""

    def __init__(self, engine: AnyEngine) -> None:
        self._engine = engine

    def join(self, timeout: float | None = None) -> None:
        self._engine.join(timeout)


class ThreadPoolExecutor(EngineExecutor):
    """An executor of threads of this process, with the methods of `concurrent.futures.ThreadPoolExecutor`.

    >>> from paceline import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as executor:
    ...     future = executor.submit(pow, 2, 10)
    ...     print(future.result(), list(executor.map(abs, [-1, 2])))
    1024 [1, 2]

    There are at most `max_workers` threads, by default four more than CPUs, but no more than 32. Each is started when
    there is work and none is idle, calls `initializer(*initargs)`, and is named after `thread_name_prefix`.

    Raises `ValueError` for a number below one, and `TypeError` for an initializer that cannot be called. One that
    raises breaks the executor, with `WorkerStartError`, which is a `BrokenThreadPool` here.

    Nothing is pickled: functions, arguments and results are the objects themselves. A context variable has the value
    in a task that it had at the call, and what a task sets is its own. A task that runs cannot be stopped: leaving a
    `with` block waits for it, and so does the end of the program, also after Ctrl-C, when what waits is cancelled.
    """

    # Nothing travels, so chunks would only keep threads idle; the standard executor ignores it, too.
    _takes_chunks = False

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        if max_workers is None:
            count_cpus: Callable[[], int | None] = getattr(os, "process_cpu_count", os.cpu_count)
            max_workers = min(32, (count_cpus() or 1) + 4)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        prefix = thread_name_prefix or f"ThreadPoolExecutor-{next(_numbers)}"
        if callable(initializer):
            initializer = partial(_initialize, initializer)
        self._local = open_local_engine(max_workers, initializer, initargs, prefix=prefix)
        self._open(self._local)

    # What programs read under the standard executor's private names.

    @property
    def _threads(self) -> set[Thread]:
        return set(self._local.threads())

    @property
    def _broken(self) -> bool:
        return self._local.broken


# Of the executors of threads that have no prefix.
_numbers = count()


def _initialize(initializer: Callable[..., object], *arguments: Any) -> None:
    try:
        initializer(*arguments)
    except BaseException:
        from logging import getLogger

        # As the standard executor has it: the error of the calls says only that a thread could not start.
        getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
        raise


@cache
def _here() -> LocalEngine:
    """Makes futures of calls that fail before they begin: it runs them where it stands."""
    return open_local_engine(1, None, (), prefix=None)


def _raise(error: Exception) -> NoReturn:
    raise error


def _check(chunksize: int, buffersize: int | None) -> None:
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")


def _results(
    waiting: deque[Future[Any]], more: Iterator[Future[Any]], deadline: float | None, *, chunked: bool
) -> Iterator[Any]:
    try:
        while waiting:
            for future in islice(more, 1):
                waiting.append(future)
            # No variable here may keep a result alive while the user works on it.
            if chunked:
                yield from _take_chunk(waiting.popleft(), deadline)
            else:
                yield _take(waiting.popleft(), deadline)
    finally:
        for future in waiting:
            future.cancel()


def _take(future: Future[Any], deadline: float | None) -> Any:
    try:
        return future.result(None if deadline is None else deadline - monotonic())
    finally:
        future.cancel()
        del future


def _take_chunk(future: Future[Any], deadline: float | None) -> Iterator[Any]:
    """The results of a chunk, up to the first that failed, which raises."""
    try:
        results, error = future.prefix(None if deadline is None else deadline - monotonic())
    finally:
        future.cancel()
        del future
    results.reverse()
    while results:
        yield results.pop()
    if error is not None:
        try:
            raise error
        finally:
            del error
