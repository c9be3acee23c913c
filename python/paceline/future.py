"""Futures: the native ones, under the names of `concurrent.futures` and of `multiprocessing` both.

Owns what a user can do with the outcome of a call, and the order in which callbacks and waits see it. The waiting
itself is native. This file imports `concurrent.futures`, which takes longer than everything else here together; it is
loaded while the first workers start.
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from time import monotonic

from paceline.engine import TaskFuture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from paceline.history import Chronicle
    from paceline.report import Report

    R = TypeVar("R")

    class _NativeFuture(concurrent.futures.Future[R]):
        def cancel(self, *, force: bool = False) -> bool: ...
        def prefix(self, timeout: float | None = None) -> tuple[list[Any], BaseException | None]: ...
        def progress(self) -> tuple[int, int]: ...
        def history(self) -> tuple[int, tuple[float, Chronicle]]: ...
        def take_rest(self) -> tuple[Iterator[Any], int] | None: ...

else:

    class _NativeFuture(TaskFuture, concurrent.futures.Future):
        __slots__ = ()


__all__ = ["Delivery", "Future", "timeout_error"]


class Future(_NativeFuture["R"]):
    """The outcome of a call that a worker makes: not known yet, or a result, or an exception.

    >>> from operator import add
    >>> from paceline import Pool
    >>> with Pool(1) as pool:
    ...     future = pool.submit(add, 2, 3)
    ...     print(future.result())
    5

    It is a `concurrent.futures.Future`, with `result`, `exception`, `cancel`, `done` and `add_done_callback`, and goes
    wherever one of those goes: to `concurrent.futures.wait` and `as_completed`, to `asyncio.wrap_future`. It is also
    what `multiprocessing` calls an `AsyncResult`, with `get`, `wait`, `ready` and `successful`.

    Every wait lets other threads run and can be interrupted with Ctrl-C. A task that has not begun can be cancelled;
    one that is running is stopped by `cancel(force=True)`. The result is unpickled by the thread that asks for it
    first.
    """

    __slots__ = ()

    _delivery: Delivery | None = None

    def get(self, timeout: float | None = None) -> R:
        """The result, when it is there; raises what the function raised.

        Waits at most `timeout` seconds, for ever if None. Raises `TimeoutError` after that; the task goes on. Where
        `multiprocessing` has been imported it is a `multiprocessing.TimeoutError` as well.
        """
        deadline = None if timeout is None else monotonic() + timeout
        try:
            result = self.result(timeout)
        except TimeoutError:
            if not self.done():
                raise timeout_error(f"no result after {timeout} s") from None
            self._wait_for_callback(deadline)
            raise
        except BaseException:
            if self.done():
                self._wait_for_callback(deadline)
            raise
        self._wait_for_callback(deadline)
        return result

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the outcome is known, at most `timeout` seconds; tells whether it is."""
        if self._delivery is None:
            return _native_wait(self, timeout)
        deadline = None if timeout is None else monotonic() + timeout
        return _native_wait(self, timeout) and self._delivery.wait(deadline)

    def ready(self) -> bool:
        """Tells whether the outcome is known."""
        return self.done() and (self._delivery is None or self._delivery.is_over())

    def successful(self) -> bool:
        """Tells whether the function returned without raising. Raises `ValueError` if the outcome is not known yet."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return not self.cancelled() and self.exception() is None

    def report(self) -> Report:
        """What the workers did for this call or map, in the form of `Pool.report`; items are numbered from its first.

        >>> from paceline import Pool
        >>> with Pool(2) as pool:
        ...     roots = pool.map_async(abs, range(-50, 50))
        ...     roots.wait()
        ...     print(roots.report().items)
        True
        100

        While it runs, it tells what has ended so far. In the history of a long run, stretches that lie close together
        are told as one, and may then have items of the calls beside it.
        """
        from paceline.report import Report

        return Report.of_call(self)

    def _wait_for_callback(self, deadline: float | None) -> None:
        if self._delivery is not None and not self._delivery.wait(deadline):
            raise timeout_error("the result is there, but its callback has not ended")

    def __repr__(self) -> str:
        # The outcome stays unread: it may be large, and still packed.
        state = "pending"
        if self.cancelled():
            state = "cancelled"
        elif self.done():
            state = "finished"
        elif self.running():
            state = "running"
        return f"<{type(self).__name__} at {id(self):#x} state={state}>"


def _native_wait(future: Any, timeout: float | None) -> bool:
    done: bool = super(Future, future).wait(timeout)
    return done


_making_event = threading.Lock()


class Delivery:
    """Hands the outcome of one future to `callback` or `error_callback`, as `multiprocessing` does.

    There, a result is ready only when its callback has ended; `get`, `wait` and `ready` keep to that by asking here.
    """

    __slots__ = ("_callback", "_error_callback", "_event", "_over", "_thread")

    def __init__(
        self, callback: Callable[[Any], object] | None, error_callback: Callable[[BaseException], object] | None
    ) -> None:
        self._callback = callback
        self._error_callback = error_callback
        self._over = False
        # An event takes longer to make than all the rest of a call, and hardly anybody waits for a callback.
        self._event: threading.Event | None = None
        self._thread = 0

    def attach(self, future: Future[Any]) -> None:
        future._delivery = self  # noqa: SLF001 - the two are halves of one thing.
        future.add_done_callback(self)

    def __call__(self, future: concurrent.futures.Future[Any]) -> None:
        self._thread = threading.get_ident()
        try:
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                if self._error_callback is not None:
                    self._error_callback(error)
            elif self._callback is not None:
                self._callback(future.result())
        except Exception:
            from logging import getLogger

            # Logged here and not by who calls us, so that it has been logged when waits are over.
            getLogger("concurrent.futures").exception("exception calling callback for %r", future)
        finally:
            self._over = True
            if self._event is not None:
                self._event.set()
            self._callback = self._error_callback = None

    def is_over(self) -> bool:
        # Inside its own callback a result counts as ready: waiting there would be for ever.
        return self._over or self._thread == threading.get_ident()

    def wait(self, deadline: float | None) -> bool:
        if self.is_over():
            return True
        with _making_event:
            event = self._event = self._event or threading.Event()
        # The end is noted before the event is looked for, and looked for after the event is made: one side sees.
        if self._over:
            return True
        return event.wait(None if deadline is None else max(0.0, deadline - monotonic()))


_timeout_error_class: type[TimeoutError] | None = None


def timeout_error(message: str) -> TimeoutError:
    """A `TimeoutError` that is also the one of `multiprocessing`, if that has been imported."""
    global _timeout_error_class
    if _timeout_error_class is None:
        multiprocessing = sys.modules.get("multiprocessing")
        if multiprocessing is None:
            return TimeoutError(message)
        bases = (TimeoutError, multiprocessing.TimeoutError)
        body = {"__module__": "paceline", "__reduce__": lambda error: (timeout_error, error.args)}
        _timeout_error_class = type("TimeoutError", bases, body)
    return _timeout_error_class(message)
