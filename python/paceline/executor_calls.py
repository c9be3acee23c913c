"""The ways to call a function on an executor, and its shutdown: what executors of all kinds of workers share.

Owns the signatures of `concurrent.futures.Executor` and what each method promises. How an executor of processes or of
threads is opened is told in `paceline.executor`.
"""

from __future__ import annotations

import concurrent.futures
from collections import deque
from functools import cache, partial
from itertools import chain, islice
from os import environ
from time import monotonic

from paceline.engine import LocalEngine, Terms, open_local_engine, register, see_off, unregister
from paceline.errors import ArgumentNotPicklable, PoolClosed, function_name
from paceline.failure_policy import FailurePolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
    from types import TracebackType
    from typing import Any, NoReturn, ParamSpec, TypeVar, overload

    from paceline.engine import AnyEngine
    from paceline.events import Event, Subscription
    from paceline.failure_policy import OnError
    from paceline.future import Future
    from paceline.imap import Feeds, ImapIterator
    from paceline.options import Options
    from paceline.report import Report
    from paceline.statistics import Statistics

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = ["EngineExecutor", "ExecutorView"]


_AT_EXIT = "cannot schedule new futures after interpreter shutdown"


class EngineExecutor(concurrent.futures.Executor):
    """What all executors have in common, whatever their workers are: the calls, and the shutdown."""

    _engine: AnyEngine
    _threads_per_worker: int | None = None
    # Whether `map` sends its items in chunks.
    _takes_chunks = True

    # Why no more calls are taken, if none are.
    _refusal: str | None
    _feeds: Feeds | None
    _options: Options
    # The engine's `submit` and `map` with the options of these calls.
    _submit: Callable[..., Any]
    _start_map: Callable[..., Any]

    def _open(self, engine: AnyEngine, options: Options) -> None:
        self._engine = engine
        self._refusal = None
        self._feeds = None
        self._options = options
        self._submit, self._start_map = options.bind(engine)
        register(self)
        if "PACELINE_TOP" in environ:
            from paceline.watching import watch_if_asked

            watch_if_asked()

    def options(self, **options: Any) -> ExecutorView:
        """The executor seen through options: calls made on what is returned have them, and the executor's other ones.

        >>> from paceline import ProcessPoolExecutor
        >>> with ProcessPoolExecutor(2) as executor:
        ...     print(executor.options(retries=3, priority=10).submit(divmod, 17, 5).result())
        (3, 2)

        They are those of `Pool.options`.
        """
        return ExecutorView(self, self._options.replace(**options))

    def _inputs(self) -> Feeds:
        """The inputs of `map_unordered` that are still being read."""
        if self._feeds is None:
            from paceline.imap import Feeds

            self._feeds = Feeds(self._engine)
        return self._feeds

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
        return self._submit_one(fn, args, kwargs or None)

    def _submit_one(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None, **options: Any
    ) -> Future[Any]:
        if self._refusal is not None:
            raise self._refuse()
        future: Future[Any]
        try:
            future = self._submit(fn, args, kwargs, **options)
        except ArgumentNotPicklable as error:
            future = _here().submit(Terms(), _raise, (error,), None, **options)
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

        @overload
        def map(
            self,
            fn: Callable[..., Any],
            *iterables: Iterable[Any],
            timeout: float | None = None,
            chunksize: int = 1,
            buffersize: int | None = None,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> Iterator[Any]: ...

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> Iterator[Any]:
        """Calls `fn` with one item of each iterable, until the shortest ends; an iterator over the results, in order.

        All items are read and submitted at once, unless `buffersize` says how many calls (chunks, if `chunksize` is
        above one) may be submitted before their results are taken. The iterator raises what a call raised, in its
        place, and ends there, cancelling what has not begun; it raises `TimeoutError` when a result is not there
        `timeout` seconds after this call.

        With `on_error="return"` the exception of a call that raised is given in its place, with `on_error="skip"`
        nothing is, and the iterator goes on. With more than `max_failures` failures it raises `TooManyFailures`.
        """
        policy = FailurePolicy(fn, on_error, max_failures)
        if not self._takes_chunks:
            chunksize = 1
        _check(chunksize, buffersize)
        deadline = None if timeout is None else monotonic() + timeout
        items = zip(*iterables)  # noqa: B905 - to the shortest, as the standard library does.
        futures: Iterator[Future[Any]]
        if chunksize == 1 and not policy.is_special:
            if type(self).submit is EngineExecutor.submit:
                futures = (self._submit_one(fn, item, None, base=n % 2**32) for n, item in enumerate(items))
            else:  # A subclass has a way of its own.
                futures = (self.submit(fn, *item) for item in items)
            return _results(deque(islice(futures, buffersize)), futures, deadline, chunked=False)
        chunks = enumerate(iter(lambda: list(islice(items, chunksize)), []))
        handling = "outcomes" if policy.is_special else "raise"
        futures = chain.from_iterable(self._submit_chunk(fn, chunk, n * chunksize, handling) for n, chunk in chunks)
        results = _results(deque(islice(futures, buffersize)), futures, deadline, chunked=True)
        return policy.apply(results) if policy.is_special else results

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

        @overload
        def map_unordered(
            self,
            fn: Callable[..., Any],
            *iterables: Iterable[Any],
            chunksize: int = 1,
            buffersize: int | None = None,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> ImapIterator[Any]: ...

    def map_unordered(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        chunksize: int = 1,
        buffersize: int | None = None,
        on_error: OnError = "raise",
        max_failures: int | None = None,
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
        from paceline.imap import Feed, ImapIterator, chunks_ahead

        _check(chunksize, buffersize)
        policy = FailurePolicy(fn, on_error, max_failures)
        if self._refusal is not None:
            raise self._refuse()
        if len(iterables) == 1:
            starts: tuple[Callable[..., Any], Callable[..., Any]] = (self._submit, self._start_map)
            (items,) = iterables
        else:
            starts = (self._submit_item, partial(self._start_map, star=True))
            items = zip(*iterables)  # noqa: B905 - to the shortest, as `map` does.
        limit = buffersize or chunks_ahead(self._engine.workers, chunksize)
        feed = Feed(self._engine, starts, fn, items, chunksize, limit=limit, ordered=False)
        feed.gives_outcomes = policy.is_special
        self._inputs().add(feed)
        feed.start()
        return ImapIterator(feed, self, policy)

    def _submit_item(self, fn: Callable[..., Any], item: tuple[tuple[Any, ...]], _: None, **options: Any) -> Any:
        return self._submit(fn, item[0], None, **options)

    def _submit_chunk(
        self, fn: Callable[..., Any], chunk: list[tuple[Any, ...]], base: int, on_error: str
    ) -> Iterator[Future[Any]]:
        """The future of the chunk; one for each item, if there is one among them that cannot be pickled."""
        if self._refusal is not None:
            raise self._refuse()
        options: dict[str, Any] = {"on_error": on_error, "base": base % 2**32}
        future: Future[Any] | None = None
        try:
            future = self._start_map(fn, chunk, star=True, chunksize=len(chunk), **options)
        except ArgumentNotPicklable as error:
            if len(chunk) == 1:
                future = _here().map(Terms(), _raise, [error], name=self._options.name or function_name(fn), **options)
        if future is not None:
            yield future
        else:
            for index, item in enumerate(chunk, base):
                yield from self._submit_chunk(fn, [item], index, on_error)

    def _refuse(self) -> Exception:
        # The exit of the interpreter is nobody's doing, and no time for a hint.
        return RuntimeError(self._refusal) if self._refusal == _AT_EXIT else PoolClosed(self._refusal)

    def report(self) -> Report:
        """How the work so far was spread over the workers, as an object that prints as a table."""
        from paceline.report import Report

        return Report.of(self._engine, self._threads_per_worker)

    def statistics(self) -> Statistics:
        """How many bytes are in flight and in shared memory, now and at most so far."""
        from paceline.statistics import statistics

        return statistics(self._engine)

    def subscribe(self, callback: Callable[[Event], object]) -> Subscription:
        """Has `callback(event)` called with what happens in the executor from now on; see `Pool.subscribe`.

        Raises `TypeError` for what cannot be called, and `ValueError` for an executor of threads.
        """
        from paceline.events import Subscription

        return Subscription(self._engine, callback)

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
            self._feeds.come_to_rest()
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


class ExecutorView(EngineExecutor):
    """An executor seen through options: what is called here has them. `options` makes it; it ends with its executor."""

    def __init__(self, executor: EngineExecutor, options: Options) -> None:
        self._executor = executor
        self._engine = executor._engine  # noqa: SLF001 - a view is the executor itself, seen otherwise.
        self._takes_chunks = executor._takes_chunks  # noqa: SLF001 - the same.
        self._options = options
        self._submit, self._start_map = options.bind(self._engine)

    @property
    def _refusal(self) -> str | None:  # type: ignore[override]
        return self._executor._refusal  # noqa: SLF001 - the same.

    def _inputs(self) -> Feeds:
        return self._executor._inputs()  # noqa: SLF001 - the same.

    def options(self, **options: Any) -> ExecutorView:
        """A view with some options changed; see the executor's `options`."""
        return ExecutorView(self._executor, self._options.replace(**options))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shuts the executor itself down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def _end_at_exit(self, interrupted: bool, /) -> None:
        self._executor._end_at_exit(interrupted)  # noqa: SLF001 - the same.

    def __del__(self) -> None:
        """Nothing ends with a view."""

    def __repr__(self) -> str:
        return f"<{self._options!r} of {self._executor!r}>"


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
) -> Generator[Any]:
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
