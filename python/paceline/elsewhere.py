"""Whether what this thread pickles is to be read on other hosts, where the memory of this one is not.

Owns that one fact, and what is collected on the way: the shared objects that go along. Who asks are the classes of what
lies in shared memory; who says it are pools on clusters. It never pickles or sends anything.
"""

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    # Takes a shared object; gives what it is to be pickled as.
    Collector: TypeAlias = Callable[[Any], tuple[Any, ...]]

__all__ = ["collecting", "collector"]

_state = _local()


def collector() -> Collector | None:
    """Who takes the shared objects that are pickled now, by this thread; None if the pickle stays on this host."""
    found: Collector | None = getattr(_state, "collector", None)
    return found


class collecting:  # noqa: N801 - it is used like a function.
    """A context in which what this thread pickles goes to other hosts."""

    __slots__ = ("_before", "_collector")

    def __init__(self, collector: Collector | None) -> None:
        self._collector = collector

    def __enter__(self) -> None:
        self._before = collector()
        _state.collector = self._collector

    def __exit__(self, *_: object) -> None:
        _state.collector = self._before
