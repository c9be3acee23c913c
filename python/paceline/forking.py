"""The fork of the user's process from which the workers of a pool with `start_method="fork"` are forked in turn.

Owns what is done before such a fork, and what the child does before it serves: it keeps all that the program has in
memory, and lets go of what would have it act in the program's name. Never forks, which is done where nothing of
Python's can come in between, and never runs a task.
"""

from __future__ import annotations

import sys
from _io import open as open_file

from paceline import worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from warnings import catch_warnings


def prepare() -> catch_warnings[None]:
    """In the program, before the fork; what is returned is to be left after it, on both sides.

    Python warns of forks in processes with threads, and every program with a pool has some. Whoever asks for this
    start method has been told.
    """
    from warnings import catch_warnings, simplefilter

    for stream in _streams():
        try:
            # Else what is not written yet would be there twice.
            stream.flush()
        except Exception:  # A stream that is closed or broken has nothing to write.
            pass
    silence = catch_warnings()
    silence.__enter__()
    simplefilter("ignore", DeprecationWarning)
    return silence


def settle(silence: catch_warnings[None], native: Any) -> None:
    """In the child: what it has of the program is for the workers that are forked from it, and for nobody else.

    What it puts away is kept, because an object that is let go of may write to, close or end what is the program's.
    """
    silence.__exit__(None, None, None)
    _kept.extend(_streams())
    _forget_signals()
    _forget_input()
    _forget_handlers()
    _forget_children()
    worker.forget_leaving()
    worker.prepare(native)
    import gc

    # What is never looked at again by the collector stays in pages that the program and all workers share.
    gc.freeze()


_kept: list[Any] = []


def _streams() -> list[Any]:
    names = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
    return [stream for name in names if (stream := getattr(sys, name, None)) is not None]


def _forget_signals() -> None:
    """An event loop of the program's is not to be woken by signals that come here."""
    from _signal import set_wakeup_fd  # type: ignore[import-not-found]

    set_wakeup_fd(-1)


def _forget_input() -> None:
    """What the program has read ahead, or has yet to read, is its own."""
    worker.put_stdin_aside()
    sys.stdin = sys.__stdin__ = open_file(0, closefd=False)  # type: ignore[misc]


def _forget_handlers() -> None:
    """Records are for the handlers of the program, where they are sent; none is to be handled twice."""
    logging = sys.modules.get("logging")
    if logging is None:
        return
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger) and logger.handlers:
            _kept.append(logger.handlers)
            logger.handlers = []
            # One that kept its records to itself sends them home, where it does so again.
            logger.propagate = True


def _forget_children() -> None:
    """What `multiprocessing` does in the forks that it makes itself: the program's processes are not this one's."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None:
        _kept.append(dict(util._finalizer_registry))  # noqa: SLF001 - there is no public way.
        util._finalizer_registry.clear()  # noqa: SLF001 - the same.
        process._children = set()  # type: ignore[attr-defined]  # noqa: SLF001 - the same.
        util._run_after_forkers()  # noqa: SLF001 - the same.
