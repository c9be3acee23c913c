"""What a map makes of items that fail: `on_error` and `max_failures`.

Owns their checks, and their effect where results are handed out one at a time; for a whole list, the native module sees
to it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any, Literal, TypeAlias

    OnError: TypeAlias = Literal["raise", "return", "skip"]

__all__ = ["FailurePolicy", "map_options"]


def map_options(on_error: OnError, max_failures: int | None) -> dict[str, Any]:
    """The keywords of the engine's `map`; none for what it does anyway. Raises `TypeError` and `ValueError`."""
    if on_error == "raise" and max_failures is None:
        return {}
    if on_error not in ("raise", "return", "skip"):
        raise ValueError(f"on_error must be 'raise', 'return' or 'skip', not {on_error!r}")
    if max_failures is not None:
        if type(max_failures) is not int:
            raise TypeError(f"max_failures must be an integer or None, not {max_failures!r}")
        if not 0 <= max_failures < 2**32 - 1:
            raise ValueError(f"max_failures must be at least 0, not {max_failures}")
    return {"on_error": on_error, "max_failures": max_failures}


class FailurePolicy:
    """Of an iterator: what it gives in the place of an item that failed, and when it gives up."""

    def __init__(self, function: Any, on_error: OnError, max_failures: int | None) -> None:
        given = map_options(on_error, max_failures)
        # Whether failures are treated in any way but the ordinary.
        self.is_special = bool(given)
        self._returns = on_error == "return"
        self._raises = on_error == "raise"
        self._most = max_failures
        self._function = function
        self._failures: dict[int, BaseException] = {}

    def apply(self, outcomes: Generator[tuple[int, bool, Any]]) -> Iterator[Any]:
        """The results of these outcomes: an item's index, whether it has a result, and that or its exception."""
        try:
            for index, has_result, value in outcomes:
                if has_result or self.gives(index, value):
                    yield value
        finally:
            # A failure holds on to this frame, and what has not begun is to be dropped now.
            outcomes.close()

    def gives(self, index: int, error: BaseException) -> bool:
        """Whether an item's exception is given in its place. Raises it, or `TooManyFailures`, if it has to be."""
        self._note(index, error)
        if self._raises:
            raise error
        return self._returns

    def _note(self, index: int, error: BaseException) -> None:
        """An item has failed. Raises `TooManyFailures` if it is one too many."""
        if self._most is None:
            return
        self._failures[index] = error
        if len(self._failures) > self._most:
            from paceline.errors import TooManyFailures, function_name

            raise TooManyFailures(function_name(self._function), {}, self._failures)
