"""The ways to call a function on a pool for many items at once: as a list, as they come, reduced, or awaited.

Owns the signatures and what each method promises; `paceline.calls` has those for one call. How a pool opens and closes
is told in `paceline.pool`; how work is done is the engine's affair, and how functions and arguments become bytes that
of `paceline.pickling`.
"""

from __future__ import annotations

from paceline.engine import LocalEngine
from paceline.failure_policy import FailurePolicy, map_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
    from typing import Any, TypeVar, overload

    from paceline.aio import AsyncResults
    from paceline.context import ContextCarrier
    from paceline.engine import AnyEngine
    from paceline.errors import PoolClosed
    from paceline.failure_policy import OnError
    from paceline.future import Future
    from paceline.imap import Feeds, ImapIterator

    R = TypeVar("R")
    T = TypeVar("T")

__all__ = ["MISSING", "Maps", "deliver", "pool_closed"]

# Stands for an argument that was not given, where None is a value like any other.
MISSING: Any = type("Missing", (), {"__slots__": (), "__repr__": lambda self: "MISSING"})()


class Maps:
    """The methods for many items of a `Pool`, and of the views that `Pool.options` gives."""

    _engine: AnyEngine
    _state: str
    # The engine's `submit` and `map` with the options of these calls.
    _submit: Callable[..., Any]
    _start_map: Callable[..., Any]
    _carrier: ContextCarrier | None

    def _inputs(self) -> Feeds:
        """The inputs of `imap` that are still being read."""
        raise NotImplementedError

    if TYPE_CHECKING:

        @overload
        def map(
            self, func: Callable[[T], Coroutine[Any, Any, R]], iterable: Iterable[T], chunksize: int | None = None
        ) -> list[R]: ...

        @overload
        def map(self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None) -> list[R]: ...

        @overload
        def map(
            self,
            func: Callable[[T], Any],
            iterable: Iterable[T],
            chunksize: int | None = None,
            *,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> list[Any]: ...

    def map(
        self,
        func: Callable[[T], Any],
        iterable: Iterable[T],
        chunksize: int | None = None,
        *,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> list[Any]:
        """Calls `func(item)` for every item, in the workers, and returns the list of results in the items' order.

        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     print(pool.map(str.upper, ["a", "b"]))
        ['A', 'B']

        Items travel in chunks of `chunksize`; by default chunks are sized by the measured time of the calls, so that
        small ones cost little and long ones spread evenly. Chunks are an affair of transport only: a call that raises,
        or whose worker dies, spoils no other item. All items are read before anything else happens, unless they are
        larger than a part of the pool's `memory_budget`: the others are then read as room is made (unless there are
        `max_failures`).

        Raises what the first item in order that failed raised, when all have ended. With `on_error="return"` the
        exception stands in the place of the result instead, with `on_error="skip"` there is none; either way each
        failure is logged when it happens (by the logger `paceline`). With more than `max_failures` failures, what has
        not begun is not run, and `TooManyFailures` is raised, which has the results that there are (with
        `on_error="raise"`, the first failure itself). An item that cannot be pickled is a failure like any other then;
        otherwise it raises `ArgumentNotPicklable` before anything is run.
        """
        return self._map_in_pieces(func, iterable, chunksize, on_error, max_failures, star=False)

    if TYPE_CHECKING:

        @overload
        def map_async(
            self,
            func: Callable[[T], Coroutine[Any, Any, R]],
            iterable: Iterable[T],
            chunksize: int | None = None,
            callback: Callable[[list[R]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
        ) -> Future[list[R]]: ...

        @overload
        def map_async(
            self,
            func: Callable[[T], R],
            iterable: Iterable[T],
            chunksize: int | None = None,
            callback: Callable[[list[R]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
        ) -> Future[list[R]]: ...

        @overload
        def map_async(
            self,
            func: Callable[[T], Any],
            iterable: Iterable[T],
            chunksize: int | None = None,
            callback: Callable[[list[Any]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
            *,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> Future[list[Any]]: ...

    def map_async(
        self,
        func: Callable[[T], Any],
        iterable: Iterable[T],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> Future[list[Any]]:
        """Like `map`, but returns the future of the list at once. Callbacks are called as by `apply_async`."""
        failures = map_options(on_error, max_failures)
        return self._map(func, iterable, chunksize, callback, error_callback, star=False, failures=failures)

    if TYPE_CHECKING:

        @overload
        def starmap(
            self,
            func: Callable[..., Coroutine[Any, Any, R]],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
        ) -> list[R]: ...

        @overload
        def starmap(
            self, func: Callable[..., R], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
        ) -> list[R]: ...

        @overload
        def starmap(
            self,
            func: Callable[..., Any],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
            *,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> list[Any]: ...

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> list[Any]:
        """Like `map`, but calls `func(*item)`: each item is an iterable of the arguments.

        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     print(pool.starmap(pow, [(2, 3), (3, 2)]))
        [8, 9]
        """
        return self._map_in_pieces(func, iterable, chunksize, on_error, max_failures, star=True)

    if TYPE_CHECKING:

        @overload
        def starmap_async(
            self,
            func: Callable[..., Coroutine[Any, Any, R]],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
            callback: Callable[[list[R]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
        ) -> Future[list[R]]: ...

        @overload
        def starmap_async(
            self,
            func: Callable[..., R],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
            callback: Callable[[list[R]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
        ) -> Future[list[R]]: ...

        @overload
        def starmap_async(
            self,
            func: Callable[..., Any],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
            callback: Callable[[list[Any]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
            *,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> Future[list[Any]]: ...

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> Future[list[Any]]:
        """Like `starmap`, but returns the future of the list at once. Callbacks are called as by `apply_async`."""
        failures = map_options(on_error, max_failures)
        return self._map(func, iterable, chunksize, callback, error_callback, star=True, failures=failures)

    def _map_in_pieces(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        on_error: OnError,
        max_failures: int | None,
        *,
        star: bool,
    ) -> list[Any]:
        """The list of results, of an input that may be larger than what may be in flight."""
        failures = map_options(on_error, max_failures)
        if max_failures is not None or isinstance(self._engine, LocalEngine):
            return self._map(func, iterable, chunksize, None, None, star=star, failures=failures).result()
        failures["in_pieces"] = True
        first = self._map(func, iterable, chunksize, None, None, star=star, failures=failures)
        rest = first.take_rest()
        if rest is None:
            return first.result()
        futures, read = [first], 0
        try:
            while rest is not None:
                items, count = rest
                read += count
                more = {**failures, "base": read % 2**32}
                futures.append(self._map(func, items, chunksize, None, None, star=star, failures=more))
                rest = futures[-1].take_rest()
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        # An exception is raised when all have ended, like that of a map in one piece.
        for future in futures:
            future.wait()
        results: list[Any] = []
        for future in futures:
            results += future.result()
        return results

    def _map(
        self,
        func: Callable[..., R],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[list[R]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        star: bool,
        failures: dict[str, Any],
    ) -> Future[list[R]]:
        if self._state != "RUN":
            raise pool_closed("Pool not running")
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize}")
        future: Future[list[Any]] = self._start_map(func, iterable, star=star, chunksize=chunksize, **failures)
        if callback is not None or error_callback is not None:
            deliver(future, callback, error_callback)
        return future

    if TYPE_CHECKING:

        @overload
        def imap(
            self,
            func: Callable[[T], Coroutine[Any, Any, R]],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
        ) -> ImapIterator[R]: ...

        @overload
        def imap(
            self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int = 1, *, buffersize: int | None = None
        ) -> ImapIterator[R]: ...

        @overload
        def imap(
            self,
            func: Callable[[T], Any],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> ImapIterator[Any]: ...

    def imap(
        self,
        func: Callable[[T], Any],
        iterable: Iterable[T],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> ImapIterator[Any]:
        """Calls `func(item)` for every item, and returns an iterator over the results in the items' order.

        >>> from itertools import count
        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     for root in pool.imap(abs, count(-2)):
        ...         print(root)
        ...         if root == 0:
        ...             break
        2
        1
        0

        The input is read only so far ahead that `buffersize` chunks (by default enough to keep the workers busy) are
        submitted and not yet taken, and no more bytes than the pool's `memory_budget`; so it may be endless. After
        `close` it is read to its end. An input that raises does so in the place of the item it did not give. The
        iterator's `next(timeout)` waits at most `timeout` seconds. Dropping the iterator half-way cancels what has not
        begun.

        A call that raises does so in its place; with `on_error="return"` its exception is given there, with
        `on_error="skip"` nothing is. With more than `max_failures` failures the iterator raises `TooManyFailures`, and
        ends.
        """
        policy = FailurePolicy(func, on_error, max_failures)
        return self._imap(func, iterable, chunksize, buffersize, policy, ordered=True)

    if TYPE_CHECKING:

        @overload
        def imap_unordered(
            self,
            func: Callable[[T], Coroutine[Any, Any, R]],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
        ) -> ImapIterator[R]: ...

        @overload
        def imap_unordered(
            self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int = 1, *, buffersize: int | None = None
        ) -> ImapIterator[R]: ...

        @overload
        def imap_unordered(
            self,
            func: Callable[[T], Any],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> ImapIterator[Any]: ...

    def imap_unordered(
        self,
        func: Callable[[T], Any],
        iterable: Iterable[T],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> ImapIterator[Any]:
        """Like `imap`, but gives the results in the order in which the calls end."""
        policy = FailurePolicy(func, on_error, max_failures)
        return self._imap(func, iterable, chunksize, buffersize, policy, ordered=False)

    def _imap(
        self,
        func: Callable[[T], R],
        iterable: Iterable[T],
        chunksize: int,
        buffersize: int | None,
        policy: FailurePolicy,
        *,
        ordered: bool,
    ) -> ImapIterator[R]:
        from paceline.imap import Feed, ImapIterator, chunks_ahead

        if self._state != "RUN":
            raise pool_closed("Pool not running")
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be at least 1, not {buffersize}")
        if self._carrier is not None:
            # The input may be read later, and by another thread.
            func = self._carrier.wrap(func)
        limit = buffersize or chunks_ahead(self._engine.workers, chunksize)
        starts = (self._submit, self._start_map)
        feed = Feed(self._engine, starts, func, iterable, chunksize, limit=limit, ordered=ordered)
        feed.gives_outcomes = policy.is_special
        self._inputs().add(feed)
        feed.start()
        return ImapIterator(feed, self, policy)

    def map_reduce(
        self,
        mapper: Callable[[T], R],
        reducer: Callable[[R, R], R],
        iterable: Iterable[T],
        *,
        initial: R = MISSING,
        chunksize: int | None = None,
        commutative: bool = False,
    ) -> R:
        """Calls `mapper(item)` for every item, and combines all results into one by `reducer(left, right)`.

        >>> from operator import add
        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     print(pool.map_reduce(str.upper, add, ["a", "b", "c"], initial="> "))
        > ABC

        Both are called in the workers: each maps a block of items and reduces what comes out, and such partial results
        are then combined, neighbours only and in the items' order, by whichever worker is free. So `reducer` must be
        associative: `r(r(a, b), c)` equals `r(a, r(b, c))`. `initial`, if given, is combined once, with the result of
        the first item on its right. Without items the result is `initial`; without that as well, `TypeError` is raised,
        as by `functools.reduce`. The input is read with a bound, ahead of the workers by some blocks at most.

        Sums of floating point are not quite associative, so their last digits depend on the grouping. The grouping is
        the same for the same number of items and the same `chunksize` (the items of a block; by default blocks grow
        from one item to 1024), whatever the items are kept in, the number of workers, and the time that calls take. So
        is the result. `commutative=True` gives that up: partial results are combined as they come, in any order, which
        holds fewer of them in memory where the calls' times differ much.

        Raises what the mapper or the reducer raises, with a note that tells the item; of several failures the first in
        the items' order (if commutative: in time). What comes after it is cancelled, and what has begun is waited for.
        Raises `WorkerDied` if a worker died and there are no `retries` left, and `ValueError` for a `chunksize` below
        one.
        """
        from paceline.reduce import Reduction, map_reduce

        if self._state != "RUN":
            raise pool_closed("Pool not running")
        given = {} if initial is MISSING else {"initial": initial}
        limit = max(4 * self._engine.workers, 16)
        reduction = Reduction(self._submit, mapper, reducer, limit=limit, commutative=commutative, **given)
        result: R = map_reduce(reduction, iterable, chunksize, self._inputs().add)
        return result

    if TYPE_CHECKING:

        @overload
        def amap(
            self,
            fn: Callable[[T], Coroutine[Any, Any, R]],
            items: Iterable[T] | AsyncIterable[T],
            *,
            chunksize: int = 1,
            ordered: bool = True,
            buffersize: int | None = None,
        ) -> AsyncResults[R]: ...

        @overload
        def amap(
            self,
            fn: Callable[[T], R],
            items: Iterable[T] | AsyncIterable[T],
            *,
            chunksize: int = 1,
            ordered: bool = True,
            buffersize: int | None = None,
        ) -> AsyncResults[R]: ...

        @overload
        def amap(
            self,
            fn: Callable[[T], Any],
            items: Iterable[T] | AsyncIterable[T],
            *,
            chunksize: int = 1,
            ordered: bool = True,
            buffersize: int | None = None,
            on_error: OnError = "raise",
            max_failures: int | None = None,
        ) -> AsyncResults[Any]: ...

    def amap(
        self,
        fn: Callable[[T], Any],
        items: Iterable[T] | AsyncIterable[T],
        *,
        chunksize: int = 1,
        ordered: bool = True,
        buffersize: int | None = None,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> AsyncResults[Any]:
        """Calls `fn(item)` for every item, and returns an asynchronous iterator over the results.

        >>> import asyncio
        >>> from paceline import Pool
        >>> async def main():
        ...     with Pool(2) as pool:
        ...         print([root async for root in pool.amap(abs, range(-3, 1))])
        >>> asyncio.run(main())
        [3, 2, 1, 0]

        Results come in the items' order, or, unless `ordered`, in the order in which the calls end. `items` may be an
        asynchronous iterable, and endless: it is read only so far ahead that `buffersize` chunks (by default enough to
        keep the workers busy) are submitted and not yet taken. Items travel in chunks of `chunksize`. A plain iterable
        is read by the event loop, and should not block.

        Raises `RuntimeError` where no event loop is running, and `ValueError` for sizes below one. A call that raises
        does so in its place; asked again, the iterator goes on. `on_error` and `max_failures` are those of `imap`.
        Dropping the iterator half-way, or `await iterator.aclose()`, cancels what has not begun.
        """
        from paceline.aio import AsyncResults, Input
        from paceline.imap import chunks_ahead

        if self._state != "RUN":
            raise pool_closed("Pool not running")
        if chunksize < 1 or (buffersize is not None and buffersize < 1):
            raise ValueError("chunksize and buffersize must be at least 1")
        policy = FailurePolicy(fn, on_error, max_failures)
        if self._carrier is not None:
            fn = self._carrier.wrap(fn)
        limit = buffersize or chunks_ahead(self._engine.workers, chunksize)
        source = Input(
            (self._submit, self._start_map),
            fn,
            items,
            chunksize=chunksize,
            limit=limit,
            gauge=None if isinstance(self._engine, LocalEngine) else self._engine.gauge(),
            ordered=ordered,
            gives_outcomes=policy.is_special,
        )
        return AsyncResults(source, self, policy)


def pool_closed(message: str) -> PoolClosed:
    """The error for a pool that takes no more calls."""
    # Imported here, because whatever comes before the first pool delays the start of the fork server.
    from paceline.errors import PoolClosed

    return PoolClosed(message)


def deliver(
    future: Future[Any],
    callback: Callable[[Any], object] | None,
    error_callback: Callable[[BaseException], object] | None,
) -> None:
    from paceline.future import Delivery

    Delivery(callback, error_callback).attach(future)
