"""Calls that may be run again after they have raised: which exceptions allow it is known where they are raised.

Owns the stand-in for a function that is sent with the exceptions of its `retry_on`, and what becomes of it in a worker
and in a thread. How often a call is run again, and when, is the engine's decision; on threads, where the engine has no
part in it, it is made here.
"""

from __future__ import annotations

from time import monotonic

from paceline.functions import StandIn, gives_coroutine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from paceline.engine import LocalEngine

    Kinds = tuple[type[BaseException], ...]

# As in the engine.
_LONGEST_WAIT_S = 3600.0
# How often a coroutine that waits looks whether its pool gives up.
_LOOK_S = 0.05

__all__ = ["Retried", "RetriedInThread", "retried"]


class Retried(StandIn):
    """Stands for a function, the calls of which may be run again after these exceptions."""

    def __init__(self, function: Callable[..., Any], kinds: Kinds) -> None:
        self.function = function
        self.kinds = kinds
        from paceline.errors import function_name

        # What errors call it.
        self.__qualname__ = function_name(function)


def with_kinds(function: bytes, kinds: bytes) -> bytes:
    """The bytes of a function that says of exceptions whether it may be run again."""
    from _pickle import dumps

    return dumps(_Parts(function, kinds), 5)


class _Parts:
    def __init__(self, function: bytes, kinds: bytes) -> None:
        self.parts = (function, kinds)

    def __reduce__(self) -> Any:
        return retried, self.parts


def retried(function_bytes: bytes, kinds_bytes: bytes) -> Any:
    """In a worker: the function, which tells the native loop of each exception that allows another attempt."""
    from _pickle import loads

    from paceline.worker import note_may_pass

    function, kinds = loads(function_bytes), loads(kinds_bytes)

    async def awaited(coroutine: Any) -> Any:
        try:
            return await coroutine
        except kinds as error:
            note_may_pass(error)
            raise

    def plain(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except kinds as error:
            note_may_pass(error)
            raise
        # A function that is not a coroutine function may still give a coroutine, such as a lambda.
        return awaited(result) if hasattr(type(result), "cr_code") else result

    async def coroutine_function(*args: Any, **kwargs: Any) -> Any:
        return await awaited(function(*args, **kwargs))

    made = coroutine_function if gives_coroutine(function) else plain
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        if hasattr(function, name):
            setattr(made, name, getattr(function, name))
    return made


class RetriedInThread(StandIn):
    """Stands for a function that a thread calls again, having waited, as often as it may.

    A coroutine is awaited anew each time. As in the engine, the wait doubles each time, and is between a half and all
    of that. When the pool gives up, or is closed with all cancelled that waits, nothing is called again.
    """

    def __init__(
        self, function: Callable[..., Any], kinds: Kinds, retries: int, backoff: float, engine: LocalEngine
    ) -> None:
        from random import Random

        from paceline.errors import function_name

        self.function = function
        # What errors call it.
        self.__qualname__ = function_name(function)
        self._kinds = kinds
        self._retries = retries
        self._backoff = backoff
        self._engine = engine
        self._chance = Random()  # noqa: S311 - it keeps no secret.

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        attempt = 0
        while True:
            try:
                result = self.function(*args, **kwargs)
            except self._kinds:
                if attempt == self._retries or not self._engine.rest_before_retry(self._wait(attempt)):
                    raise
            else:
                return self._awaited(result, args, kwargs) if hasattr(type(result), "cr_code") else result
            attempt += 1
            self._engine.note_attempt(attempt, in_context=False)

    async def _awaited(self, coroutine: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        attempt = 0
        while True:
            try:
                return await coroutine
            except self._kinds:
                if attempt == self._retries or not await self._rest(self._wait(attempt)):
                    raise
            attempt += 1
            self._engine.note_attempt(attempt, in_context=True)
            coroutine = self.function(*args, **kwargs)

    async def _rest(self, seconds: float) -> bool:
        """Looks now and then: who ends the pool knows of no event loop, and the engine would hold this one up."""
        from asyncio import sleep

        until = monotonic() + seconds
        while self._engine.rest_before_retry(0) and (left := until - monotonic()) > 0:  # noqa: ASYNC110
            await sleep(min(left, _LOOK_S))
        return self._engine.rest_before_retry(0)

    def _wait(self, attempt: int) -> float:
        return self._chance.uniform(0.5, 1.0) * min(self._backoff * 2.0 ** min(attempt, 60), _LONGEST_WAIT_S)
