"""Where functions find their modules, if `sys.path` has changed since their pool was opened.

A worker takes over `sys.path` when it is set up. A function that is sent later, when the path is another, carries the
new one along. This file never searches for anything.
"""

from __future__ import annotations

import os
import sys
from _pickle import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def with_search_path(data: bytes) -> bytes:
    """The bytes of a function together with the search path of this moment."""
    entries: list[Any] = sys.path
    return dumps(_Carried([_absolute(entry) for entry in entries if isinstance(entry, str)], data), 5)


def _absolute(entry: str) -> str:
    """The folder of the parent may be another by now, and an empty entry means just that."""
    try:
        return os.path.abspath(entry)
    except OSError:  # It has been removed.
        return str(entry)


class _Carried:
    def __init__(self, path: list[str], data: bytes) -> None:
        self.parts = path, data

    def __reduce__(self) -> tuple[Any, ...]:
        return load_with_search_path, self.parts


def load_with_search_path(path: list[str], data: bytes) -> Any:
    """In a worker: the function, and from now on its search path before what the worker has added itself."""
    sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
    return loads(data)
