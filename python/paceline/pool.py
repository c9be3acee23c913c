"""`Pool`: the names and the meaning of `multiprocessing.Pool`, and `map` and `starmap` for the common case in one line.

Owns the signatures, the order of opening and closing, and what each method promises. How work is done is the engine's
affair, how functions and arguments become bytes that of `paceline.pickling`.
"""

from __future__ import annotations

from paceline.engine import default_workers, open_engine, register, see_off, unregister

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any, ParamSpec, Self, TypeVar

    from paceline.errors import PoolClosed
    from paceline.future import Future
    from paceline.imap import Feeds, ImapIterator
    from paceline.report import Report

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")

__all__ = ["Pool", "map", "starmap"]


class Pool:
    """A pool of worker processes, with the methods of `multiprocessing.Pool`.

    >>> from math import factorial
    >>> from paceline import Pool
    >>> with Pool(2) as pool:
    ...     print(pool.map(factorial, range(6)))
    [1, 1, 2, 6, 24, 120]

    `processes` is the number of workers, by default as many as this process may use CPUs. Each calls
    `initializer(*initargs)` before its first task, and leaves for a fresh one after `maxtasksperchild` tasks, if that
    is given. `name` appears in the pool's `repr`.

    Raises `ValueError` for a number below one, `TypeError` for an initializer that cannot be called, and
    `ArgumentNotPicklable` for one that cannot be sent. An initializer that raises breaks the pool: every call then
    raises `WorkerStartError`, which shows its traceback.

    Functions need not be importable: lambdas, closures and functions of a script, a REPL or a notebook are sent by
    value, with the globals they use. The script itself is never imported again, so it needs no
    `if __name__ == "__main__":`. Arguments are pickled by the call; what cannot be pickled raises there.

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
        *,
        name: str | None = None,
    ) -> None:
        if processes is None:
            processes = default_workers()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and not (type(maxtasksperchild) is int and maxtasksperchild > 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        self._name = name
        self._engine = open_engine(processes, initializer, initargs, maxtasksperchild)
        self._feeds: Feeds | None = None
        self._state = "RUN"
        register(self)

    # -- one call ------------------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Calls `fn(*args, **kwargs)` in a worker, and returns the future of it at once.

        >>> from paceline import Pool
        >>> with Pool(1) as pool:
        ...     print(pool.submit(divmod, 17, 5).result())
        (3, 2)

        Raises `ArgumentNotPicklable`, and `PoolClosed` after `close` or `terminate`. The future can be cancelled as
        long as no worker has begun with the call. Calls begin in the order in which they were submitted.
        """
        if self._state != "RUN":
            raise _pool_closed("Pool not running")
        future: Future[R] = self._engine.submit(fn, args, kwargs or None)
        return future

    def apply(self, func: Callable[..., R], args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None) -> R:
        """Calls `func(*args, **kwds)` in a worker and waits for the result; raises what `func` raises."""
        if self._state != "RUN":
            raise _pool_closed("Pool not running")
        if type(args) is not tuple:
            args = tuple(args)
        future: Future[R] = self._engine.submit(func, args, dict(kwds) if kwds else None)
        return future.result()

    def apply_async(
        self,
        func: Callable[..., R],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[R], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> Future[R]:
        """Calls `func(*args, **kwds)` in a worker, and returns the future of it at once.

        When it ends, `callback(result)` or `error_callback(exception)` is called, on one thread for all calls of this
        process and in the order in which they end; what a callback raises is logged and does no harm. As in
        `multiprocessing`, `get` and `wait` return only after the callback has. A call that is cancelled calls neither.
        """
        if self._state != "RUN":
            raise _pool_closed("Pool not running")
        if type(args) is not tuple:
            args = tuple(args)
        future: Future[R] = self._engine.submit(func, args, dict(kwds) if kwds else None)
        if callback is not None or error_callback is not None:
            _deliver(future, callback, error_callback)
        return future

    # -- many calls ----------------------------------------------------------------------------------------------------

    def map(self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None) -> list[R]:
        """Calls `func(item)` for every item, in the workers, and returns the list of results in the items' order.

        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     print(pool.map(str.upper, ["a", "b"]))
        ['A', 'B']

        Items travel in chunks of `chunksize`; by default chunks are sized by the measured time of the calls, so that
        small ones cost little and long ones spread evenly. Chunks are an affair of transport only: a call that raises,
        or whose worker dies, spoils no other item. All items are read before anything else happens.

        Raises what the first item in order that failed raised, when all have ended.
        """
        return self.map_async(func, iterable, chunksize).result()

    def map_async(
        self,
        func: Callable[[T], R],
        iterable: Iterable[T],
        chunksize: int | None = None,
        callback: Callable[[list[R]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> Future[list[R]]:
        """Like `map`, but returns the future of the list at once. Callbacks are called as by `apply_async`."""
        return self._map(func, iterable, chunksize, callback, error_callback, star=False)

    def starmap(
        self, func: Callable[..., R], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[R]:
        """Like `map`, but calls `func(*item)`: each item is an iterable of the arguments.

        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     print(pool.starmap(pow, [(2, 3), (3, 2)]))
        [8, 9]
        """
        return self.starmap_async(func, iterable, chunksize).result()

    def starmap_async(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[R]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> Future[list[R]]:
        """Like `starmap`, but returns the future of the list at once. Callbacks are called as by `apply_async`."""
        return self._map(func, iterable, chunksize, callback, error_callback, star=True)

    def _map(
        self,
        func: Callable[..., R],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[list[R]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        star: bool,
    ) -> Future[list[R]]:
        if self._state != "RUN":
            raise _pool_closed("Pool not running")
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize}")
        future: Future[list[R]] = self._engine.map(func, iterable, star=star, chunksize=chunksize)
        if callback is not None or error_callback is not None:
            _deliver(future, callback, error_callback)
        return future

    def imap(self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int = 1) -> ImapIterator[R]:
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

        The input is read only as far ahead of the results taken as keeps the workers busy, so it may be endless; after
        `close` it is read to its end. An input that raises does so in the place of the item it did not give. The
        iterator's `next(timeout)` waits at most `timeout` seconds. Dropping the iterator half-way cancels what has not
        begun.
        """
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int = 1) -> ImapIterator[R]:
        """Like `imap`, but gives the results in the order in which the calls end."""
        return self._imap(func, iterable, chunksize, ordered=False)

    def _imap(self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int, *, ordered: bool) -> ImapIterator[R]:
        from paceline.imap import Feed, Feeds, ImapIterator

        if self._state != "RUN":
            raise _pool_closed("Pool not running")
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        feed = Feed(self._engine, func, iterable, chunksize, ordered=ordered)
        if self._feeds is None:
            self._feeds = Feeds(self._engine)
        self._feeds.add(feed)
        feed.start()
        return ImapIterator(feed, self)

    # -- the whole -----------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """How the work so far was spread over the workers, as an object that prints as a table."""
        from paceline.report import Report, WorkerReport

        wall_seconds, workers = self._engine.report()
        return Report(wall_seconds, tuple(WorkerReport(*worker[:3], tuple(worker[3])) for worker in workers))

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
            self._feeds.stop(_pool_closed("the pool was terminated"), also_sized=True)
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
            raise _pool_closed("Pool not running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._state != "TERMINATE":
                if self._feeds is not None:
                    # Inputs without a length may be endless: what was read counts as submitted, the rest does not.
                    self._feeds.stop(_pool_closed("the `with` block of the pool was left before this was read"))
                self.close()
                self.join()
        except BaseException:
            self._end_at_exit(False)
            raise
        if kind is not None:
            self._end_at_exit(False)

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
        self._engine.join()
        unregister(self)


def _pool_closed(message: str) -> PoolClosed:
    # Imported here, because whatever comes before the first pool delays the start of the fork server.
    from paceline.errors import PoolClosed

    return PoolClosed(message)


def _deliver(
    future: Future[Any],
    callback: Callable[[Any], object] | None,
    error_callback: Callable[[BaseException], object] | None,
) -> None:
    from paceline.future import Delivery

    Delivery(callback, error_callback).attach(future)


def map(  # noqa: A001 - `paceline.map` is the parallel `map`.
    fn: Callable[[T], R], iterable: Iterable[T], workers: int | None = None, *, chunksize: int | None = None
) -> list[R]:
    """Calls `fn(item)` for every item on all cores, and returns the list of results in the items' order.

    >>> import paceline
    >>> paceline.map(len, ["one", "three"])
    [3, 5]

    Starts `workers` processes for this one call (by default as many as there are CPUs to use, and never more than
    items), and ends them after it; where several such calls follow each other, a `Pool` saves a few milliseconds each.
    Raises what `Pool.map` raises.
    """
    items = iterable if isinstance(iterable, (list, tuple, range)) else list(iterable)
    if not items:
        return []
    with Pool(_enough(workers, len(items))) as pool:
        return pool.map(fn, items, chunksize)


def starmap(
    fn: Callable[..., R],
    iterable: Iterable[Iterable[Any]],
    workers: int | None = None,
    *,
    chunksize: int | None = None,
) -> list[R]:
    """Like `map`, but calls `fn(*item)`.

    >>> import paceline
    >>> paceline.starmap(max, [(1, 2), (4, 3)])
    [2, 4]
    """
    items = iterable if isinstance(iterable, (list, tuple)) else list(iterable)
    if not items:
        return []
    with Pool(_enough(workers, len(items))) as pool:
        return pool.starmap(fn, items, chunksize)


def _enough(workers: int | None, items: int) -> int:
    wanted = default_workers() if workers is None else workers
    return wanted if wanted < 1 else min(wanted, items)
