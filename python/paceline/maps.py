"""The ways to call a function on a pool for many items at once, for the list of the results.

Owns the signatures and what each method promises; `paceline.calls` has those for one call, `paceline.lazy_maps` those
for inputs that are read as they are needed. How a pool opens and closes is told in `paceline.pool`; how work is done is
the engine's affair, and how functions and arguments become bytes that of `paceline.pickling`.
"""

from __future__ import annotations

from paceline.engine import LocalEngine
from paceline.failure_policy import map_options
from paceline.lazy_maps import MISSING, LazyMaps, meter_for, pool_closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from typing import Any, TypeAlias, TypeVar, overload

    from typing_extensions import TypeIs

    from paceline.durations import Durations
    from paceline.failure_policy import OnError
    from paceline.future import Future
    from paceline.progress import Meter, ProgressTo

    R = TypeVar("R")
    T = TypeVar("T")
    Costs: TypeAlias = Callable[[T], float] | Sequence[float] | Durations

__all__ = ["MISSING", "Maps", "deliver", "pool_closed"]


class Maps(LazyMaps):
    """The methods for many items of a `Pool`, and of the views that `Pool.options` gives."""

    if TYPE_CHECKING:

        @overload
        def map(
            self,
            func: Callable[[T], Coroutine[Any, Any, R]],
            iterable: Iterable[T],
            chunksize: int | None = None,
            *,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
        ) -> list[R]: ...

        @overload
        def map(
            self,
            func: Callable[[T], R],
            iterable: Iterable[T],
            chunksize: int | None = None,
            *,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
        ) -> list[R]: ...

        @overload
        def map(
            self,
            func: Callable[[T], Any],
            iterable: Iterable[T],
            chunksize: int | None = None,
            *,
            on_error: OnError = "raise",
            max_failures: int | None = None,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
        ) -> list[Any]: ...

    def map(
        self,
        func: Callable[[T], Any],
        iterable: Iterable[T],
        chunksize: int | None = None,
        *,
        on_error: OnError = "raise",
        max_failures: int | None = None,
        cost: Costs[Any] | None = None,
        progress: ProgressTo = False,
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
        `max_failures`, or a `cost`).

        Raises what the first item in order that failed raised, when all have ended. With `on_error="return"` the
        exception stands in the place of the result instead, with `on_error="skip"` there is none; either way each
        failure is logged when it happens (by the logger `paceline`). With more than `max_failures` failures, what has
        not begun is not run, and `TooManyFailures` is raised, which has the results that there are (with
        `on_error="raise"`, the first failure itself). An item that cannot be pickled is a failure like any other then;
        otherwise it raises `ArgumentNotPicklable` before anything is run.

        With `cost`, a function of an item or a sequence of numbers, the items that cost most begin first, which keeps a
        long one from being the last; only the order of the numbers matters. Results, indices and errors are those of
        the items' order all the same. All items are read first then, and sent one by one, whatever the `memory_budget`
        is: the longest may be the last of them. `paceline.Durations` remembers what items took in earlier runs.

        `progress=True` shows a bar (of tqdm, in a terminal or in a notebook; nothing where the output is no terminal,
        unless it is asked for as `"tqdm"`), `"rich"` one of rich; a function is called with a `paceline.Progress` some
        times a second, and at the end.
        """
        return self._map_in_pieces(func, iterable, chunksize, (on_error, max_failures, cost), progress, star=False)

    if TYPE_CHECKING:

        @overload
        def map_async(
            self,
            func: Callable[[T], Coroutine[Any, Any, R]],
            iterable: Iterable[T],
            chunksize: int | None = None,
            callback: Callable[[list[R]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
            *,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
        ) -> Future[list[R]]: ...

        @overload
        def map_async(
            self,
            func: Callable[[T], R],
            iterable: Iterable[T],
            chunksize: int | None = None,
            callback: Callable[[list[R]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
            *,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
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
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
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
        cost: Costs[Any] | None = None,
        progress: ProgressTo = False,
    ) -> Future[list[Any]]:
        """Like `map`, but returns the future of the list at once. Callbacks are called as by `apply_async`."""
        return self._map_watched(
            (func, iterable, chunksize, callback, error_callback), (on_error, max_failures, cost), progress, star=False
        )

    if TYPE_CHECKING:

        @overload
        def starmap(
            self,
            func: Callable[..., Coroutine[Any, Any, R]],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
            *,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
        ) -> list[R]: ...

        @overload
        def starmap(
            self,
            func: Callable[..., R],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
            *,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
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
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
        ) -> list[Any]: ...

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        on_error: OnError = "raise",
        max_failures: int | None = None,
        cost: Costs[Any] | None = None,
        progress: ProgressTo = False,
    ) -> list[Any]:
        """Like `map`, but calls `func(*item)`: each item is an iterable of the arguments.

        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     print(pool.starmap(pow, [(2, 3), (3, 2)]))
        [8, 9]
        """
        return self._map_in_pieces(func, iterable, chunksize, (on_error, max_failures, cost), progress, star=True)

    if TYPE_CHECKING:

        @overload
        def starmap_async(
            self,
            func: Callable[..., Coroutine[Any, Any, R]],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
            callback: Callable[[list[R]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
            *,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
        ) -> Future[list[R]]: ...

        @overload
        def starmap_async(
            self,
            func: Callable[..., R],
            iterable: Iterable[Iterable[Any]],
            chunksize: int | None = None,
            callback: Callable[[list[R]], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
            *,
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
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
            cost: Costs[Any] | None = None,
            progress: ProgressTo = False,
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
        cost: Costs[Any] | None = None,
        progress: ProgressTo = False,
    ) -> Future[list[Any]]:
        """Like `starmap`, but returns the future of the list at once. Callbacks are called as by `apply_async`."""
        return self._map_watched(
            (func, iterable, chunksize, callback, error_callback), (on_error, max_failures, cost), progress, star=True
        )

    def _map_in_pieces(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        asked: tuple[OnError, int | None, Costs[Any] | None],
        progress: ProgressTo,
        *,
        star: bool,
    ) -> list[Any]:
        """The list of results, of an input that may be larger than what may be in flight."""
        on_error, max_failures, cost = asked
        failures = map_options(on_error, max_failures)
        begun: list[Future[list[Any]]] = []
        with meter_for(progress, iterable) as meter:
            if cost is not None:
                iterable = _ordered(func, iterable, cost, chunksize, failures)
            elif max_failures is None and not isinstance(self._engine, LocalEngine):
                failures["in_pieces"] = True
            try:
                return self._map_all(func, iterable, chunksize, failures, meter, begun, star=star)
            finally:
                if _learns(cost) and begun:
                    _learn(cost, func, iterable, begun[0])

    def _map_all(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        failures: dict[str, Any],
        meter: Meter | None,
        futures: list[Future[list[Any]]],
        *,
        star: bool,
    ) -> list[Any]:
        """The same; `futures` is where those are left whose results these are."""
        first = self._map(func, iterable, chunksize, None, None, star=star, failures=failures)
        futures.append(first)
        rest, read = first.take_rest(), 0
        if rest is None and meter is None:
            return first.result()
        try:
            while rest is not None:
                items, count = rest
                read += count
                more = {**failures, "base": read % 2**32}
                futures.append(self._map(func, items, chunksize, None, None, star=star, failures=more))
                rest = futures[-1].take_rest()
                if meter is not None:
                    meter.show(sum(future.progress()[1] for future in futures))
            if meter is not None:
                meter.watch(futures)
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

    def _map_watched(
        self,
        what: tuple[Any, ...],
        asked: tuple[OnError, int | None, Costs[Any] | None],
        progress: ProgressTo,
        *,
        star: bool,
    ) -> Future[list[Any]]:
        on_error, max_failures, cost = asked
        failures = map_options(on_error, max_failures)
        with meter_for(progress, None) as meter:
            if cost is not None:
                func, iterable, chunksize, *callbacks = what
                what = (func, _ordered(func, iterable, cost, chunksize, failures), chunksize, *callbacks)
            future = self._map(*what, star=star, failures=failures)
            if _learns(cost):
                future.add_done_callback(lambda ended: _learn(cost, what[0], what[1], ended))
            if meter is not None:
                meter.watch_elsewhere(future)
            return future

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


def _ordered(
    func: Callable[..., Any],
    iterable: Iterable[T],
    cost: Costs[T],
    chunksize: int | None,
    options: dict[str, Any],
) -> list[T]:
    """The items, with an order that has the longest sent first among the `options` of the engine's map."""
    if chunksize is not None:
        raise ValueError("cost and chunksize exclude each other: with a cost, items are sent one by one")
    items = list(iterable)
    if _learns(cost):
        costs = cost.of(func, items)
    elif callable(cost):
        costs = [cost(item) for item in items]
    else:
        costs = list(cost)
    if len(costs) != len(items):
        raise ValueError(f"there are {len(costs)} costs for {len(items)} items")
    options["order"] = sorted(range(len(items)), key=lambda index: costs[index], reverse=True)
    return items


def _learns(cost: Costs[Any] | None) -> TypeIs[Durations]:
    # Without importing that module, which hardly anybody needs.
    return hasattr(cost, "learn")


def _learn(durations: Durations, func: Callable[..., Any], items: Any, future: Any) -> None:
    """Has what was measured remembered."""
    if future.done():
        from paceline.history import History

        _, (_, chronicle) = future.history()
        durations.learn(func, items, History.of(chronicle))


def deliver(
    future: Future[Any],
    callback: Callable[[Any], object] | None,
    error_callback: Callable[[BaseException], object] | None,
) -> None:
    from paceline.future import Delivery

    Delivery(callback, error_callback).attach(future)
