"""Calls that are awaited: how the end of a call reaches the event loop that waits for it, and the iterator of `amap`.

Owns one *doorbell* for each event loop: a file that the engine makes readable when a call has ended. The loop watches
it beside its sockets, so nothing polls, no thread is taken for an await, and many ends cost one wake-up. Nothing here
knows what runs the calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from itertools import islice
from typing import TypeVar

from paceline.engine import Stream
from paceline.errors import PoolClosed, TooManyFailures, WorkerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Self

    from paceline.engine import Gauge
    from paceline.failure_policy import FailurePolicy
    from paceline.future import Future
    from paceline.progress import Meter

R = TypeVar("R")

__all__ = ["AsyncResults", "Awaited", "Input", "awaited"]

# -- one call ----------------------------------------------------------------------------------------------------------


class Awaited(asyncio.Future[R], Coroutine[object, object, R]):
    """The outcome of a call that an event loop waits for: awaited, gathered, or made a task of.

    It is a future, because a task for each call would take most of the call's time, and also passes for a coroutine,
    because `create_task` of loops and task groups takes nothing else. Cancelled, it cancels the call.
    """

    # Set by who makes the call. Not in a dictionary: making one takes a tenth of a call's time.
    __slots__ = ("_steps", "call")

    call: Future[R]
    _steps: Any

    def cancel(self, msg: Any = None) -> bool:
        """Cancels the wait, and the call as well, as long as no worker has begun with it."""
        if not self.done():
            self.call.cancel()
        return super().cancel(msg)

    def send(self, value: Any, /) -> Any:
        """A step of the coroutine that this passes for; for event loops."""
        return self._coroutine().send(value)

    def throw(self, *error: Any) -> Any:
        """The same with an exception."""
        return self._coroutine().throw(*error)

    def close(self) -> None:
        """The same at its end."""

    def _coroutine(self) -> Any:
        try:
            return self._steps
        except AttributeError:
            self._steps = self.__await__()
            return self._steps


def awaited() -> tuple[Awaited[Any], Stream]:
    """A future of the running event loop, and the stream that settles it when the call submitted with both has ended.

    Raises `RuntimeError` where no event loop is running.
    """
    loop: Any = asyncio.get_running_loop()
    try:
        stream: Stream = loop._paceline_doorbell  # noqa: SLF001 - our own mark on it; a table beside it costs too long.
    except AttributeError:
        stream = loop._paceline_doorbell = Stream(bell=True)  # noqa: SLF001 - the same.
        loop.add_reader(stream.fileno(), stream.wake)
    return Awaited(loop=loop), stream


# -- many calls --------------------------------------------------------------------------------------------------------


class _Chunk:
    """Items that were submitted together: their future, and what is set when that is done."""

    __slots__ = ("future", "waiter")

    def __init__(self, future: Future[Any], waiter: Awaited[Any]) -> None:
        self.future = future
        self.waiter = waiter


class _Raised:
    """Stands in the line for an item that could not be pickled."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Input:
    """The input of one `amap`: reads it and submits it, never more than `limit` chunks ahead of what was handed out.

    Nor further ahead than the gauge of the engine allows, which knows the memory budget.

    An iterable is read by whoever asks for results, an asynchronous one by a task of its own, which holds this object
    and not the iterator, so that a dropped iterator ends it.
    """

    def __init__(
        self,
        starts: tuple[Callable[..., Any], Callable[..., Any]],
        fn: Callable[..., Any],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        chunksize: int,
        limit: int,
        gauge: Gauge | None,
        ordered: bool,
        gives_outcomes: bool,
    ) -> None:
        # What starts a call, and what starts a chunk of them.
        self._submit, self._start_map = starts
        self._fn = fn
        self._chunksize = chunksize
        self.chunked = chunksize > 1
        # Each chunk gives a list of outcomes: an item's index, whether it has a result, and that or the exception.
        self.gives_outcomes = gives_outcomes
        self._read = 0
        self._limit = limit
        self._gauge = gauge
        self._ordered = ordered
        # In order of submission; without order, in that of their ends, while `_out` has those that have not ended.
        self._line: deque[_Chunk | _Raised] = deque()
        self._out: set[_Chunk] = set()
        self._exhausted = False
        # What the input raised in the end.
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._source: Iterator[Any] | None = None
        self._reader: asyncio.Task[None] | None = None
        if isinstance(items, AsyncIterable):
            self._reader = asyncio.get_running_loop().create_task(self._read_all(items))
        else:
            self._source = iter(items)

    def _may_read(self) -> bool:
        ahead = len(self._line) + len(self._out)
        return ahead < self._limit and (self._gauge is None or self._gauge.has_room(ahead))

    def top_up(self) -> None:
        """Reads a plain iterable as far ahead as the limit allows."""
        while self._source is not None and not self._exhausted and self._may_read():
            try:
                chunk = list(islice(self._source, self._chunksize))
            except Exception as error:
                self._end(error)
                return
            if not chunk:
                self._end(None)
                return
            self._start(chunk)

    async def _read_all(self, items: AsyncIterable[Any]) -> None:
        chunk: list[Any] = []
        try:
            async for item in items:
                chunk.append(item)
                if len(chunk) == self._chunksize:
                    while not self._may_read():
                        self._changed.clear()
                        await self._changed.wait()
                    self._start(chunk)
                    chunk = []
            if chunk:
                self._start(chunk)
        except Exception as error:
            if chunk:
                self._start(chunk)
            self._end(error)
        else:
            self._end(None)

    def _start(self, chunk: list[Any]) -> None:
        waiter, stream = awaited()
        options: dict[str, Any] = {"base": self._read % 2**32, "stream": stream, "waiter": waiter}
        if self.gives_outcomes:
            options["on_error"] = "outcomes"
        try:
            if self._chunksize == 1 and not self.gives_outcomes:
                future = self._submit(self._fn, (chunk[0],), None, **options)
            else:
                future = self._start_map(self._fn, chunk, chunksize=len(chunk), **options)
        except (PoolClosed, WorkerError) as error:
            self._end(error)
            return
        except Exception as error:  # An item cannot be pickled; others may.
            self._read += len(chunk)
            self._line.append(_Raised(error))
            self._changed.set()
            return
        self._read += len(chunk)
        waiter.call = future
        started = _Chunk(future, waiter)
        if self._ordered:
            self._line.append(started)
        else:
            self._out.add(started)
        waiter.add_done_callback(lambda _: self._on_end(started))
        self._changed.set()

    def _on_end(self, chunk: _Chunk) -> None:
        if not chunk.waiter.cancelled():
            chunk.waiter.exception()  # Looked at, so that the loop does not complain that nobody has.
        if chunk in self._out:
            self._out.discard(chunk)
            self._line.append(chunk)
        self._changed.set()

    def _end(self, error: BaseException | None) -> None:
        self._exhausted = True
        self._source = None
        self._failure = error
        self._changed.set()

    async def next(self) -> Future[Any]:
        """The next future to be handed out, which is done; raises in place of an input that raised."""
        while True:
            self.top_up()
            first = self._line[0] if self._line else None
            if isinstance(first, _Raised):
                self._line.popleft()
                raise first.error
            if first is not None and first.waiter.done():
                self._line.popleft()
                if self._gauge is not None:
                    self._gauge.note(first.future)
                self._changed.set()
                return first.future
            if first is None and self._exhausted and not self._out:
                failure, self._failure = self._failure, None
                raise failure or StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    def abandon(self) -> None:
        """Reads no further, and cancels what has not begun."""
        self._exhausted = True
        self._source = None
        if self._reader is not None:
            loop = self._reader.get_loop()
            # The collector may call from any thread, and after the loop has ended.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._reader.cancel)
        for chunk in (*self._line, *self._out):
            if isinstance(chunk, _Chunk):
                chunk.future.cancel()
        self._line.clear()
        self._out.clear()


class AsyncResults(AsyncIterator[R]):
    """The results of `amap`, one at a time, for `async for`; an item whose function raised raises in its place.

    The iterator goes on after an item that raised, when it is asked again. Dropping it half-way cancels what has not
    begun; `aclose` does so at once.
    """

    def __init__(self, source: Input, owner: object, policy: FailurePolicy, meter: Meter | None = None) -> None:
        self._source = source
        self._policy = policy
        self._meter = meter
        # The pool must live as long as its iterators, or they would have nobody to work for them.
        self._owner = owner
        self._values: deque[R] = deque()
        self._error: BaseException | None = None
        # What was to be given when showing the progress raised: results and errors, which are told apart.
        self._held: deque[tuple[bool, Any]] = deque()

    def __aiter__(self) -> Self:
        return self

    async def _next_of_outcomes(self) -> R:
        """The next result, where failures are treated as `on_error` and `max_failures` say."""
        while True:
            while not self._values:
                self._values.extend((await self._source.next()).result(0))
            outcome: Any = self._values.popleft()
            if self._meter is not None:
                self._meter.count(1)
            index, has_result, value = outcome
            if has_result:
                result: R = value
                return result
            try:
                is_given = self._policy.gives(index, value)
            except TooManyFailures:
                self._source.abandon()
                self._values.clear()
                raise
            if is_given:
                failure: R = value
                return failure
            if self._meter is not None:
                self._meter.refresh()

    async def __anext__(self) -> R:
        return await (self._next() if self._meter is None else self._next_metered(self._meter))

    async def _next_metered(self, meter: Meter) -> R:
        if not self._held:
            outcome: tuple[bool, Any]
            try:
                outcome = True, await self._next()
            except StopAsyncIteration:
                meter.end()
                raise
            except Exception as error:
                outcome = False, error
            self._held.append(outcome)
            del outcome
            if not self._source.gives_outcomes:
                meter.count(1)
            meter.refresh()
        has_result, value = self._held.popleft()
        try:
            if not has_result:
                raise value
            result: R = value
            return result
        finally:
            del value

    async def _next(self) -> R:
        if self._source.gives_outcomes:
            return await self._next_of_outcomes()
        while not self._values:
            if self._error is not None:
                error, self._error = self._error, None
                try:
                    raise error
                finally:
                    del error
            future = await self._source.next()
            values, self._error = future.prefix(0) if self._source.chunked else _single(future)
            self._values.extend(values)
        return self._values.popleft()

    async def aclose(self) -> None:
        """Ends the iteration; what has not begun is cancelled. Raises what a function given as `progress` raises."""
        self._source.abandon()
        if self._meter is not None:
            self._meter.end()

    def __del__(self) -> None:
        # Absent if the constructor raised.
        source = getattr(self, "_source", None)
        if source is not None:
            source.abandon()
        meter: Meter | None = getattr(self, "_meter", None)
        if meter is not None:
            meter.abandon()


def _single(future: Future[Any]) -> tuple[list[Any], BaseException | None]:
    error = future.exception(0)
    return ([], error) if error is not None else ([future.result(0)], None)
