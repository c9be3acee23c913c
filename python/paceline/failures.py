"""What is told of a task that failed, besides its own error: which it was, what it was called with, where it ran.

Owns the texts and the making of the errors that stand for a task's end; `paceline.errors` owns the errors themselves.
Both sides use it, on their error paths only. It never decides what becomes of a task.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    # Of an attempt: what it was called with, process, attempt from one, seconds, peak memory in bytes.
    Details: TypeAlias = tuple[str, int, int, float | None, int]

# How a function takes its input, as the native module numbers it: `fn(*args)`, `fn(item)`, `fn(*item)`; and
# `fn(*args, **kwargs)` of a pair of both.
_CALL, _ITEM, _STAR, _PAIR = range(4)

# -- arguments ---------------------------------------------------------------------------------------------------------


def arguments_shown(style: int, value: Any) -> str:
    """What a function was called with, shortened; never raises."""
    try:
        positional, named = _arguments(style, value)
        shown = [_shown(argument) for argument in positional]
        shown += [f"{name}={_shown(argument)}" for name, argument in named.items()]
        return f"({', '.join(shown)}{',' if len(shown) == 1 and not named else ''})"
    except Exception as error:  # Anybody's `__repr__`.
        return f"arguments that cannot be shown ({type(error).__name__})"


def _arguments(style: int, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if style == _PAIR and type(value) is tuple:
        return value[0], value[1] or {}
    if style in {_CALL, _STAR} and type(value) in {tuple, list}:
        return tuple(value), {}
    return (value,), {}


def _shown(argument: Any) -> str:
    from reprlib import Repr

    short = Repr()
    short.maxstring = short.maxother = 60
    # Arrays and frames print their contents over many lines.
    return " ".join(short.repr(argument).split())


def size_shown(length: int, error: BaseException | None = None) -> str:
    """Stands for arguments that are too long to be shown, or could not be rebuilt here."""
    from paceline.errors import shown_bytes

    if error is not None:
        return f"arguments that could not be rebuilt here ({type(error).__name__})"
    return f"{shown_bytes(length)} of arguments"


# -- in a worker -------------------------------------------------------------------------------------------------------


def details_here(style: int | None, value: Any, attempt: int, seconds: float | None) -> Details:
    """In a worker: what is told of an attempt at a task, which was begun `attempt` times before.

    `style` is None if what it was called with cannot be told.
    """
    from resource import RUSAGE_SELF, getrusage

    arguments = "" if style is None else arguments_shown(style, value)
    return arguments, os.getpid(), attempt + 1, seconds, getrusage(RUSAGE_SELF).ru_maxrss * 1024


def pack_stopped(stack: str, details: Details | None) -> bytes:
    """In a worker: the bytes that stand for the outcome of a task that was stopped."""
    from marshal import dumps

    return dumps((stack, details))


def stack_text(frame: Any) -> str:
    """In a worker: where a task is, as Python prints it, without Paceline's own frames."""
    try:
        from traceback import StackSummary, walk_stack

        from paceline.tracebacks import is_own
    except ImportError:
        # It is asked for between any two steps of the task, which may be just importing one of these.
        return ""
    frames = StackSummary.extract(reversed([(one, line) for one, line in walk_stack(frame)]))
    frames[:] = [one for one in frames if not is_own(one.filename) and one.filename != "<string>"]
    return "".join(frames.format())


# -- at home -----------------------------------------------------------------------------------------------------------


def told(task: dict[str, Any], details: Details | None) -> str:
    """A line that tells of the task that raised: what is known of it here, and what its worker said of the attempt."""
    from paceline.errors import shown_bytes, task_name

    name = task_name(task["function"], task["index"])
    if details is None:
        return f"task `{name}`"
    arguments, pid, attempt, seconds, peak_memory = details
    facts = [f"process {pid}", f"attempt {attempt}", f"peak memory {shown_bytes(peak_memory)}"]
    if seconds is not None:
        facts.insert(2, f"after {seconds:.3g} s")
    return f"task `{name}` called with {arguments}: {', '.join(facts)}"


# Of a worker with many threads the stacks of so many are shown.
_MOST_THREADS = 8
# `faulthandler` writes down no more than a hundred.
_CUT_OFF = "..."


def stacks_shown(written: str) -> list[str]:
    """The lines of the stacks that a worker has written down: that of the thread that runs its tasks, then others.

    The line from which the worker was started is left out.
    """
    threads = [
        [line for line in thread.splitlines() if not line.endswith('File "<string>", line 1 in <module>')]
        for thread in reversed(written.strip().split("\n\n"))
    ]
    threads = [lines for lines in threads if lines]
    if any(lines[-1] == _CUT_OFF for lines in threads):
        shown, more = threads[1:_MOST_THREADS], ["... and more than a hundred threads, the task's own among them"]
    elif len(threads) > _MOST_THREADS:
        shown, more = threads[:_MOST_THREADS], [f"... and {len(threads) - _MOST_THREADS} more threads"]
    else:
        shown, more = threads, []
    return [*(line for lines in shown for line in lines), *more]


def lost_task(trouble: str, details: dict[str, Any]) -> BaseException:
    """The error for a task that was lost with its worker: `trouble` is `died`, `overran` or `outgrew`."""
    from paceline import errors

    kind = {"died": errors.WorkerDied, "overran": errors.TaskTimeout, "outgrew": errors.MemoryLimitExceeded}[trouble]
    return kind(**{**details, "stack": "\n".join(stacks_shown(details["stack"]))})


def stopped_task(packed: bytes, details: dict[str, Any]) -> BaseException:
    """The error for a task that has stopped at its time limit, as its worker has told it."""
    from marshal import loads

    from paceline.errors import TaskTimeout

    stack, said = loads(packed)
    if said is not None:
        arguments, pid, attempt, seconds, peak_memory = said
        details |= {"arguments": arguments, "pid": pid, "attempt": attempt, "peak_memory": peak_memory}
        details |= {"seconds": seconds}
    return TaskTimeout(**details, stack=stack)


def too_many_failures(
    function: str, results: dict[int, Any], failures: dict[int, BaseException], raises_first: bool
) -> BaseException:
    """What a map raises of which more items failed than may."""
    from paceline.errors import TooManyFailures

    if raises_first and failures:
        return failures[min(failures)]
    return TooManyFailures(function, results, failures)


def show(function: str, index: int, error: BaseException | None) -> None:
    """Shows a failure of a map that goes on, in the log of this process."""
    from logging import getLogger

    said = "an error too large to be shown" if error is None else f"{type(error).__name__}: {error}".partition("\n")[0]
    getLogger("paceline").warning("%s[%d] failed: %s", function, index, said)
