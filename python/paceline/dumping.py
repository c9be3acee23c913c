"""What the workers of this process are doing now: `dump`, and `dump_on_signal`.

Owns what is printed. What workers run is the engines' knowledge, and their stacks are their own: each writes its own
down when it is sent a signal, also when it is stuck in native code.
"""

from __future__ import annotations

import sys

from paceline.engine import open_engines, worker_stacks
from paceline.errors import task_name
from paceline.failures import stacks_shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import Signals
    from typing import Any, TextIO

__all__ = ["dump", "dump_on_signal"]

# How long workers are waited for that do not answer.
_PATIENCE_S = 0.5


def dump(file: TextIO | None = None) -> None:
    """Prints what every worker process of this process is doing: task, seconds, Python stack.

    >>> import sys, paceline
    >>> with paceline.Pool(2) as pool:
    ...     paceline.dump(file=sys.stdout)  # doctest: +ELLIPSIS
    worker process ...

    `file` is where it is printed, by default `sys.stderr`. A worker that is stuck in native code answers as well: its
    stack ends where Python called that. One that has been stopped (SIGSTOP) has no stack, and that is
    said. Takes half a second at most.
    """
    file = sys.stderr if file is None else file
    running: dict[int, list[str]] = {}
    for engine in open_engines():
        for pid, function, item, index, attempt, seconds in engine.running():
            again = f", attempt {attempt + 1}" if attempt else ""
            text = f"`{task_name(function, index)}` (task {item} of its pool{again}) for {seconds:.3g} s"
            running.setdefault(pid, []).append(text)
    stacks = worker_stacks(_PATIENCE_S)
    if not stacks:
        print("no worker processes", file=file)
    for pid, stack in stacks:
        print(f"worker process {pid}: {', '.join(running.get(pid, ['idle']))}", file=file)
        for line in stacks_shown(stack) or ["no stack: it does not react to signals"]:
            print(f"    {line}", file=file)
    file.flush()


def dump_on_signal(signum: int | Signals) -> Any:
    """Has this process call `dump` when it receives a signal, such as `signal.SIGUSR1`; returns the handler before.

    The main thread prints it, between two steps of Python's, also while it waits for a future. Raises `ValueError` for
    a signal that there is not, or that no program can handle, and outside of the main thread.
    """
    from signal import signal

    is_at_it = False

    def on_signal(number: int, frame: Any) -> None:  # noqa: ARG001 - it is a handler of signals.
        # Another one that comes meanwhile would be told the same.
        nonlocal is_at_it
        if not is_at_it:
            is_at_it = True
            try:
                dump()
            finally:
                is_at_it = False

    try:
        return signal(signum, on_signal)
    except OSError as error:
        raise ValueError(f"signal {signum} cannot be handled by a program: {error}") from None
