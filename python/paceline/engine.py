"""The one door to the native module: futures, the opening of engines, and what happens to them when the process ends.

No other file imports `paceline._paceline`. Here is everything that `Pool` and `ProcessPoolExecutor` share: the future
that both hand out, the set-up that a new worker is given, and the list of what is still open. It never says what a
method of either means.
"""

from __future__ import annotations

import _pickle
import _thread
import atexit
import concurrent.futures
import os
import sys
import threading
from time import monotonic
from weakref import WeakSet

from paceline import _paceline
from paceline.pickling import dump_argument_fallback, dump_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol, TypeVar

    from paceline._paceline import Engine, Stream

    R = TypeVar("R")

    class Owner(Protocol):
        """A pool or an executor."""

        def _end_at_exit(self, interrupted: bool, /) -> None: ...

    class _NativeFuture(concurrent.futures.Future[R]):
        def prefix(self, timeout: float | None = None) -> tuple[list[Any], BaseException | None]: ...

else:
    Engine = _paceline.Engine
    Stream = _paceline.Stream

    class _NativeFuture(_paceline.TaskFuture, concurrent.futures.Future):
        __slots__ = ()


__all__ = [
    "Delivery",
    "Engine",
    "Future",
    "Stream",
    "default_workers",
    "open_engine",
    "register",
    "see_off",
    "timeout_error",
    "unregister",
]

default_workers = _paceline.default_workers

# -- futures -----------------------------------------------------------------------------------------------------------


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
    one that is running cannot. The result is unpickled by the thread that asks for it first.
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


class Delivery:
    """Hands the outcome of one future to `callback` or `error_callback`, as `multiprocessing` does.

    There, a result is ready only when its callback has ended; `get`, `wait` and `ready` keep to that by asking here.
    """

    __slots__ = ("_callback", "_error_callback", "_over", "_thread")

    def __init__(
        self, callback: Callable[[Any], object] | None, error_callback: Callable[[BaseException], object] | None
    ) -> None:
        self._callback = callback
        self._error_callback = error_callback
        self._over = threading.Event()
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
        finally:
            self._over.set()
            self._callback = self._error_callback = None

    def is_over(self) -> bool:
        # Inside its own callback a result counts as ready: waiting there would be for ever.
        return self._over.is_set() or self._thread == threading.get_ident()

    def wait(self, deadline: float | None) -> bool:
        if self.is_over():
            return True
        return self._over.wait(None if deadline is None else max(0.0, deadline - monotonic()))


_timeout_error_class: type[TimeoutError] | None = None


def timeout_error(message: str) -> TimeoutError:
    """A `TimeoutError` that is also the one of `multiprocessing`, if that has been imported."""
    global _timeout_error_class
    if _timeout_error_class is None:
        multiprocessing = sys.modules.get("multiprocessing")
        if multiprocessing is None:
            return TimeoutError(message)
        bases = (TimeoutError, multiprocessing.TimeoutError)
        _timeout_error_class = type("TimeoutError", bases, {"__module__": "paceline"})
    return _timeout_error_class(message)


# -- opening -----------------------------------------------------------------------------------------------------------


def open_engine(
    workers: int,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    max_tasks_per_worker: int | None,
) -> Engine:
    """Starts an engine; returns before its workers are ready."""
    return _paceline.Engine(
        workers=workers,
        setup=make_setup(initializer, initargs),
        future_type=Future,  # type: ignore[arg-type]
        max_tasks_per_worker=max_tasks_per_worker,
    )


def make_setup(initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> bytes:
    """What `paceline.worker.set_up` needs in order to make a new process look like this one.

    Raises `TypeError` for an initializer that cannot be called, `ArgumentNotPicklable` for one that cannot be sent.
    """
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    function = positional = None
    if initializer is not None:
        function, _ = dump_function(initializer)
        positional = _dump_arguments(tuple(initargs))
    try:
        folder = os.getcwd()
    except OSError:
        folder = None
    namespace = sys.modules["__main__"].__dict__
    main = {name: namespace[name] for name in ("__file__", "__package__") if isinstance(namespace.get(name), str)}
    return _pickle.dumps((sys.path, folder, getattr(sys, "argv", []), main, function, positional), 5)


def _dump_arguments(arguments: tuple[Any, ...]) -> bytes:
    call = (arguments, None)
    try:
        data = _pickle.dumps(call, 5)
    except Exception:
        return dump_argument_fallback(call)
    return dump_argument_fallback(call) if b"__main__" in data else data


# -- the end -----------------------------------------------------------------------------------------------------------

_open: WeakSet[Any] = WeakSet()
_left: list[Engine] = []
_home = os.getpid()


def register(owner: Owner) -> None:
    """Has `owner` told when the interpreter is about to exit."""
    global _home
    if os.getpid() != _home:
        # This process was forked from one with pools of its own; those are not ours to end.
        _home = os.getpid()
        _open.clear()
        _left.clear()
    _open.add(owner)


def unregister(owner: Owner) -> None:
    """There is nothing left to tell it."""
    _open.discard(owner)


def see_off(engine: Engine) -> None:
    """Closes the engine of an owner that nobody holds any more; what was submitted still runs, also past the exit."""
    if os.getpid() != _home:
        return
    engine.close()
    if not engine.join(0):
        _left.append(engine)
        # Not `threading`: this may be called by the garbage collector in the middle of that module's own work.
        _thread.start_new_thread(_wait_for, (engine,))


def _wait_for(engine: Engine) -> None:
    try:
        engine.join()
    finally:
        _left.remove(engine)


def _end_all() -> None:
    if os.getpid() != _home:
        return
    # The interpreter leaves the exception that ended the program here, after printing it.
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    ends: list[Callable[[bool], object]] = [owner._end_at_exit for owner in list(_open)]  # noqa: SLF001 - no word for users.
    ends += [_end_of(engine) for engine in list(_left)]
    for end in ends:
        try:
            end(interrupted)
        except KeyboardInterrupt:
            interrupted = True
            end(interrupted)
        except Exception:  # The rest must be told as well, and nobody is left to hear of it.
            pass


def _end_of(engine: Engine) -> Callable[[bool], object]:
    def end(interrupted: bool) -> None:
        if interrupted:
            engine.terminate()
        engine.join()

    return end


atexit.register(_end_all)
