"""Single kinds of objects that plain pickle refuses, or sends by a name that no worker knows, and how they travel.

Both picklers of `paceline.pickling` ask here about everything that is neither a function nor a class. This file never
pickles anything itself.

Locks are a case apart. In an argument they are refused: who hands one over expects that others are kept out, and
another process's lock keeps nobody out. A global of a script, though, or an attribute of its class, is a process's
own, as it is where workers import the script or are forks of it. There a lock becomes a new lock.
"""

from __future__ import annotations

import sys
from _thread import RLock, _local, allocate_lock

from paceline.functions import CELL, LRU_CACHE, MAIN, MODULE, by_reference, import_module, importable, make_cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class AskingPickler(Protocol):
        """What `reduce_other` needs to know of the pickler that asks."""

        renewing: bool


_LOCKS: dict[Any, Any] = {type(allocate_lock()): allocate_lock, RLock: RLock, _local: _local}
_WEAK = frozenset({"WeakKeyDictionary", "WeakValueDictionary", "WeakSet"})


def reduce_other(obj: Any, kind: Any, pickler: AskingPickler) -> Any:
    """What a pickler's `reducer_override` returns for an object that is neither a function nor a class."""
    if kind is CELL:
        return make_cell, ()
    if kind is MODULE:
        return (import_module, (obj.__name__,)) if importable(obj.__name__, obj) else NotImplemented
    if kind is LRU_CACHE and not by_reference(obj):
        return rebuild_lru_cache, (obj.__wrapped__, obj.cache_parameters())
    if pickler.renewing and kind in _LOCKS:
        return new_lock, (kind.__name__,)
    if kind.__module__ == MAIN and kind.__reduce__ is not object.__reduce__:
        return _reduce_named(obj, kind)
    if type(kind).__module__ == "enum" and not by_reference(kind) and obj._name_ in kind.__members__:
        return getattr, (kind, obj._name_)
    reduce = _BY_HOME.get(kind.__module__)
    return NotImplemented if reduce is None else reduce(obj, kind)


def _reduce_named(obj: Any, kind: Any) -> Any:
    """Objects that there is only one of, and that say so: their `__reduce__` gives a name."""
    name = obj.__reduce__()
    if type(name) is not str:
        return NotImplemented
    return named, (name, kind, getattr(obj, "__dict__", None))


def _reduce_of_functools(obj: Any, kind: Any) -> Any:
    if kind.__qualname__ == "cached_property":  # Until Python 3.12 it holds a lock.
        return rebuild_cached_property, (obj.func, obj.attrname)
    return NotImplemented


def _reduce_weak(obj: Any, kind: Any) -> Any:
    # What nothing else refers to is gone on arrival, as it would be here.
    if kind.__qualname__ in _WEAK:
        return kind, (list(obj.items()) if kind.__qualname__ != "WeakSet" else list(obj),)
    return NotImplemented


def _reduce_of_contextvars(obj: Any, kind: Any) -> Any:
    if kind.__qualname__ != "ContextVar":
        return NotImplemented
    from paceline.context import reduce_variable

    return reduce_variable(obj)


def _reduce_of_typing(obj: Any, kind: Any) -> Any:
    name = kind.__qualname__
    module = getattr(obj, "__module__", None)
    if name not in _TYPE_PARAMETERS or (module != MAIN and by_reference_under_its_name(obj, module)):
        return NotImplemented
    if name == "NewType":
        return make_new_type, (obj.__qualname__, obj.__supertype__, module)
    if name == "TypeVar":
        # It has more parts than one would wish to know; cloudpickle does.
        from cloudpickle import cloudpickle  # type: ignore[import-untyped]

        return cloudpickle._typevar_reduce(obj)  # noqa: SLF001 - it is how cloudpickle's own pickler does it.
    return kind, (obj.__name__,)


_TYPE_PARAMETERS = frozenset({"NewType", "ParamSpec", "TypeVar", "TypeVarTuple"})
_BY_HOME: dict[str, Any] = {
    "_contextvars": _reduce_of_contextvars,
    "functools": _reduce_of_functools,
    "typing": _reduce_of_typing,
    "weakref": _reduce_weak,
    "_weakrefset": _reduce_weak,
}


def by_reference_under_its_name(obj: Any, module_name: Any) -> bool:
    """Tells whether a worker can import this object, which is no function or class, by its `__name__`."""
    module = sys.modules.get(module_name) if type(module_name) is str else None
    return module is not None and importable(module_name, module) and getattr(module, obj.__name__, None) is obj


# -- rebuilt -----------------------------------------------------------------------------------------------------------


def rebuild_lru_cache(function: Any, parameters: dict[str, Any]) -> Any:
    """The function with an empty cache around it, as `functools.lru_cache` makes one."""
    from functools import lru_cache

    return lru_cache(**parameters)(function)


def rebuild_cached_property(function: Any, name: str | None) -> Any:
    """The same property, as the making of a class leaves it."""
    from functools import cached_property

    rebuilt = cached_property(function)
    if name is not None:
        rebuilt.__set_name__(object, name)
    return rebuilt


_named: dict[str, Any] = {}


def named(name: str, kind: Any, state: dict[str, Any] | None) -> Any:
    """The one object of the script's that has this name; in a worker one is made that stands for it."""
    found = _named.get(name)
    if found is None:
        found = getattr(sys.modules[MAIN], name, None)
    if found is None:
        found = _named[name] = object.__new__(kind)
        if state:
            found.__dict__.update(state)
    return found


def new_lock(kind: str) -> Any:
    """One that nobody holds."""
    return next(make for cls, make in _LOCKS.items() if cls.__name__ == kind)()


def make_new_type(name: str, base: Any, module: str) -> Any:
    """The same as the `typing.NewType` of that name."""
    from typing import NewType

    made = NewType(name, base)  # type: ignore[misc]
    made.__module__ = module  # type: ignore[attr-defined,unused-ignore]
    return made
