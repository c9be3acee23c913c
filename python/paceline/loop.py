"""Coroutines as tasks: the event loop of a worker, and the running of a single coroutine in a thread.

Owns how coroutines are begun and what becomes of those that they leave behind. Which are begun, and when, is the affair
of the native loop around this one. Only who has a coroutine to run loads this file, because `asyncio` takes long.

The native loop is the outer one: it claims calls, answers them, runs plain functions, and lets the event loop run in
between, until a coroutine has ended or a bell is rung that there is more to claim. So a plain function in the same
worker never runs inside a running event loop, and may start its own.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from threading import Thread, current_thread, local, main_thread

from paceline import worker
from paceline.errors import TaskInterrupted
from paceline.failures import stack_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from contextvars import Context, ContextVar
    from typing import Any

    from paceline.engine import Task

# How long what coroutines have left behind may take to hear that it is cancelled.
_FAREWELL_S = 1.0


class Loop:
    """The event loop of a worker, which runs when there are coroutines."""

    def __init__(self, variable: ContextVar[Task | None]) -> None:
        self._loop = asyncio.new_event_loop()
        self._variable = variable
        self._ended: list[tuple[tuple[int, int], asyncio.Task[Any], str | None]] = []
        self._bell: int | None = None
        # Those that have not ended, by number and attempt, and where those were that were stopped.
        self._running: dict[tuple[int, int], asyncio.Task[Any]] = {}
        self._stopped: dict[tuple[int, int], str] = {}
        worker.stop_coroutine = self._stop

    def begin(self, key: tuple[int, int], coroutine: Coroutine[Any, Any, Any], task: Task) -> None:
        """Begins a coroutine, which runs as `task`; `go_on` tells of its end. Raises `TypeError` for anything else."""
        context = copy_context()
        context.run(self._variable.set, task)
        running = self._loop.create_task(coroutine, context=context)
        name = (task.item, task.attempt)
        self._running[name] = running
        running.add_done_callback(lambda ended: self._end(key, name, ended))
        if worker.take_stop(*name):
            self._stopped[name] = ""
            running.cancel()

    def _end(self, key: tuple[int, int], name: tuple[int, int], ended: asyncio.Task[Any]) -> None:
        self._running.pop(name, None)
        self._ended.append((key, ended, self._stopped.pop(name, None)))
        self._loop.stop()

    def _stop(self, item: int, attempt: int, interrupted: Any) -> bool:
        """Cancels a coroutine that has not ended; whether it holds up this thread, and is to be interrupted as well.

        Called between any two steps of this thread, of which `interrupted` is the frame.
        """
        name = (item, attempt)
        running = self._running.get(name)
        if running is None:
            return False
        worker.take_stop(item, attempt)
        if running.done():
            return False
        if self._loop.is_running() and asyncio.current_task(self._loop) is running:
            # It would not hear of a cancel before it awaits something.
            self._stopped[name] = stack_text(interrupted)
            return True
        self._stopped[name] = "".join(stack_text(frame) for frame in _frames_of(running.get_coro()))
        # The loop may be asleep.
        self._loop.call_soon_threadsafe(running.cancel)
        return False

    def go_on(self, bell: int, may_wait: bool) -> list[tuple[tuple[int, int], asyncio.Task[Any], str | None]]:
        """Runs until some coroutine has ended, or `bell` can be read.

        Returns the keys and the tasks of those that have ended, and where each was if it was stopped. Without
        `may_wait`, runs only what need not wait.
        """
        loop = self._loop
        if self._bell != bell:
            loop.add_reader(bell, loop.stop)
            self._bell = bell
        if not may_wait:
            # The end of a task is told one round after it has ended.
            loop.call_soon(loop.call_soon, loop.stop)
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit, TaskInterrupted):
            # It is the outcome of whichever task it came from, as it is with plain functions.
            pass
        ended, self._ended = self._ended, []
        return ended

    def leave(self) -> None:
        """Cancels what the coroutines have left behind, and lets it clean up for a moment."""
        self._ended.clear()
        cancel_leftovers(self._loop)


def _frames_of(awaited: Any) -> Iterator[Any]:
    """Where a coroutine waits, and each that it waits for, from the outermost."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)


def cancel_leftovers(loop: asyncio.AbstractEventLoop) -> None:
    """Cancels every task of a loop that is not running, and lets it clean up for a moment."""
    leftovers = asyncio.all_tasks(loop)
    for task in leftovers:
        task.cancel()

    async def farewell() -> None:
        if leftovers:
            await asyncio.wait(leftovers, timeout=_FAREWELL_S)
        await asyncio.wait_for(loop.shutdown_asyncgens(), _FAREWELL_S)

    try:
        loop.run_until_complete(farewell())
    except (Exception, KeyboardInterrupt, SystemExit):  # Nobody is left to hear of it.
        pass


# -- one coroutine in a thread -----------------------------------------------------------------------------------------


class _ThreadLoop:
    """The event loop of a thread, closed when the thread ends."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def __del__(self) -> None:
        self.loop.close()


_kept = local()


def run_to_end(coroutine: Coroutine[Any, Any, Any], variable: ContextVar[Task | None], task: Task | None) -> Any:
    """Runs a coroutine in this thread, as `task`, and returns what it returns; raises what it raises.

    One at a time in each thread. What it leaves behind is cancelled. In a thread whose event loop is running already,
    another thread runs it, and this one waits.
    """
    context = copy_context()
    context.run(variable.set, task)
    if _is_inside_a_loop():
        return _run_elsewhere(coroutine, context)
    return _run_here(coroutine, context)


def _is_inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_here(coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
    if current_thread() is main_thread():
        # It knows what Ctrl-C means; and there is no end of this thread at which a loop could be closed.
        with asyncio.Runner() as runner:
            return runner.run(coroutine, context=context)
    kept = getattr(_kept, "loop", None)
    if kept is None:
        kept = _kept.loop = _ThreadLoop()
    loop: asyncio.AbstractEventLoop = kept.loop
    try:
        return loop.run_until_complete(loop.create_task(coroutine, context=context))
    finally:
        if asyncio.all_tasks(loop):
            cancel_leftovers(loop)


def _run_elsewhere(coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.extend((True, _run_here(coroutine, context)))
        except BaseException as error:  # It is raised again, where it belongs.
            outcome.extend((False, error))

    thread = Thread(target=run, name="paceline-coroutine")
    thread.start()
    thread.join()
    returned, value = outcome
    if not returned:
        raise value
    return value
