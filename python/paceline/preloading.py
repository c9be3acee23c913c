"""`preload`: modules that workers are born with, because the fork server has imported them.

Owns both halves: what this process asks for, and how the fork server does it. A module that is imported there belongs
to all workers that are born later, of all pools. It never imports anything of the user's own accord: what is asked for
is named.
"""

from __future__ import annotations

import os
import sys
from marshal import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONGEST = 60_000


def preload(*modules: str) -> None:
    """Has workers born with these modules. They are imported once, while this process goes on, and shared by all.

    >>> import paceline
    >>> paceline.preload("decimal", "fractions")
    >>> with paceline.Pool(2) as pool:
    ...     print(pool.apply(eval, ("'decimal' in __import__('sys').modules",)))
    True

    Worth it for what is slow to import, and called as early in the program as can be: nothing waits for it but the
    workers that are started next. It is a wish: a module that cannot be imported, or that starts a thread when it is,
    is left for the workers to import themselves. Not meant for modules that open files or connections when they are
    imported, because all workers would share these.

    Raises `TypeError` for names that are no strings, and `ValueError` for relative or far too many ones.
    """
    for name in modules:
        if type(name) is not str:
            raise TypeError(f"modules are named by strings, not {type(name).__name__}")
        if not all(name.split(".")):
            raise ValueError(f"`{name}` is not the full name of a module")
    path = [entry for entry in sys.path if type(entry) is str]
    wish = dumps((path, modules))
    if len(wish) > _LONGEST:
        raise ValueError("the names of the modules are too long to be sent; name fewer at a time")
    if modules:
        from paceline.engine import preload as ask

        ask(wish)


def load(wish: bytes) -> None:
    """In the fork server: imports what was wished for, and leaves everything else as it was."""
    import gc

    from paceline import worker

    path, modules = loads(wish)
    before: tuple[list[str], dict[str, Any]] = sys.path[:], dict(os.environ)
    sys.path[:] = path
    # A process with threads cannot be forked. Workers give these libraries more than one, if more are theirs.
    os.environ.update(dict.fromkeys(worker.THREAD_VARIABLES, "1"))
    gc.disable()
    try:
        for name in modules:
            try:
                __import__(name)
            except BaseException:  # Who needs it is told when it is tried in a worker.
                pass
    finally:
        sys.path[:] = before[0]
        os.environ.clear()
        os.environ.update(before[1])
        worker.threads_preloaded = 1
        # What is never looked at again by the collector stays in pages that all workers share.
        gc.freeze()
        gc.enable()
