"""How functions and inputs become bytes that any host can read, in the process that calls.

Owns what is kept of functions from call to call, and how inputs are shown in errors. How anything is pickled is told in
`paceline.pickling`; where the bytes go is the carrier's affair.
"""

from __future__ import annotations

from _pickle import dumps

from paceline.clusters.shares import Along, Finding
from paceline.elsewhere import collecting
from paceline.engine import SharedMemory
from paceline.errors import function_name
from paceline.pickling import (
    NeverSent,
    dump_argument_fallback,
    dump_function,
    gives_coroutine,
    guard_holds,
    strangers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from paceline.clusters.shares import Entry

__all__ = ["Functions", "Sent", "dump_input", "dump_inputs", "shown"]

_MAIN = b"__main__"
# Of functions that are kept for the next call of the same.
_MOST_KEPT = 256


class Sent:
    """A function as bytes."""

    __slots__ = ("__qualname__", "data", "entries", "is_coroutine")

    def __init__(self, function: Callable[..., Any], data: bytes, entries: dict[str, Entry]) -> None:
        self.data = data
        # The shared objects that it refers to.
        self.entries = entries
        self.is_coroutine = gives_coroutine(function)
        # What errors call it.
        self.__qualname__ = function_name(function)


class Functions:
    """The functions that one pool has sent."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, Sent, Any]] = {}

    def of(self, function: Callable[..., Any]) -> Sent:
        """The function as bytes. Raises `ArgumentNotPicklable`."""
        known = self._kept.get(id(function))
        if known is not None and guard_holds(function, known[2]):
            return known[1]
        finding = Finding()
        with collecting(finding):
            data, guard = dump_function(function)
        sent = Sent(function, data, finding.found)
        if guard is not False:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            # The function is kept with it, so that no other can take its identity.
            self._kept[id(function)] = (function, sent, guard)
        return sent

    def forget(self) -> None:
        """Lets go of all of them."""
        self._kept.clear()


def dump_input(value: object, names: list[bytes] | None = None) -> bytes | Along:
    """The bytes of what a function is called with. Raises `ArgumentNotPicklable`.

    `names` are those that no bytes may refer to, if they are known.
    """
    finding = Finding()
    try:
        with collecting(finding):
            data = _dumped(value, names)
    except BaseException:
        # Looking for what cannot be pickled has pickled its parts one by one.
        SharedMemory.forget_named()
        raise
    return Along(data, finding.found) if finding.found else data


def _dumped(value: object, names: list[bytes] | None) -> bytes:
    try:
        data = dumps(value, 5)
    except Exception:
        return dump_argument_fallback(value)
    if _MAIN in data or any(name in data for name in (strangers() if names is None else names)):
        return dump_argument_fallback(value)
    return data


def dump_inputs(values: Any, *, fails_alone: bool) -> list[bytes | Along]:
    """The same of many; with `fails_alone`, of one that cannot be pickled bytes that say so where they are read."""
    names = strangers()
    if not fails_alone:
        return [dump_input(value, names) for value in values]
    inputs: list[bytes | Along] = []
    for value in values:
        try:
            inputs.append(dump_input(value, names))
        except Exception as error:
            inputs.append(dumps(NeverSent(error), 5))
    return inputs


# How `paceline.failures` numbers a pair of positional and named arguments.
_PAIR = 3


def shown(style: int, data: bytes) -> str:
    """What a function was called with, for errors; nothing of it comes to life."""
    from paceline.failures import arguments_shown, size_shown
    from paceline.inert import loads

    try:
        return arguments_shown(style or _PAIR, loads(data))
    except Exception:
        return size_shown(len(data))
