"""Context variables, carried to worker processes: `Pool(context_vars=...)`.

A `ContextVar` cannot be pickled, and a function finds its variable by identity. So a variable that a module holds under
a name travels as that name, and any other (of a script, a notebook, a closure) by a token, which stands for one and the
same variable in a worker for as long as that lives.

The values of the declared variables, as they are when a call is made, go with the function of the call: the engine
sends a function once, so while the values stay the same they are neither pickled nor sent again. In the worker each
call runs in a context of its own, so what it sets is gone after it. This file never decides which variables those are.
"""

from __future__ import annotations

import sys
from _contextvars import Context, ContextVar, copy_context
from _operator import is_

from paceline.functions import MAIN, MISSING, StandIn, gives_coroutine, importable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from typing import Any

    Settings = tuple[tuple[ContextVar[Any], Any], ...]

# -- variables ---------------------------------------------------------------------------------------------------------

_tokens: dict[ContextVar[Any], str] = {}
_variables: dict[str, ContextVar[Any]] = {}
_places: dict[ContextVar[Any], tuple[str, str] | None] = {}


def reduce_variable(variable: ContextVar[Any]) -> tuple[Any, ...]:
    """What a pickler's `reducer_override` returns for a context variable."""
    if variable not in _places:
        _places[variable] = next(_places_of(variable), None)
    place = _places[variable]
    if place is not None:
        return imported_variable, place
    token = _tokens.get(variable)
    if token is None:
        from os import urandom

        token = urandom(12).hex()
        _keep(token, variable)
    try:
        default: tuple[Any, ...] = (Context().run(variable.get),)
    except LookupError:
        default = ()
    return known_variable, (token, variable.name, *default)


def _places_of(variable: ContextVar[Any]) -> Iterator[tuple[str, str]]:
    """Where a worker can import the variable from: of a module, or of a class of a module."""
    modules = [(name, module) for name, module in list(sys.modules.items()) if name != MAIN and module is not None]
    for name, module in modules:
        for key, value in list(getattr(module, "__dict__", {}).items()):
            if value is variable and importable(name, module):
                yield name, key
    for name, module in modules:
        for key, value in list(getattr(module, "__dict__", {}).items()):
            if isinstance(value, type) and value.__module__ == name:
                for inner, thing in list(value.__dict__.items()):
                    if thing is variable and importable(name, module):
                        yield name, f"{key}.{inner}"


def _keep(token: str, variable: ContextVar[Any]) -> None:
    _tokens[variable] = token
    _variables[token] = variable


def imported_variable(module: str, path: str) -> Any:
    """The variable that a module, or a class in it, has under this name."""
    from paceline.functions import import_module

    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def known_variable(token: str, name: str, *default: Any) -> ContextVar[Any]:
    """The variable that this token stands for, the same one each time."""
    variable = _variables.get(token)
    if variable is None:
        variable = ContextVar(name, default=default[0]) if default else ContextVar(name)
        _keep(token, variable)
    return variable


# -- values, at home ---------------------------------------------------------------------------------------------------


class WithContext(StandIn):
    """Stands for a function that is to be called with these variables set."""

    def __init__(self, function: Callable[..., Any], settings: Settings) -> None:
        self.function = function
        self.settings = settings
        from paceline.errors import function_name

        # What errors call it.
        self.__qualname__ = function_name(function)


class ContextCarrier:
    """The declared variables of one pool."""

    def __init__(self, variables: Iterable[ContextVar[Any]]) -> None:
        self.variables = tuple(variables)
        for variable in self.variables:
            if not isinstance(variable, ContextVar):
                raise TypeError(f"context_vars must be `contextvars.ContextVar`s, not `{type(variable).__qualname__}`")
        # The engine knows functions by identity, so the same stand-in is used as long as the values stay the same.
        self._latest: dict[int, tuple[tuple[Any, ...], WithContext]] = {}

    def wrap(self, function: Any) -> Any:
        """What is to be submitted instead of a function, for the values that the variables have now."""
        if type(function) is WithContext:
            return function
        values = tuple([variable.get(MISSING) for variable in self.variables])
        known = self._latest.get(id(function))
        if known is not None and all(map(is_, known[0], values)):
            return known[1]
        settings = tuple(
            (variable, value) for variable, value in zip(self.variables, values, strict=True) if value is not MISSING
        )
        if len(self._latest) >= _MOST_KEPT:
            self._latest.clear()
        stand_in = WithContext(function, settings)
        self._latest[id(function)] = values, stand_in
        return stand_in

    def bind(self, *starts: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
        """The engine's ways to start calls, with the variables carried along."""
        return tuple(map(self._bound, starts))

    def _bound(self, start: Callable[..., Any]) -> Callable[..., Any]:
        def start_in_context(function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
            return start(self.wrap(function), *args, **options)

        return start_in_context


_MOST_KEPT = 256


def with_settings(function: bytes, settings: bytes) -> bytes:
    """The bytes of a function that is called with variables set."""
    from _pickle import dumps

    return dumps(_Parts(function, settings), 5)


class _Parts:
    def __init__(self, function: bytes, settings: bytes) -> None:
        self.parts = (function, settings)

    def __reduce__(self) -> Any:
        return in_context, self.parts


# -- values, in a worker -----------------------------------------------------------------------------------------------

_functions: dict[bytes, Any] = {}


def in_context(function_bytes: bytes, settings_bytes: bytes) -> Any:
    """In a worker: the function, which sets the variables whenever it is called."""
    from _pickle import loads

    # It comes again with each new value, and need not be made again.
    function = _functions.get(function_bytes)
    if function is None:
        if len(_functions) >= _MOST_KEPT:
            _functions.clear()
        function = _functions[function_bytes] = loads(function_bytes)
    make = _coroutine_function if gives_coroutine(function) else _plain_function
    with_context = make(function, loads(settings_bytes))
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        if hasattr(function, name):
            setattr(with_context, name, getattr(function, name))
    return with_context


def _coroutine_function(function: Any, settings: Settings) -> Any:
    async def with_context(*args: Any, **kwargs: Any) -> Any:
        return await _awaited(settings, function(*args, **kwargs))

    return with_context


async def _awaited(settings: Settings, coroutine: Coroutine[Any, Any, Any]) -> Any:
    # It runs as a task of its own, which has a context of its own.
    for variable, value in settings:
        variable.set(value)
    return await coroutine


def _plain_function(function: Any, settings: Settings) -> Any:
    def with_context(*args: Any, **kwargs: Any) -> Any:
        result = copy_context().run(_set_and_call, settings, function, args, kwargs)
        # A function that is not a coroutine function may still give a coroutine, such as a lambda.
        return _awaited(settings, result) if hasattr(type(result), "cr_code") else result

    return with_context


def _set_and_call(settings: Settings, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for variable, value in settings:
        variable.set(value)
    return function(*args, **kwargs)
