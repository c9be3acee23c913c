"""The ways to call a function on a pool: one call, waited for or not, with callbacks, or awaited.

Owns the signatures and what each method promises; those for many items are in `paceline.maps`. How a pool opens and
closes is told in `paceline.pool`; how work is done is the engine's affair, and how functions and arguments become bytes
that of `paceline.pickling`.
"""

from __future__ import annotations

from paceline.maps import MISSING, Maps, deliver, pool_closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from typing import Any, ParamSpec, TypeVar, overload

    from paceline.aio import Awaited
    from paceline.engine import Stream
    from paceline.future import Future

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = ["MISSING", "Calls", "pool_closed"]


class Calls(Maps):
    """The calling methods of a `Pool`, and of the views that `Pool.options` gives."""

    if TYPE_CHECKING:

        @overload
        def submit(
            self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
        ) -> Future[R]: ...

        @overload
        def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...

    def submit(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Future[Any]:
        """Calls `fn(*args, **kwargs)` in a worker, and returns the future of it at once.

        >>> from paceline import Pool
        >>> with Pool(1) as pool:
        ...     print(pool.submit(divmod, 17, 5).result())
        (3, 2)

        Raises `ArgumentNotPicklable`, and `PoolClosed` after `close` or `terminate`. The future can be cancelled as
        long as no worker has begun with the call. Calls begin in the order in which they were submitted.
        """
        if self._state != "RUN":
            raise pool_closed("Pool not running")
        future: Future[Any] = self._submit(fn, args, kwargs or None)
        return future

    if TYPE_CHECKING:

        @overload
        def apply(
            self,
            func: Callable[..., Coroutine[Any, Any, R]],
            args: Iterable[Any] = (),
            kwds: Mapping[str, Any] | None = None,
        ) -> R: ...

        @overload
        def apply(
            self, func: Callable[..., R], args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None
        ) -> R: ...

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None) -> Any:
        """Calls `func(*args, **kwds)` in a worker and waits for the result; raises what `func` raises."""
        if self._state != "RUN":
            raise pool_closed("Pool not running")
        if type(args) is not tuple:
            args = tuple(args)
        future: Future[Any] = self._submit(func, args, dict(kwds) if kwds else None)
        return future.result()

    if TYPE_CHECKING:

        @overload
        def apply_async(
            self,
            func: Callable[..., Coroutine[Any, Any, R]],
            args: Iterable[Any] = (),
            kwds: Mapping[str, Any] | None = None,
            callback: Callable[[R], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
        ) -> Future[R]: ...

        @overload
        def apply_async(
            self,
            func: Callable[..., R],
            args: Iterable[Any] = (),
            kwds: Mapping[str, Any] | None = None,
            callback: Callable[[R], object] | None = None,
            error_callback: Callable[[BaseException], object] | None = None,
        ) -> Future[R]: ...

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> Future[Any]:
        """Calls `func(*args, **kwds)` in a worker, and returns the future of it at once.

        When it ends, `callback(result)` or `error_callback(exception)` is called, on one thread for all calls of this
        process and in the order in which they end (by the thread that made the call, where the workers are threads);
        what a callback raises is logged and does no harm. As in `multiprocessing`, `get` and `wait` return only after
        the callback has. A call that is cancelled calls neither.
        """
        if self._state != "RUN":
            raise pool_closed("Pool not running")
        if type(args) is not tuple:
            args = tuple(args)
        future: Future[Any] = self._submit(func, args, dict(kwds) if kwds else None)
        if callback is not None or error_callback is not None:
            deliver(future, callback, error_callback)
        return future

    if TYPE_CHECKING:

        @overload
        def run(self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> Awaited[R]: ...

        @overload
        def run(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Awaited[R]: ...

    def run(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Awaited[Any]:
        """Calls `fn(*args, **kwargs)` in a worker, and returns at once what can be awaited for the result.

        >>> import asyncio
        >>> from paceline import Pool
        >>> async def main():
        ...     with Pool(2) as pool:
        ...         print(await asyncio.gather(*(pool.run(pow, 2, exponent) for exponent in range(4))))
        >>> asyncio.run(main())
        [1, 2, 4, 8]

        It is an `asyncio.Future` of the running event loop, and goes wherever a coroutine goes, also to `create_task`
        and to task groups. Neither a thread nor polling is behind it, so thousands may be awaited at a time. It raises
        what `fn` raises, and `concurrent.futures.CancelledError` if the pool is terminated meanwhile. When the
        awaiting task is cancelled, or its time-out is over, so is the call, as long as no worker has begun with it;
        one that is running goes on, and nobody hears of its end.

        Raises what `submit` raises, and `RuntimeError` where no event loop is running.
        """
        if self._state != "RUN":
            raise pool_closed("Pool not running")
        waiter, stream = _awaited()
        waiter.call = self._submit(fn, args, kwargs or None, stream=stream, waiter=waiter)
        return waiter


def _awaited() -> tuple[Awaited[Any], Stream]:
    """`paceline.aio.awaited`, which takes this place when it is first called: `asyncio` takes long to import."""
    global _awaited
    from paceline.aio import awaited as _awaited

    return _awaited()
