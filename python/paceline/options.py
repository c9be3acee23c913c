"""What can be asked for a call beside its function and arguments, apart from both so that no name can clash.

Owns the options' names, defaults and checks. What an option does is the engine's affair.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from paceline.engine import AnyEngine

__all__ = ["Options"]

_PRIORITIES = range(-(2**15), 2**15)


class Options:
    """Options of calls; unchangeable, `replace` gives a copy with some of them changed.

    >>> from paceline.options import Options
    >>> Options(retries=2).replace(priority=5)
    Options(retries=2, priority=5)

    `retries` is how often a call may be run again after the worker that ran it has died. Of the calls that wait, those
    of the highest `priority` (from -32768 to 32767) begin first. `name` stands for the function in errors.

    Raises `TypeError` and `ValueError` for what is none of these.
    """

    __slots__ = ("name", "priority", "retries")

    retries: int
    priority: int
    name: str | None

    def __init__(self, *, retries: int = 0, priority: int = 0, name: str | None = None) -> None:
        for option, number in (("retries", retries), ("priority", priority)):
            if type(number) is not int:
                raise TypeError(f"{option} must be an integer, not {number!r}")
        if not 0 <= retries < 2**16:
            raise ValueError(f"retries must be from 0 to 65535, not {retries}")
        if priority not in _PRIORITIES:
            raise ValueError(f"priority must be from -32768 to 32767, not {priority}")
        if type(name) not in {str, type(None)}:
            raise TypeError(f"name must be a string or None, not {name!r}")
        for option, value in (("retries", retries), ("priority", priority), ("name", name)):
            object.__setattr__(self, option, value)

    def __setattr__(self, option: str, value: object) -> None:
        raise AttributeError(f"options cannot be changed: use `replace({option}=...)`")

    def replace(self, **changes: Any) -> Options:
        """The same options but for `changes`."""
        return Options(**{**self._given(), **changes})

    def _given(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in ("retries", "priority", "name") if getattr(self, option)}

    def __repr__(self) -> str:
        given = ", ".join(f"{option}={value!r}" for option, value in self._given().items())
        return f"Options({given})"

    def bind(self, engine: AnyEngine) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The engine's `submit` and `map` with these options."""
        given = self._given()
        if not given:
            return engine.submit, engine.map
        from functools import partial

        return partial(engine.submit, **given), partial(engine.map, **given)
