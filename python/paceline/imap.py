"""The iterators of `imap` and `imap_unordered`: input read lazily and with a bound, output in order or as it comes.

Owns the reading of the input and the handing out of the results; the pool owns its own state. Two objects share the
work: a *feed* reads and submits, an *iterator* is what the user holds. An input with a length is read by whoever asks
for results. One without may block for as long as it likes (it may even wait for what the user does with earlier
results), so it is read by a thread of its own, as in `multiprocessing`; that thread holds the feed only, and ends when
the user drops the iterator.
"""

from __future__ import annotations

import threading
from _contextvars import copy_context
from collections import deque
from collections.abc import Iterator
from itertools import islice
from time import monotonic
from weakref import WeakSet

from paceline.engine import LocalEngine, Stream
from paceline.errors import PoolClosed, TooManyFailures, WorkerError
from paceline.future import timeout_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol, Self, TypeVar

    from paceline.engine import AnyEngine, Gauge
    from paceline.failure_policy import FailurePolicy
    from paceline.future import Future
    from paceline.progress import Meter

    R = TypeVar("R")

    class Input(Protocol):
        """What a pool knows of an input that is being read; `when_read` is called at its end."""

        @property
        def sized(self) -> bool: ...

        when_read: Callable[[Any], object]

        def lift_the_limit(self) -> None: ...
        def stop(self, reason: BaseException | None) -> None: ...


_UNBOUNDED = float("inf")
# How long the pickling of one chunk may keep the interpreter from ending.
_PATIENCE_AT_EXIT_S = 10.0


class _Raised:
    """Stands in the line of results for an input that raised when it was read, or could not be pickled."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def chunks_ahead(workers: int, chunksize: int) -> int:
    """How far ahead an input is read unless its user says so, in chunks.

    Enough to keep every worker busy while the user looks at a result, and to hide the cost of small tasks.
    """
    return max(4 * workers, 256 // chunksize)


class Feed:
    """Reads one input and submits it, never more than `limit` chunks ahead of what has been handed out.

    Nor further ahead than the memory budget of the engine allows, by the size of the results so far.
    """

    def __init__(
        self,
        engine: AnyEngine,
        starts: tuple[Callable[..., Any], Callable[..., Any]],
        fn: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int,
        *,
        limit: int,
        ordered: bool,
    ) -> None:
        # What starts a call, and what starts a chunk of them.
        self.submit, self.start_map = starts
        self.fn = fn
        self.chunksize = chunksize
        self.sized = hasattr(iterable, "__len__")
        self.source = iter(iterable)
        self.limit: float = limit
        # What knows the memory budget; asked as long as nothing is known of the results, and once there are large ones.
        self.gauge: Gauge | None = None
        self.asked_gauge: Gauge | None = None
        self.stream = None if ordered else Stream()
        # Re-entrant, both: the garbage collector may drop the iterator in the middle of anything.
        self.changed = threading.Condition()
        self._waiting = 0
        self.reading = threading.RLock()
        # Held while a chunk is turned into bytes and handed to the engine.
        self.handing_in = threading.RLock()
        # In order: futures and failures. Unordered: failures only; the stream gives the futures, in its own order.
        self.line: deque[Any] = deque()
        self.in_stream: set[Any] = set()
        self.exhausted = False
        self.stopped = False
        self.in_caller = False
        if isinstance(engine, LocalEngine):
            self._stay_in_this_process(in_caller=engine.runs_in_caller)
        else:
            self.gauge = self.asked_gauge = engine.gauge()
        # Each chunk gives a list of outcomes: an item's index, whether it has a result, and that or the exception.
        self.gives_outcomes = False
        self._read = 0
        self.when_read: Callable[[Feed], object] = lambda feed: None

    def _stay_in_this_process(self, *, in_caller: bool) -> None:
        """Has the calls see the context variables as they are now, whoever reads the input, and when.

        With `in_caller`, each call is made when it is submitted: not before somebody asks for its result.
        """
        context = copy_context()

        def start_by(start: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **options: context.copy().run(start, *args, **options)

        self.submit, self.start_map = start_by(self.submit), start_by(self.start_map)
        self.in_caller = in_caller

    def start(self) -> None:
        """Begins to read; returns at once if reading may take long."""
        if self.in_caller:
            self.limit = 1
        elif self.sized:
            self.top_up()
        else:
            threading.Thread(target=self._read_all, name="paceline-imap", daemon=True).start()

    def top_up(self) -> None:
        """Reads as far ahead as the limit allows, in this thread."""
        with self.reading:
            while not self.exhausted and self._may_read():
                self._read_one()

    def _may_read(self) -> bool:
        ahead = len(self.line) + len(self.in_stream)
        return ahead < self.limit and (self.asked_gauge is None or self.asked_gauge.has_room(ahead))

    def wait(self, timeout: float | None = None) -> None:
        """Waits until something has changed; by who holds `changed`."""
        self._waiting += 1
        try:
            self.changed.wait(timeout)
        finally:
            self._waiting -= 1

    def tell(self) -> None:
        """Something has changed; by who holds `changed`. To notify nobody takes a tenth of a small task's time."""
        if self._waiting:
            self.changed.notify_all()

    def toggle(self, future: Future[Any]) -> None:
        """Notes that a future has gone into the stream, or come out of it; a quick one may come out first."""
        self.in_stream ^= {future}

    def note(self, gauge: Gauge, taken: Future[Any]) -> None:
        """Has the gauge know of a result that is taken, and is asked from now on if there have been large ones."""
        asked = gauge if gauge.note(taken) else None
        # It seldom changes, so nearly every result needs no lock.
        if asked is not self.asked_gauge:
            with self.changed:
                # Unless the limit has been lifted meanwhile, by another thread.
                if self.gauge is gauge:
                    self.asked_gauge = asked
                    self.tell()

    def lift_the_limit(self) -> None:
        """Everything is to be read, whether or not anyone takes the results."""
        with self.changed:
            self.limit = _UNBOUNDED
            self.gauge = self.asked_gauge = None
            self.tell()
        if self.sized or self.in_caller:
            self.top_up()

    def stop(self, reason: BaseException | None) -> None:
        """Reads no further; whoever waits for more than has been submitted gets `reason`, or the end."""
        with self.changed:
            if self.stopped or self.exhausted:
                self.stopped = True
                return
            self.stopped = True
        self._end(reason)

    def _read_all(self) -> None:
        while True:
            with self.changed:
                while not self.stopped and not self._may_read():
                    self.wait()
                if self.stopped or self.exhausted:
                    return
            while self._read_one():
                pass

    def _read_one(self) -> bool:
        """Whether more may be read, as far as was known when the lock was held anyway."""
        try:
            chunk = [next(self.source)] if self.chunksize == 1 else list(islice(self.source, self.chunksize))
        except StopIteration:
            return self._end(None)
        except Exception as error:
            return self._end(error)
        if not chunk:
            return self._end(None)
        with self.handing_in:
            return not self.stopped and self._hand_in(chunk)

    def _hand_in(self, chunk: list[Any]) -> bool:
        end: Future[Any] | _Raised
        try:
            end = self._submit(chunk)
        except (PoolClosed, WorkerError) as error:
            return self._end(error)
        except Exception as error:  # An item cannot be pickled; others may.
            self._read += len(chunk)
            end = _Raised(error)
        with self.changed:
            if self.stream is None or isinstance(end, _Raised):
                self.line.append(end)
            else:
                self.toggle(end)
            self.tell()
            return self._may_read() and not self.stopped

    def _submit(self, chunk: list[Any]) -> Future[Any]:
        future: Future[Any]
        base = self._read % 2**32
        if self.chunksize == 1 and not self.gives_outcomes:
            future = self.submit(self.fn, (chunk[0],), None, base=base, stream=self.stream)
        else:
            options = {"on_error": "outcomes"} if self.gives_outcomes else {}
            future = self.start_map(self.fn, chunk, chunksize=len(chunk), base=base, stream=self.stream, **options)
        self._read += len(chunk)
        return future

    def _end(self, error: BaseException | None) -> bool:
        with self.changed:
            if self.exhausted:
                return False
            self.exhausted = True
            if error is not None:
                self.line.append(_Raised(error))
            self.source = iter(())
            self.tell()
        self.when_read(self)
        return False


class Feeds:
    """The inputs of one pool that are still being read; the engine closes after the last of them."""

    def __init__(self, engine: AnyEngine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._active: set[Input] = set()
        self._added = 0
        self._closing = False
        self._with_threads: WeakSet[Feed] = WeakSet()

    def add(self, feed: Input) -> int:
        """Keeps the engine open until `feed` has been read; which input of the pool it is, counted from one."""
        with self._changed:
            self._active.add(feed)
            if isinstance(feed, Feed) and not feed.sized:
                self._with_threads.add(feed)
            self._added += 1
            number = self._added
        feed.when_read = self._on_read
        return number

    def _on_read(self, feed: Input) -> None:
        with self._changed:
            self._active.discard(feed)
            over = self._closing and not self._active
            self._changed.notify_all()
        if over:
            self._engine.close()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            active = list(self._active)
        if not active:
            self._engine.close()
        for feed in active:
            feed.lift_the_limit()

    def stop(self, reason: PoolClosed, *, also_sized: bool = False) -> None:
        with self._changed:
            active = [feed for feed in self._active if also_sized or not feed.sized]
        for feed in active:
            feed.stop(reason)

    def come_to_rest(self) -> None:
        """Waits until no thread that reads an input, having been stopped, is in native code.

        Before the interpreter goes: it ends such threads wherever they want to go on, and unwinding native code ends
        the process.
        """
        for feed in list(self._with_threads):
            if feed.handing_in.acquire(timeout=_PATIENCE_AT_EXIT_S):
                feed.handing_in.release()

    def wait(self) -> None:
        with self._changed:
            while self._active:
                self._changed.wait()


class ImapIterator(Iterator["R"]):
    """The results of `imap` and `imap_unordered`, one at a time.

    `next(iterator)` waits for the next result; `iterator.next(timeout)` waits at most `timeout` seconds and raises
    `TimeoutError` after that, without losing anything. An item whose function raised raises in its place, and the
    iterator goes on after it; with a `chunksize` above one it ends there. Dropping the iterator half-way cancels what
    has not begun and reads no more of the input.
    """

    def __init__(self, feed: Feed, owner: object, policy: FailurePolicy, meter: Meter | None = None) -> None:
        self._feed = feed
        self._policy = policy
        self._meter = meter
        # The pool must live as long as its iterators, or they would have nobody to work for them.
        self._owner = owner
        self._begun = False
        self._buffer: deque[R] = deque()
        self._error: BaseException | None = None
        # What was to be given when showing the progress raised: results and errors, which are told apart.
        self._held: deque[tuple[bool, Any]] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        return self.next()

    def next(self, timeout: float | None = None) -> R:
        """The next result; raises `StopIteration` after the last, `TimeoutError` after `timeout` seconds."""
        self._begun = True
        return self._next(timeout) if self._meter is None else self._next_metered(self._meter, timeout)

    def _next_metered(self, meter: Meter, timeout: float | None) -> R:
        if not self._held:
            outcome: tuple[bool, Any]
            try:
                outcome = True, self._next(timeout)
            except StopIteration:
                meter.end()
                raise
            except Exception as error:
                if timeout is not None and isinstance(error, TimeoutError):
                    raise
                outcome = False, error
            self._held.append(outcome)
            del outcome
            if not self._feed.gives_outcomes:
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

    def _next(self, timeout: float | None) -> R:
        feed = self._feed
        if feed.gives_outcomes:
            return self._next_of_outcomes(timeout)
        if feed.chunksize > 1:
            return self._next_of_chunks(timeout)
        value: R = self._next_future(timeout).result(0)
        return value

    def _next_of_outcomes(self, timeout: float | None) -> R:
        """The next result, where failures are treated as `on_error` and `max_failures` say."""
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            while not self._buffer:
                remaining = None if deadline is None else max(0.0, deadline - monotonic())
                future = self._next_future(remaining)
                self._buffer.extend(future.result(0))
            outcome: Any = self._buffer.popleft()
            if self._meter is not None:
                self._meter.count(1)
            index, has_result, value = outcome
            if has_result:
                result: R = value
                return result
            try:
                is_given = self._policy.gives(index, value)
            except TooManyFailures:
                self._abandon()
                self._buffer.clear()
                raise
            if is_given:
                failure: R = value
                return failure
            if self._meter is not None:
                self._meter.refresh()

    def _next_of_chunks(self, timeout: float | None) -> R:
        deadline = None if timeout is None else monotonic() + timeout
        while not self._buffer:
            if self._error is not None:
                error, self._error = self._error, None
                self._abandon()
                raise error
            remaining = None if deadline is None else max(0.0, deadline - monotonic())
            try:
                future = self._next_future(remaining)
            except TimeoutError:
                raise
            except Exception:
                self._abandon()
                raise
            values, self._error = future.prefix(0)
            self._buffer.extend(values)
        return self._buffer.popleft()

    def _next_future(self, timeout: float | None) -> Future[Any]:
        """The next future to hand out, which is done; raises in place of an input that raised."""
        feed = self._feed
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            if (feed.sized or feed.in_caller) and not feed.line:
                feed.top_up()
            with feed.changed:
                while not feed.line and not feed.in_stream and not feed.exhausted:
                    remaining = None if deadline is None else deadline - monotonic()
                    if remaining is not None and remaining <= 0:
                        raise timeout_error(f"no result after {timeout} s")
                    feed.wait(remaining)
                if not feed.line and not feed.in_stream:
                    raise StopIteration
                first = feed.line[0] if feed.line else None
                # Failures overtake unordered results, all but the one that ended the input.
                if isinstance(first, _Raised) and not (feed.in_stream and feed.exhausted):
                    feed.line.popleft()
                    feed.tell()
                    raise first.error
            remaining = None if deadline is None else max(0.0, deadline - monotonic())
            if feed.stream is None:
                taken = self._take(first, remaining)
            else:
                taken = self._take_unordered(feed.stream, remaining)
            if taken is not None:
                if (gauge := feed.gauge) is not None:
                    feed.note(gauge, taken)
                if feed.sized and not feed.in_caller:
                    feed.top_up()
                return taken

    def _take(self, first: Any, timeout: float | None) -> Future[Any] | None:
        if not first.done() and not first.wait(timeout):
            raise timeout_error(f"no result after {timeout} s")
        feed = self._feed
        with feed.changed:
            if feed.line and feed.line[0] is first:
                feed.line.popleft()
                feed.tell()
                future: Future[Any] = first
                return future
        return None  # Another thread was quicker.

    def _take_unordered(self, stream: Stream, timeout: float | None) -> Future[Any] | None:
        feed = self._feed
        try:
            future: Future[Any] = stream.next(timeout)
        except StopIteration:
            return None  # Another thread was quicker.
        except TimeoutError:
            raise timeout_error(f"no result after {timeout} s") from None
        with feed.changed:
            feed.toggle(future)
            feed.tell()
        return future

    def _abandon(self) -> None:
        feed = self._feed
        feed.stop(None)
        for future in (*feed.line, *feed.in_stream):
            # At the end of the interpreter the names of this module are gone.
            if (cancel := getattr(future, "cancel", None)) is not None:
                cancel()
        feed.line.clear()
        feed.in_stream.clear()

    def __del__(self) -> None:
        try:
            if self._meter is not None:
                self._meter.abandon()
        finally:
            if self._begun:
                self._abandon()
            else:
                # Nobody has ever asked: somebody wants the calls made, and not to see the results.
                self._feed.lift_the_limit()
