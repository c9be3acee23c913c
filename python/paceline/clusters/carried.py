"""What a worker process on a host calls for each input: unpacks it, calls the function, packs what it gives.

Owns that between the local engine of the host, which sees only bytes, and the function. Failures are packed here, where
their classes are known; only what allows another attempt is raised, so that the engine there makes it.
"""

from __future__ import annotations

import os
from _pickle import dumps, loads
from time import monotonic_ns

from paceline.clusters.parcel import CALL, RAISED, RESULT, STAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # Whether it has a result, the bytes, process, attempt, when it began and ended.
    Told = tuple[int, bytes, int, int, int, int]

__all__ = ["Carried", "CarriedCoroutine", "MayPass", "set_up"]

_MAIN = b"__main__"


class MayPass(Exception):
    """The call may be run again; stands for what it has raised, which the host could not know."""


def set_up(path: list[str], initializer: bytes | None, arguments: bytes | None) -> None:
    """In a new worker: what is to be there before the first call; raises what the initializer raises."""
    import sys

    # Pools that tasks open are pools of their host.
    os.environ.pop("PACELINE_BACKEND", None)
    known = set(sys.path)
    sys.path += [folder for folder in path if folder not in known and os.path.isdir(folder)]
    if initializer is not None and arguments is not None:
        from paceline.functions import before_initializer

        function = loads(initializer)
        before_initializer(function)
        positional, _ = loads(arguments)
        function(*positional)


class Carried:
    """Stands for a function that came from another host."""

    def __init__(self, function: bytes, kinds: bytes | None, style: int, retries: int, name: str) -> None:
        self.parts = (function, kinds, style, retries, name)
        # What errors call it.
        self.__qualname__ = name
        self._function: Any = None
        self._kinds: Any = ()

    def __reduce__(self) -> Any:
        return rebuilt, (type(self), self.parts)

    def load(self) -> None:
        """Has the function ready; raises what unpickling it raises."""
        if self._function is None:
            function, kinds = self.parts[:2]
            self._kinds = () if kinds is None else loads(kinds)
            self._function = loads(function)

    def __call__(self, sent: tuple[Any, ...]) -> Told:
        began_ns, attempt = self._begin(sent)
        try:
            value = self._call(sent[1])
            if hasattr(type(value), "cr_code"):
                # A function that is not a coroutine function may still give a coroutine, such as a lambda.
                return self._awaited(value, began_ns, attempt, sent[1])  # type: ignore[return-value]
            return self._packed(value, began_ns, attempt, sent[1])
        except BaseException as error:
            return self._failed(error, began_ns, attempt, sent[1])

    async def _awaited(self, coroutine: Any, began_ns: int, attempt: int, data: bytes) -> Told:
        try:
            return self._packed(await coroutine, began_ns, attempt, data)
        except BaseException as error:
            return self._failed(error, began_ns, attempt, data)

    def _begin(self, sent: tuple[Any, ...]) -> tuple[int, int]:
        """When the call of this input began, and which attempt it is."""
        from paceline.engine import current_task, number_item

        number_item(sent[0])
        if len(sent) > 2:
            from paceline.clusters.shares import receive

            receive(sent[2])
        task = current_task()
        return monotonic_ns(), 1 if task is None else task.attempt + 1

    def _call(self, data: bytes) -> Any:
        style = self.parts[2]
        self.load()
        given = self._given(data)
        if style == CALL:
            positional, named = given
            return self._function(*positional, **(named or {}))
        return self._function(*given) if style == STAR else self._function(given)

    def _given(self, data: bytes) -> Any:
        try:
            return loads(data)
        except Exception as error:
            from paceline.pickling import argument_not_rebuilt

            raise argument_not_rebuilt(error) from None

    def _packed(self, value: Any, began_ns: int, attempt: int, data: bytes) -> Told:
        try:
            packed = _dumps(value)
        except Exception as error:
            from paceline.pickling import pack_unpicklable_result

            details = self._details(began_ns, attempt, data)
            packed = pack_unpicklable_result(value, error, details)
            return RAISED, packed, os.getpid(), attempt, began_ns, monotonic_ns()
        return RESULT, packed, os.getpid(), attempt, began_ns, monotonic_ns()

    def _failed(self, error: BaseException, began_ns: int, attempt: int, data: bytes) -> Told:
        from paceline.errors import TaskInterrupted
        from paceline.pickling import pack_exception

        if isinstance(error, TaskInterrupted):
            raise error
        if isinstance(error, self._kinds) and attempt <= self.parts[3]:
            raise MayPass from None
        packed = pack_exception(error, self._details(began_ns, attempt, data))
        return RAISED, packed, os.getpid(), attempt, began_ns, monotonic_ns()

    def _details(self, began_ns: int, attempt: int, data: bytes) -> Any:
        from paceline.clusters.sending import shown
        from paceline.failures import details_here

        seconds = (monotonic_ns() - began_ns) * 1e-9
        _, *rest = details_here(None, None, attempt - 1, seconds)
        return (shown(self.parts[2], data), *rest)


def rebuilt(kind: type[Carried], parts: tuple[Any, ...]) -> Carried:
    """In a worker: the stand-in, with the function in it, so that loading that is not part of the first call."""
    carried = kind(*parts)
    try:
        carried.load()
    except Exception:  # The call tells, or brings the shared object that was missing.
        pass
    return carried


class CarriedCoroutine(Carried):
    """The same of a coroutine function."""

    async def __call__(self, sent: tuple[Any, ...]) -> Told:  # type: ignore[override]
        began_ns, attempt = self._begin(sent)
        try:
            return self._packed(await self._call(sent[1]), began_ns, attempt, sent[1])
        except BaseException as error:
            return self._failed(error, began_ns, attempt, sent[1])


def _dumps(value: Any) -> bytes:
    try:
        data = dumps(value, 5)
    except Exception:
        data = _MAIN
    if _MAIN in data:
        from paceline.pickling import dump_by_value

        return dump_by_value(value)
    return data
