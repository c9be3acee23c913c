"""The ways to call a function on a pool for many items that are read as they are needed.

Owns the signatures and what each method promises; `paceline.maps` has those that read everything first. How an input is
read ahead with a bound is told in `paceline.imap`, `paceline.aio` and `paceline.reduce`.
"""

from __future__ import annotations

from paceline.engine import LocalEngine
from paceline.failure_policy import FailurePolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
    from typing import Any, TypeVar, overload

    from paceline.aio import AsyncResults
    from paceline.context import ContextCarrier
    from paceline.engine import AnyEngine
    from paceline.errors import PoolClosed
    from paceline.failure_policy import OnError
    from paceline.imap import Feeds, ImapIterator
    from paceline.progress import Beginning, ProgressTo

    R = TypeVar("R")
    T = TypeVar("T")

__all__ = ["MISSING", "LazyMaps", "meter_for", "pool_closed"]

# Stands for an argument that was not given, where None is a value like any other.
MISSING: Any = type("Missing", (), {"__slots__": (), "__repr__": lambda self: "MISSING"})()


class LazyMaps:
    """The methods for inputs of any length of a `Pool`, and of the views that `Pool.options` gives."""

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
        def imap(
            self,
            func: Callable[[T], Coroutine[Any, Any, R]],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
            progress: ProgressTo = False,
        ) -> ImapIterator[R]: ...

        @overload
        def imap(
            self,
            func: Callable[[T], R],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
            progress: ProgressTo = False,
        ) -> ImapIterator[R]: ...

        @overload
        def imap(
            self,
            func: Callable[[T], Any],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
            progress: ProgressTo = False,
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
        progress: ProgressTo = False,
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
        submitted and not yet taken, and no more bytes than the pool's `memory_budget`; so it may be endless. How large
        results are is known by those that have been seen: what had been sent when the first large one came, at most
        `buffersize` chunks, may exceed the budget together. After `close` the input is read to its end. An input that
        raises does so in the place of the item it did not give. The iterator's `next(timeout)` waits at most `timeout`
        seconds. Dropping the iterator half-way cancels what has not begun.

        A call that raises does so in its place; with `on_error="return"` its exception is given there, with
        `on_error="skip"` nothing is. With more than `max_failures` failures the iterator raises `TooManyFailures`, and
        ends. What a function given as `progress` raises is raised as well, and the result is given when the iterator is
        asked again.
        """
        policy = FailurePolicy(func, on_error, max_failures)
        return self._imap(func, iterable, (chunksize, buffersize), policy, progress, ordered=True)

    if TYPE_CHECKING:

        @overload
        def imap_unordered(
            self,
            func: Callable[[T], Coroutine[Any, Any, R]],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
            progress: ProgressTo = False,
        ) -> ImapIterator[R]: ...

        @overload
        def imap_unordered(
            self,
            func: Callable[[T], R],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
            progress: ProgressTo = False,
        ) -> ImapIterator[R]: ...

        @overload
        def imap_unordered(
            self,
            func: Callable[[T], Any],
            iterable: Iterable[T],
            chunksize: int = 1,
            *,
            buffersize: int | None = None,
            progress: ProgressTo = False,
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
        progress: ProgressTo = False,
        on_error: OnError = "raise",
        max_failures: int | None = None,
    ) -> ImapIterator[Any]:
        """Like `imap`, but gives the results in the order in which the calls end."""
        policy = FailurePolicy(func, on_error, max_failures)
        return self._imap(func, iterable, (chunksize, buffersize), policy, progress, ordered=False)

    def _imap(
        self,
        func: Callable[[T], R],
        iterable: Iterable[T],
        sizes: tuple[int, int | None],
        policy: FailurePolicy,
        progress: ProgressTo,
        *,
        ordered: bool,
    ) -> ImapIterator[R]:
        from paceline.imap import Feed, ImapIterator, chunks_ahead

        chunksize, buffersize = sizes
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
        # Before the pool knows of the input, because this may be refused.
        with meter_for(progress, iterable) as meter:
            feed = Feed(self._engine, starts, func, iterable, chunksize, limit=limit, ordered=ordered)
            feed.gives_outcomes = policy.is_special
            self._inputs().add(feed)
            try:
                feed.start()
            except BaseException as error:
                feed.stop(error)
                raise
            return ImapIterator(feed, self, policy, meter)

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
            progress: ProgressTo = False,
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
            progress: ProgressTo = False,
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
            progress: ProgressTo = False,
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
        progress: ProgressTo = False,
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
        # Before the input is read, because this may be refused.
        with meter_for(progress, items) as meter:
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
            return AsyncResults(source, self, policy, meter)


class _Nobody:
    """Stands for a meter where nobody looks."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NOBODY = _Nobody()


def meter_for(progress: ProgressTo, items: object) -> Beginning | _Nobody:
    """A context with what shows the progress of a map over `items`, if it is to be shown; until the map has begun."""
    if progress is False:
        return _NOBODY
    from paceline.progress import Beginning, length_of, meter_of

    meter = meter_of(progress, length_of(items))
    return _NOBODY if meter is None else Beginning(meter)


def pool_closed(message: str) -> PoolClosed:
    """The error for a pool that takes no more calls."""
    # Imported here, because whatever comes before the first pool delays the start of the fork server.
    from paceline.errors import PoolClosed

    return PoolClosed(message)
