"""What a new worker process does before its first task: it takes on the looks of the process it works for.

Owns `set_up`, which the native module calls with the bytes that `paceline.engine.make_setup` made. It never runs a
task; the loop that does is native. Every worker loads this file, so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def set_up(setup: bytes) -> tuple[int, int]:
    """Takes over search path, folder and arguments, and runs the initializer; raises what the initializer raises.

    Returns what the native loop has to know: the pool's seed, and how many coroutines may be under way at once.
    """
    from marshal import loads as load_plain

    path, folder, arguments, main, authkey, function, positional, seed, concurrency = load_plain(setup)
    sys.path[:] = path
    sys.argv[:] = arguments
    _enter(folder)
    _put_stdin_aside()
    _prepare_signals()
    _reseed()
    _replace_main(main)
    _take_over(authkey)
    if function is not None:
        from _pickle import loads

        from paceline.functions import before_initializer

        initializer = loads(function)
        before_initializer(initializer)
        arguments, _ = loads(positional)
        initializer(*arguments)
    return seed, concurrency


def _enter(folder: str | None) -> None:
    if folder is not None:
        try:
            os.chdir(folder)
        except OSError:  # It has been removed, or may not be entered; the parent lives with that as well.
            pass


def _put_stdin_aside() -> None:
    """Nobody's answer to `input()` shall depend on which worker asks first."""
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)


def _prepare_signals() -> None:
    from _signal import SIGINT, default_int_handler, signal  # type: ignore[import-not-found]
    from faulthandler import enable

    signal(SIGINT, default_int_handler)
    enable(file=2)  # A crash in native code leaves its traceback in the worker's last words.


def _reseed() -> None:
    """No two workers may draw the same numbers from generators that the fork server had seeded already."""
    for name in ("random", "numpy.random"):
        module = sys.modules.get(name)
        if module is not None:
            module.seed()


def _replace_main(attributes: dict[str, Any]) -> None:
    """Makes an empty `__main__` with the user's name and file, for the functions that come from there."""
    module = type(sys)("__main__")
    module.__dict__.update(attributes)
    # The code that is running still needs the globals of the old one.
    module.__dict__["__builtins__"] = __builtins__
    _kept.append(sys.modules.get("__main__"))
    sys.modules["__main__"] = module


def _take_over(authkey: bytes | None) -> None:
    """Lets proxies of the parent's managers work here, as they do in the processes of `multiprocessing`."""
    if authkey is not None:
        from paceline.imports import when_imported

        when_imported("multiprocessing.process", lambda module: setattr(module.current_process(), "authkey", authkey))


_kept: list[Any] = []
